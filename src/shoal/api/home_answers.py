"""What the interface answers a homeowner."""

from __future__ import annotations

from typing import Final

import msgspec

from shoal.api.answers import TwinGrade


class HomeNow(msgspec.Struct, frozen=True, kw_only=True):
    """What a home does now, load-positive; None where it is not measured.

    `grid_kw` is what the connection takes, from what is measured behind it; None without the load. `age_s` is how old
    the newest sample is, None when the home was never heard.
    """

    site_id: str
    as_of_ms: int
    age_s: float | None
    grade: TwinGrade
    battery_kw: float | None
    solar_kw: float | None
    load_kw: float | None
    ev_kw: float | None
    grid_kw: float | None
    soc_frac: float | None
    energy_kwh: float | None


HOME_TYPES: Final = (HomeNow,)
"""For the contract."""
