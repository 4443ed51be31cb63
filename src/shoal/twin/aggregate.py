"""Sums up the hierarchies, never without their coverage, age and interval.

A group's sum runs over its fresh sites; what the silent ones may be doing is estimated with an interval by
`shoal.twin.silence`. Every sum is recomputed in full from the twins, in 64-bit integers (whole watts and watt-hours; the
parts of the estimate in `GRAINS`ths), so it is exact and does not drift, and neither the order of the sites nor the way
they are spread over shards changes one bit of it. One pass takes the sites into their cells, one the cells into groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_MINUTE, NS_PER_S
from shoal.domain.live import Aggregates
from shoal.twin import _sum_kernel
from shoal.twin.layout import Layout
from shoal.twin.silence import FleetTrail, SilenceEstimate, SilenceRates, SilenceSums

GRAINS: Final = 1_024
"""Parts of a watt (and of a scale's unit) in which the estimate's shares are summed."""
SQUARE_W2: Final = 64
"""Unit of sums of squares of watts: the squares of a thousand gigawatts fit beside those of a toaster."""

COLUMNS: Final = (
    "sites",
    "fresh",
    "suspect",
    "stale",
    "unknown",
    "silent",
    "capacity_w",
    "charge_headroom_w",
    "discharge_headroom_w",
    "energy_wh",
    "fresh_capacity_wh",
    *(
        f"{what}_{signal}"
        for what in ("power_w", "scale", "a", "b", "v", "c", "silent_scale")
        for signal in ("battery", "solar", "load", "ev")
    ),
)
"""What is summed of each cell and group; the last 28 by signal."""
_POWER: Final = COLUMNS.index("power_w_battery")
_SCALE: Final = COLUMNS.index("scale_battery")
_AGE_SHIFT: Final = 33
"""Ages are looked up in steps of 2^33 ns, about 9 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Ages up to which a signal is fresh, and beyond which nothing is known of it: battery, solar, load, ev."""

    fresh_ns: tuple[int, int, int, int]
    unknown_ns: tuple[int, int, int, int]

    def __post_init__(self) -> None:
        if any(not 0 < f <= u for f, u in zip(self.fresh_ns, self.unknown_ns, strict=True)):
            raise InvalidInputError(
                field="timeouts", value=(self.fresh_ns, self.unknown_ns), fix="0 < fresh <= unknown"
            )

    @classmethod
    def alike(cls, *, fresh_ns: int = 3 * NS_PER_MINUTE, unknown_ns: int = 15 * NS_PER_MINUTE) -> Timeouts:
        """Return the same timeouts for every signal."""
        return cls(fresh_ns=(fresh_ns,) * 4, unknown_ns=(unknown_ns,) * 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSums:
    """Sums of every group (G of them) over some of the sites; add those of other sites with `plus`.

    Attributes:
        layout_version: `Layout.version` of the groups.
        groups: G x `COLUMNS`, whole numbers.
        oldest_ns: Largest age of a site's newest sample, G; -1 where there is no site.
        whole: `COLUMNS` over all these sites, each counted once however many trees it hangs in.
        squares: Over fresh sites with a scale, by signal: 4 sums of squared watts and 4 of squared scales, in units
            of `SQUARE_W2`; load's scale is plain.
    """

    layout_version: int
    groups: NDArray[np.int64]
    oldest_ns: NDArray[np.int64]
    whole: NDArray[np.int64]
    squares: NDArray[np.int64]

    def column(self, name: str) -> NDArray[np.int64]:
        """Return one of `COLUMNS` of every group."""
        column: NDArray[np.int64] = self.groups[:, COLUMNS.index(name)]
        return column

    def plus(self, other: FleetSums) -> FleetSums:
        """Return the sums over both sets of sites.

        Raises:
            InvalidInputError: when the other's groups are of another layout.
        """
        if other.layout_version != self.layout_version:
            raise InvalidInputError(
                field="layout_version", value=other.layout_version, fix=f"give sums of {self.layout_version}"
            )
        return FleetSums(
            layout_version=self.layout_version,
            groups=self.groups + other.groups,
            oldest_ns=np.maximum(self.oldest_ns, other.oldest_ns),
            whole=self.whole + other.whole,
            squares=self.squares + other.squares,
        )

    def silence(self) -> SilenceSums:
        """Return what `shoal.twin.silence.estimate` takes."""

        def by_signal(name: str, unit: float) -> NDArray[np.float64]:
            start = COLUMNS.index(f"{name}_battery")
            return self.groups[:, start : start + 4] / unit

        return SilenceSums(
            fresh_w=by_signal("power_w", 1.0),
            fresh_scale=by_signal("scale", 1.0),
            a=by_signal("a", GRAINS),
            b=by_signal("b", GRAINS),
            v=by_signal("v", 1.0 / SQUARE_W2),
            c=by_signal("c", GRAINS),
            silent_scale=by_signal("silent_scale", 1.0),
            silent_sites=self.column("silent"),
            sites=self.column("sites"),
        )

    def push_to(self, trail: FleetTrail, t_ns: int) -> None:
        """Let the trail remember what the fresh sites of the whole fleet do at this instant."""
        unit = np.array([SQUARE_W2, SQUARE_W2, 1, SQUARE_W2])
        trail.push(
            t_ns,
            fresh_w=self.whole[_POWER : _POWER + 4].astype(np.float64),
            fresh_scale=self.whole[_SCALE : _SCALE + 4].astype(np.float64),
            square=(self.squares[:4] * SQUARE_W2).astype(np.float64),
            scale_square=(self.squares[4:] * unit).astype(np.float64),
        )


def sum_twins(
    twins: NDArray[Any], layout: Layout, rates: SilenceRates, *, now_ns: int, timeouts: Timeouts
) -> FleetSums:
    """Return the sums of every group over these twins.

    Args:
        twins: Rows of N twins, of `shoal.twin.row.TWIN`.
        layout: Layout of these N sites, see `Layout.for_rows`.
        rates: What is made of silent signals at each age, see `SilenceTable.effective`.
        now_ns: The instant.
        timeouts: By signal, when it counts as fresh and when as unknown.

    Raises:
        InvalidInputError: when the layout is of another number of sites.
    """
    if len(layout.cell_of) != len(twins):
        raise InvalidInputError(
            field="layout", value=f"{len(layout.cell_of)} sites", fix=f"give that of these {len(twins)} twins"
        )
    cells = np.zeros((layout.cells, len(COLUMNS)), dtype=np.int64)
    oldest_ns = np.full(layout.cells, -1, dtype=np.int64)
    flows = np.zeros((layout.cells, _sum_kernel.FLOWS), dtype=np.int64)
    squares = np.zeros(8, dtype=np.int64)
    squares[4:] = layout.scale_squares
    _sum_kernel.sum_sites(
        twins,
        layout.cell_of,
        layout.plate_of,
        layout.plates,
        layout.scales,
        layout.rest,
        np.array(timeouts.fresh_ns),
        np.array(timeouts.unknown_ns),
        now_ns,
        rates.edges_ns,
        _first_bins(rates.edges_ns),
        np.stack((rates.gain, rates.drift, rates.share, rates.spread, rates.common), axis=2),
        flows,
        cells,
        oldest_ns,
        squares,
    )
    return FleetSums(
        layout_version=layout.version,
        groups=layout.roll_up(cells),
        oldest_ns=layout.roll_up_max(oldest_ns, none=-1),
        whole=cells.sum(axis=0),
        squares=squares,
    )


def _first_bins(edges_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return, for each step of age, the bin in which it begins: where to begin looking for an age's own."""
    steps = (int(edges_ns[-1]) >> _AGE_SHIFT) + 2 if len(edges_ns) else 1
    return np.searchsorted(edges_ns, np.arange(steps) << _AGE_SHIFT, side="right")


def aggregates_of(sums: FleetSums, estimate: SilenceEstimate, *, t_ns: int) -> Aggregates:
    """Return the merged sums and what is estimated from them as the record that goes out, in kW and kWh."""

    def kilo(values: NDArray[Any]) -> list[float]:
        kilos: list[float] = (values / 1e3).tolist()
        return kilos

    power_w = sums.groups[:, _POWER : _POWER + 4]
    doubt_up_w = np.maximum(estimate.firm_w[:, 0] - estimate.expected_w[:, 0], 0.0)
    doubt_down_w = np.maximum(estimate.expected_w[:, 0] - estimate.low_w[:, 0], 0.0)
    charge_w, discharge_w = sums.column("charge_headroom_w"), sums.column("discharge_headroom_w")
    return Aggregates(
        t_ns=t_ns,
        sites=sums.column("sites").tolist(),
        fresh=sums.column("fresh").tolist(),
        stale=sums.column("stale").tolist(),
        unknown=sums.column("unknown").tolist(),
        suspect=sums.column("suspect").tolist(),
        capacity_kw=kilo(sums.column("capacity_w")),
        fresh_kw=kilo(sums.column("scale_battery")),
        battery_kw=kilo(power_w[:, 0]),
        solar_kw=kilo(power_w[:, 1]),
        load_kw=kilo(power_w[:, 2]),
        ev_kw=kilo(power_w[:, 3]),
        grid_kw=kilo(power_w.sum(axis=1)),
        energy_kwh=kilo(sums.column("energy_wh")),
        fresh_capacity_kwh=kilo(sums.column("fresh_capacity_wh")),
        charge_headroom_kw=kilo(charge_w),
        discharge_headroom_kw=kilo(discharge_w),
        oldest_age_s=[float(v) / NS_PER_S for v in sums.oldest_ns],
        expected_kw=kilo(estimate.expected_w[:, 0]),
        low_kw=kilo(estimate.low_w[:, 0]),
        high_kw=kilo(estimate.high_w[:, 0]),
        grid_expected_kw=kilo(estimate.expected_w[:, 4]),
        grid_low_kw=kilo(estimate.low_w[:, 4]),
        grid_high_kw=kilo(estimate.high_w[:, 4]),
        firm_charge_kw=kilo(np.maximum(charge_w - doubt_down_w, 0.0)),
        firm_discharge_kw=kilo(np.maximum(discharge_w - doubt_up_w, 0.0)),
    )
