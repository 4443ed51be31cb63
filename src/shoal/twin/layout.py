"""The layout of a fleet for its sums: every site has one cell, whatever the number of hierarchies.

A cell is a combination of the groups that a site hangs from, one in each hierarchy. Sums are taken once over the sites,
by cell, and rolled up from the cells to every group of every hierarchy. So further trees cost nothing a site, every
group of every level is one read by its number, and moving a site is giving it another cell.

A site's nameplate is a number too: that of one of the distinct nameplates, in whole watts and watt-hours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.fleet import Fleet, check_groups
from shoal.domain.ids import HierarchyId
from shoal.domain.kernel import kernel
from shoal.domain.telemetry import DeviceType
from shoal.twin import _sum_kernel

PLATE: Final = np.dtype(
    [
        ("charge_w", "<i8"),
        ("discharge_w", "<i8"),
        ("capacity_wh", "<i8"),
        ("reserve_wh", "<i8"),
        ("solar_w", "<i8"),
        ("ev_w", "<i8"),
        ("device_type", "u1"),
    ],
    align=True,
)
"""One distinct nameplate."""

_WHOLE_PER_KILO: Final = 1_000.0
_DENSE: Final = 1 << 24
"""Up to this many possible combinations are numbered by a table; more are sorted."""

Number = TypeVar("Number", np.int64, np.float64)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The cells and nameplates of N sites and the G groups above them.

    Attributes:
        cell_of: N numbers below `cells`.
        cells: How many cells there are in the whole fleet.
        plate_of: N positions in `plates`.
        plates: The distinct nameplates of the whole fleet, of dtype `PLATE`.
        groups: G, how many groups there are; a group's number is its position in `Fleet.groups`.
        hierarchies: The H hierarchies, in the order of the rows of `leaf_of`.
        leaf_of: H x `cells` group numbers: the group that the cell's sites hang from, -1 for none.
        parent_of: G group numbers, -1 for a root.
        bottom_up: The G group numbers, every group before its parent.
        version: Equal for layouts with the same cells and groups, whoever made them, whichever sites they are of:
            then sums by cell may be added.
    """

    cell_of: NDArray[np.integer[Any]]
    cells: int
    plate_of: NDArray[np.integer[Any]]
    plates: NDArray[np.void]
    groups: int
    hierarchies: tuple[HierarchyId, ...]
    leaf_of: NDArray[np.int32]
    parent_of: NDArray[np.int32]
    bottom_up: NDArray[np.int32]
    version: int

    @staticmethod
    def of(fleet: Fleet) -> Layout:
        """Return the layout of a fleet: the same for the same fleet, in whichever process.

        Raises:
            InvalidInputError: when the groups are no trees of at most eight levels, or a site hangs from a group of
                another hierarchy.
        """
        check_groups(fleet.groups)
        hierarchies = tuple(sorted(fleet.leaf_group))
        for hierarchy in hierarchies:
            _check_leaves(fleet, hierarchy)
        leaves = [fleet.leaf_group[hierarchy] for hierarchy in hierarchies]
        cell_of, leaf_of = _number_cells(leaves, len(fleet.site_ids))
        level = np.array([group.level for group in fleet.groups], dtype=np.int64)
        plate_of, plates = _number_plates(fleet)
        return Layout(
            cell_of=_narrow(cell_of, leaf_of.shape[1]),
            cells=leaf_of.shape[1],
            plate_of=_narrow(plate_of, len(plates)),
            plates=plates,
            groups=len(fleet.groups),
            hierarchies=hierarchies,
            leaf_of=leaf_of,
            parent_of=fleet.parent_number,
            bottom_up=np.argsort(-level, kind="stable").astype(np.int32),
            version=_fingerprint(fleet, hierarchies, leaf_of),
        )

    @cached_property
    def roots(self) -> NDArray[np.int64]:
        """The groups that are nobody's children."""
        return np.flatnonzero(self.parent_of < 0)

    @cached_property
    def parent_number(self) -> NDArray[np.int64]:
        """`parent_of`, as `shoal.twin.silence` takes it."""
        return self.parent_of.astype(np.int64)

    @cached_property
    def level_of(self) -> NDArray[np.int64]:
        """G levels, 0 at a root."""
        level = np.zeros(self.groups, dtype=np.int64)
        for group in self.bottom_up[::-1].tolist():
            if (parent := self.parent_of[group]) >= 0:
                level[group] = level[parent] + 1
        return level

    @cached_property
    def scales(self) -> NDArray[np.int64]:
        """By nameplate the scale of each signal, and as a fifth which of them are not 0, bit by bit.

        The scale is the rated power in watts, and 1 for the load of a household.
        """
        kind = self.plates["device_type"]
        scales = np.empty((len(self.plates), 5), dtype=np.int64)
        scales[:, 0] = np.maximum(self.plates["charge_w"], self.plates["discharge_w"])
        scales[:, 1] = self.plates["solar_w"]
        scales[:, 2] = (kind == DeviceType.HOME) | (kind == DeviceType.METER)
        scales[:, 3] = self.plates["ev_w"]
        scales[:, 4] = (scales[:, :4] > 0) @ np.array([1, 2, 4, 8])
        return scales

    @property
    def rest(self) -> NDArray[np.int64]:
        """By cell what its sites add up to whatever they do: number, capacity in Wh, and the scales of four signals."""
        return self._rest if self.kept_bytes else self._at_rest()

    @property
    def kept_bytes(self) -> int:
        """Memory of what is kept between two sums: `rest`, unless cells are so small that it would be much a site."""
        size_bytes = self.cells * _sum_kernel.RESTS * 8
        return size_bytes if size_bytes <= len(self.cell_of) else 0

    @cached_property
    def _rest(self) -> NDArray[np.int64]:
        return self._at_rest()

    def _at_rest(self) -> NDArray[np.int64]:
        rest = np.zeros((self.cells, _sum_kernel.RESTS), dtype=np.int64)
        _sum_kernel.at_rest(self.cell_of, self.plate_of, self.plates, self.scales, rest)
        return rest

    @cached_property
    def scale_squares(self) -> NDArray[np.int64]:
        """Sums of the squares of all sites' scales by signal, in units of 64 W2; load's scale is plain."""
        sites = np.bincount(self.plate_of, minlength=len(self.plates))
        squares = self.scales[:, :4] ** 2 >> 6
        squares[:, 2] = self.scales[:, 2]
        total: NDArray[np.int64] = sites @ squares
        return total

    def for_rows(self, rows: NDArray[np.int64]) -> Layout:
        """Return the layout of some of the sites, such as a shard's: the numbers of cells and plates stay."""
        return replace(self, cell_of=self.cell_of[rows], plate_of=self.plate_of[rows])

    def roll_up(self, cell_sums: NDArray[Number]) -> NDArray[Number]:
        """Return the sums of every group, G x K, from sums by cell, `cells` x K; or G from one column.

        Whole numbers are added exactly; floating-point ones always in the same order.
        """
        columns = _as_table(cell_sums)
        sums: NDArray[Any] = np.zeros((self.groups, columns.shape[1]), dtype=columns.dtype)
        _roll_sums(columns, self.leaf_of, self.parent_of, self.bottom_up, sums)
        return sums.reshape(self.groups, *cell_sums.shape[1:])

    def roll_up_max(self, cell_values: NDArray[Number], *, none: float | int = -1) -> NDArray[Number]:
        """Return the largest value of every group, G x K, from those by cell.

        A group without cells has `none`, which must lie below every value.
        """
        columns = _as_table(cell_values)
        largest: NDArray[Any] = np.full((self.groups, columns.shape[1]), none, dtype=columns.dtype)
        _roll_largest(columns, self.leaf_of, self.parent_of, self.bottom_up, largest)
        return largest.reshape(self.groups, *cell_values.shape[1:])

    def roll_groups(self, leaf_sums: NDArray[Number]) -> NDArray[Number]:
        """Return the sums of every group with all below it, G x K, from those of each group alone; or G from G."""
        sums = _as_table(leaf_sums).copy()
        _add_to_parents(self.parent_of, self.bottom_up, sums)
        return sums.reshape(leaf_sums.shape)

    def sites_by_group(self, rows: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Return how many sites, of those in `rows` or of all, each group has at or below it."""
        cell_of = self.cell_of if rows is None else self.cell_of[rows]
        return self.roll_up(np.bincount(cell_of, minlength=self.cells).astype(np.int64))


def _narrow(numbers: NDArray[np.int32], limit: int) -> NDArray[np.integer[Any]]:
    """Return numbers below `limit` in two bytes each where that is enough."""
    return numbers.astype(np.uint16) if limit <= 1 << 16 else numbers


def _as_table(values: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(values if values.ndim == 2 else values[:, None])


def _check_leaves(fleet: Fleet, hierarchy: HierarchyId) -> None:
    mine = np.array([group.hierarchy_id == hierarchy for group in fleet.groups] + [True])
    leaves = fleet.leaf_group[hierarchy]
    known = (leaves >= -1) & (leaves < len(fleet.groups))
    # A leaf of -1 takes the last entry: to belong to none is fine in every hierarchy.
    right = known & mine[np.where(known, leaves, -1)]
    for row in np.flatnonzero(~right)[:1]:
        raise InvalidInputError(
            field=f"leaf_group[{hierarchy}] of site {fleet.site_ids[row]}",
            value=int(leaves[row]),
            fix=f"give the position of a group of hierarchy {hierarchy}, or -1",
        )


def _number_cells(
    leaves: Sequence[NDArray[np.int32]], sites: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return each site's cell and each cell's leaves, in ascending order of the leaves, hierarchy by hierarchy."""
    cell_of = np.zeros(sites, dtype=np.int64)
    leaf_of = np.empty((0, min(sites, 1)), dtype=np.int32)
    for leaf in leaves:
        width = int(leaf.max(initial=-1)) + 2
        cell_of, combined = _compacted(cell_of * width + (leaf + 1), leaf_of.shape[1] * width)
        before, own = np.divmod(combined, width)
        leaf_of = np.vstack([leaf_of[:, before], (own - 1)[None, :]]).astype(np.int32)
    return cell_of.astype(np.int32), np.ascontiguousarray(leaf_of)


def _compacted(keys: NDArray[np.int64], limit: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the position of each key among the distinct ones, and these in ascending order."""
    if limit > _DENSE:
        distinct, position = np.unique(keys, return_inverse=True)
        return position.astype(np.int64), distinct
    used = np.zeros(limit, dtype=np.bool_)
    used[keys] = True
    return (np.cumsum(used) - 1)[keys], np.flatnonzero(used)


def _number_plates(fleet: Fleet) -> tuple[NDArray[np.int32], NDArray[np.void]]:
    plate = fleet.nameplate
    whole = np.zeros(len(plate), dtype=PLATE)
    whole["charge_w"] = _whole(plate["charge_limit_kw"])
    whole["discharge_w"] = _whole(plate["discharge_limit_kw"])
    whole["capacity_wh"] = _whole(plate["energy_capacity_kwh"])
    whole["reserve_wh"] = _whole(plate["reserve_frac"] * plate["energy_capacity_kwh"])
    whole["solar_w"] = _whole(plate["solar_limit_kw"])
    whole["ev_w"] = _whole(plate["ev_limit_kw"])
    whole["device_type"] = fleet.device_type
    # Padding is zero, so equal plates have equal bytes and are compared as whole words.
    words = whole.view(np.int64).reshape(len(whole), PLATE.itemsize // 8)
    slots = np.full(1 << max(4, (2 * len(whole)).bit_length()), -1, dtype=np.int32)
    plate_of = np.empty(len(whole), dtype=np.int32)
    first = np.empty(len(whole), dtype=np.int32)
    distinct = _number_words(words, slots, plate_of, first)
    return plate_of, whole[first[:distinct]]


def _whole(kilo: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.rint(kilo * _WHOLE_PER_KILO).astype(np.int64)


def _fingerprint(fleet: Fleet, hierarchies: Sequence[HierarchyId], leaf_of: NDArray[np.int32]) -> int:
    digest = hashlib.blake2b(digest_size=8)
    names = [*hierarchies, "", *(group.group_id for group in fleet.groups)]
    digest.update("\0".join(names).encode())
    digest.update(fleet.parent_number.tobytes())
    digest.update(leaf_of.tobytes())
    return int.from_bytes(digest.digest(), "little") >> 1


@kernel
def _number_words(
    words: NDArray[np.int64], slots: NDArray[np.int32], plate_of: NDArray[np.int32], first: NDArray[np.int32]
) -> int:
    """Number equal rows alike, in order of appearance, by open addressing over `slots` (a power of two)."""
    mask = np.uint64(slots.shape[0] - 1)
    distinct = 0
    for row in range(words.shape[0]):
        mixed = np.uint64(0)
        for k in range(words.shape[1]):
            mixed = (mixed ^ np.uint64(words[row, k])) * np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(29)
        slot = np.int64(mixed & mask)
        while True:
            number = slots[slot]
            if number < 0:
                slots[slot] = distinct
                first[distinct] = row
                plate_of[row] = distinct
                distinct += 1
                break
            same = True
            for k in range(words.shape[1]):
                if words[first[number], k] != words[row, k]:
                    same = False
                    break
            if same:
                plate_of[row] = number
                break
            slot = (slot + 1) & np.int64(mask)
    return distinct


@kernel
def _add_to_parents(parent_of: NDArray[np.int32], bottom_up: NDArray[np.int32], sums: NDArray[Any]) -> None:
    for group in bottom_up:
        parent = parent_of[group]
        if parent >= 0:
            for k in range(sums.shape[1]):
                sums[parent, k] += sums[group, k]


@kernel
def _roll_sums(
    cell_sums: NDArray[Any],
    leaf_of: NDArray[np.int32],
    parent_of: NDArray[np.int32],
    bottom_up: NDArray[np.int32],
    sums: NDArray[Any],
) -> None:
    for tree in range(leaf_of.shape[0]):
        for cell in range(leaf_of.shape[1]):
            leaf = leaf_of[tree, cell]
            if leaf >= 0:
                for k in range(cell_sums.shape[1]):
                    sums[leaf, k] += cell_sums[cell, k]
    _add_to_parents(parent_of, bottom_up, sums)


@kernel
def _roll_largest(
    cell_values: NDArray[Any],
    leaf_of: NDArray[np.int32],
    parent_of: NDArray[np.int32],
    bottom_up: NDArray[np.int32],
    largest: NDArray[Any],
) -> None:
    for tree in range(leaf_of.shape[0]):
        for cell in range(leaf_of.shape[1]):
            leaf = leaf_of[tree, cell]
            if leaf >= 0:
                for k in range(cell_values.shape[1]):
                    largest[leaf, k] = max(largest[leaf, k], cell_values[cell, k])
    for group in bottom_up:
        parent = parent_of[group]
        if parent >= 0:
            for k in range(largest.shape[1]):
                largest[parent, k] = max(largest[parent, k], largest[group, k])
