"""The frame parser against a plain reader written with `bytes` methods, and against nonsense."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.fabric._frames import (
    CONSUMER_SEQ,
    DATA,
    FIELDS,
    HEADER_AT,
    KIND,
    MESSAGE,
    PAYLOAD_AT,
    PAYLOAD_BYTES,
    PENDING,
    PING,
    STREAM_SEQ,
    SUBJECT_AT,
    SUBJECT_BYTES,
    TIMESTAMP_NS,
    parse,
)

LIMIT = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    subject: bytes
    payload: bytes
    header: bytes
    position: tuple[int, int, int, int] | None
    long_reply: bool

    def encoded(self) -> bytes:
        reply = b""
        if self.position is not None:
            numbers = ".".join(str(number) for number in self.position)
            reply = f"$JS.ACK.TELE.c1.1.{numbers} ".encode()
            if self.long_reply:
                reply = f"$JS.ACK._.hAsH.TELE.c1.1.{numbers}.r4nd ".encode()
        size = len(self.header) + len(self.payload)
        if self.header:
            line = b"HMSG %b 1 %b%d %d\r\n" % (self.subject, reply, len(self.header), size)
        else:
            line = b"MSG %b 1 %b%d\r\n" % (self.subject, reply, size)
        return line + self.header + self.payload + b"\r\n"


_number = st.integers(min_value=0, max_value=2**62)
_messages = st.builds(
    Message,
    subject=st.text("abc019._-$", min_size=1, max_size=20).map(str.encode),
    payload=st.binary(max_size=200),
    header=st.one_of(st.just(b""), st.binary(max_size=20).map(lambda b: b"NATS/1.0\r\n" + b + b"\r\n\r\n")),
    position=st.one_of(st.none(), st.tuples(_number, _number, _number, _number)),
    long_reply=st.booleans(),
)
_noise = st.sampled_from([b"PING\r\n", b"PONG\r\n", b"+OK\r\n", b'INFO {"a":1}\r\n', b"-ERR 'x'\r\n"])


def read_in_chunks(stream: bytes, cuts: list[int], capacity: int) -> list[tuple[object, ...]]:
    """Feed `stream` in pieces and collect what the parser gives."""
    bounds = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    buffer = np.full(len(stream) + 64, 255, np.uint8)
    frames = np.zeros((FIELDS, capacity), np.int64)
    found: list[tuple[object, ...]] = []
    start = 0
    for low, high in itertools.pairwise(bounds):
        buffer[low:high] = np.frombuffer(stream[low:high], np.uint8)
        while True:
            count, start, malformed = parse(buffer, start, high, LIMIT, frames)
            assert not malformed
            for column in frames[:, :count].T.tolist():
                subject = buffer[column[SUBJECT_AT] :][: column[SUBJECT_BYTES]].tobytes()
                payload = buffer[column[PAYLOAD_AT] :][: column[PAYLOAD_BYTES]].tobytes()
                if column[KIND] not in (DATA, MESSAGE):
                    found.append((column[KIND], payload))
                    continue
                header = buffer[column[HEADER_AT] : column[PAYLOAD_AT]].tobytes()
                numbers = tuple(column[field] for field in (STREAM_SEQ, CONSUMER_SEQ, TIMESTAMP_NS, PENDING))
                found.append((column[KIND], subject, header, payload, numbers))
            if count < capacity:
                break
    assert start == len(stream)
    return found


@settings(max_examples=150, deadline=None)
@given(
    parts=st.lists(st.one_of(_messages, _noise), max_size=12),
    cuts=st.lists(st.integers(min_value=0, max_value=10_000), max_size=12),
    capacity=st.integers(min_value=1, max_value=6),
)
def test_parser_gives_the_same_messages_whatever_the_chunks(
    parts: list[Message | bytes], cuts: list[int], capacity: int
) -> None:
    stream = b"".join(part if isinstance(part, bytes) else part.encoded() for part in parts)
    found = read_in_chunks(stream, cuts, capacity)
    assert len(found) == len(parts)
    for got, part in zip(found, parts, strict=True):
        if isinstance(part, bytes):
            assert got[1] == part.rstrip()
            continue
        kind = MESSAGE if part.position is None else DATA
        assert got == (kind, part.subject, part.header, part.payload, part.position or (0, 0, 0, 0))


@settings(max_examples=300, deadline=None)
@given(
    prefix=st.sampled_from(
        [b"", b"MSG ", b"HMSG a 1 ", b"MSG a 1 $JS.ACK.", b"PING\r\nMSG a 1 3\r\nabc\r\n"]
    ),
    junk=st.binary(max_size=120),
)
def test_parser_stays_inside_the_bytes_it_is_given(prefix: bytes, junk: bytes) -> None:
    stream = prefix + junk
    buffer = np.concatenate([np.frombuffer(stream, np.uint8), np.frombuffer(b"\r\nPING\r\n" * 20, np.uint8)])
    frames = np.zeros((FIELDS, 32), np.int64)
    count, consumed, _ = parse(buffer, 0, len(stream), LIMIT, frames)
    assert 0 <= consumed <= len(stream)
    for column in frames[:, :count].T.tolist():
        assert column[PAYLOAD_AT] >= 0 and column[PAYLOAD_AT] + column[PAYLOAD_BYTES] <= consumed
        assert column[SUBJECT_AT] >= 0 and column[SUBJECT_AT] + column[SUBJECT_BYTES] <= consumed
    again, end, _ = parse(buffer[: len(stream)].copy(), 0, len(stream), LIMIT, frames)
    assert (again, end) == (count, consumed)


def test_parser_refuses_what_is_no_frame() -> None:
    frames = np.zeros((FIELDS, 8), np.int64)
    for wrong in (
        b"GET / HTTP/1.0\r\n",
        b"\r\n",
        b"PING\n",
        b"MSG a 1\r\n",
        b"MSG a 1 x\r\n",
        b"MSG a 1 -3\r\n",
        b"MSG a 1 r 5 6 7\r\n",
        b"MSG a 1 3\r\nabcd\r\n",
        b"MSG a 1 99999999\r\n",
        b"HMSG a 1 9 3\r\nabc\r\n",
        b"MSG a 1 $JS.ACK.s.c.1.2.3 0\r\n\r\n",
        b"MSG a 1 $JS.ACK.s.c.1.2.x.4.5 0\r\n\r\n",
        b"MSG a 1 99999999999999999999\r\n",
    ):
        stream = b"PING\r\n" + wrong
        buffer = np.frombuffer(stream, np.uint8).copy()
        count, consumed, malformed = parse(buffer, 0, len(buffer), LIMIT, frames)
        assert (count, consumed, malformed) == (1, 6, True), wrong
        assert frames[KIND, 0] == PING


def test_parser_gives_up_on_an_endless_line() -> None:
    buffer = np.full(70_000, ord("a"), np.uint8)
    frames = np.zeros((FIELDS, 8), np.int64)
    assert parse(buffer, 0, 60_000, LIMIT, frames) == (0, 0, False)
    assert parse(buffer, 0, 70_000, LIMIT, frames) == (0, 0, True)
