"""Homes that do not answer for themselves, answered for as columns: from their nameplates, their twins and what is expected.

What it finds is only as good as what the plant knows of them: their tariff is assumed, their load and roof are expected as they
were at that time of day of late. The same exact optimum as at a site, for all of them in one call.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.control.price_groups import PriceGroups
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.edge.price_round import MOST_PRICE_PER_KWH
from shoal.optimise.fleet_optimum import Ask
from shoal.optimise.fleet_optimum_parts import LocalHomes, Part
from shoal.optimise.home_batch import GroupSums, HomeBatch, HomeColumns
from shoal.optimise.storage_batch import StorageBatch

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]

SLOTS: Final = 96
_SLOT_NS: Final = 24 * NS_PER_HOUR // SLOTS
_GAIN: Final = 0.3
_CLEAR_KEPT: Final = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class AssumedTariff:
    """What homes are taken to pay and earn for a kWh, and what wear costs a kWh discharged."""

    import_per_kwh: float
    export_per_kwh: float
    wear_per_kwh: float = 0.0


class SiteOutlook:
    """What N sites use and generate at each quarter of the day, learned from their twins as they are looked at.

    A quarter that was never seen is as the mean of those that were; a roof's is taken for dark.
    """

    def __init__(self, sites: int) -> None:
        self._load_kw = np.full((SLOTS, sites), np.nan, dtype=np.float32)
        self._solar_kw = np.zeros((SLOTS, sites), dtype=np.float32)

    def observe(self, latest: NDArray[Any], t_ns: int, *, fresh_ns: int) -> None:
        """Take in the latest records of all sites; those that are older than `fresh_ns` say nothing."""
        slot = t_ns // _SLOT_NS % SLOTS
        rows = np.flatnonzero(latest["ts_ns"] >= t_ns - fresh_ns)
        load_kw = (latest["load_w"][rows] + latest["ev_w"][rows]) / 1e3
        before = self._load_kw[slot, rows]
        learned = before + _GAIN * (load_kw - before)
        self._load_kw[slot, rows] = np.where(np.isnan(before), load_kw, learned)
        solar_kw = np.maximum(-latest["solar_w"][rows] / 1e3, 0.0)
        self._solar_kw[slot, rows] = np.maximum(solar_kw, _CLEAR_KEPT * self._solar_kw[slot, rows])

    def expect(self, rows: Rows, *, start_ns: int, step_s: int, steps: int) -> tuple[Floats, Floats]:
        """Return the load and what the roof gives in kW, both >= 0, each of shape (n, T)."""
        at = (start_ns + np.arange(steps, dtype=np.int64) * step_s * NS_PER_S) // _SLOT_NS % SLOTS
        known = self._load_kw[:, rows]
        seen = ~np.isnan(known)
        mean = np.where(seen, known, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
        load = np.where(seen, known, mean)[at].T
        return np.maximum(load, 0.0).astype(np.float64), self._solar_kw[:, rows][at].T.astype(np.float64)


class ColumnHomes:
    """Some homes of a search.

    Args:
        rows: Which sites.
        groups: Who takes part.
        nameplate: Of all sites.
        soc_frac: State of charge of these, shape (n,).
        reserve_frac: What each owner keeps, of all sites.
        load_kw: What they use, shape (n, T).
        solar_kw: What their roofs give, shape (n, T).
        step_s: Length of an interval.
        tariff: What they pay.
    """

    def __init__(
        self,
        rows: Rows,
        *,
        groups: PriceGroups,
        nameplate: NDArray[Any],
        soc_frac: Floats,
        reserve_frac: Floats,
        load_kw: Floats,
        solar_kw: Floats,
        step_s: int,
        tariff: AssumedTariff,
    ) -> None:
        plate, count = nameplate[rows], len(rows)
        usable = plate["energy_capacity_kwh"] * (1.0 - reserve_frac[rows])
        stored = plate["energy_capacity_kwh"] * (np.clip(soc_frac, 0.0, 1.0) - reserve_frac[rows])
        worth = max(tariff.import_per_kwh - tariff.wear_per_kwh, 0.0) * plate["discharge_efficiency_frac"]
        columns = HomeColumns(
            interval_h=step_s / 3_600,
            storage=StorageBatch(
                charge_limit_kw=plate["charge_limit_kw"].astype(np.float64),
                discharge_limit_kw=plate["discharge_limit_kw"].astype(np.float64),
                charge_efficiency_frac=plate["charge_efficiency_frac"].astype(np.float64),
                discharge_efficiency_frac=plate["discharge_efficiency_frac"].astype(np.float64),
                energy_capacity_kwh=np.maximum(usable, 0.0),
                initial_energy_kwh=np.clip(stored, 0.0, np.maximum(usable, 0.0)),
                throughput_cost_per_mwh=np.full(count, tariff.wear_per_kwh * 1e3),
                terminal_value_per_mwh=worth * 1e3,
                standing_loss_frac_per_h=np.zeros(count),
            ),
            load_kw=load_kw,
            load_row=np.arange(count, dtype=np.int64),
            load_scale=np.ones(count),
            solar_kw=solar_kw,
            solar_row=np.arange(count, dtype=np.int64),
            solar_scale=np.ones(count),
            import_per_kwh=np.full((1, load_kw.shape[1]), tariff.import_per_kwh),
            export_per_kwh=np.full((1, load_kw.shape[1]), tariff.export_per_kwh),
            tariff_row=np.zeros(count, dtype=np.int64),
            group_of=groups.group_of(rows, answering=False),
            feeder_of=groups.feeder_of,
            most_price_per_kwh=MOST_PRICE_PER_KWH,
        )
        batch = HomeBatch(columns)
        self._stored_amount = np.bincount(
            columns.group_of,
            weights=worth * columns.storage.initial_energy_kwh,
            minlength=groups.groups,
        )
        self._homes = LocalHomes(batch)
        self.part = Part.of(batch)
        # the first plan of a process takes seconds: before a round waits for it
        batch.answer(np.zeros((batch.feeders, batch.steps)))

    def sums(self, ask: Ask) -> GroupSums:
        """Return what these homes do, or a sample of them; energy stored at the beginning counts as what it is worth."""
        sums = self._homes.sums(ask)
        return replace(
            sums, cost=sums.cost + self._stored_amount, lower_bound=sums.lower_bound + self._stored_amount
        )
