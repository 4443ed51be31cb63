"""Prices at simulated homes: they answer what they would do, and follow their own optimum to what they were sent, as columns.

A home expects of a quarter of an hour what it used and generated a day before. Its plan is made once for each series that it is
sent, and kept; the same exact optimum is its answer to a question, from what was stored when the search began.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import ShoalError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.domain.orders import PriceSeries
from shoal.edge import price_round
from shoal.edge.agent_columns import AgentColumns
from shoal.edge.planner_tariff import Tariff, TariffWeek, TariffWindow
from shoal.edge.price_round import PriceAnswer, PriceAsk
from shoal.optimise.home_batch import HomeBatch, HomeColumns
from shoal.optimise.storage_batch import StorageBatch
from shoal.simulate.profiles import ZONE, Profiles

TARIFF: Final = Tariff(
    import_per_kwh=0.30,
    export_per_kwh=0.05,
    windows=(TariffWindow(begin="17:00", end="21:00", import_per_kwh=0.45),),
)
"""What every simulated home pays."""
WEAR_PER_KWH: Final = 0.02
_SEARCHES_KEPT: Final = 2
_DAY_NS: Final = 24 * NS_PER_HOUR

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]


class PricedHomes:
    """The part of N simulated homes in prices.

    Args:
        agents: Their agents.
        nameplate: N records of `shoal.domain.fleet.NAMEPLATE`.
        profiles: What they use and generate.
        tariff: What they pay.
        zone: Local time of the tariff.
    """

    def __init__(
        self,
        agents: AgentColumns,
        nameplate: NDArray[Any],
        profiles: Profiles,
        *,
        tariff: Tariff = TARIFF,
        zone: ZoneInfo = ZONE,
    ) -> None:
        self._agents, self._plate, self._profiles = agents, nameplate, profiles
        self._tariff = TariffWeek(tariff, zone)
        count = len(nameplate)
        self._series: dict[int, PriceSeries] = {}
        self._dirty: set[int] = set()
        self._plan_start_ns = np.zeros(count, dtype=np.int64)
        self._plan_step_ns = np.ones(count, dtype=np.int64)
        self._plan_kw: dict[int, Floats] = {}
        self._waiting: dict[int, PriceAsk] = {}
        self._searches: dict[str, Floats] = {}
        self._outlooks: dict[tuple[int, int, int], tuple[Floats, Floats]] = {}
        self._batches: dict[tuple[str, bytes], HomeBatch] = {}
        self.count: Counter[str] = Counter()
        """``asked``, ``answered``, ``planned``, and why others were not."""

    # -- following

    def take(self, row: int, prices: PriceSeries | None) -> None:
        """Let a home follow other prices, or none, from its next plan on."""
        if prices == self._series.get(row):
            return
        self._plan_kw.pop(row, None)
        self._dirty.discard(row)
        if prices is None:
            self._series.pop(row, None)
        else:
            self._series[row] = prices
            self._dirty.add(row)

    def plan_w(self, now_ns: int, stored_kwh: Floats) -> Floats | None:
        """Return what each home's plan asks for now (N), charging positive; not a number without one, None for nobody."""
        if self._dirty:
            self._make_plans(now_ns, stored_kwh)
        if not self._plan_kw:
            return None
        found = np.full(len(self._plate), np.nan)
        for row, power_kw in self._plan_kw.items():
            at = (now_ns - int(self._plan_start_ns[row])) // int(self._plan_step_ns[row])
            if 0 <= at < len(power_kw):
                found[row] = 1e3 * power_kw[at]
        return found

    def _make_plans(self, now_ns: int, stored_kwh: Floats) -> None:
        rows, self._dirty = sorted(self._dirty), set()
        alike: dict[PriceSeries, list[int]] = {}
        for row in rows:
            alike.setdefault(self._series[row], []).append(row)
        for series, some in alike.items():
            step_ns = series.step_s * NS_PER_S
            first = max((now_ns - series.start_ns) // step_ns, 0)
            kept = [list(one[first:]) for one in (series.rows or (series.import_per_kwh,))]
            if not kept[0]:
                continue
            start_ns = series.start_ns + first * step_ns
            batch = self._batch(
                np.array(some, dtype=np.int64),
                stored_kwh,
                start_ns=start_ns,
                step_s=series.step_s,
                steps=len(kept[0]),
                less_per_kwh=None if series.added else _less(series, first),
            )
            prices = np.array(kept)[:, np.newaxis, :]
            shares = np.tile(series.weights or (1.0,), (len(some), 1))
            plans = batch.plans(prices, shares, how="average", first=0, count=len(some))
            for row, power_kw in zip(some, plans.battery_kw, strict=True):
                self._plan_kw[row] = power_kw
                self._plan_start_ns[row], self._plan_step_ns[row] = start_ns, step_ns
            self.count["planned"] += len(some)

    # -- answering

    def hear(self, row: int, payload: bytes, now_ns: int) -> None:
        """Take a question to a home; it is answered by `answers`, the newest one."""
        self.count["asked"] += 1
        try:
            ask = price_round.decode_ask(payload)
        except ShoalError:
            self.count["refused"] += 1
            return
        agents = self._agents
        if now_ns > ask.until_ns or agents.halted[row] or agents.independent[row] or agents.off[row]:
            self.count["silent"] += 1
            return
        if self._plate["energy_capacity_kwh"][row] > 0:
            self._waiting[row] = ask

    def answers(self, stored_kwh: Floats) -> Iterator[tuple[int, bytes]]:
        """Return what homes have to say, each with its row."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, {}
        alike: dict[PriceAsk, list[int]] = {}
        for row, ask in waiting.items():
            alike.setdefault(ask, []).append(row)
        for ask, some in alike.items():
            rows = np.array(sorted(some), dtype=np.int64)
            yield from self._answer(ask, rows, stored_kwh)
            self.count["answered"] += len(rows)
            if ask.number == price_round.ROLL:
                # the first plan of a process takes seconds: before a round waits for it
                self._batches[ask.search, rows.tobytes()].answer(np.zeros((1, ask.steps)))

    def _answer(self, ask: PriceAsk, rows: Rows, stored_kwh: Floats) -> list[tuple[int, bytes]]:
        stored = self._searches.setdefault(ask.search, stored_kwh.copy())
        while len(self._searches) > _SEARCHES_KEPT:
            gone = next(iter(self._searches))
            del self._searches[gone]
            self._batches = {key: batch for key, batch in self._batches.items() if key[0] != gone}
        key = (ask.search, rows.tobytes())
        if key not in self._batches:
            self._batches[key] = self._batch(
                rows, stored, start_ns=ask.start_ns, step_s=ask.step_s, steps=ask.steps
            )
        batch = self._batches[key]
        if ask.number == price_round.ROLL:
            least, most = batch.reach_kwh()
            return [
                (
                    row,
                    price_round.encode(
                        PriceAnswer(
                            search=ask.search,
                            number=ask.number,
                            least=price_round.column(least[place].tolist()),
                            most=price_round.column(most[place].tolist()),
                        )
                    ),
                )
                for place, row in enumerate(rows.tolist())
            ]
        prices = np.array(price_round.rows_of(ask))[:, np.newaxis, :]
        shares = np.tile(ask.shares or (1.0,), (len(rows), 1))
        sums = batch.realise(prices, shares, how="average" if len(prices) > 1 else "choose")
        worth = self._worth(rows, ask.start_ns, ask.step_s, ask.steps)
        kept = worth * self._usable_kwh(rows, stored)[1]
        return [
            (
                row,
                price_round.encode(
                    PriceAnswer(
                        search=ask.search,
                        number=ask.number,
                        energy=price_round.column(sums.energy_kwh[place].tolist()),
                        cost=float(sums.cost[place] + kept[place]),
                        lower_bound=float(sums.lower_bound[place] + kept[place]),
                        penalty=max(float(sums.penalty[place]), 0.0),
                    )
                ),
            )
            for place, row in enumerate(rows.tolist())
        ]

    # -- homes as columns

    def _batch(
        self,
        rows: Rows,
        stored_kwh: Floats,
        *,
        start_ns: int,
        step_s: int,
        steps: int,
        less_per_kwh: Floats | None = None,
    ) -> HomeBatch:
        """Return homes, each a group of its own, that pay their tariff, or nothing but a price that takes its place.

        Args:
            rows: Which homes.
            stored_kwh: Energy in each battery of all of them.
            start_ns: When the first interval begins.
            step_s: Length of each.
            steps: How many.
            less_per_kwh: Where the plant's prices take the tariff's place, by how much less selling earns than buying costs.
        """
        plate, count = self._plate[rows], len(rows)
        usable, stored = self._usable_kwh(rows, stored_kwh)
        load_kw, solar_kw = self._expected(rows, start_ns, step_s, steps)
        starts = start_ns + np.arange(steps, dtype=np.int64) * step_s * NS_PER_S
        buy, sell = np.array([self._tariff.at(int(t)) for t in starts]).T
        if less_per_kwh is not None:
            buy, sell = np.zeros(steps), -less_per_kwh
        return HomeBatch(
            HomeColumns(
                interval_h=step_s / 3_600,
                storage=StorageBatch(
                    charge_limit_kw=plate["charge_limit_kw"].astype(np.float64),
                    discharge_limit_kw=plate["discharge_limit_kw"].astype(np.float64),
                    charge_efficiency_frac=plate["charge_efficiency_frac"].astype(np.float64),
                    discharge_efficiency_frac=plate["discharge_efficiency_frac"].astype(np.float64),
                    energy_capacity_kwh=usable,
                    initial_energy_kwh=stored,
                    throughput_cost_per_mwh=np.full(count, WEAR_PER_KWH * 1e3),
                    terminal_value_per_mwh=1e3 * self._worth(rows, start_ns, step_s, steps),
                    standing_loss_frac_per_h=np.zeros(count),
                ),
                load_kw=load_kw,
                load_row=np.arange(count, dtype=np.int64),
                load_scale=np.ones(count),
                solar_kw=solar_kw,
                solar_row=np.arange(count, dtype=np.int64),
                solar_scale=np.ones(count),
                import_per_kwh=buy[np.newaxis],
                export_per_kwh=sell[np.newaxis],
                tariff_row=np.zeros(count, dtype=np.int64),
                group_of=np.arange(count, dtype=np.int64),
                feeder_of=np.zeros(count, dtype=np.int64),
                most_price_per_kwh=price_round.MOST_PRICE_PER_KWH,
            )
        )

    def _usable_kwh(self, rows: Rows, stored_kwh: Floats) -> tuple[Floats, Floats]:
        """Return the room above what owners keep, and what is in it."""
        usable = np.maximum(self._agents.energy_capacity_kwh[rows] - self._agents.reserve_kwh[rows], 0.0)
        return usable, np.clip(stored_kwh[rows] - self._agents.reserve_kwh[rows], 0.0, usable)

    def _worth(self, rows: Rows, start_ns: int, step_s: int, steps: int) -> Floats:
        """Return what a kWh that is left is worth: what it saves at the cheapest hour."""
        cheapest = min(self._tariff.at(start_ns + at * step_s * NS_PER_S)[0] for at in range(steps))
        worth: Floats = max(cheapest - WEAR_PER_KWH, 0.0) * self._plate["discharge_efficiency_frac"][rows]
        return worth

    def _expected(self, rows: Rows, start_ns: int, step_s: int, steps: int) -> tuple[Floats, Floats]:
        """Return load and sun in kW as they were a day before each interval, shape (n, T) each."""
        times = (start_ns, step_s, steps)
        if times not in self._outlooks:
            self._outlooks = dict(list(self._outlooks.items())[1 - _SEARCHES_KEPT :])
            self._outlooks[times] = self._day_before(*times)
        load, solar = self._outlooks[times]
        return load[rows], solar[rows]

    def _day_before(self, start_ns: int, step_s: int, steps: int) -> tuple[Floats, Floats]:
        load, solar = np.empty((len(self._plate), steps)), np.empty((len(self._plate), steps))
        for at in range(steps):
            begin_ns = start_ns + at * step_s * NS_PER_S
            while begin_ns >= start_ns:
                begin_ns -= _DAY_NS
            load_w, solar_w, ev_w = self._profiles.power_w(begin_ns, begin_ns + step_s * NS_PER_S)
            load[:, at] = (load_w + ev_w) / 1e3
            solar[:, at] = -solar_w / 1e3
        return load, np.maximum(solar, 0.0)


def _less(series: PriceSeries, first: int) -> Floats:
    less: Floats = np.array(series.import_per_kwh[first:]) - np.array(series.export_per_kwh[first:])
    return less
