"""What sites can give in an event, how a group's target is split over them, and what may be expected of it.

Nobody is asked for more than it can hold to the end of the event above its owner's reserve; so the sum that is asked is one
that the energy behind it carries. What is expected is said with an interval: sites that do not respond, and solar power that
may not come, are in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR, Interval
from shoal.optimise.allocation import split_setpoint_w

_NINETY_Z: Final = 1.645
"""Nine times out of ten a normal variable is within so many standard deviations."""

Whole = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupTarget:
    """What a group is to deliver throughout an event.

    Attributes:
        group_id: Its name.
        target_w: Power to discharge, never negative.
        rows: Fleet rows of its sites, ascending; no site is in two groups of an event.
    """

    group_id: str
    target_w: int
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventCall:
    """An event as it is called.

    Attributes:
        event_id: Its name; a later call of the same name changes it.
        program: For whom.
        called_ns: When notice was given: from then on sites get ready.
        window: When it is to be delivered.
        groups: What of whom.

    Raises:
        InvalidInputError: when it begins before it is called, a target is negative, or a site is named twice.
    """

    event_id: str
    program: str
    called_ns: int
    window: Interval
    groups: tuple[GroupTarget, ...]

    def __post_init__(self) -> None:
        if self.called_ns > self.window.start_ns:
            raise InvalidInputError(
                field="called_ns", value=self.called_ns, fix="call it before it begins, or begin it later"
            )
        if any(group.target_w < 0 for group in self.groups):
            raise InvalidInputError(
                field="target_w",
                value=min(group.target_w for group in self.groups),
                fix="give the power to discharge, never negative",
            )
        rows = [row for group in self.groups for row in group.rows]
        if len(set(rows)) < len(rows):
            raise InvalidInputError(field="groups", value=len(rows), fix="name each site in one group only")

    @property
    def rows(self) -> Whole:
        """Everybody, ascending."""
        return np.array(sorted(row for group in self.groups for row in group.rows), dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SitesNow:
    """What is known of all N sites of the fleet at one instant.

    Attributes:
        energy_wh: Energy in each battery.
        reserve_wh: What the owner keeps.
        capacity_wh: What it holds when full.
        discharge_w: Most discharging power.
        charge_w: Most charging power.
        discharge_efficiency_frac: Energy given out per stored energy.
        metered_wh: Net meter at the battery, charged less discharged, whole Wh: the latest reading, and what the power that
            was last shown has added since.
        known: Whether the site is heard from.
        available: Whether it may be used: enrolled, not out of the grid, not kept for something that goes first.
        solar_wh: Surplus solar energy expected until the event begins; zeros when it is under way.
        solar_low_wh: What of it comes nine times out of ten.
        most_export_w: What the site may take off its meter: the load at a site that must not feed in; the rated power
            where feeding in is allowed.
    """

    energy_wh: NDArray[np.float64]
    reserve_wh: NDArray[np.float64]
    capacity_wh: NDArray[np.float64]
    discharge_w: Whole
    charge_w: Whole
    discharge_efficiency_frac: NDArray[np.float64]
    metered_wh: Whole
    known: NDArray[np.bool_]
    available: NDArray[np.bool_]
    solar_wh: NDArray[np.float64]
    solar_low_wh: NDArray[np.float64]
    most_export_w: Whole

    def usable_wh(self, *, solar: str = "expected") -> NDArray[np.float64]:
        """Return the energy above the reserve at the event's begin, as it comes out of the terminals.

        Args:
            solar: ``expected``, ``low`` or ``none`` of the solar surplus is counted.
        """
        added_wh = {
            "expected": self.solar_wh,
            "low": self.solar_low_wh,
            "none": np.zeros_like(self.solar_wh),
        }[solar]
        stored_wh = np.minimum(self.energy_wh + added_wh, np.maximum(self.capacity_wh, self.energy_wh))
        above_wh: NDArray[np.float64] = np.fmax(stored_wh - self.reserve_wh, 0.0)
        return above_wh * self.discharge_efficiency_frac

    def sustained_w(self, span_ns: int, *, solar: str = "expected") -> Whole:
        """Return the discharging power that each site can hold throughout, whole watts, 0 of those that give nothing."""
        power_w = np.floor(self.usable_wh(solar=solar) * (NS_PER_HOUR / max(span_ns, 1))).astype(np.int64)
        power_w = np.minimum(np.minimum(power_w, self.discharge_w), np.maximum(self.most_export_w, 0))
        return np.where(self.known & self.available, np.maximum(power_w, 0), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """How a fleet responds: learned from past events, or these usual values.

    Attributes:
        mean_frac: Which share of what is asked of sites that are heard from is delivered.
        spread_frac: Standard deviation of that share from event to event, the same for all sites of one event.
    """

    mean_frac: float = 0.95
    spread_frac: float = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What an event may be expected to deliver.

    Attributes:
        target_w: What is to be delivered.
        asked_w: What the sites are asked for together.
        expected_w: What of it is expected.
        low_w: Nine times out of ten it is between this and `high_w`.
        high_w: See there.
        missing_w: What of the target cannot be asked of anybody.
        reasons: Of the sites named, how many give something, and how many nothing, by reason.
    """

    target_w: int
    asked_w: int
    expected_w: int
    low_w: int
    high_w: int
    missing_w: int
    reasons: dict[str, int]


def split_target(
    target_w: int, rows: Whole, sites: SitesNow, *, span_ns: int, kept_w: Whole | None = None
) -> tuple[Whole, int]:
    """Return each row's discharging power, never negative, and what of the target is missing.

    Everybody gives in proportion to its usable energy as far as it can, so that nobody is empty before the others.

    Args:
        target_w: To discharge.
        rows: Of the group, those who do not take part left out.
        sites: The fleet.
        span_ns: For how long it must be held.
        kept_w: What each of them is asked for already: kept when the sum still fits.
    """
    most_w = sites.sustained_w(span_ns)[rows]
    if not len(rows) or target_w <= 0:
        return np.zeros(len(rows), dtype=np.int64), max(target_w, 0)
    if kept_w is not None:
        clipped_w = np.minimum(kept_w, most_w)
        if abs(int(clipped_w.sum()) - target_w) <= max(_RESPLIT_LEAST_W, int(target_w * _RESPLIT_FRAC)):
            return clipped_w, max(target_w - int(clipped_w.sum()), 0)
    usable_wh = sites.usable_wh()[rows]
    total_wh = float(usable_wh.sum())
    share = usable_wh / total_wh if total_wh > 0 else np.zeros(len(rows))
    split = split_setpoint_w(
        min(target_w, int(most_w.sum())),
        lower_w=np.zeros(len(rows), dtype=np.int64),
        upper_w=most_w,
        weight=np.maximum(usable_wh, 1e-6),
        preferred_w=target_w * share,
    )
    return split.power_w, target_w - int(split.power_w.sum())


_RESPLIT_FRAC: Final = 0.02
_RESPLIT_LEAST_W: Final = 200


def expect(
    call: EventCall,
    asked_w: Whole,
    sites: SitesNow,
    *,
    left: Sequence[int],
    span_ns: int,
    response: Response,
) -> Expected:
    """Return what an event may be expected to deliver.

    Args:
        call: The event.
        asked_w: N discharging powers.
        sites: The fleet.
        left: Rows whose owners have left.
        span_ns: For how long it is still to be held.
        response: How the fleet responds.
    """
    rows = call.rows
    asked = int(asked_w[rows].sum())
    target_w = sum(group.target_w for group in call.groups)
    certain_w = np.minimum(asked_w, sites.sustained_w(span_ns, solar="low"))[rows]
    share = response.mean_frac
    each = math.sqrt(share * (1.0 - share) * float((asked_w[rows].astype(np.float64) ** 2).sum()))
    deviation_w = math.hypot(each, response.spread_frac * asked)
    low = share * float(certain_w.sum()) - _NINETY_Z * deviation_w
    high = share * asked + _NINETY_Z * deviation_w
    # The middle of what comes with the expected and with the low sun.
    expected = share * (0.5 * asked + 0.5 * float(certain_w.sum()))
    gone = np.zeros(len(sites.known), dtype=np.bool_)
    gone[np.asarray(list(left), dtype=np.int64)] = True
    reasons: dict[str, int] = {}
    for word, mask in (
        ("asked", asked_w > 0),
        ("opted_out", gone),
        ("silent", ~sites.known),
        ("kept_for_others", ~sites.available),
        ("nothing_above_reserve", sites.usable_wh() <= 0),
        ("not_needed", np.ones(len(gone), dtype=np.bool_)),
    ):
        counted = mask[rows]
        if counted.any():
            reasons[word] = int(counted.sum())
            rows = rows[~counted]
    return Expected(
        target_w=target_w,
        asked_w=asked,
        expected_w=round(expected),
        low_w=max(math.floor(low), 0),
        high_w=min(math.ceil(high), asked),
        missing_w=max(target_w - asked, 0),
        reasons=reasons,
    )
