// MQTT.js against the broker: connect, QoS 0 to 2 both ways, retained, will, a session that is resumed.
//
// Usage: mqttjs_client.js PORT {3,5} PREFIX {tcp,ws,tls,wss} AUTHORITY. Exits 0 when everything held.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import mqtt from "mqtt";

const DEADLINE_MS = 30_000;
const [port, level, prefix, transport, authority] = process.argv.slice(2);
const scheme = { tcp: "mqtt", ws: "ws", tls: "mqtts", wss: "wss" }[transport];
const url = `${scheme}://127.0.0.1:${port}${scheme.startsWith("ws") ? "/mqtt" : ""}`;
const ca = ["tls", "wss"].includes(transport) ? readFileSync(authority) : undefined;
const v5 = level === "5";

// Nothing may keep the process longer than this.
setTimeout(() => {
  console.error(`not done within ${DEADLINE_MS} ms`);
  process.exit(1);
}, DEADLINE_MS).unref();

/** A client whose messages can be awaited. */
class Client {
  static async connect(name, { durable = false, will = undefined } = {}) {
    const client = new Client();
    client.messages = [];
    client.waiting = [];
    client.mqtt = mqtt.connect(url, {
      ca,
      clientId: `${prefix}-${name}`,
      protocolVersion: v5 ? 5 : 4,
      clean: !durable,
      reconnectPeriod: 0,
      properties: v5 ? { sessionExpiryInterval: durable ? 300 : 0, topicAliasMaximum: 4 } : undefined,
      will: will && { topic: will, payload: Buffer.from("gone"), qos: 1, retain: false },
    });
    client.mqtt.on("message", (topic, payload, packet) => {
      const message = { topic, payload: payload.toString(), qos: packet.qos, retain: packet.retain };
      const next = client.waiting.shift();
      next ? next(message) : client.messages.push(message);
    });
    await new Promise((resolve, reject) => {
      client.mqtt.once("connect", (connack) => resolve((client.sessionPresent = connack.sessionPresent)));
      client.mqtt.once("error", reject);
    });
    return client;
  }

  message() {
    const message = this.messages.shift();
    return message ? Promise.resolve(message) : new Promise((resolve) => this.waiting.push(resolve));
  }

  async expect(topic, payload, qos, retain = false) {
    assert.deepEqual(await this.message(), { topic, payload, qos, retain });
  }

  async subscribe(topic, qos) {
    const granted = await this.mqtt.subscribeAsync(topic, { qos });
    assert.equal(granted[0].qos, qos);
  }

  publish(topic, payload, qos, options = {}) {
    return this.mqtt.publishAsync(topic, payload, { qos, ...options });
  }

  disconnect() {
    return this.mqtt.endAsync();
  }

  /** Closes the socket without a DISCONNECT. */
  vanish() {
    this.mqtt.stream.destroy();
    this.mqtt.end(true);
  }
}

async function bothWays() {
  const [publisher, subscriber] = [await Client.connect("publisher"), await Client.connect("subscriber")];
  for (const granted of [0, 1, 2]) {
    const topic = `${prefix}/both/${granted}`;
    await subscriber.subscribe(topic, granted);
    for (const qos of [0, 1, 2]) {
      const sent = [...Array(20).keys()].map((number) => publisher.publish(topic, `${number}`, qos));
      await Promise.all(sent);
      for (const number of sent.keys()) {
        await subscriber.expect(topic, `${number}`, Math.min(qos, granted));
      }
    }
  }
  await publisher.disconnect();
  await subscriber.disconnect();
}

async function retained() {
  const topic = `${prefix}/retained`;
  const publisher = await Client.connect("publisher");
  await publisher.publish(topic, "kept", 1, { retain: true });
  const subscriber = await Client.connect("subscriber");
  await subscriber.subscribe(topic, 1);
  await subscriber.expect(topic, "kept", 1, true);
  await publisher.publish(topic, "", 1, { retain: true });
  await subscriber.expect(topic, "", 1);
  await publisher.disconnect();
  await subscriber.disconnect();
}

async function will() {
  const topic = `${prefix}/will`;
  const watcher = await Client.connect("watcher");
  await watcher.subscribe(topic, 1);
  await (await Client.connect("content", { will: topic })).disconnect();
  (await Client.connect("mortal", { will: topic })).vanish();
  await watcher.expect(topic, "gone", 1);
  assert.equal(watcher.messages.length, 0);
  await watcher.disconnect();
}

async function session() {
  const topic = `${prefix}/session`;
  let durable = await Client.connect("durable", { durable: true });
  assert.equal(durable.sessionPresent, false);
  await durable.subscribe(topic, 2);
  await durable.disconnect();
  const publisher = await Client.connect("publisher");
  for (let number = 0; number < 30; number += 1) {
    await publisher.publish(topic, `${number}`, 1 + Math.floor(number / 15));
  }
  durable = await Client.connect("durable", { durable: true });
  assert.equal(durable.sessionPresent, true);
  for (let number = 0; number < 30; number += 1) {
    await durable.expect(topic, `${number}`, 1 + Math.floor(number / 15));
  }
  await durable.disconnect();
  await publisher.disconnect();
}

/** Topic aliases both ways: MQTT.js resolves those of the broker, the broker those of MQTT.js. */
async function aliases() {
  const [publisher, subscriber] = [await Client.connect("publisher"), await Client.connect("subscriber")];
  await subscriber.subscribe(`${prefix}/alias/#`, 0);
  for (let number = 0; number < 20; number += 1) {
    const topicAlias = 1 + (number % 2);
    const topic = number < 2 ? `${prefix}/alias/${topicAlias}` : "";
    await publisher.publish(topic, `${number}`, 0, { properties: { topicAlias } });
    await subscriber.expect(`${prefix}/alias/${topicAlias}`, `${number}`, 0);
  }
  await publisher.disconnect();
  await subscriber.disconnect();
}

await bothWays();
await retained();
await will();
await session();
if (v5) {
  await aliases();
}
console.log("ok");
process.exit(0);
