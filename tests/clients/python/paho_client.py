"""paho-mqtt against the broker: connect, QoS 0 to 2 both ways, retained, will, a session that is resumed.

Usage: paho_client.py PORT {3,5} PREFIX {tcp,ws,tls,wss} AUTHORITY. Exits 0 when everything held.
"""

import queue
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

DEADLINE = 20
PORT, LEVEL, PREFIX = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
TRANSPORT = {"tcp": "tcp", "ws": "websockets", "tls": "tcp", "wss": "websockets"}[sys.argv[4]]
AUTHORITY = sys.argv[5] if sys.argv[4] in ("tls", "wss") else None
V5 = LEVEL == 5


class Client:
    """A client whose events can be waited for."""

    def __init__(self, name, durable=False, will=None):
        self.events = {kind: queue.Queue() for kind in ("connect", "disconnect", "subscribe", "publish", "message")}
        arguments = {} if V5 else {"clean_session": not durable}
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=f"{PREFIX}-{name}",
            protocol=mqtt.MQTTv5 if V5 else mqtt.MQTTv311,
            transport=TRANSPORT,
            **arguments,
        )
        if AUTHORITY:
            self.client.tls_set(AUTHORITY)
        put = {kind: events.put for kind, events in self.events.items()}
        self.client.on_connect = lambda c, u, flags, code, p: put["connect"]((flags.session_present, code))
        self.client.on_disconnect = lambda c, u, flags, code, p: put["disconnect"](code)
        self.client.on_subscribe = lambda c, u, mid, codes, p: put["subscribe"]([code.value for code in codes])
        self.client.on_publish = lambda c, u, mid, code, p: put["publish"](mid)
        self.client.on_message = lambda c, u, message: put["message"](message)
        if will:
            self.client.will_set(will, b"gone", qos=1)
        connect = {}
        if V5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 300 if durable else 0
            connect = {"clean_start": not durable, "properties": properties}
        self.client.connect("127.0.0.1", PORT, keepalive=30, **connect)
        self.client.loop_start()
        self.session_present, code = self.wait("connect")
        assert code == 0, code

    def wait(self, kind):
        return self.events[kind].get(timeout=DEADLINE)

    def subscribe(self, topic, qos):
        self.client.subscribe(topic, qos)
        assert self.wait("subscribe") == [qos]

    def publish(self, topic, payload, qos, retain=False, properties=None):
        self.client.publish(topic, payload, qos, retain, properties)
        self.wait("publish")

    def expect(self, topic, payload, qos, retain=False):
        message = self.wait("message")
        got = (message.topic, message.payload, message.qos, bool(message.retain))
        assert got == (topic, payload, qos, retain), got
        return message

    def silent(self):
        assert self.events["message"].empty()

    def disconnect(self):
        self.client.disconnect()
        self.wait("disconnect")
        self.client.loop_stop()

    def vanish(self):
        """Closes the socket without a DISCONNECT."""
        self.client.loop_stop()
        self.client.socket().close()


def both_ways():
    publisher, subscriber = Client("publisher"), Client("subscriber")
    for granted in range(3):
        topic = f"{PREFIX}/both/{granted}"
        subscriber.subscribe(topic, granted)
        for qos in range(3):
            for number in range(20):
                publisher.publish(topic, f"{qos} {number}", qos)
            for number in range(20):
                subscriber.expect(topic, f"{qos} {number}".encode(), min(qos, granted))
    large = bytes(range(256)) * 1000
    publisher.publish(f"{PREFIX}/both/2", large, 2)
    subscriber.expect(f"{PREFIX}/both/2", large, 2)
    publisher.disconnect()
    subscriber.disconnect()


def retained():
    topic = f"{PREFIX}/retained"
    publisher = Client("publisher")
    publisher.publish(topic, b"kept", 1, retain=True)
    subscriber = Client("subscriber")
    subscriber.subscribe(topic, 1)
    subscriber.expect(topic, b"kept", 1, retain=True)
    publisher.publish(topic, b"", 1, retain=True)
    subscriber.expect(topic, b"", 1)
    late = Client("late")
    late.subscribe(topic, 1)
    publisher.publish(topic, b"live", 1)
    late.expect(topic, b"live", 1)
    for client in (publisher, subscriber, late):
        client.disconnect()


def will():
    topic = f"{PREFIX}/will"
    watcher = Client("watcher")
    watcher.subscribe(topic, 1)
    Client("content", will=topic).disconnect()
    Client("mortal", will=topic).vanish()
    watcher.expect(topic, b"gone", 1)
    watcher.silent()
    watcher.disconnect()


def session():
    topic = f"{PREFIX}/session"
    durable = Client("durable", durable=True)
    assert not durable.session_present
    durable.subscribe(topic, 2)
    durable.disconnect()
    publisher = Client("publisher")
    for number in range(30):
        publisher.publish(topic, str(number), 1 + number // 15)
    durable = Client("durable", durable=True)
    assert durable.session_present
    for number in range(30):
        durable.expect(topic, str(number).encode(), 1 + number // 15)
    durable.silent()
    durable.disconnect()
    publisher.disconnect()


def properties():
    topic = f"{PREFIX}/properties"
    publisher, subscriber = Client("publisher"), Client("subscriber")
    subscriber.subscribe(topic, 1)
    sent = Properties(PacketTypes.PUBLISH)
    sent.UserProperty = [("b", "1"), ("a", "2")]
    sent.ContentType = "text/plain"
    sent.ResponseTopic = "answers"
    sent.CorrelationData = b"42"
    sent.MessageExpiryInterval = 60
    publisher.publish(topic, b"x", 1, properties=sent)
    got = subscriber.expect(topic, b"x", 1).properties
    assert got.UserProperty == sent.UserProperty
    assert (got.ContentType, got.ResponseTopic, got.CorrelationData) == ("text/plain", "answers", b"42")
    # Less what it waited, which is up to who else uses the machine.
    assert 0 < got.MessageExpiryInterval <= 60
    publisher.disconnect()
    subscriber.disconnect()


both_ways()
retained()
will()
session()
if V5:
    properties()
print("ok")
