"""The MQTT codec against a real broker, and against paho-mqtt on the other side and byte for byte."""

from __future__ import annotations

import queue
import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from shoal.edge import mqtt
from tests.integration.edge.broker import Broker


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


class Client:
    """The codec on a blocking socket."""

    def __init__(self, port: int, client_id: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.parser = mqtt.PacketParser()
        self.packets: list[mqtt.Packet] = []
        try:
            self.socket.sendall(mqtt.connect(client_id=client_id))
            assert self.next() == mqtt.ConnAck(session_present=False, code=0)
        except BaseException:
            self.socket.close()
            raise

    def next(self) -> mqtt.Packet:
        while not self.packets:
            data = self.socket.recv(4_096)
            assert data, "the broker hung up"
            self.packets += self.parser.feed(data)
        return self.packets.pop(0)

    def subscribe(self, topic: str, qos: int) -> None:
        self.socket.sendall(mqtt.subscribe(3, [(topic, qos)]))
        assert self.next() == mqtt.SubAck(packet_id=3, codes=bytes((qos,)))

    def close(self) -> None:
        self.socket.sendall(mqtt.DISCONNECT)
        self.socket.close()


@pytest.fixture
def client(broker: Broker, request: pytest.FixtureRequest) -> Iterator[Client]:
    # A name of its own: a broker holds off a client that comes while one of its name still goes.
    client = Client(broker.port, f"{uuid.uuid4().hex[:8]}-{request.node.name[:20]}")
    yield client
    client.close()


@pytest.mark.parametrize("size", [0, 1, 200, 70_000])
def test_broker_returns_what_was_published(client: Client, size: int) -> None:
    payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
    client.subscribe("to/a/+", 0)
    client.socket.sendall(mqtt.publish("to/a/desired", payload))
    assert client.next() == mqtt.Publish(topic=b"to/a/desired", payload=payload)


def test_broker_acknowledges_qos_1_and_delivers_it_with_a_packet_id(client: Client) -> None:
    client.subscribe("to/b/+", 1)
    client.socket.sendall(mqtt.publish("to/b/x", b"once", qos=1, packet_id=77))
    packets = [client.next(), client.next()]
    assert mqtt.PubAck(packet_id=77) in packets
    [message] = [packet for packet in packets if isinstance(packet, mqtt.Publish)]
    assert (message.payload, message.qos) == (b"once", 1)
    client.socket.sendall(mqtt.puback(message.packet_id) + mqtt.PINGREQ)
    assert client.next() == mqtt.PingResp()


def test_paho_and_the_codec_understand_each_other(broker: Broker, client: Client) -> None:
    came: queue.Queue[tuple[str, bytes]] = queue.Queue()
    ready = threading.Event()
    other = paho.Client(CallbackAPIVersion.VERSION2, client_id="paho")
    other.on_message = lambda _client, _data, message: came.put((message.topic, bytes(message.payload)))
    other.on_subscribe = lambda *_: ready.set()

    def subscribe(*_: object) -> None:
        other.subscribe("dev/+/tele")

    other.on_connect = subscribe
    other.connect("127.0.0.1", broker.port)
    other.loop_start()
    try:
        assert ready.wait(5)
        client.socket.sendall(mqtt.publish("dev/h1/tele", b"\x00\xff" * 50))
        assert came.get(timeout=5) == ("dev/h1/tele", b"\x00\xff" * 50)
        client.subscribe("to/h1/+", 0)
        other.publish("to/h1/durable", b'{"seq":5}', qos=1).wait_for_publish(5)
        assert client.next() == mqtt.Publish(topic=b"to/h1/durable", payload=b'{"seq":5}')
    finally:
        other.disconnect()
        other.loop_stop()


def test_packets_are_those_that_paho_sends() -> None:
    """Let paho speak to a bare socket and compare what it says, byte for byte."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        other = paho.Client(CallbackAPIVersion.VERSION2, client_id="h1", protocol=paho.MQTTv311)
        other.username_pw_set("h1", "sécret")
        other.connect_async("127.0.0.1", server.getsockname()[1], keepalive=33)
        other.loop_start()
        try:
            server.settimeout(5)
            connection, _ = server.accept()
            with connection:
                connection.settimeout(5)

                def expect(packet: bytes) -> None:
                    got = b""
                    while len(got) < len(packet):
                        got += connection.recv(len(packet) - len(got))
                    assert got == packet

                expect(mqtt.connect(client_id="h1", username="h1", password="sécret", keep_alive_s=33))
                connection.sendall(b"\x20\x02\x00\x00")
                _, number = other.subscribe([("to/h1/+", 0), ("x/#", 1)])
                assert number is not None
                expect(mqtt.subscribe(number, [("to/h1/+", 0), ("x/#", 1)]))
                other.publish("dev/h1/tele", b"x" * 200)
                expect(mqtt.publish("dev/h1/tele", b"x" * 200))
                sent = other.publish("dev/h1/tele", b"y", qos=1, retain=True)
                expect(mqtt.publish("dev/h1/tele", b"y", qos=1, packet_id=sent.mid, retain=True))
                connection.sendall(mqtt.puback(sent.mid))
                sent.wait_for_publish(5)
                other.disconnect()
                expect(mqtt.DISCONNECT)
        finally:
            other.loop_stop()


def test_broker_refuses_a_wrong_password_with_a_code(tmp_path: Path) -> None:
    with (
        Broker(tmp_path, users={"h1": "right"}) as broker,
        socket.create_connection(("127.0.0.1", broker.port), timeout=5) as connection,
    ):
        connection.sendall(mqtt.connect(client_id="h1", username="h1", password="wrong"))
        assert mqtt.PacketParser().feed(connection.recv(100)) == [mqtt.ConnAck(session_present=False, code=5)]
