"""Random numbers by address: the n-th draw of a key is a pure function of both, in any order, in any process.

A key belongs to one site and one purpose; it is a hash of the seed, the purpose and the site's name, so a
site draws the same numbers in whatever fleet it is found. The draws are SplitMix64 (Steele, Lea, Flood 2014).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

_GOLDEN: Final = 0x9E3779B97F4A7C15
_MASK: Final = 2**64 - 1


def keys(names: Sequence[str], seed: int, purpose: str) -> NDArray[np.uint64]:
    """Return one key per name for the given purpose."""
    prefix = f"{seed}/{purpose}/"
    digests = b"".join(hashlib.blake2b((prefix + name).encode(), digest_size=8).digest() for name in names)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def uniform(key: NDArray[np.uint64], number: int | NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the draws with the given number (one for all keys or one each), uniform in [0, 1)."""
    if isinstance(number, int):
        z = key + np.uint64((number + 1) * _GOLDEN & _MASK)
    else:
        z = key + (number.astype(np.uint64) + np.uint64(1)) * np.uint64(_GOLDEN)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


def exponential(key: NDArray[np.uint64], number: int | NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the draws with the given number, exponential with mean 1."""
    return -np.log1p(-uniform(key, number))


def choice(
    key: NDArray[np.uint64], number: int, weights: Sequence[float] | NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return for each key a position in `weights`, drawn in proportion to the weights."""
    edges = np.cumsum(np.asarray(weights, dtype=np.float64))
    return np.searchsorted(edges / edges[-1], uniform(key, number), side="right").astype(np.int64)
