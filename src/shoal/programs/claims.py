"""What programs ask of the sites in an interval, what the sites can do, and what became of each claim.

All powers are whole watts and all energies whole watt-hours, so that what is granted and what is left add up to what
there was, exactly. Energy is counted at the battery's terminals, as its meter does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError

Whole: TypeAlias = NDArray[np.int64]

LossReason: TypeAlias = Literal[
    "taken",
    "opted_out",
    "hours",
    "reserve",
    "cycle_budget",
    "exclusive",
    "silent",
    "limit",
    "not_enrolled",
    "no_energy",
]
"""``taken``: a program that goes first has it. ``hours``: the owner keeps the site now. ``reserve`` and ``cycle_budget``:
what the owner keeps. ``exclusive``: the site is promised to another program alone. ``silent``: nobody knows what the site
can do. ``limit``: more than the sites, or the groups they hang from, can carry. ``no_energy``: the battery is empty, or
full."""

UNLIMITED_WH: Final = np.iinfo(np.int64).max // 16
"""Stands for no cycle budget: more than any battery gives in a day."""
MOST_PROGRAMS: Final = 63
HOURS_BIT: Final = np.uint64(1 << MOST_PROGRAMS)
"""The bit beyond those of programs: set where it is the owner's hours that shut programs out."""
MOST_W: Final = 10**10
"""Of one site, in W and in Wh: beyond any battery, and small enough that no product of whole numbers overflows."""

_AMOUNTS: Final = ("charge_w", "discharge_w", "charge_wh", "discharge_wh", "cycle_left_wh", "kept_wh")
_COLUMNS: Final = (*_AMOUNTS, "enrolled_bits", "opted_out_bits", "exclusive_index", "known")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SiteAbility:
    """What each of N sites can do in an interval, and for whom; made by `shoal.programs.ability.ability_of`.

    Attributes:
        programs: The programs by the number of their bit, e.g. `ProgramBook.ids`.
        charge_w: Most charging power, >= 0.
        discharge_w: Most discharging power, >= 0.
        charge_wh: Energy that still goes into the battery.
        discharge_wh: Energy that may still be drawn, above the owner's reserve.
        cycle_left_wh: What the owner's cycle budget leaves to be discharged; `UNLIMITED_WH` without one.
        kept_wh: Energy that the owner's reserve keeps back: told in explanations, and no part of what promises are split by.
        enrolled_bits: Bit p is set where the site is enrolled in program p.
        opted_out_bits: Bit p is set where the owner has left program p for now; with `HOURS_BIT` because of the hour.
        exclusive_index: The program that has the site for itself, -1 for none.
        beside_bits: Programs that may use a site although another one has it for itself.
        known: False for a site that is silent: it gives nothing.

    Raises:
        InvalidInputError: when the columns differ in length, or a power or an energy is negative.
    """

    programs: tuple[str, ...]
    charge_w: Whole
    discharge_w: Whole
    charge_wh: Whole
    discharge_wh: Whole
    cycle_left_wh: Whole
    kept_wh: Whole
    enrolled_bits: NDArray[np.uint64]
    opted_out_bits: NDArray[np.uint64]
    exclusive_index: NDArray[np.int16]
    known: NDArray[np.bool_]
    beside_bits: int = 0

    def __post_init__(self) -> None:
        if len(self.programs) > MOST_PROGRAMS or len(set(self.programs)) != len(self.programs):
            raise InvalidInputError(
                field="sites.programs", value=self.programs, fix=f"name up to {MOST_PROGRAMS}, each once"
            )
        for name in _COLUMNS:
            values = getattr(self, name)
            if values.shape != self.charge_w.shape or values.ndim != 1:
                raise InvalidInputError(
                    field=f"sites.{name}", value=values.shape, fix=f"give one for each of {len(self)} sites"
                )
            if name not in _AMOUNTS:
                continue
            most = UNLIMITED_WH if name == "cycle_left_wh" else MOST_W
            low, high = values.min(initial=0), values.max(initial=0)
            if values.dtype != np.int64 or low < 0 or high > most:
                raise InvalidInputError(
                    field=f"sites.{name}",
                    value=f"{values.dtype} from {low} to {high}",
                    fix=f"give whole numbers (int64) from 0 to {most}",
                )

    def __len__(self) -> int:
        return len(self.charge_w)

    def take(self, rows: Whole) -> SiteAbility:
        """Return the ability of these rows only, in their order."""
        return replace(self, **{name: getattr(self, name)[rows] for name in _COLUMNS})

    def index_of(self, program: str) -> int:
        """Return the number of a program's bit.

        Raises:
            InvalidInputError: when the sites know no such program.
        """
        try:
            return self.programs.index(program)
        except ValueError as error:
            raise InvalidInputError(
                field="claim.program", value=program, fix=f"name one of {', '.join(self.programs)}"
            ) from error


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PowerClaim:
    """Power of a group of sites, held throughout: a market award, an emergency, a peak event, a tariff.

    A site that serves one such claim serves none in the other direction in the same interval.

    Attributes:
        claim_id: Its own name, e.g. that of the resource or the event.
        program: Whose it is.
        power_w: What the sites together shall do, load-positive; shared out among them.
        rows: The sites that may serve it; None for all.
        each_w: What each of them shall do, load-positive, instead of `power_w`; the signs may differ.
        weight: How much of `power_w` each of them carries relative to the others; their ability when None.
            See `shoal.programs.promises.fair_weight`.
        sustain_s: For how long the power is held, which gives the energy; the whole interval when None.
    """

    claim_id: str
    program: str
    power_w: int = 0
    rows: Whole | None = None
    each_w: Whole | None = None
    weight: NDArray[np.float64] | None = None
    sustain_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CapacityClaim:
    """Power kept ready in either direction, with the energy to sustain it: frequency response, regulation.

    It is on top of whatever power the site gives, so up and down may both be kept at one site.

    Attributes:
        claim_id: Its own name.
        program: Whose it is.
        up_w: To discharge more, or charge less, >= 0.
        down_w: To charge more, or discharge less, >= 0.
        sustain_s: How long it must be sustained once called, which gives the energy; the whole interval when None.
        rows: The sites that may serve it; None for all.
        weight: As of `PowerClaim`.
    """

    claim_id: str
    program: str
    up_w: int = 0
    down_w: int = 0
    sustain_s: float | None = None
    rows: Whole | None = None
    weight: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HoldClaim:
    """A reserve raised above the owner's own, and power to fill it: storm backup.

    What is held is nobody's to discharge, and a site that charges for it gives nothing in the other direction.

    Attributes:
        claim_id: Its own name, e.g. that of the alert.
        program: Whose it is; its book must let it raise the reserve.
        rows: The sites, M.
        hold_wh: Energy above the owner's reserve that must stay at each of them, M.
        charge_w: Power at which each of them shall charge in this interval, M.
    """

    claim_id: str
    program: str
    rows: Whole
    hold_wh: Whole
    charge_w: Whole


Claim: TypeAlias = PowerClaim | CapacityClaim | HoldClaim


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What a claim did not get, for one reason.

    Attributes:
        reason: A stable code.
        claim: Whose loss.
        program: The claim's program.
        taken_by: The claim that goes first and has it; the group whose limit is in the way; empty for other reasons.
        direction: Which way the power would have gone; ``hold`` for energy that was to stay.
        power_w: How much power; 0 for ``hold``.
        energy_wh: How much energy.
        sites: At how many sites that was the reason.
    """

    reason: LossReason
    claim: str
    program: str
    taken_by: str
    direction: Literal["charge", "discharge", "hold"]
    power_w: int
    energy_wh: int
    sites: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grant:
    """What one claim got at each of the N sites, and why it did not get more.

    Attributes:
        claim: The claim.
        charge_w: Charging power granted, or kept ready to charge.
        discharge_w: Discharging power granted, or kept ready to discharge.
        charge_wh: The energy of it, rounded up to whole watt-hours at each site.
        discharge_wh: Likewise; of a hold, what stays in the battery.
        asked_charge_w: What was asked of all sites together.
        asked_discharge_w: Likewise.
        losses: What is missing; empty when all was granted. Their power and the granted power add up to what was asked.
    """

    claim: Claim
    charge_w: Whole
    discharge_w: Whole
    charge_wh: Whole
    discharge_wh: Whole
    asked_charge_w: int
    asked_discharge_w: int
    losses: tuple[Loss, ...]

    @property
    def power_w(self) -> Whole:
        """Power of each site, load-positive; of a capacity, the difference of what is kept ready."""
        return self.charge_w - self.discharge_w
