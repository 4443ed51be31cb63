"""Why a site would take part in an order or not: one reason each, the first that holds. Pure."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.api.dispatch.preview_answers import LeftOut, Reason
from shoal.control.dry_run import Worked
from shoal.domain.fleet import Fleet
from shoal.programs.ability import SiteTerms

REASONS: Final[tuple[Reason, ...]] = (
    "takes_part",
    "no_battery",
    "not_enrolled",
    "opted_out",
    "owner_hours",
    "stopped",
    "silent",
    "unknown_state",
    "no_energy",
    "no_room",
    "other_program",
    "not_asked",
)
SAMPLE: Final = 10
_WORDS: Final[dict[Reason, str]] = {
    "takes_part": "take part",
    "no_battery": "have no battery",
    "not_enrolled": "are not enrolled in this program",
    "opted_out": "have left this program for now",
    "owner_hours": "are kept by their owners at this hour",
    "stopped": "are stopped by a kill switch",
    "silent": "are silent; they are told as soon as they speak",
    "unknown_state": "do not say how full they are",
    "no_energy": "have nothing to give above what their owners keep",
    "no_room": "are held back by a limit at their connection or above it",
    "other_program": "are needed by what goes first",
    "not_asked": "are not needed",
}
_FULL: Final = "are full already"


def bits_of(terms: SiteTerms, program: str, sites: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return who is not enrolled in a program, and who has left it for now (N each).

    A program from which nobody was ever enrolled asks for no enrolment.
    """
    none = np.zeros(sites, dtype=np.bool_)
    if program not in terms.book.ids:
        return none, none
    place = terms.book.position(program)
    bit = np.uint64(1 << place)
    known = terms.book.programs[place]

    def has(bits: NDArray[np.uint64]) -> NDArray[np.bool_]:
        found = none.copy()
        held = (bits[:sites] & bit) != 0
        found[: len(held)] = held
        return found

    outside = none if terms.asks_everybody(place) else ~has(terms.enrolled_bits)
    left = has(terms.opted_out_bits) if known.may_opt_out else none
    return outside, left


def reasons_of(
    worked: Worked,
    *,
    scope_rows: NDArray[np.int64],
    rows: NDArray[np.int64],
    fleet: Fleet,
    latest: NDArray[Any],
    outside: NDArray[np.bool_],
    left: NDArray[np.bool_],
    halted: NDArray[np.bool_],
    busy: NDArray[np.bool_],
    asks_power: bool,
    shared_w: int,
) -> NDArray[np.int8]:
    """Return the position in `REASONS` of each site in scope.

    Args:
        worked: The dry run.
        scope_rows: Who is in scope, ascending.
        rows: Who of these was reckoned with, ascending.
        fleet: The fleet.
        latest: Latest records of the fleet.
        outside: Who is not enrolled (N).
        left: Who has left the program (N).
        halted: Who is under a kill switch (N).
        busy: Whom something has that goes first (N).
        asks_power: Whether a power is asked at all; where none is, everybody who hears of it takes part.
        shared_w: What is asked of all together where the controller shares it out, charging positive; 0 where each site
            is asked its own.
    """
    place = {name: number for number, name in enumerate(REASONS)}
    inside = np.searchsorted(scope_rows, rows)
    meant = np.zeros(len(scope_rows), dtype=np.bool_)
    meant[inside] = True

    def spread(values: NDArray[np.int64] | NDArray[np.bool_]) -> NDArray[np.int64]:
        made = np.zeros(len(scope_rows), dtype=np.int64)
        made[inside] = values
        return made

    asked_w, once_w = spread(worked.asked_w), spread(worked.at_once_w)
    granted_w, held_w = spread(worked.granted_w), spread(worked.held_w)
    can = worked.ability
    charges = asked_w + shared_w > 0
    energy_wh = np.where(
        charges,
        can.charge_wh[scope_rows],
        np.minimum(can.discharge_wh[scope_rows], can.cycle_left_wh[scope_rows]),
    )
    power_w = np.where(charges, can.charge_w[scope_rows], can.discharge_w[scope_rows])
    plate = fleet.nameplate[scope_rows]
    first: tuple[tuple[NDArray[np.bool_], Reason], ...] = (
        (plate["energy_capacity_kwh"] <= 0, "no_battery"),
        (outside[scope_rows], "not_enrolled"),
        (left[scope_rows], "opted_out"),
        (~meant, "owner_hours"),
        (halted[scope_rows], "stopped"),
        (spread(worked.silent) > 0, "silent"),
        (np.isnan(latest["soc_frac"][scope_rows]), "unknown_state"),
        (busy[scope_rows], "other_program"),
        (np.full(len(scope_rows), not asks_power), "takes_part"),
        ((asked_w == 0) & (shared_w == 0) & (energy_wh > 0), "not_asked"),
        ((once_w != 0) & (held_w != 0), "takes_part"),
        (energy_wh <= 0, "no_energy"),
        ((power_w <= 0) | (granted_w != 0), "no_room"),
        (np.ones(len(scope_rows), dtype=np.bool_), "other_program"),
    )
    found = np.full(len(scope_rows), -1, dtype=np.int8)
    for mask, name in first:
        found[(found < 0) & mask] = place[name]
    return found


def left_out(
    reason: NDArray[np.int8], scope_rows: NDArray[np.int64], fleet: Fleet, *, charges: bool
) -> list[LeftOut]:
    """Return those who would not take part by reason, the most first."""
    made = []
    for number, name in enumerate(REASONS):
        mine = scope_rows[reason == number]
        if name == "takes_part" or not len(mine):
            continue
        words = _FULL if charges and name == "no_energy" else _WORDS[name]
        sample = [str(fleet.site_ids[row]) for row in mine[:SAMPLE].tolist()]
        made.append(LeftOut(reason=name, words=words, sites=len(mine), sample=sample))
    return sorted(made, key=lambda one: -one.sites)
