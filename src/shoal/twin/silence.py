"""What the silent sites of a group may be doing, and how sure one can be of it.

The idea: a site that fell silent is its own last value, moved by what its fresh peers did since, fading into their
mean as the value ages; what is left over is an error of its own and one that silent sites share. Both are learned.

The kernel's part. Every refresh takes `table.effective(trail)`, one `SilenceRates` of arrays of shape (4, B); signals
are in the order battery, solar, load, ev. For each site and signal s that is not fresh (stale, unknown or suspect)
with its last value v (watts, load-positive; 0 when nothing usable ever came), its scale c (rated W of battery, solar
and ev; 1 for load; 0 when the site lacks the device, which is then skipped) and b = bin(age of v) =
`searchsorted(edges_ns, age, side="right")`, B - 1 when nothing ever came, the kernel adds to the site's cell:

    A += gain[s, b] * v + c * drift[s, b]        watts
    B += c * share[s, b]                         scale
    V += (c * spread[s, b]) ** 2                 watts squared
    C += c * common[s, b]                        watts
    S += c                                       scale

and for each fresh one: fresh_w += v, fresh_scale += c; and, once a shard and not by cell, for fresh ones with c > 0:
`square += v * v` and `scale_square += c * c`. All of them are plain sums, so those of cells, shards and groups add.
`estimate` turns the merged sums into expected, low, high and firm power. `FleetTrail.push` takes the root's fresh sums,
so that the next refresh knows the fleet's mean and dispersion now and at the time of each silent site's last value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_MINUTE
from shoal.twin._silence_kernel import estimate_groups

SIGNALS: Final = ("battery_w", "solar_w", "load_w", "ev_w")
QUANTITIES: Final = (*SIGNALS, "grid_w")
"""What is estimated: the four signals and their sum at the connection point."""
GAIN_LIMIT: Final = 2.0
_SMALL: Final = 1e-9
SHARES: Final = (0.15, 0.8)
"""Shares of silent sites between which quantiles are joined: few, with peers at hand; most, with peers elsewhere."""
ORDERED: Final = 4
"""Row of the rates of batteries while the plant's orders hold, which silent sites do not get."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceRates:
    """What the kernel needs for one refresh: `edges_ns` (B - 1) and five arrays (4, B) of float64."""

    edges_ns: NDArray[np.int64]
    gain: NDArray[np.float64]
    drift: NDArray[np.float64]
    share: NDArray[np.float64]
    spread: NDArray[np.float64]
    common: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceTable:
    """How fast a silent site's last value fades, by signal and age, and how far it then is from the truth.

    Attributes:
        edges_ns: Ages that divide the B bins, B - 1, rising.
        age_ns: Age that stands for each bin, B.
        weight: Correlation of a site's deviation from the fleet with its deviation that long ago, 5 x B: the four
            signals, then batteries while orders hold.
        stay: Share of the fleet's own movement that silent sites do not take part in, 5 x B.
        bias: Mean deviation of silent sites from fresh ones, in dispersions, 5 x B.
        spread: Error of a site by itself, in dispersions, 5 x B.
        common: Error shared by silent sites, in dispersions, 5 x B.
        shift: Error shared by silent sites, as a share of the fleet's movement since, 5 x B.
        dispersion: Usual standard deviation over sites, W per scale, 4: for a plant without a trail.
        floor: Least dispersion that is reckoned with, as a share of the usual one, 4.
        shrink_sites: How many fresh sites of a group weigh as much as the mean of its parent, 4.
        correlation: Correlation of the errors of the four signals of a group, 4 x 4.
        size_sites: Numbers of silent sites for which quantiles are given, K, rising; between them, by logarithm.
        z_low: Standardised error that 5 % of the errors lie below, 5 x 2 x K, by quantity, by share of silent
            sites (few, most) and by their number.
        z_high: The one that 5 % lie above, 5 x 2 x K.
        z_firm: The one that 10 % lie above, 5 x 2 x K.
        provenance: What it was learned from, for people.
    """

    edges_ns: NDArray[np.int64]
    age_ns: NDArray[np.int64]
    weight: NDArray[np.float64]
    stay: NDArray[np.float64]
    bias: NDArray[np.float64]
    spread: NDArray[np.float64]
    common: NDArray[np.float64]
    shift: NDArray[np.float64]
    dispersion: NDArray[np.float64]
    floor: NDArray[np.float64]
    shrink_sites: NDArray[np.float64]
    correlation: NDArray[np.float64]
    size_sites: NDArray[np.int64]
    z_low: NDArray[np.float64]
    z_high: NDArray[np.float64]
    z_firm: NDArray[np.float64]
    provenance: str

    def effective(self, trail: FleetTrail | None = None, *, ordered: bool = False) -> SilenceRates:
        """Return the rates of this refresh, from what the fleet does now and did at each age.

        Without a trail, or for ages that it does not reach, the fleet is taken to stand still.

        Args:
            trail: What the fleet did; its newest entry is the present.
            ordered: Whether orders of the plant hold for a good part of the batteries.
        """
        row = np.array([ORDERED if ordered else 0, 1, 2, 3])
        now, sd, past, sd_past = self._levels(trail)
        gain = np.minimum(self.weight[row] * sd / np.maximum(sd_past, _SMALL), GAIN_LIMIT)
        moved = now - past
        return SilenceRates(
            edges_ns=self.edges_ns,
            gain=gain,
            drift=(gain - self.stay[row]) * moved + self.bias[row] * sd,
            share=1.0 - gain,
            spread=self.spread[row] * sd,
            common=np.sqrt((self.common[row] * sd) ** 2 + (self.shift[row] * moved) ** 2),
        )

    def quantiles(
        self, silent_sites: NDArray[np.int64], sites: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return the standardised errors at 5, 95 and 90 % for groups with so many silent sites, G x 5 each."""
        few, most = SHARES
        groups, sizes = len(silent_sites), len(self.size_sites)
        most_frac = np.clip((silent_sites / np.maximum(sites, 1) - few) / (most - few), 0.0, 1.0)
        at = np.interp(np.log(np.maximum(silent_sites, 1)), np.log(self.size_sites), np.arange(sizes))
        left = np.minimum(at.astype(np.int64), max(sizes - 2, 0))
        right, beyond = np.minimum(left + 1, sizes - 1), at - left
        # each group's quantiles are a weighted mean of four corners: one product serves all of them
        weight = np.zeros((groups, 2, sizes))
        group = np.arange(groups)
        for by_share, share in enumerate((1.0 - most_frac, most_frac)):
            weight[group, by_share, left] += share * (1.0 - beyond)
            weight[group, by_share, right] += share * beyond
        z = np.stack([self.z_low, self.z_high, self.z_firm]).reshape(15, 2 * sizes)
        found = (weight.reshape(groups, 2 * sizes) @ z.T).reshape(groups, 3, 5)
        return found[:, 0], found[:, 1], found[:, 2]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain lists and numbers."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: v if isinstance(v, str) else v.tolist() for name, v in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SilenceTable:
        """Return the table that `to_dict` described."""
        whole = {"edges_ns", "age_ns", "size_sites"}
        taken: dict[str, Any] = {}
        for field in fields(cls):
            value = values[field.name]
            dtype = np.int64 if field.name in whole else np.float64
            taken[field.name] = value if field.name == "provenance" else np.array(value, dtype=dtype)
        return cls(**taken)

    def _levels(
        self, trail: FleetTrail | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return the fleet's mean and dispersion now (4 x 1) and at each bin's age (4 x B)."""
        shape = (4, len(self.age_ns))
        usual = self.dispersion[:, None]
        if trail is None or not len(trail):
            return np.zeros((4, 1)), usual, np.zeros(shape), np.broadcast_to(usual, shape)
        least = self.floor[:, None] * usual
        now, sd = (values[:, None] for values in trail.latest())
        past, sd_past = trail.before(self.age_ns)
        sd, sd_past = np.maximum(sd, least), np.maximum(sd_past, least)
        return now, sd, np.where(np.isnan(past), now, past), np.where(np.isnan(sd_past), sd, sd_past)


class FleetTrail:
    """Mean and dispersion of the fresh sites, W per scale, over the last day: one entry a minute and the newest."""

    def __init__(self, *, length: int = 26 * 60) -> None:
        self._t_ns = np.zeros(length, dtype=np.int64)
        self._values = np.zeros((length, 2, 4))
        self._count = 0

    def __len__(self) -> int:
        return min(self._count, len(self._t_ns))

    def push(
        self,
        t_ns: int,
        *,
        fresh_w: NDArray[np.float64],
        fresh_scale: NDArray[np.float64],
        square: NDArray[np.float64],
        scale_square: NDArray[np.float64],
    ) -> None:
        """Take the fresh sums over the fleet (4 each) at an instant; one that is not after the newest is left out."""
        size = len(self._t_ns)
        newest = (self._count - 1) % size
        if self._count and t_ns <= self._t_ns[newest]:
            return
        if not np.any(scale_square > 0.0):
            return
        mean = fresh_w / np.maximum(fresh_scale, _SMALL)
        variance = square / np.maximum(scale_square, _SMALL) - mean * mean
        if self._count > 1 and t_ns - self._t_ns[(self._count - 2) % size] < NS_PER_MINUTE:
            at = newest  # the newest entry moves on until it is a minute after the one before
        else:
            at = self._count % size
            self._count += 1
        self._t_ns[at] = t_ns
        self._values[at] = mean, np.sqrt(np.maximum(variance, 0.0))

    def latest(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the newest mean and dispersion, 4 each."""
        mean, dispersion = self._values[(self._count - 1) % len(self._t_ns)]
        return mean, dispersion

    def before(self, age_ns: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and dispersion at each age before the newest entry, 4 x B; NaN where the trail has a hole."""
        order = (np.arange(self._count - len(self), self._count)) % len(self._t_ns)
        t_ns = self._t_ns[order]
        asked_ns = t_ns[-1] - age_ns
        right = np.clip(np.searchsorted(t_ns, asked_ns), 1, max(len(t_ns) - 1, 1))
        left = right - 1
        right = np.minimum(right, len(t_ns) - 1)
        nearest = np.where(asked_ns - t_ns[left] <= t_ns[right] - asked_ns, left, right)
        tolerance_ns = np.maximum(3 * NS_PER_MINUTE, age_ns // 8)
        known = np.abs(t_ns[nearest] - asked_ns) <= tolerance_ns
        found = np.where(known[:, None, None], self._values[order[nearest]], np.nan)
        return found[:, 0, :].T, found[:, 1, :].T


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceSums:
    """The kernel's merged sums of G groups (see the module's text); G x 4 each but the last two, which are G.

    `a`, `b`, `v`, `c` and `silent_scale` are A, B, V, C and S; `silent_sites` counts the sites that are not fresh,
    `sites` all of them.
    """

    fresh_w: NDArray[np.float64]
    fresh_scale: NDArray[np.float64]
    a: NDArray[np.float64]
    b: NDArray[np.float64]
    v: NDArray[np.float64]
    c: NDArray[np.float64]
    silent_scale: NDArray[np.float64]
    silent_sites: NDArray[np.int64]
    sites: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceEstimate:
    """What each group does, fresh and silent sites together: G x 5 each, by `QUANTITIES`, watts, load-positive.

    Attributes:
        expected_w: Best estimate of the true total.
        low_w: Lower end of the interval that holds the true total nine times out of ten.
        high_w: Upper end; the group delivers at least `-high_w` 95 times out of 100.
        firm_w: The total stays at or below this nine times out of ten: the group delivers at least `-firm_w`.
    """

    expected_w: NDArray[np.float64]
    low_w: NDArray[np.float64]
    high_w: NDArray[np.float64]
    firm_w: NDArray[np.float64]


def peer_means(
    table: SilenceTable, sums: SilenceSums, parent_number: NDArray[np.int64], level: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the mean of the fresh peers of each group, W per scale, G x 4; small groups lean on their parent.

    Args:
        table: The table.
        sums: The merged sums.
        parent_number: Number of each group's parent, -1 for a root.
        level: Level of each group: a parent's is smaller than its children's.
    """
    mean = np.zeros_like(sums.fresh_w)
    per_site = (sums.fresh_scale + sums.silent_scale) / np.maximum(sums.sites, 1)[:, None]
    lean = np.where((parent_number < 0)[:, None], 0.0, table.shrink_sites * per_site)
    for depth in np.unique(level):
        at = np.nonzero(level == depth)[0]
        leaned_w = sums.fresh_w[at] + lean[at] * mean[parent_number[at]]
        mean[at] = leaned_w / np.maximum(sums.fresh_scale[at] + lean[at], _SMALL)
    return mean


def estimate(
    table: SilenceTable, sums: SilenceSums, parent_number: NDArray[np.int64], level: NDArray[np.int64]
) -> SilenceEstimate:
    """Return what each group does, from the merged sums; see `peer_means` for `parent_number` and `level`."""
    told_w = np.empty((len(parent_number), 4, len(QUANTITIES)))
    estimate_groups(
        sums.fresh_w,
        sums.fresh_scale,
        (sums.a, sums.b, sums.v, sums.c),
        sums.silent_scale,
        sums.silent_sites,
        sums.sites,
        parent_number,
        np.argsort(level, kind="stable"),
        table.shrink_sites,
        table.correlation,
        np.log(table.size_sites),
        SHARES,
        np.stack([table.z_low, table.z_high, table.z_firm]),
        told_w,
    )
    return SilenceEstimate(
        expected_w=told_w[:, 0], low_w=told_w[:, 1], high_w=told_w[:, 2], firm_w=told_w[:, 3]
    )


def silent_part(
    table: SilenceTable, sums: SilenceSums, parent_number: NDArray[np.int64], level: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the expected power of each group's silent sites and its standard error, G x 5 each, in watts."""
    floor_w, ceiling_w = nameplate_limits(sums)
    signals_w = sums.a + sums.b * peer_means(table, sums, parent_number, level)
    signals_w = np.clip(signals_w, floor_w[:, :4], ceiling_w[:, :4])
    sd_w = np.sqrt(sums.v + sums.c**2)
    grid_variance = (sd_w @ table.correlation * sd_w).sum(axis=1)
    silent_w = np.concatenate([signals_w, signals_w.sum(axis=1, keepdims=True)], axis=1)
    return silent_w, np.concatenate([sd_w, np.sqrt(np.maximum(grid_variance, 0.0))[:, None]], axis=1)


def nameplate_limits(sums: SilenceSums) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the least and most that the silent sites can do by their nameplates, G x 5 each, in watts."""
    battery, solar, _, ev = sums.silent_scale.T
    nothing = np.zeros_like(battery)
    any_load = np.where(sums.silent_sites > 0, np.inf, 0.0)
    floor = np.stack([-battery, -solar, nothing, nothing, -battery - solar], axis=1)
    ceiling = np.stack([battery, nothing, any_load, ev, any_load], axis=1)
    return floor, ceiling


def sum_silence(
    rates: SilenceRates,
    *,
    value_w: NDArray[np.float64],
    age_ns: NDArray[np.int64],
    fresh: NDArray[np.bool_],
    scale: NDArray[np.float64],
    leaf_group: NDArray[np.int64],
    parent_number: NDArray[np.int64],
    level: NDArray[np.int64],
) -> SilenceSums:
    """Return the sums of every group, written as the module's text states them, for sites in columns.

    This is the plain form of the kernel's part: what learning uses and what a kernel is checked against.

    Args:
        rates: Rates of this refresh.
        value_w: Last values, 4 x N, in watts, load-positive; 0 where nothing came.
        age_ns: Age of each value, 4 x N; -1 where nothing ever came.
        fresh: Which sites are fresh, N.
        scale: Scale of each site, 4 x N.
        leaf_group: Group of each site, N.
        parent_number: Number of each group's parent, G; -1 for a root.
        level: Level of each group, G.
    """
    signal = np.arange(4)[:, None]
    bins = np.where(age_ns < 0, len(rates.edges_ns), np.searchsorted(rates.edges_ns, age_ns, side="right"))
    silent = ~fresh & (scale > 0.0)
    columns = {
        "fresh_w": np.where(fresh, value_w, 0.0),
        "fresh_scale": np.where(fresh, scale, 0.0),
        "a": np.where(silent, rates.gain[signal, bins] * value_w + scale * rates.drift[signal, bins], 0.0),
        "b": np.where(silent, scale * rates.share[signal, bins], 0.0),
        "v": np.where(silent, (scale * rates.spread[signal, bins]) ** 2, 0.0),
        "c": np.where(silent, scale * rates.common[signal, bins], 0.0),
        "silent_scale": np.where(silent, scale, 0.0),
    }
    groups = len(parent_number)
    stacked = np.concatenate([*columns.values(), ~fresh[None], np.ones((1, len(leaf_group)))]).astype(
        np.float64
    )
    leaves = np.stack(
        [np.bincount(leaf_group, weights=row, minlength=groups).astype(np.float64) for row in stacked], axis=1
    )
    sums = add_up(leaves, parent_number, level)
    named = {name: sums[:, 4 * k : 4 * k + 4] for k, name in enumerate(columns)}
    return SilenceSums(**named, silent_sites=sums[:, -2].astype(np.int64), sites=sums[:, -1].astype(np.int64))


def add_up(
    sums: NDArray[np.float64], parent_number: NDArray[np.int64], level: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the sums of the leaves, G x columns, carried up to every group above them."""
    totals = sums.copy()
    for depth in np.unique(level)[::-1]:
        at = np.nonzero((level == depth) & (parent_number >= 0))[0]
        np.add.at(totals, parent_number[at], totals[at])
    return totals
