"""Who speaks: from the name in a subject, as bytes in a buffer, to a row or to a gateway, without any object.

An open-addressing table of 32-bit slots over the names, which lie in one blob. A slot holds a number and as many bits
of the name's hash as are left over; those only save looking, what decides is the name itself. About 20 bytes a site.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.fleet import MOST_UNITS, Fleet
from shoal.domain.kernel import kernel

NOBODY: Final = -1
MOST_LOAD_FRAC: Final = 0.75
_EMPTY: Final = 0xFFFF_FFFF
_BEHIND: Final = 1 << 31
_OFFSET: Final = 0xCBF2_9CE4_8422_2325
_PRIME: Final = 0x100_0000_01B3
_MIX: Final = 0x9E37_79B9_7F4A_7C15
_BLOCK: Final = 64

Int: TypeAlias = int | np.int64
Bytes = NDArray[np.uint8]


class DirectoryArrays(NamedTuple):
    """The arrays of a directory, as kernels take them.

    Attributes:
        slots: The table; a slot is empty, or holds a number in its lowest `number_bits`, bits of the hash above them,
            and in its highest bit whether the name is that of a site behind a gateway.
        starts: Where each name begins in `names`, and the end of the last.
        names: Every name: N sites by row, then the gateways.
        gateway_row: For each gateway the row of the site that it is itself, -1 for none.
        unit_start: For each gateway where its sites begin in `units`, and the end of the last.
        units: Number of each site behind its gateway, ascending within a gateway.
        unit_rows: Rows of those sites.
        number_bits: How many bits of a slot are the number.
    """

    slots: NDArray[np.uint32]
    starts: NDArray[np.uint32]
    names: Bytes
    gateway_row: NDArray[np.int32]
    unit_start: NDArray[np.int64]
    units: NDArray[np.uint16]
    unit_rows: NDArray[np.int32]
    number_bits: int


class Directory:
    """The names of N sites and of the gateways that speak for some of them.

    Args:
        site_ids: The sites; the position is the row.
        gateway_ids: The gateways. One that has the name of a site is that site's own device: its unit 0 is the site.
        gateway_of: For each site the position of its gateway, -1 for its own connection; all -1 when None.
        gateway_unit: For each site its number behind the gateway, from 1.

    Raises:
        InvalidInputError: when a name is empty, not ASCII, has a NUL or is not unique, or a unit is not unique or out of range.
    """

    def __init__(
        self,
        site_ids: Sequence[str],
        *,
        gateway_ids: Sequence[str] = (),
        gateway_of: NDArray[Any] | None = None,
        gateway_unit: NDArray[Any] | None = None,
    ) -> None:
        sites, gateways = len(site_ids), len(gateway_ids)
        of = np.full(sites, -1) if gateway_of is None else gateway_of
        unit = np.zeros(sites, dtype=np.int64) if gateway_unit is None else gateway_unit
        names, starts = _blob([*site_ids, *gateway_ids])
        bits = (sites + gateways).bit_length()
        slots = np.full(int((sites + gateways) / MOST_LOAD_FRAC) + 2, _EMPTY, dtype=np.uint32)
        gateway_row = np.full(gateways, -1, dtype=np.int32)
        twice = _fill(slots, starts, names, bits, of >= 0, gateway_row)
        if twice >= 0:
            raise InvalidInputError(
                field="name", value=[*site_ids, *gateway_ids][twice], fix="name each device once"
            )
        unit_start, units, unit_rows = _units(of, unit, gateways)
        self._sites = sites
        self.arrays = DirectoryArrays(
            slots=slots,
            starts=starts,
            names=names,
            gateway_row=gateway_row,
            unit_start=unit_start,
            units=units,
            unit_rows=unit_rows,
            number_bits=bits,
        )

    @classmethod
    def of_fleet(cls, fleet: Fleet, rows: NDArray[np.int64] | None = None) -> Self:
        """Return the directory of some sites of a fleet, all when None; the position in `rows` is the row in it."""
        if rows is None:
            rows = np.arange(len(fleet.site_ids))
        of = fleet.gateway_of[rows]
        used = np.unique(of[of >= 0])
        local = np.where(of >= 0, np.searchsorted(used, of), -1)
        return cls(
            [fleet.site_ids[row] for row in rows.tolist()],
            gateway_ids=[fleet.gateway_ids[number] for number in used.tolist()],
            gateway_of=local,
            gateway_unit=fleet.gateway_unit[rows],
        )

    def __len__(self) -> int:
        return self._sites

    @property
    def nbytes(self) -> int:
        """Memory of the directory in bytes."""
        return sum(array.nbytes for array in self.arrays if isinstance(array, np.ndarray))

    def row(self, name: bytes) -> int:
        """Return the row of the site of that name, -1 when there is none."""
        found = self._find(name)
        number = -2 - found if found <= -2 else found
        return int(self.arrays.gateway_row[number - self._sites]) if number >= self._sites else number

    def speaks_through(self, name: bytes) -> bool:
        """Return whether it is a site that has no connection of its own."""
        return self._find(name) <= -2

    def gateway(self, name: bytes) -> int:
        """Return the number of the gateway of that name, -1 when there is none."""
        return max(self._find(name) - self._sites, -1)

    def unit_row(self, gateway: int, unit: int) -> int:
        """Return the row of the site with number `unit` behind a gateway, -1 when there is none."""
        if not 0 <= unit <= MOST_UNITS:
            return NOBODY
        return int(unit_row(self.arrays, gateway, unit))

    def is_behind(self, gateway: int, row: int) -> bool:
        """Return whether a gateway may speak for the site in `row`."""
        arrays = self.arrays
        own = arrays.unit_rows[arrays.unit_start[gateway] : arrays.unit_start[gateway + 1]]
        return row >= 0 and (row == arrays.gateway_row[gateway] or bool((own == row).any()))

    def _find(self, name: bytes) -> int:
        return int(find(self.arrays, np.frombuffer(name, dtype=np.uint8), 0, len(name)))


@kernel
def find(arrays: DirectoryArrays, buffer: Bytes, at: Int, size: Int) -> np.int64:
    """Return who has the name in `buffer[at : at + size]`.

    A site with a connection of its own gives its row, gateway g gives N + g, a site behind a gateway -2 - its row, and
    nobody -1.
    """
    return _look(arrays, buffer, at, size, _digest(buffer, at, size))


@kernel
def find_all(
    arrays: DirectoryArrays,
    buffer: Bytes,
    at: NDArray[np.int64],
    size: NDArray[np.int64],
    numbers: NDArray[np.int64],
) -> None:
    """Put into `numbers` who has each of n names, see `find`.

    In a large directory each look is three misses of the cache, one after the other. Here many looks miss together:
    what a block of names will need is read ahead, without a branch that would have to wait for it.
    """
    slots, starts, names = arrays.slots, arrays.starts, arrays.names
    if len(names) == 0:
        numbers[:] = NOBODY
        return
    number_mask = (np.uint32(1) << np.uint32(arrays.number_bits)) - np.uint32(1)
    digests = np.empty(_BLOCK, dtype=np.uint64)
    ahead = np.empty(_BLOCK, dtype=np.int64)
    touched = np.uint64(0)
    for first in range(0, len(at), _BLOCK):
        count = min(_BLOCK, len(at) - first)
        for i in range(count):
            digests[i] = _digest(buffer, at[first + i], size[first + i])
        for i in range(count):
            number = np.int64(slots[_place(digests[i], len(slots))] & number_mask)
            ahead[i] = number if number < len(starts) else np.int64(0)
        for i in range(count):
            start = np.int64(starts[ahead[i]])
            ahead[i] = start if start < len(names) else np.int64(0)
        for i in range(count):
            touched += np.uint64(names[ahead[i]])
        for i in range(count):
            numbers[first + i] = _look(arrays, buffer, at[first + i], size[first + i], digests[i])
    if touched == np.uint64(
        0
    ):  # never: a name has no zero byte; but the compiler must not leave the reads out
        numbers[:] = NOBODY


@kernel
def _look(arrays: DirectoryArrays, buffer: Bytes, at: Int, size: Int, digest: np.uint64) -> np.int64:
    slots, number_bits = arrays.slots, np.uint32(arrays.number_bits)
    place = _place(digest, len(slots))
    tag = np.uint32(digest & np.uint64(_BEHIND - 1)) >> number_bits
    number_mask = (np.uint32(1) << number_bits) - np.uint32(1)
    while True:
        slot = slots[place]
        if slot == np.uint32(_EMPTY):
            return np.int64(-1)
        if (slot & np.uint32(_BEHIND - 1)) >> number_bits == tag:
            number = np.int64(slot & number_mask)
            if _is_name(arrays.starts, arrays.names, number, buffer, at, size):
                return np.int64(-2) - number if slot & np.uint32(_BEHIND) else number
        place += 1
        if place == len(slots):
            place = np.int64(0)


@kernel
def unit_row(arrays: DirectoryArrays, gateway: Int, unit: Int) -> np.int64:
    """Return the row of the site with number `unit` behind a gateway (0: its own), -1 when there is none."""
    if unit == 0:
        return np.int64(arrays.gateway_row[gateway])
    low, high = arrays.unit_start[gateway], arrays.unit_start[gateway + 1]
    guess = low + unit - 1  # units are mostly 1, 2, 3 ...
    if guess < high and arrays.units[guess] == unit:
        return np.int64(arrays.unit_rows[guess])
    while low < high:
        middle = (low + high) // 2
        if arrays.units[middle] < unit:
            low = middle + 1
        else:
            high = middle
    if low < arrays.unit_start[gateway + 1] and arrays.units[low] == unit:
        return np.int64(arrays.unit_rows[low])
    return np.int64(-1)


@kernel
def _digest(buffer: Bytes, at: Int, size: Int) -> np.uint64:
    """Return FNV-1a (64 bits) of a name, stirred so that its high bits depend on every byte."""
    digest = np.uint64(_OFFSET)
    for i in range(at, at + size):
        digest = (digest ^ np.uint64(buffer[i])) * np.uint64(_PRIME)
    digest = (digest ^ (digest >> np.uint64(32))) * np.uint64(_MIX)
    return digest ^ (digest >> np.uint64(29))


@kernel
def _place(digest: np.uint64, slots: Int) -> np.int64:
    """Return the first slot of a name: the highest bits of the hash, scaled to the table."""
    return np.int64(((digest >> np.uint64(32)) * np.uint64(slots)) >> np.uint64(32))


@kernel
def _is_name(
    starts: NDArray[np.uint32],
    names: Bytes,
    number: Int,
    buffer: Bytes,
    at: Int,
    size: Int,
) -> bool:
    start = np.int64(starts[number])
    if np.int64(starts[number + 1]) - start != size:
        return False
    for i in range(size):  # noqa: SIM110 -- a kernel has no generators
        if names[start + i] != buffer[at + i]:
            return False
    return True


@kernel
def _fill(
    slots: NDArray[np.uint32],
    starts: NDArray[np.uint32],
    names: Bytes,
    number_bits: int,
    behind: NDArray[np.bool_],
    gateway_row: NDArray[np.int32],
) -> int:
    """Enter every name; return the position of one that is there already, or -1."""
    sites = len(behind)
    bits = np.uint32(number_bits)
    number_mask = (np.uint32(1) << bits) - np.uint32(1)
    for number in range(len(starts) - 1):
        start = np.int64(starts[number])
        size = np.int64(starts[number + 1]) - start
        digest = _digest(names, start, size)
        place = _place(digest, len(slots))
        tag = (np.uint32(digest & np.uint64(_BEHIND - 1)) >> bits) << bits
        slot = tag | np.uint32(number)
        if number < sites and behind[number]:
            slot |= np.uint32(_BEHIND)
        while slots[place] != np.uint32(_EMPTY):
            there = slots[place]
            other = np.int64(there & number_mask)
            if _is_name(starts, names, other, names, start, size):
                if number < sites or other >= sites or there & np.uint32(_BEHIND):
                    return number
                gateway_row[number - sites] = other
                break
            place += 1
            if place == len(slots):
                place = np.int64(0)
        slots[place] = slot
    return -1


def _blob(names: list[str]) -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
    """Return all names in one piece and where each begins."""
    text = "".join(names)
    lengths = np.fromiter(map(len, names), dtype=np.int64, count=len(names))
    if not text.isascii() or "\0" in text or (lengths == 0).any() or len(text) > _EMPTY:
        raise InvalidInputError(
            field="names", value=len(names), fix="use ASCII names that are not empty and without NUL"
        )
    starts = np.zeros(len(names) + 1, dtype=np.uint32)
    starts[1:] = np.cumsum(lengths)
    return np.frombuffer(text.encode("ascii"), dtype=np.uint8), starts


def _units(
    of: NDArray[Any], unit: NDArray[Any], gateways: int
) -> tuple[NDArray[np.int64], NDArray[np.uint16], NDArray[np.int32]]:
    """Return the sites behind each gateway by unit: where they begin, their units, their rows."""
    behind = np.flatnonzero(of >= 0)
    order = behind[np.lexsort((unit[behind], of[behind]))]
    gateway, number = of[order], unit[order]
    wrong = (number < 1) | (number > MOST_UNITS) | (gateway >= gateways)
    wrong[1:] |= (gateway[1:] == gateway[:-1]) & (number[1:] == number[:-1])
    if wrong.any():
        raise InvalidInputError(
            field="gateway_unit",
            value=int(number[wrong][0]),
            fix=f"give each site of a gateway a number of its own, 1 to {MOST_UNITS}",
        )
    start = np.searchsorted(gateway, np.arange(gateways + 1)).astype(np.int64)
    return start, number.astype(np.uint16), order.astype(np.int32)
