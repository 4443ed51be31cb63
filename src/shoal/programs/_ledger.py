"""The accounts of every site while claims are served: what is left, which way a site moves already, and who is why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_S
from shoal.programs._ledger_kernel import (
    CYCLE_BUDGET,
    EXCLUSIVE,
    HOURS,
    LIMIT,
    MS_PER_H,
    NO_ENERGY,
    NOT_ENROLLED,
    OPTED_OUT,
    RESERVE,
    SILENT,
    TAKEN,
    add_reasons,
    fill_room,
)
from shoal.programs.claims import Claim, HoldClaim, LossReason, PowerClaim, SiteAbility, Whole

Direction: TypeAlias = Literal["charge", "discharge"]
Mask: TypeAlias = NDArray[np.bool_]

_NOBODY: Final = -1
_NS_PER_MS: Final = NS_PER_S // 1_000
_REASONS: Final[dict[int, LossReason]] = {
    LIMIT: "limit",
    NOT_ENROLLED: "not_enrolled",
    OPTED_OUT: "opted_out",
    HOURS: "hours",
    EXCLUSIVE: "exclusive",
    SILENT: "silent",
    CYCLE_BUDGET: "cycle_budget",
    RESERVE: "reserve",
    NO_ENERGY: "no_energy",
}
_NO_WISH: Final = np.empty(0, dtype=np.int64)


def whole_ms(duration_ns: int) -> int:
    """Return a duration in milliseconds, rounded up: for longer, never for shorter."""
    return -(-duration_ns // _NS_PER_MS)


def energy_of(power_w: Whole, for_ms: int) -> Whole:
    """Return the energy in Wh of each power held for so long, rounded up."""
    return np.asarray(-(-power_w * for_ms // MS_PER_H), dtype=np.int64)


def power_from(energy_wh: Whole, for_ms: int) -> Whole:
    """Return the most power in W that each energy sustains for so long."""
    return np.asarray(energy_wh * MS_PER_H // for_ms, dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Power asked in one direction.

    Attributes:
        direction: Which way.
        target_w: Of all the sites together, >= 0.
        each_w: Of each of them, M, >= 0; None when the sum is to be shared out.
        for_ms: For how long.
        capacity: Whether it is kept ready rather than given.
    """

    direction: Direction
    target_w: int
    each_w: Whole | None
    for_ms: int
    capacity: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """Power that sites would have given but for one reason; `taker_number` is that of a claim, -1 for none."""

    reason: LossReason
    taker_number: int
    power_w: int
    sites: int


class Ledger:
    """What is left of each site's ability, and what each claim took.

    Args:
        sites: The ability before any claim.
        claim_count: How many claims there will be.

    Attributes:
        taken_w: By direction, what each claim took of each site: one row a claim.
        taken_wh: The energy of it.
    """

    def __init__(self, sites: SiteAbility, claim_count: int) -> None:
        self._sites = sites
        count = len(sites)
        self.taken_w: dict[Direction, Whole] = {
            "charge": np.zeros((claim_count, count), dtype=np.int64),
            "discharge": np.zeros((claim_count, count), dtype=np.int64),
        }
        self.taken_wh: dict[Direction, Whole] = {
            name: np.zeros_like(taken_w) for name, taken_w in self.taken_w.items()
        }
        self.left_w: dict[Direction, Whole] = {
            "charge": sites.charge_w.copy(),
            "discharge": sites.discharge_w.copy(),
        }
        self.left_wh: dict[Direction, Whole] = {
            "charge": sites.charge_wh.copy(),
            "discharge": sites.discharge_wh.copy(),
        }
        self.cycle_left_wh = sites.cycle_left_wh.copy()
        # which way power is promised already, and by which claim
        self.charging = np.zeros(count, dtype=np.bool_)
        self.discharging = np.zeros(count, dtype=np.bool_)
        self.mover_number = np.full(count, _NOBODY, dtype=np.int16)
        # the claim that charges a site for a reserve
        self.filler_number = np.full(count, _NOBODY, dtype=np.int16)

    def close(self, number: int, claim: Claim) -> None:
        """Book what was written down as taken by the claim of this number."""
        for direction in self.left_w:
            self.left_w[direction] -= self.taken_w[direction][number]
            self.left_wh[direction] -= self.taken_wh[direction][number]
        if not isinstance(claim, HoldClaim):  # what is held is not discharged
            self.cycle_left_wh -= self.taken_wh["discharge"][number]
        if isinstance(claim, PowerClaim | HoldClaim):
            charges, discharges = (self.taken_w[name][number] > 0 for name in self.taken_w)
            at_rest = ~(self.charging | self.discharging)
            self.mover_number[(charges | discharges) & at_rest] = number
            self.charging |= charges
            self.discharging |= discharges
        if isinstance(claim, HoldClaim):
            self.filler_number[(self.taken_w["charge"][number] > 0) & (self.filler_number < 0)] = number

    def room_w(self, ask: Ask, rows: Whole, program_index: int) -> Whole:
        """Return the most that each of the rows may give."""
        sites, direction = self._sites, ask.direction
        room_w = np.empty(len(rows), dtype=np.int64)
        fill_room(
            rows,
            program_index,
            bool(sites.beside_bits >> program_index & 1),
            direction == "charge",
            ask.capacity,
            ask.for_ms,
            self.left_w[direction],
            self.left_wh[direction],
            self.cycle_left_wh,
            sites.enrolled_bits,
            sites.opted_out_bits,
            sites.exclusive_index,
            sites.known,
            self.discharging if direction == "charge" else self.charging,
            self.mover_number,
            self.filler_number,
            room_w,
        )
        return room_w

    def blocked(self, ask: Ask, rows: Whole, program_index: int, before_count: int) -> list[Blocked]:
        """Return why the rows give less than their rating, or less than is wanted of each, to the claim of a number.

        Reason by reason; all of it and the room add up to what was wanted.
        """
        sites, direction = self._sites, ask.direction
        charging = direction == "charge"
        lost_w = np.zeros(TAKEN + before_count, dtype=np.int64)
        counts = np.zeros(TAKEN + before_count, dtype=np.int64)
        add_reasons(
            rows,
            _NO_WISH if ask.each_w is None else ask.each_w,
            program_index,
            bool(sites.beside_bits >> program_index & 1),
            charging,
            ask.capacity,
            ask.for_ms,
            sites.charge_w if charging else sites.discharge_w,
            sites.charge_wh if charging else sites.discharge_wh,
            sites.cycle_left_wh,
            sites.kept_wh,
            self.left_w[direction],
            self.left_wh[direction],
            self.cycle_left_wh,
            self.taken_w[direction],
            self.taken_wh[direction],
            before_count,
            sites.enrolled_bits,
            sites.opted_out_bits,
            sites.exclusive_index,
            sites.known,
            self.discharging if direction == "charge" else self.charging,
            self.mover_number,
            self.filler_number,
            lost_w,
            counts,
        )
        # those who are shut out first, then those who go first, then what the owner keeps
        codes = (NOT_ENROLLED, OPTED_OUT, HOURS, EXCLUSIVE, SILENT, *range(TAKEN, TAKEN + before_count))
        return [
            Blocked(
                reason=_REASONS.get(code, "taken"),
                taker_number=code - TAKEN if code >= TAKEN else _NOBODY,
                power_w=int(lost_w[code]),
                sites=int(counts[code]),
            )
            for code in (*codes, CYCLE_BUDGET, RESERVE, NO_ENERGY, LIMIT)
            if lost_w[code]
        ]


def closed_to(sites: SiteAbility, program_index: int, rows: Whole) -> list[tuple[LossReason, Mask]]:
    """Return where a program has nothing to ask for, by reason, the most telling first."""
    bit = np.uint64(1 << program_index)
    others = sites.exclusive_index[rows]
    beside = bool(sites.beside_bits >> program_index & 1)
    return [
        ("not_enrolled", (sites.enrolled_bits[rows] & bit) == 0),
        ("opted_out", (sites.opted_out_bits[rows] & bit) != 0),
        ("exclusive", (others >= 0) & (others != program_index) & (not beside)),
        ("silent", ~sites.known[rows]),
    ]


def open_to(sites: SiteAbility, program_index: int, rows: Whole) -> Mask:
    """Return where a program may ask for something."""
    shut = [mask for _, mask in closed_to(sites, program_index, rows)]
    return np.asarray(~(shut[0] | shut[1] | shut[2] | shut[3]))
