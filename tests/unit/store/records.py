"""Telemetry of a few sites, a sample a minute, the same for the same arguments."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_MINUTE
from shoal.domain.telemetry import TELEMETRY

START_NS: Final = 1_612_936_800_000_000_000
"""2021-02-10T06:00Z, the begin of an hour."""


def make_records(
    *, sites: int, first: int, minutes: int
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
    """Return records, site numbers and times of arrival: `minutes` samples of each site from minute `first` on."""
    site_no = np.tile(np.arange(sites), minutes)
    minute = np.repeat(np.arange(first, first + minutes), sites)
    records = TELEMETRY.empty(len(minute))
    records["ts_ns"] = START_NS + minute * NS_PER_MINUTE
    records["seq"] = minute + 1
    records["battery_w"] = 1000 - 17 * site_no
    records["solar_w"] = -minute
    records["soc_frac"] = (minute % 100) / 100
    records["command_version"] = 2**32 - 1
    for number, name in enumerate(("charge_wh", "discharge_wh", "import_wh", "export_wh")):
        records[name] = 2**52 + site_no * 1000 + minute * (number + 1)
    return records, site_no, records["ts_ns"] + 250_000_000
