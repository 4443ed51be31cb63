"""Small fleets for tests of programs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from shoal.domain.interval import NS_PER_HOUR, Interval
from shoal.programs.claims import UNLIMITED_WH, SiteAbility
from shoal.programs.program import default_book

HOUR = Interval(start_ns=0, end_ns=NS_PER_HOUR)
BOOK = default_book()
ALL_BITS = (1 << len(BOOK.ids)) - 1


def plain_sites(count: int, **columns: Any) -> SiteAbility:
    """Return sites of 5 kW either way with 6 kWh above and 2 kWh in reserve, room for 4 kWh, in every program."""
    sites = SiteAbility(
        programs=BOOK.ids,
        charge_w=np.full(count, 5_000, dtype=np.int64),
        discharge_w=np.full(count, 5_000, dtype=np.int64),
        charge_wh=np.full(count, 4_000, dtype=np.int64),
        discharge_wh=np.full(count, 6_000, dtype=np.int64),
        cycle_left_wh=np.full(count, UNLIMITED_WH, dtype=np.int64),
        kept_wh=np.full(count, 2_000, dtype=np.int64),
        enrolled_bits=np.full(count, ALL_BITS, dtype=np.uint64),
        opted_out_bits=np.zeros(count, dtype=np.uint64),
        exclusive_index=np.full(count, -1, dtype=np.int16),
        known=np.ones(count, dtype=np.bool_),
        beside_bits=BOOK.beside_bits,
    )
    arrays: dict[str, Any] = {
        name: np.array(value, dtype=getattr(sites, name).dtype) for name, value in columns.items()
    }
    return replace(sites, **arrays)
