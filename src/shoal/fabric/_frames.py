"""The frame parser: one pass over received bytes, giving positions and numbers, never objects.

Each whole frame becomes one column of an int64 table; what is not whole yet stays for the next pass. Nothing is read
outside `[start, end)`, whatever the bytes say.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel

DATA: Final = 0
"""A message of the journal: its reply subject carries its position."""
MESSAGE: Final = 1
"""Any other message, with or without headers: an answer of the API, a status."""
PING: Final = 2
INFO: Final = 3
ERROR: Final = 4
OTHER: Final = 5

KIND: Final = 0
SUBJECT_AT: Final = 1
SUBJECT_BYTES: Final = 2
HEADER_AT: Final = 3
PAYLOAD_AT: Final = 4
"""Where the payload begins and, for the frames without one, where the line's text does."""
PAYLOAD_BYTES: Final = 5
STREAM_SEQ: Final = 6
CONSUMER_SEQ: Final = 7
TIMESTAMP_NS: Final = 8
PENDING: Final = 9
FIELDS: Final = 10

MAX_LINE_BYTES: Final = 65_536
_MAX_DIGITS: Final = 19
_LARGEST: Final = 2**63 - 1
_TOKENS: Final = 6
_PING, _PONG, _OK, _INFO, _ERR, _MSG, _HMSG = (
    int.from_bytes(word, "big") for word in (b"PING", b"PONG", b"+OK\r", b"INFO", b"-ERR", b"MSG ", b"HMSG")
)
_DOTS: Final = 16

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]


@kernel
def number(buffer: Bytes, start: int, end: int) -> int:
    """Return the decimal number in `[start, end)`, or -1 when it is none, or more than 63 bits hold."""
    if end <= start or end - start > _MAX_DIGITS:
        return -1
    value = 0
    for at in range(start, end):
        digit = int(buffer[at]) - 48
        if digit < 0 or digit > 9:
            return -1
        if at - start == _MAX_DIGITS - 1 and value > (_LARGEST - digit) // 10:
            return -1
        value = value * 10 + digit
    return value


@kernel
def split(buffer: Bytes, start: int, end: int, separator: int, starts: Ints, ends: Ints) -> int:
    """Split `[start, end)` at `separator`; return the number of parts, one more than fit when there are too many."""
    count = 0
    begin = start
    for at in range(start, end + 1):
        if at == end or buffer[at] == separator:
            if count == len(starts):
                return count + 1
            starts[count] = begin
            ends[count] = at
            count += 1
            begin = at + 1
    return count


@kernel
def fields(buffer: Bytes, start: int, end: int, starts: Ints, ends: Ints) -> int:
    """Split a line at its spaces; return the number of fields, 0 when one is empty or holds other white space."""
    count = split(buffer, start, end, 32, starts, ends)
    if count > len(starts):
        return 0
    for field in range(count):
        if ends[field] == starts[field]:
            return 0
    for at in range(start, end):
        if buffer[at] == 9 or buffer[at] == 13:
            return 0
    return count


@kernel
def acknowledgement(buffer: Bytes, start: int, end: int, starts: Ints, ends: Ints, column: Ints) -> int:
    """Read a reply subject ``$JS.ACK...`` of 9 tokens, or of 11 and more with domain and account.

    Return 1 when it was one and its numbers are in `column`, 0 when it is another subject, -1 when it is malformed.
    """
    prefix = b"$JS.ACK."
    if end - start < len(prefix):
        return 0
    for offset in range(len(prefix)):
        if buffer[start + offset] != prefix[offset]:
            return 0
    tokens = split(buffer, start, end, 46, starts, ends)
    if tokens == 9:
        first = 5
    elif 11 <= tokens <= _DOTS:
        first = 7
    else:
        return -1
    for offset in range(4):
        value = number(buffer, starts[first + offset], ends[first + offset])
        if value < 0:
            return -1
        column[STREAM_SEQ + offset] = value
    return 1


@kernel
def parse(buffer: Bytes, start: int, end: int, max_payload_bytes: int, frames: Ints) -> tuple[int, int, bool]:
    """Parse whole frames of `[start, end)` into the columns of `frames` (`FIELDS` rows).

    Return the number of frames, the position after the last of them, and whether a malformed frame begins there.
    """
    starts, ends = np.empty(_TOKENS, np.int64), np.empty(_TOKENS, np.int64)
    dot_starts, dot_ends = np.empty(_DOTS, np.int64), np.empty(_DOTS, np.int64)
    column = np.zeros(FIELDS, np.int64)
    count = 0
    at = start
    while count < frames.shape[1]:
        newline = at
        while newline < end and buffer[newline] != 10:
            newline += 1
        if newline == end or newline - at > MAX_LINE_BYTES:
            return count, at, newline - at > MAX_LINE_BYTES
        line_end = newline - 1
        if line_end - at < 3 or buffer[line_end] != 13:
            return count, at, True
        after = newline + 1
        column[:] = 0
        column[PAYLOAD_AT] = at
        column[PAYLOAD_BYTES] = line_end - at
        word = (
            (int(buffer[at]) << 8 | int(buffer[at + 1])) << 16
            | int(buffer[at + 2]) << 8
            | int(buffer[at + 3])
        )
        behind = int(buffer[at + 4])
        if word == _PING and line_end == at + 4:
            column[KIND] = PING
        elif word == _INFO and behind == 32:
            column[KIND] = INFO
        elif word == _ERR and (behind == 32 or line_end == at + 4):
            column[KIND] = ERROR
        elif (word == _PONG and line_end == at + 4) or (word == _OK and line_end == at + 3):
            column[KIND] = OTHER
        elif word == _MSG or (word == _HMSG and behind == 32):
            headed = word == _HMSG
            tokens = fields(buffer, at, line_end, starts, ends)
            least = 5 if headed else 4
            if tokens != least and tokens != least + 1:
                return count, at, True
            total = number(buffer, starts[tokens - 1], ends[tokens - 1])
            header = number(buffer, starts[tokens - 2], ends[tokens - 2]) if headed else 0
            if total < 0 or header < 0 or header > total or total > max_payload_bytes:
                return count, at, True
            if after + total + 2 > end:
                return count, at, False
            if buffer[after + total] != 13 or buffer[after + total + 1] != 10:
                return count, at, True
            column[KIND] = MESSAGE
            column[SUBJECT_AT] = starts[1]
            column[SUBJECT_BYTES] = ends[1] - starts[1]
            column[HEADER_AT] = after
            column[PAYLOAD_AT] = after + header
            column[PAYLOAD_BYTES] = total - header
            if tokens == least + 1:
                found = acknowledgement(buffer, starts[3], ends[3], dot_starts, dot_ends, column)
                if found < 0:
                    return count, at, True
                if found == 1:
                    column[KIND] = DATA
            after += total + 2
        else:
            return count, at, True
        frames[:, count] = column
        count += 1
        at = after
    return count, at, False
