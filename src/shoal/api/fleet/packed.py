"""Columns of whole numbers as short text, for answers with a row for every site of a large fleet.

A number is written as 0 where there is none, else as one more than 2v (v >= 0) or -2v - 1 (v < 0). The lowest bytes of
all rows come first, then the next ones, as many as the largest needs, in base64: what compresses badly is sent once,
the rest goes to almost nothing. The page reads it in `web/src/map/packed.ts`.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

_BITS_PER_BYTE: Final = 8
_MOST_BYTES: Final = 4
_FIRST_CODE: Final = (
    0x30  # "0": how much a name shares with the one before, as a character that JSON need not escape
)
_MOST_SHARED: Final = 0x5B - _FIRST_CODE


def pack(values: NDArray[np.int64], known: NDArray[np.bool_] | None = None) -> str:
    """Return whole numbers of at most 30 bits as text; those that are not `known` as none."""
    codes = np.where(values < 0, -2 * values - 1, 2 * values) + 1
    if known is not None:
        codes = np.where(known, codes, 0)
    longest = int(codes.max(initial=0)).bit_length()
    used = min(max(1, -(-longest // _BITS_PER_BYTE)), _MOST_BYTES)
    planes = codes.astype("<u4").view(np.uint8).reshape(-1, _MOST_BYTES)[:, :used].T
    return base64.b64encode(planes.tobytes()).decode()


def pack_steps(values: NDArray[np.int64]) -> str:
    """Return whole numbers as the steps from one to the next, the first one from 0: neighbours are near each other."""
    return pack(np.diff(values, prepend=np.int64(0)))


def pack_bits(yes: NDArray[np.bool_]) -> str:
    """Return one bit a row, the lowest bit of the first byte first."""
    return base64.b64encode(np.packbits(yes, bitorder="little").tobytes()).decode()


def pack_names(names: Sequence[str]) -> str:
    """Return names a line each: a character whose code less that of `0` says how much of the last one stays, then the rest."""
    lines: list[str] = []
    last = ""
    for name in names:
        shared = min(len(last), _MOST_SHARED)
        while not name.startswith(last[:shared]):
            shared -= 1
        lines.append(chr(_FIRST_CODE + shared) + name[shared:])
        last = name
    return "\n".join(lines)
