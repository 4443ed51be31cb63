"""What is fuzzed: a check that takes any bytes, and what a mutator may begin with."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, TypeVar

T = TypeVar("T")

_NUMBERS: Final = (
    0,
    1,
    2,
    7,
    127,
    128,
    255,
    256,
    65_534,
    65_535,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**63,
)
_MOST_BYTES: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One thing to fuzz.

    Attributes:
        name: How it is chosen.
        check: Takes any bytes; raises when something is wrong, and returns what happened, for new things are kept.
        seeds: Inputs that are as they should be, or nearly.
        words: Pieces that mean something in such an input.
        compiled: Whether its kernels cannot be run as plain Python.
    """

    name: str
    check: Callable[[bytes], Hashable]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...]
    compiled: bool = False


class Choices:
    """Reads decisions out of bytes, so that whoever changes the bytes changes the decisions; 0 when they are used up."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_over(self) -> bool:
        """Whether all bytes are used up."""
        return self._at >= len(self._data)

    def below(self, limit: int) -> int:
        """Return a whole number from 0 to `limit` - 1."""
        self._at += 1
        return self._data[self._at - 1] % limit if self._at <= len(self._data) else 0

    def pick(self, options: Sequence[T]) -> T:
        """Return one of at most 256 options."""
        return options[self.below(len(options))]

    def whole(self, size_bytes: int) -> int:
        """Return an unsigned number of so many bytes."""
        self._at += size_bytes
        return int.from_bytes(self._data[self._at - size_bytes : self._at], "little")


def mutated(data: bytes, random: Random, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    """Return `data` with a few changes: bits, bytes, numbers, pieces of itself, of `words` and of `others`."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 5, 12))):
        at = random.randint(0, len(changed))
        match random.randrange(10):
            case 0 if at < len(changed):
                changed[at] ^= 1 << random.randrange(8)
            case 1 if at < len(changed):
                changed[at] = random.randrange(256)
            case 2:
                del changed[at : at + random.choice((1, 1, 2, 4, 8, 64, 10_000))]
            case 3:
                changed[at:at] = changed[at : at + random.choice((1, 2, 8, 64))]
            case 4 | 5:
                word = random.choice(words)
                changed[at : at + random.choice((0, len(word)))] = word
            case 6:
                size = random.choice((1, 2, 4, 8))
                number = (random.choice(_NUMBERS) + random.choice((-1, 0, 0, 1))) % 256**size
                changed[at : at + size] = number.to_bytes(size, "little")
            case 7:
                _change_number(changed, at, random)
            case 8:
                other = random.choice(others)
                start = random.randint(0, len(other))
                changed[at : at + random.choice((0, 8, 10_000))] = other[start:]
            case _:
                changed[at:at] = random.randbytes(random.choice((1, 2, 4, 16)))
    return bytes(changed[:_MOST_BYTES])


def _change_number(changed: bytearray, at: int, random: Random) -> None:
    """Put another number in place of the decimal digits at or after `at`."""
    while at < len(changed) and not 48 <= changed[at] <= 57:
        at += 1
    end = at
    while end < len(changed) and 48 <= changed[end] <= 57:
        end += 1
    digits = bytes(changed[at:end])
    number = random.choice((random.choice(_NUMBERS), int(digits[:20] or b"0") + random.choice((-1, 1))))
    changed[at:end] = random.choice(
        (b"%d" % number, b"%d" % number, digits * 2, b"9" * random.choice((18, 20, 4_297)))
    )
