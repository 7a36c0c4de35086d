"""aiomqtt against the broker: connect, QoS 0 to 2 both ways, retained, will, a session that is resumed.

Usage: aiomqtt_client.py PORT {3,5} PREFIX {tcp,ws,tls,wss} AUTHORITY. Exits 0 when everything held.
"""

import asyncio
import sys

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

DEADLINE = 60
PORT, LEVEL, PREFIX = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
TRANSPORT = {"tcp": "tcp", "ws": "websockets", "tls": "tcp", "wss": "websockets"}[sys.argv[4]]
AUTHORITY = sys.argv[5] if sys.argv[4] in ("tls", "wss") else None
V5 = LEVEL == 5


def client(name, durable=False, will=None):
    arguments = {"transport": TRANSPORT, "protocol": aiomqtt.ProtocolVersion.V5 if V5 else aiomqtt.ProtocolVersion.V311}
    if AUTHORITY:
        arguments["tls_params"] = aiomqtt.TLSParameters(ca_certs=AUTHORITY)
    if V5:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 300 if durable else 0
        arguments |= {"clean_start": not durable, "properties": properties}
    else:
        arguments |= {"clean_session": not durable}
    if will:
        arguments["will"] = aiomqtt.Will(will, b"gone", qos=1)
    return aiomqtt.Client("127.0.0.1", PORT, identifier=f"{PREFIX}-{name}", timeout=DEADLINE, **arguments)


async def expect(client, topic, payload, qos, retain=False):
    message = await anext(client.messages)
    got = (str(message.topic), message.payload, message.qos, bool(message.retain))
    assert got == (topic, payload, qos, retain), got


async def both_ways():
    topic = f"{PREFIX}/both"
    async with client("publisher") as publisher, client("subscriber") as subscriber:
        for granted in range(3):
            await subscriber.subscribe(topic, granted)
            for qos in range(3):
                # Tasks at once: their messages may be sent in any order, and come in the order in which they were sent.
                await asyncio.gather(*(publisher.publish(topic, f"{number:02}", qos) for number in range(20)))
                got = [await anext(subscriber.messages) for _ in range(20)]
                assert sorted(message.payload for message in got) == [f"{number:02}".encode() for number in range(20)]
                assert {message.qos for message in got} == {min(qos, granted)}


async def retained():
    topic = f"{PREFIX}/retained"
    async with client("publisher") as publisher, client("subscriber") as subscriber:
        await publisher.publish(topic, b"kept", 2, retain=True)
        await subscriber.subscribe(topic, 2)
        await expect(subscriber, topic, b"kept", 2, retain=True)
        await publisher.publish(topic, b"", 1, retain=True)
        await expect(subscriber, topic, b"", 1)


async def will():
    topic = f"{PREFIX}/will"
    async with client("watcher") as watcher:
        await watcher.subscribe(topic, 1)
        async with client("content", will=topic):
            pass
        mortal = client("mortal", will=topic)
        await mortal.__aenter__()
        socket = mortal._client.socket()
        # Over WebSocket it is wrapped.
        getattr(socket, "_socket", socket).shutdown(2)
        await expect(watcher, topic, b"gone", 1)


async def session():
    topic = f"{PREFIX}/session"
    async with client("durable", durable=True) as durable:
        await durable.subscribe(topic, 2)
    async with client("publisher") as publisher:
        for number in range(30):
            await publisher.publish(topic, str(number), 1 + number // 15)
    async with client("durable", durable=True) as durable:
        for number in range(30):
            await expect(durable, topic, str(number).encode(), 1 + number // 15)


async def main():
    await both_ways()
    await retained()
    await will()
    await session()


asyncio.run(asyncio.wait_for(main(), DEADLINE))
print("ok")
