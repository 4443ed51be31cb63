"""NATS frames read plainly: the client protocol as its description has it, with `bytes` methods and patterns.

Only what a server sends is a frame: upper case, one space between fields, lines that end in CR LF.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, NamedTuple

from shoal.fabric._frames import DATA, ERROR, INFO, MAX_LINE_BYTES, MESSAGE, OTHER, PING

_LINES: Final = (
    (re.compile(rb"PING"), PING),
    (re.compile(rb"PONG|\+OK"), OTHER),
    (re.compile(rb"INFO .*", re.DOTALL), INFO),
    (re.compile(rb"-ERR(?: .*)?", re.DOTALL), ERROR),
)
_FIELD: Final = rb"([^ \t\r\n]+) "
_SIZE: Final = rb"([0-9]{1,19})"
_MESSAGE: Final = re.compile(rb"MSG %b%b(?:%b)?%b" % (_FIELD, _FIELD, _FIELD, _SIZE))
_HEADED: Final = re.compile(rb"HMSG %b%b(?:%b)?%b %b" % (_FIELD, _FIELD, _FIELD, _SIZE, _SIZE))
_POSITION: Final = re.compile(rb"[0-9]{1,19}")
_LARGEST: Final = 2**63 - 1


class Frame(NamedTuple):
    """A whole frame; of one without a payload, the line is the payload."""

    kind: int
    subject: bytes
    header: bytes
    payload: bytes
    numbers: tuple[int, int, int, int] = (0, 0, 0, 0)


class End(Enum):
    """What comes behind the last whole frame."""

    SHORT = "the rest is not there yet, or nothing is"
    MALFORMED = "what is no frame"


def read_frames(stream: bytes, most_bytes: int) -> tuple[list[Frame], int, End]:
    """Return the frames at the beginning of a stream, the bytes that they take, and what is behind them."""
    frames: list[Frame] = []
    at = 0
    while True:
        end, is_malformed, frame = _read_one(stream, at, most_bytes)
        if frame is None:
            return frames, at, End.MALFORMED if is_malformed else End.SHORT
        frames.append(frame)
        at = end


def _read_one(stream: bytes, at: int, most_bytes: int) -> tuple[int, bool, Frame | None]:
    newline = stream.find(b"\n", at)
    length = (len(stream) if newline < 0 else newline) - at
    if newline < 0 or length > MAX_LINE_BYTES:
        return at, length > MAX_LINE_BYTES, None
    line, after = stream[at : newline - 1], newline + 1
    if length == 0 or stream[newline - 1 : newline] != b"\r":
        return at, True, None
    for pattern, kind in _LINES:
        if pattern.fullmatch(line):
            return after, False, Frame(kind, b"", b"", line)
    if found := _MESSAGE.fullmatch(line):
        (subject, _, reply, size), head = found.groups(), b"0"
    elif found := _HEADED.fullmatch(line):
        subject, _, reply, head, size = found.groups()
    else:
        return at, True, None
    total, header = int(size), int(head)
    if header > total or total > most_bytes:
        return at, True, None
    body = stream[after : after + total + 2]
    if len(body) < total + 2:
        return at, False, None
    position = _position(reply) if reply is not None else ()
    if body[total:] != b"\r\n" or position is None:
        return at, True, None
    kind = DATA if position else MESSAGE
    frame = Frame(kind, subject, body[:header], body[header:total], *([position] if position else []))
    return after + total + 2, False, frame


def _position(reply: bytes) -> tuple[int, int, int, int] | tuple[()] | None:
    """Return the four numbers of an acknowledgement subject, nothing for another subject, None when it is malformed."""
    if not reply.startswith(b"$JS.ACK."):
        return ()
    tokens = reply.split(b".")
    if len(tokens) == 9:
        texts = tokens[5:9]
    elif 11 <= len(tokens) <= 16:
        texts = tokens[7:11]
    else:
        return None
    if not all(_POSITION.fullmatch(one) and int(one) <= _LARGEST for one in texts):
        return None
    first, second, third, fourth = map(int, texts)
    return first, second, third, fourth
