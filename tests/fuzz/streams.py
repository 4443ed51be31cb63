"""Targets that read streams: NATS frames and MQTT packets, cut anywhere, equal a plain reading of the whole."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Hashable
from itertools import pairwise
from random import Random
from typing import Final
from zlib import crc32

import numpy as np

from shoal.domain.errors import UnavailableError, WireFormatError
from shoal.edge import mqtt
from shoal.fabric import _frames
from shoal.fabric._consumer import PullConsumer
from shoal.fabric._wire import ProtocolError, Wire
from tests.fuzz.plain_frames import End, Frame, read_frames
from tests.fuzz.plain_packets import read_packets
from tests.fuzz.target import Target

MOST_BYTES: Final = 4_000
"""Largest payload that the frame parser is told to take."""
_GUARD: Final = b"\r\nMSG a 1 $JS.ACK.s.c.1.2.3.4.5 2\r\nxx\r\nPING\r\n"
"""What lies around the bytes that the parser may look at: it would be noticed."""


def cut_places(data: bytes, size: int) -> list[int]:
    """Return where to cut a stream of `size` bytes, the same for the same data."""
    random = Random(crc32(data))
    count = random.choice([0, 1, 2, 5, 20, min(size, 300)])
    return sorted({0, size, *(random.randint(0, size) for _ in range(count))})


def parse_frames(stream: bytes, capacity: int) -> tuple[list[Frame], int, bool]:
    """Return what the parser makes of a stream that lies within other bytes, as `read_frames` does."""
    low = len(_GUARD)
    buffer = np.frombuffer(bytearray(_GUARD + stream + _GUARD), np.uint8)
    frames = np.full((_frames.FIELDS, capacity), -1, np.int64)
    found: list[Frame] = []
    start, high = low, low + len(stream)
    while True:
        count, start, malformed = _frames.parse(buffer, start, high, MOST_BYTES, frames)
        assert 0 <= count <= capacity and low <= start <= high
        found += [_frame(buffer, frames, at, low, start) for at in range(count)]
        if count < capacity:
            return found, start - low, malformed


def _frame(buffer: np.ndarray, frames: np.ndarray, at: int, low: int, high: int) -> Frame:
    column = frames[:, at].tolist()
    kind, subject_at, subject_bytes, header_at, payload_at, payload_bytes, *numbers = column
    assert low <= payload_at <= payload_at + payload_bytes <= high
    payload = buffer[payload_at : payload_at + payload_bytes].tobytes()
    if kind not in (_frames.DATA, _frames.MESSAGE):
        assert (subject_at, subject_bytes, header_at, *numbers) == (0, 0, 0, 0, 0, 0, 0)
        return Frame(kind, b"", b"", payload)
    assert low <= subject_at <= subject_at + subject_bytes <= header_at <= payload_at
    subject = buffer[subject_at : subject_at + subject_bytes].tobytes()
    first, second, third, fourth = numbers
    header = buffer[header_at:payload_at].tobytes()
    return Frame(kind, subject, header, payload, (first, second, third, fourth))


def check_frames(data: bytes) -> Hashable:
    """Compare the parser with the plain reader on a whole stream."""
    expected, used, end = read_frames(data, MOST_BYTES)
    capacity = 1 + crc32(data) % 7
    found = parse_frames(data, capacity)
    assert found == (expected, used, end is End.MALFORMED), (found, expected, used, end)
    return end, tuple(frame.kind for frame in expected[:6]), len(expected) // 4


def receive(stream: bytes, places: list[int]) -> tuple[list[Frame], bool]:
    """Return what a connection makes of a stream that comes in pieces, and whether it is broken in the end."""
    near, far = socket.socketpair()
    found: list[Frame] = []
    with contextlib.closing(near), contextlib.closing(far):
        near.setblocking(False)
        wire = Wire(near)
        wire.buffer = np.full(70_000, 10, np.uint8)  # little room, so that it moves and grows
        wire.frames = np.zeros((_frames.FIELDS, 3), np.int64)
        wire._max_payload_bytes = MOST_BYTES - _frames.MAX_LINE_BYTES
        try:
            for low, high in pairwise(places):
                far.sendall(stream[low:high])
                while wire.receive_nowait():
                    while count := wire.parse():
                        found += [
                            _frame(wire.buffer, wire.frames, at, 0, len(wire.buffer)) for at in range(count)
                        ]
        except ProtocolError:
            return found, True
    return found, False


def check_cuts(data: bytes) -> Hashable:
    """Compare what a connection gives for a stream in pieces with the plain reading of the whole."""
    expected, _, end = read_frames(data, MOST_BYTES)
    places = cut_places(data, len(data))
    found = receive(data, places)
    assert found == (expected, end is End.MALFORMED), (places, found, expected, end)
    return end, tuple(frame.kind for frame in expected[:3]), len(places) // 4


def check_control(data: bytes) -> Hashable:
    """Let a connection and its consumer act on whatever the server says; they end in order or go on."""
    near, far = socket.socketpair()
    outcome = ""
    with contextlib.closing(near), contextlib.closing(far):
        near.setblocking(False)
        wire = Wire(near)
        wire.buffer = np.empty(70_000, np.uint8)
        wire.frames = np.zeros((_frames.FIELDS, 3), np.int64)
        consumer = PullConsumer(wire, stream="S", name="c", inbox="i", first_seq=1, batch=10, depth=2)
        far.sendall(data)
        try:
            while data and wire.receive_nowait():
                while count := wire.parse():
                    for frame in range(count):
                        _act(wire, consumer, frame)
        except (OSError, UnavailableError) as error:
            outcome = type(error).__name__
        assert 0 < wire._max_payload_bytes <= 1 << 30
        assert len(wire.buffer) <= 1 << 21
    return outcome, min(consumer._seq, 3), wire._max_payload_bytes.bit_length()


def _act(wire: Wire, consumer: PullConsumer, frame: int) -> None:
    kind = int(wire.frames[_frames.KIND, frame])
    if kind == _frames.MESSAGE:
        consumer.handle_status(wire.text(frame, headers=True))
        consumer.demand_more()
    elif kind == _frames.DATA:
        consumer.delivered(wire.frames[:, frame : frame + 1])
    else:
        wire.handle_control(frame)


def check_packets(data: bytes) -> Hashable:
    """Compare the MQTT parser with the plain reader, whole and in pieces."""
    expected, used, reason = read_packets(data, 1_000)
    found: list[mqtt.Packet] = []
    why = ""
    try:
        assert mqtt.parse(data, found, 1_000) == used
    except WireFormatError as error:
        why = error.reason
    assert (found, why) == (expected, reason)
    parser, found, why = mqtt.PacketParser(max_packet_bytes=1_000), [], ""
    pieces = [data[low:high] for low, high in pairwise(cut_places(data, len(data)))]
    try:
        for piece in pieces:
            found += parser.feed(piece)
    except WireFormatError as error:
        why = error.reason
    assert why == reason
    assert found == (expected[: len(found)] if reason else expected)
    return reason, tuple(type(packet).__name__ for packet in expected[:5])


_DATA: Final = b"$JS.ACK.TELE.c1.1.%d.%d.%d.%d"
_STREAMS: Final = (
    b"PING\r\nMSG tele.3.home-a 1 " + _DATA % (7, 1, 1_700_000_000, 9) + b" 5\r\nhello\r\n",
    b"MSG a 1 0\r\n\r\nHMSG _INBOX.x.y 1 21 22\r\nNATS/1.0 100 Idle\r\n\r\nx\r\n",
    b"HMSG a 1 $JS.ACK._.hAsH.TELE.c1.1.5.6.7.8.r4nd 12 15\r\nNATS/1.0\r\n\r\nabc\r\nPONG\r\n+OK\r\n",
    b'INFO {"max_payload":1048576,"tls_required":false}\r\n-ERR \'Authorization Violation\'\r\n',
    b"MSG a 1 " + _DATA % (2**63 - 1, 2**63, 0, 10**19 - 1) + b" 3\r\nabc\r\n",
    b"MSG a 1 " + b"9" * 18 + b"\r\n",
    b"PING\r\n" * 40,
    b"HMSG i 1 81 81\r\nNATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 3\r\nNats-Pending-Bytes: 0\r\n\r\n\r\n",
    b"HMSG i 1 54 54\r\nNATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 3\r\n\r\n\r\n",
    b"x" * 2_000,
    b"MSG a 1 300\r\n" + b"y" * 300 + b"\r\n" + b"PING\r\n",
)
_LONG_LINES: Final = (
    b"INFO " + b"z" * (_frames.MAX_LINE_BYTES - 6) + b"\r\nPING\r\n",
    b"INFO " + b"z" * (_frames.MAX_LINE_BYTES - 5) + b"\r\nPING\r\n",
)
_WORDS: Final = (
    *(b"PING\r\n", b"MSG ", b"HMSG ", b"\r\n", b" ", b"  ", b"\t", b".", b"$JS.ACK.", b"-ERR ", b"+OK\r\n"),
    *(b"INFO {}\r\n", b"NATS/1.0", b"0", b"18446744073709551617", b"9223372036854775808", b"4000", b"4001"),
    *(b"NATS/1.0 \xc2\xb2\r\n\r\n", b"nats-last-consumer: ", b"nats-pending-messages: ", b"-1", b"\n", b"\r"),
    *(b"MSG a 1 2\r\nab\r\n", b'{"max_payload":', b"null", b"[", b"1e400", b"HMSG a 1 0 0\r\n\r\n", b"\x00"),
)
_PACKETS: Final = (
    mqtt.publish("to/home-a/desired", b"x" * 30),
    mqtt.publish("to/home-a/durable", b"y" * 200, qos=1, packet_id=7, retain=True, dup=True),
    b"\x34" + mqtt.publish("a", b"", qos=1, packet_id=65_535)[1:],
    b"\x20\x02\x01\x00\x20\x02\x00\x05\xd0\x00" + mqtt.puback(1),
    b"\x90\x04\x00\x01\x00\x80\xd0\x00",
    b"\x30\x80\x80\x80\x00",
    b"\x30\x83\x00\x00\x01a",
)
_PACKET_WORDS: Final = (
    *(b"\xd0\x00", b"\x20\x02\x00\x00", b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\x80", b"\x30", b"\x32"),
    *(b"\x00\x00", b"\x00\x01a", b"\xe7\x07", b"\xe8\x07", b"\x7f", b"\x3d\x04\x00\x01a\x00", b"\x36"),
)

TARGETS: Final = (
    Target(name="frames", check=check_frames, seeds=_STREAMS, words=_WORDS),
    Target(name="cuts", check=check_cuts, seeds=(*_STREAMS, *_LONG_LINES), words=_WORDS),
    Target(name="control", check=check_control, seeds=_STREAMS, words=_WORDS),
    Target(name="mqtt", check=check_packets, seeds=_PACKETS, words=_PACKET_WORDS),
)
