"""The MQTT codec, packet by packet, against the bytes of the standard."""

from __future__ import annotations

import pytest

from shoal.domain.errors import InvalidInputError, WireFormatError
from shoal.edge import mqtt


def test_connect_matches_the_example_of_the_standard() -> None:
    packet = mqtt.connect(client_id="c", username="u", password="pw", keep_alive_s=10)
    assert packet == b"\x10\x14\x00\x04MQTT\x04\xc2\x00\x0a\x00\x01c\x00\x01u\x00\x02pw"


def test_connect_without_credentials_sets_no_flags_for_them() -> None:
    assert mqtt.connect(client_id="", clean_session=False, keep_alive_s=0)[9:12] == b"\x00\x00\x00"


def test_connect_refuses_a_password_without_a_user() -> None:
    with pytest.raises(InvalidInputError):
        mqtt.connect(client_id="c", password="pw")


@pytest.mark.parametrize(
    ("size", "encoded"),
    [
        (0, b"\x00"),
        (127, b"\x7f"),
        (128, b"\x80\x01"),
        (16_383, b"\xff\x7f"),
        (16_384, b"\x80\x80\x01"),
        (2_097_152, b"\x80\x80\x80\x01"),
        (268_435_455, b"\xff\xff\xff\x7f"),
    ],
)
def test_remaining_length_matches_the_table_of_the_standard(size: int, encoded: bytes) -> None:
    assert mqtt.remaining_length(size) == encoded


def test_remaining_length_refuses_what_the_protocol_cannot_say() -> None:
    with pytest.raises(InvalidInputError):
        mqtt.remaining_length(268_435_456)


def test_publish_at_qos_1_needs_a_packet_id() -> None:
    assert mqtt.publish("a/b", b"x", qos=1, packet_id=10) == b"\x32\x08\x00\x03a/b\x00\x0ax"
    for qos, packet_id in ((1, 0), (2, 1), (1, 65_536)):
        with pytest.raises(InvalidInputError):
            mqtt.publish("a", b"", qos=qos, packet_id=packet_id)


def test_subscribe_carries_every_filter_and_refuses_none() -> None:
    packet = mqtt.subscribe(7, [("to/h1/+", 0), ("x", 1)])
    assert packet == b"\x82\x10\x00\x07\x00\x07to/h1/+\x00\x00\x01x\x01"
    with pytest.raises(InvalidInputError):
        mqtt.subscribe(7, [])


def test_puback_carries_the_packet_id() -> None:
    assert mqtt.puback(258) == b"\x40\x02\x01\x02"


def test_parser_reads_every_packet_of_a_server() -> None:
    stream = b"\x20\x02\x00\x05\x40\x02\x00\x09\x90\x04\x00\x01\x00\x80\xd0\x00\x31\x04\x00\x01tp"
    assert mqtt.PacketParser().feed(stream) == [
        mqtt.ConnAck(session_present=False, code=5),
        mqtt.PubAck(packet_id=9),
        mqtt.SubAck(packet_id=1, codes=b"\x00\x80"),
        mqtt.PingResp(),
        mqtt.Publish(topic=b"t", payload=b"p", retain=True),
    ]


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"\x10\x00", "packet_type"),  # a client's packet
        (b"\x00\x00", "packet_type"),
        (b"\xf0\x00", "packet_type"),
        (b"\x36\x00", "packet_type"),  # QoS 3
        (b"\x21\x02\x00\x00", "packet_type"),  # a reserved flag
        (b"\x30\xff\xff\xff\xff", "remaining_length"),
        (b"\x30\xff\xff\x7f", "too_large"),
        (b"\x20\x03\x00\x00\x00", "packet_body"),
        (b"\x20\x02\x02\x00", "packet_body"),
        (b"\x90\x02\x00\x01", "packet_body"),
        (b"\xd0\x01\x00", "packet_body"),
        (b"\x30\x00", "packet_body"),
        (b"\x30\x02\x00\x00", "packet_body"),
        (b"\x30\x04\x00\x00ab", "packet_body"),  # an empty topic
        (b"\x30\x04\x00\x05ab", "packet_body"),  # a topic beyond the packet
        (b"\x32\x04\x00\x01t\x00", "packet_body"),  # half a packet id
        (b"\x32\x05\x00\x01t\x00\x00", "packet_body"),  # packet id 0
    ],
)
def test_parser_refuses_garbage_with_a_reason(stream: bytes, reason: str) -> None:
    with pytest.raises(WireFormatError) as caught:
        mqtt.PacketParser().feed(stream)
    assert caught.value.reason == reason


def test_parser_judges_the_size_before_the_body_has_come() -> None:
    parser = mqtt.PacketParser(max_packet_bytes=64)
    assert len(parser.feed(mqtt.publish("t", b"x" * 59))) == 1
    with pytest.raises(WireFormatError):
        parser.feed(mqtt.publish("t", b"x" * 60)[:2])
