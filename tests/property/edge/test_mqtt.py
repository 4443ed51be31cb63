"""The MQTT codec: any chunking gives the same packets, and an independent decoder reads what is built."""

from __future__ import annotations

import contextlib
import io
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.domain.errors import WireFormatError
from shoal.edge import mqtt

ID = st.integers(1, 65_535)
TOPIC = st.text(st.characters(exclude_characters="\0#+", codec="utf-8"), min_size=1, max_size=60)
PAYLOAD = st.binary(max_size=300)


def server_publish(topic: str, payload: bytes, qos: int, packet_id: int) -> tuple[bytes, mqtt.Packet]:
    packet_id = packet_id if qos else 0
    raw = mqtt.publish(topic, payload, qos=qos, packet_id=packet_id)
    return raw, mqtt.Publish(topic=topic.encode(), payload=payload, qos=qos, packet_id=packet_id)


SERVER_PACKET = st.one_of(
    st.builds(server_publish, TOPIC, PAYLOAD, st.integers(0, 1), ID),
    st.integers(0, 255).map(
        lambda code: (bytes((0x20, 2, 0, code)), mqtt.ConnAck(session_present=False, code=code))
    ),
    ID.map(lambda number: (mqtt.puback(number), mqtt.PubAck(packet_id=number))),
    st.tuples(ID, st.binary(min_size=1, max_size=200)).map(
        lambda pair: (
            b"\x90" + mqtt.remaining_length(2 + len(pair[1])) + pair[0].to_bytes(2, "big") + pair[1],
            mqtt.SubAck(packet_id=pair[0], codes=pair[1]),
        )
    ),
    st.just((b"\xd0\x00", mqtt.PingResp())),
)


def chunks(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[a:b] for a, b in pairwise(places)]


@settings(max_examples=60, deadline=None)
@given(st.lists(SERVER_PACKET, max_size=12), st.lists(st.integers(0, 10_000), max_size=40))
def test_parser_gives_the_same_packets_for_any_chunking(
    packets: list[tuple[bytes, mqtt.Packet]], cuts: list[int]
) -> None:
    parser = mqtt.PacketParser()
    stream = b"".join(raw for raw, _ in packets)
    got = [packet for chunk in chunks(stream, cuts) for packet in parser.feed(chunk)]
    assert got == [packet for _, packet in packets]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(SERVER_PACKET, max_size=6), st.binary(max_size=40), st.lists(st.integers(0, 10_000), max_size=20)
)
def test_parser_never_fails_otherwise_than_by_its_own_error(
    packets: list[tuple[bytes, mqtt.Packet]], garbage: bytes, cuts: list[int]
) -> None:
    stream = b"".join(raw for raw, _ in packets) + garbage
    outcomes = []
    for parts in ([stream], chunks(stream, cuts), [stream[at : at + 1] for at in range(len(stream))]):
        parser = mqtt.PacketParser(max_packet_bytes=1_000)
        with contextlib.suppress(WireFormatError):
            for part in parts:
                parser.feed(part)
            outcomes.append("whole")
            continue
        outcomes.append("refused")
    assert len(set(outcomes)) == 1


class Oracle:
    """A second reading of the standard for the packets of a client: field after field, from a file."""

    def __init__(self, packet: bytes) -> None:
        self.file = io.BytesIO(packet)
        self.first = self.file.read(1)[0]
        length, factor = 0, 1
        while True:
            digit = self.file.read(1)[0]
            length += (digit & 127) * factor
            factor *= 128
            if digit < 128:
                break
        self.whole = len(packet) - self.file.tell() == length

    def number(self, size: int) -> int:
        return int.from_bytes(self.file.read(size), "big")

    def text(self) -> str:
        return self.file.read(self.number(2)).decode()

    def rest(self) -> bytes:
        return self.file.read()


@given(TOPIC, st.none() | TOPIC, st.none() | TOPIC, st.integers(0, 65_535), st.booleans())
def test_connect_is_read_back_by_an_independent_decoder(
    client: str, user: str | None, password: str | None, keep_alive_s: int, clean: bool
) -> None:
    password = password if user is not None else None
    oracle = Oracle(
        mqtt.connect(
            client_id=client, username=user, password=password, keep_alive_s=keep_alive_s, clean_session=clean
        )
    )
    assert oracle.whole
    assert (oracle.first, oracle.text(), oracle.number(1)) == (0x10, "MQTT", 4)
    flags = oracle.number(1)
    assert (bool(flags & 128), bool(flags & 64), bool(flags & 2)) == (
        user is not None,
        password is not None,
        clean,
    )
    assert flags & 0b00111101 == 0
    assert oracle.number(2) == keep_alive_s
    assert [oracle.text() for _ in range(1 + (user is not None) + (password is not None))] == [
        part for part in (client, user, password) if part is not None
    ]
    assert oracle.rest() == b""


@given(TOPIC, PAYLOAD, st.integers(0, 1), ID, st.booleans(), st.booleans())
def test_publish_is_read_back_by_an_independent_decoder(
    topic: str, payload: bytes, qos: int, packet_id: int, retain: bool, dup: bool
) -> None:
    oracle = Oracle(mqtt.publish(topic, payload, qos=qos, packet_id=packet_id, retain=retain, dup=dup))
    assert oracle.whole
    assert oracle.first == 0b0011_0000 + 8 * dup + 2 * qos + retain
    assert oracle.text() == topic
    if qos:
        assert oracle.number(2) == packet_id
    assert oracle.rest() == payload


@given(ID, st.lists(st.tuples(TOPIC, st.integers(0, 2)), min_size=1, max_size=5))
def test_subscribe_is_read_back_by_an_independent_decoder(
    packet_id: int, filters: list[tuple[str, int]]
) -> None:
    oracle = Oracle(mqtt.subscribe(packet_id, filters))
    assert oracle.whole
    assert (oracle.first, oracle.number(2)) == (0x82, packet_id)
    assert [(oracle.text(), oracle.number(1)) for _ in filters] == filters
    assert oracle.rest() == b""
