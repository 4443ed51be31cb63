"""What each site can do in an interval and for whom: its battery, less what its owner keeps, and the programs it is in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoal.programs.claims import HOURS_BIT, UNLIMITED_WH, SiteAbility, Whole
from shoal.programs.enrolment import exclusive_index, opt_out_mask
from shoal.programs.hours import SiteHours, kept_programs
from shoal.programs.program import ProgramBook
from shoal.programs.promises import OwnerPromises


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SiteTerms:
    """What is on record of N sites at one instant: on what terms each takes part, and what it was promised.

    Attributes:
        book: The programs.
        enrolled_bits: By position in the book.
        opted_out_bits: Likewise.
        promises: What owners asked for.
        ever_enrolled_bits: The programs in which some site has been, is or will be enrolled. One from which all have
            withdrawn is among them: it has nobody, which is not the same as asking nobody.
        hours: When owners keep their sites to themselves; None where nobody does.
    """

    book: ProgramBook
    enrolled_bits: NDArray[np.uint64]
    opted_out_bits: NDArray[np.uint64]
    promises: OwnerPromises
    ever_enrolled_bits: int = 0
    hours: SiteHours | None = None

    def asks_everybody(self, position: int) -> bool:
        """Whether the program at a position asks for no enrolment: it excludes no other, and nobody was ever in it."""
        return not self.book.programs[position].exclusive and not self.ever_enrolled_bits >> position & 1

    def enrolled_counts(self, position: int) -> tuple[int, int]:
        """Return how many sites are enrolled in the program at a position, and how many of them have left it for now."""
        bit = np.uint64(1 << position)
        enrolled = (self.enrolled_bits & bit) != 0
        left = enrolled & ((self.opted_out_bits & bit) != 0)
        return int(np.count_nonzero(enrolled)), int(np.count_nonzero(left))

    def ability(
        self,
        *,
        nameplate: NDArray[Any],
        soc_frac: NDArray[np.floating[Any]],
        known: NDArray[np.bool_],
        discharged_wh: Whole | None = None,
        away: NDArray[np.bool_] | None = None,
    ) -> SiteAbility:
        """Return what the sites can do now; see `ability_of`."""
        return ability_of(
            book=self.book,
            nameplate=nameplate,
            soc_frac=soc_frac,
            known=known,
            enrolled_bits=self.enrolled_bits,
            opted_out_bits=self.opted_out_bits,
            promises=self.promises,
            discharged_wh=discharged_wh,
            away=away,
        )


def ability_of(
    *,
    book: ProgramBook,
    nameplate: NDArray[Any],
    soc_frac: NDArray[np.floating[Any]],
    known: NDArray[np.bool_],
    enrolled_bits: NDArray[np.uint64],
    opted_out_bits: NDArray[np.uint64] | None = None,
    promises: OwnerPromises | None = None,
    discharged_wh: Whole | None = None,
    charge_room_w: Whole | None = None,
    discharge_room_w: Whole | None = None,
    away: NDArray[np.bool_] | None = None,
) -> SiteAbility:
    """Return the ability of N sites; all is rounded down, so that no promise is broken by rounding.

    Args:
        book: The programs.
        nameplate: Records of `shoal.domain.fleet.NAMEPLATE`.
        soc_frac: State of charge; one that is not a number makes the site unknown.
        known: False for a site that is silent.
        enrolled_bits: By position in the book.
        opted_out_bits: Likewise; nobody has left when None. Ignored for programs that owners may not leave.
        promises: What owners asked for beyond the nameplate's reserve.
        discharged_wh: What the meters counted since the day began; needed for cycle budgets, 0 when None.
        charge_room_w: Most that the site's connection lets the battery charge now; as rated when None.
        discharge_room_w: Most that it lets it discharge.
        away: Where the owner keeps the site to itself now, by `shoal.programs.hours`; nowhere when None.
    """
    sites = len(nameplate)
    promised = promises or OwnerPromises.none(sites)
    used_wh = np.zeros(sites, dtype=np.int64) if discharged_wh is None else discharged_wh
    soc = soc_frac.astype(np.float64)
    sure = known & np.isfinite(soc) & (nameplate["energy_capacity_kwh"] > 0.0)
    capacity_wh = nameplate["energy_capacity_kwh"] * 1e3
    energy_wh = np.where(sure, np.clip(np.where(sure, soc, 0.0), 0.0, 1.0), 0.0) * capacity_wh
    reserve_wh = np.maximum(nameplate["reserve_frac"], promised.reserve_frac) * capacity_wh
    above_wh = np.maximum(energy_wh - reserve_wh, 0.0) * nameplate["discharge_efficiency_frac"]
    kept_wh = np.minimum(energy_wh, reserve_wh) * nameplate["discharge_efficiency_frac"]
    room_wh = np.where(sure, capacity_wh - energy_wh, 0.0) / nameplate["charge_efficiency_frac"]
    charge_w = _whole(nameplate["charge_limit_kw"] * 1e3)
    discharge_w = _whole(nameplate["discharge_limit_kw"] * 1e3)
    if charge_room_w is not None:
        charge_w = np.minimum(charge_w, np.maximum(charge_room_w, 0))
    if discharge_room_w is not None:
        discharge_w = np.minimum(discharge_w, np.maximum(discharge_room_w, 0))
    left_out = np.zeros(sites, dtype=np.uint64) if opted_out_bits is None else opted_out_bits
    left_out = left_out & opt_out_mask(book)
    if away is not None:
        left_out = np.where(away, left_out | kept_programs(book) | HOURS_BIT, left_out)
    return SiteAbility(
        programs=book.ids,
        charge_w=charge_w,
        discharge_w=discharge_w,
        charge_wh=_whole(room_wh),
        discharge_wh=_whole(above_wh),
        cycle_left_wh=np.minimum(promised.cycle_left_wh(used_wh), UNLIMITED_WH),
        kept_wh=_whole(kept_wh),
        enrolled_bits=enrolled_bits,
        opted_out_bits=left_out,
        exclusive_index=exclusive_index(book, enrolled_bits),
        known=sure,
        beside_bits=book.beside_bits,
    )


def _whole(amount_wh: NDArray[np.float64]) -> Whole:
    return np.floor(amount_wh).astype(np.int64)
