"""What owners are promised, as columns of N sites: a reserve, a cycle budget a day, and a fair part of the work.

A promise is a limit on what a site can give (`shoal.programs.ability`), so no priority reaches beyond it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.programs.claims import UNLIMITED_WH, Whole

LEAST_FAIR: Final = 0.25
MOST_FAIR: Final = 2.0

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OwnerPromises:
    """What each of N owners asked for, at one instant.

    Attributes:
        reserve_frac: State of charge that stays for outages; the site's nameplate has one too, the higher one holds.
        cycle_budget_wh: Energy that may be discharged in a day; `UNLIMITED_WH` where the owner set none.

    Raises:
        InvalidInputError: when a column is out of its range.
    """

    reserve_frac: Floats
    cycle_budget_wh: Whole

    def __post_init__(self) -> None:
        if self.reserve_frac.shape != self.cycle_budget_wh.shape:
            raise InvalidInputError(
                field="promises.cycle_budget_wh",
                value=self.cycle_budget_wh.shape,
                fix=f"give one for each of {len(self.reserve_frac)} sites",
            )
        if not bool(np.all((self.reserve_frac >= 0.0) & (self.reserve_frac <= 1.0))):
            raise InvalidInputError(
                field="promises.reserve_frac", value="out of range", fix="give shares from 0 to 1"
            )
        if bool(np.any((self.cycle_budget_wh < 0) | (self.cycle_budget_wh > UNLIMITED_WH))):
            raise InvalidInputError(
                field="promises.cycle_budget_wh",
                value="out of range",
                fix=f"give Wh from 0 to {UNLIMITED_WH}",
            )

    @staticmethod
    def none(sites: int) -> OwnerPromises:
        """Return the promises of owners who asked for nothing."""
        return OwnerPromises(
            reserve_frac=np.zeros(sites), cycle_budget_wh=np.full(sites, UNLIMITED_WH, dtype=np.int64)
        )

    def cycle_left_wh(self, discharged_wh: Whole) -> Whole:
        """Return what may still be discharged today.

        Args:
            discharged_wh: What the batteries' meters counted since the day began, for whatever purpose.
        """
        left_wh = np.maximum(self.cycle_budget_wh - np.maximum(discharged_wh, 0), 0)
        return np.where(self.cycle_budget_wh == UNLIMITED_WH, UNLIMITED_WH, left_wh)


def fair_weight(used_wh: Floats, capacity_wh: Floats) -> Floats:
    """Return the weight of each site in the split of a sum, so that the burden of peers evens out.

    A site's burden is what programs drew from it over the last days for each Wh that its battery holds; `r` is the
    burden in proportion to that of all peers together. The weight is the capacity times ``2 / (1 + r)``, kept between a
    quarter and 2: a site of usual burden carries its part, a fresh one twice that, a worn one down to a quarter.

    So of two sites that both have room, the more burdened never gets more for each Wh that it holds: what one is ahead
    never grows, and shrinks unless both are beyond the same end of the range.

    Args:
        used_wh: Discharged for programs over the days that count, >= 0, N.
        capacity_wh: Energy that the battery holds, >= 0, N.

    Raises:
        InvalidInputError: when a number is negative or not finite.
    """
    for name, values in (("used_wh", used_wh), ("capacity_wh", capacity_wh)):
        if not bool(np.all(np.isfinite(values) & (values >= 0.0))):
            raise InvalidInputError(field=name, value="out of range", fix="give finite numbers from 0 on")
    holds = capacity_wh > 0.0
    usual = float(used_wh[holds].sum()) / max(float(capacity_wh.sum()), 1e-9)
    burden = np.divide(used_wh, capacity_wh, out=np.zeros(len(used_wh)), where=holds)
    share = burden / usual if usual > 0.0 else np.ones(len(used_wh))
    # A battery that holds nothing gives nothing; its weight only has to be above 0.
    return np.maximum(capacity_wh * np.clip(2.0 / (1.0 + share), LEAST_FAIR, MOST_FAIR), 1e-9)
