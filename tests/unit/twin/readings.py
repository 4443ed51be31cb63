"""Hand-made readings of one home, for the rules about clocks and about what cannot be true."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_S
from shoal.domain.telemetry import TELEMETRY, DeviceType, Flag
from shoal.twin.columns import Twins
from shoal.twin.layout import PLATE, Layout
from shoal.twin.row import SUSPECT_SHIFT

NOON_NS = 1_700_000_000 * NS_PER_S
SIGNALS = ("battery_w", "solar_w", "load_w", "ev_w")


def one_site(kind: DeviceType = DeviceType.HOME) -> Layout:
    """Return the layout of one site: 5 kW battery, 6 kW solar, 11 kW charger, no groups."""
    plates = np.zeros(1, dtype=PLATE)
    plates[0] = (5_000, 5_000, 13_500, 2_700, 6_000, 11_000, kind)
    none = np.empty(0, dtype=np.int32)
    return Layout(
        cell_of=np.zeros(1, dtype=np.int32),
        cells=1,
        plate_of=np.zeros(1, dtype=np.int32),
        plates=plates,
        groups=0,
        hierarchies=(),
        leaf_of=np.empty((0, 1), dtype=np.int32),
        parent_of=none,
        bottom_up=none,
        version=1,
    )


class Home:
    """One twin, told of samples as (seconds after noon, values); its counter runs by itself."""

    def __init__(self, kind: DeviceType = DeviceType.HOME) -> None:
        self.twins = Twins(1, layout=one_site(kind))
        self.seq = 0

    def hear(
        self, *at_s: float, arrival_s: float | None = None, first_seq: int | None = None, **values: Any
    ) -> NDArray[Any]:
        """Take one message with samples at these seconds; return its records as they were set right."""
        first = self.seq + 1 if first_seq is None else first_seq
        records = TELEMETRY.empty(len(at_s))
        records["ts_ns"] = [NOON_NS + round(s * NS_PER_S) for s in at_s]
        records["seq"] = np.arange(first, first + len(at_s))
        self.seq = max(self.seq, first + len(at_s) - 1)
        for name, value in values.items():
            records[name] = value
        arrival = at_s[-1] + 0.2 if arrival_s is None else arrival_s
        count = len(at_s)
        self.twins.apply(
            np.zeros(count, dtype=np.int64),
            records,
            np.ones(count, dtype=np.int64),
            np.full(count, NOON_NS + round(arrival * NS_PER_S)),
        )
        return records

    def flags(self, *at_s: float, **values: Any) -> Flag:
        """Take one message; return the flags of its last record."""
        return Flag(int(self.hear(*at_s, **values)["flags"][-1]))

    @property
    def latest(self) -> Any:
        """The newest values."""
        return self.twins.latest()[0]

    @property
    def suspects(self) -> set[str]:
        """The signals under suspicion."""
        bits = int(self.twins.rows["flags"][0]) >> SUSPECT_SHIFT
        return {name for k, name in enumerate(SIGNALS) if bits & 1 << k}


def seconds(record: Any) -> float:
    """Return a record's time in seconds after noon."""
    return (int(record["ts_ns"]) - NOON_NS) / NS_PER_S
