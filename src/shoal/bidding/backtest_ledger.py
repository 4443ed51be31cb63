"""The storage on paper of a back-test through the cycle: what is asked of it, what it can follow, and what is settled.

Energy at the terminals is whole watt-hours, settled by the market's own module; what is stored follows as `follow` of the
cycle's own paper storage has it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.bidding.backtest_prices import GridPrices
from shoal.bidding.cycle.decision import Decision
from shoal.bidding.cycle.known import GateRef
from shoal.bidding.cycle.paper import follow
from shoal.market.awards import AwardedQuantity, Delivered, MarketAward, Settlement
from shoal.market.contract import Market
from shoal.market.settlement import energy_wh, positions_wh
from shoal.optimise.storage import Storage

RESOURCE: Final = "battery"
LEAD_S: Final = 30.0
"""How long before its gate a bid is decided."""
_CENTS: Final = 100
_W_PER_KW: Final = 1e3
_EPOCH: Final = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSetting:
    """What is tested.

    Attributes:
        market: The market.
        product_id: The product of energy that is bid for.
        settlement_point: Where it is priced.
        storage: The storage as it stands at the first instant.
        strategy: A strategy of the cycle, by name.
        settings: What it is set to.
        lead_s: How long before a gate its bid is decided.
        services: Prices of ancillary services that are offered along with the energy, by product. What is held ready for
            them is paid; that it is called upon is not simulated.
        called_mw: In a programme of events, the reduction asked for by the start of the hour; None for a market of prices.
    """

    market: Market
    product_id: str
    settlement_point: str
    storage: Storage
    strategy: str
    settings: Mapping[str, float] = field(default_factory=dict)
    lead_s: float = LEAD_S
    services: Mapping[str, GridPrices] = field(default_factory=dict)
    called_mw: Mapping[int, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GateOutcome:
    """What a strategy did in N intervals.

    Attributes:
        first_index: Which interval of the prices is the first.
        planned_wh: N energies of the plans behind the bids, carried out as they are from the first on, charging positive; as
            asked where there was none.
        planned: N whether there was one.
        asked_wh: N energies that the market awarded, or that the plan sets where an award is a position only.
        delivered_wh: N energies that the storage could take or give.
        energy_kwh: N + 1 stored energies: at each start, and at the end.
        amount: N amounts: settled, less wear; 1e-8 of the unit of currency.
        service_amount: N parts of `amount` that were paid for services.
        sell_limit_per_mwh: N lowest prices at which anything was offered for sale; NaN where nothing was.
        buy_limit_per_mwh: N highest prices at which anything would have been bought; NaN where nothing would.
        end_value_per_mwh: What the plan said that a MWh more is worth at the end of a delivery day, by day.
        kind_amount: What was settled by product and kind of line.
        decisions_count: Decisions made.
        rungs: How often each rung held.
        reasons: Why rungs did not hold, and how often.
    """

    first_index: int
    planned_wh: NDArray[np.int64]
    planned: NDArray[np.bool_]
    asked_wh: NDArray[np.int64]
    delivered_wh: NDArray[np.int64]
    energy_kwh: NDArray[np.float64]
    amount: NDArray[np.int64]
    service_amount: NDArray[np.int64]
    sell_limit_per_mwh: NDArray[np.float64]
    buy_limit_per_mwh: NDArray[np.float64]
    end_value_per_mwh: dict[date, float]
    kind_amount: dict[str, int]
    decisions_count: int
    rungs: dict[str, int]
    reasons: dict[str, int]


class Ledger:
    """N intervals of a product: asked, delivered, settled.

    Args:
        setting: What is tested.
        prices: Prices that came out.
        first_index: The first interval.
        end_index: The interval after the last.
        award_of: Returns the newest award of a delivery day, by its date, None without one.
    """

    def __init__(
        self,
        setting: GateSetting,
        prices: GridPrices,
        first_index: int,
        end_index: int,
        *,
        award_of: Callable[[str], MarketAward | None],
    ) -> None:
        self._setting, self._prices, self._first = setting, prices, first_index
        self._market, self._storage = setting.market, setting.storage
        self._product = self._market.product(setting.product_id)
        self._award_of = award_of
        self.start_ns: Final[list[int]] = prices.start_ns[first_index:end_index].tolist()
        self.end_ns: Final[list[int]] = prices.end_ns[first_index:end_index].tolist()
        self.price_per_mwh: Final[list[float]] = prices.price_per_mwh[first_index:end_index].tolist()
        count = len(self.start_ns)
        self._planned_w = np.full(count, np.nan)
        self._asked_w = np.zeros(count, np.int64)
        self._asked_wh, self._delivered_wh = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self._amount, self._service_amount = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self._service_per_mwh = {
            product: dict(zip(some.start_ns.tolist(), some.price_per_mwh.tolist(), strict=True))
            for product, some in setting.services.items()
        }
        self._energy_kwh = np.full(count + 1, setting.storage.initial_energy_kwh)
        self._sell_limit, self._buy_limit = np.full(count, np.nan), np.full(count, np.nan)
        self._end_value: dict[date, float] = {}
        self._kind_amount: Counter[str] = Counter()
        self._readings: list[Delivered] = []
        self._done = 0
        self._wear_cents = round(setting.storage.throughput_cost_per_mwh * _CENTS)

    def behind_count(self, t_ns: int) -> int:
        """Return how many intervals have begun at an instant."""
        return bisect_left(self.start_ns, t_ns)

    def _at(self, start_ns: int) -> int | None:
        at = bisect_left(self.start_ns, start_ns)
        return at if at < len(self.start_ns) and self.start_ns[at] == start_ns else None

    def storage_at(self, as_of_ns: int) -> Storage:
        """Return the storage as it stands, in the middle of an interval, too."""
        energy_kwh = float(self._energy_kwh[self._done])
        if self._done < len(self.start_ns) and self.start_ns[self._done] < as_of_ns:
            begun = self._pieces(self._done, until_ns=as_of_ns)
            energy_kwh = float(
                follow(replace(self._storage, initial_energy_kwh=energy_kwh), begun).energy_kwh[-1]
            )
        return replace(self._storage, initial_energy_kwh=energy_kwh)

    def note_plan(self, gate: GateRef, decision: Decision) -> None:
        """Keep the plan of what a gate covers."""
        plan = decision.plan
        if plan is None:
            return
        for start_ns, power_kw in zip(plan.start_ns, plan.power_kw, strict=True):
            at = self._at(start_ns)
            if at is not None and gate.covers_start_ns <= start_ns < gate.covers_end_ns:
                self._planned_w[at] = round(power_kw * _W_PER_KW)
        if plan.end_ns and plan.end_ns[-1] == gate.covers_end_ns:
            self._end_value[date.fromisoformat(gate.delivery_date)] = plan.value_per_mwh[-1]

    def note_limits(self, at: int, limits: tuple[float, float]) -> None:
        """Keep from which price on an interval was for sale, and up to which it would have been bought."""
        self._sell_limit[at], self._buy_limit[at] = limits

    def ask(self, quantities: Sequence[AwardedQuantity]) -> None:
        """Ask of the storage what was awarded of its own product."""
        notified = self._product.settled_by == "notified"
        for one in quantities:
            at = self._at(one.start_ns)
            if at is not None and one.product == self._setting.product_id:
                self._asked_w[at] = (
                    self._followed_w(one.power_w, self._planned_w[at]) if notified else one.power_w
                )

    def prices_at(self, covered: range) -> dict[str, dict[int, float]]:
        """Return the prices of some intervals by product and start, those of services where they are known."""
        starts = [self.start_ns[at] for at in covered]
        prices = {self._setting.product_id: {self.start_ns[at]: self.price_per_mwh[at] for at in covered}}
        for product, by_start in self._service_per_mwh.items():
            prices[product] = {start: by_start[start] for start in starts if start in by_start}
        return prices

    def deliver(self, until_ns: int) -> list[str]:
        """Have the storage follow the intervals that have ended by an instant; return the days that were settled then."""
        first = self._done
        while self._done < len(self.end_ns) and self.end_ns[self._done] <= until_ns:
            self._done += 1
        return self._deliver(first, self._done) if self._done > first else []

    def _followed_w(self, awarded_w: int, planned_w: float) -> int:
        """Return what is asked of the storage for a position: it moves nothing by itself, the plan behind it is carried out.

        A reduction is made as far as it is called and no further.
        """
        if not np.isfinite(planned_w):
            return awarded_w
        if self._product.direction == "up" and planned_w < 0:
            return max(int(planned_w), awarded_w)
        return int(planned_w)

    def _pieces(self, at: int, *, until_ns: int | None = None) -> list[AwardedQuantity]:
        """Return what is asked of the storage in an interval, cut where meters are read."""
        step_ns = self._market.rules.settlement_ns
        end_ns = self.end_ns[at] if until_ns is None else min(until_ns, self.end_ns[at])
        return [
            AwardedQuantity(
                product=self._setting.product_id,
                start_ns=start_ns,
                end_ns=min(start_ns + step_ns, end_ns),
                power_w=int(self._asked_w[at]),
                price_per_mwh=self.price_per_mwh[at],
            )
            for start_ns in range(self.start_ns[at], end_ns, step_ns)
        ]

    def _deliver(self, first: int, end: int) -> list[str]:
        """Have the storage follow some intervals, and settle the days that end with them; return those."""
        settled = []
        cut = [self._pieces(at) for at in range(first, end)]
        row_of = np.repeat(np.arange(first, end), [len(pieces) for pieces in cut])
        pieces = [one for some in cut for one in some]
        storage = replace(self._storage, initial_energy_kwh=float(self._energy_kwh[first]))
        done = follow(storage, pieces)
        np.add.at(self._delivered_wh, row_of, done.delivered_wh)
        self._energy_kwh[row_of + 1] = done.energy_kwh[1:]  # of several pieces the last one counts
        metered = iter(zip(pieces, done.delivered_wh.tolist(), strict=True))
        for at in range(first, end):
            self._readings += [
                Delivered(start_ns=one.start_ns, end_ns=one.end_ns, delivered_wh=wh)
                for one, wh in islice(metered, len(cut[at - first]))
            ]
            self._asked_wh[at] = energy_wh(int(self._asked_w[at]), self.start_ns[at], self.end_ns[at])
            sold_wh = max(-int(self._delivered_wh[at]), 0)
            self._amount[at] -= self._wear_cents * sold_wh
            last = at + 1 == len(self.start_ns)
            if last or self._day_of(at + 1) != self._day_of(at):
                settled.append(self._settle(self._day_of(at), self.end_ns[at]))
        return settled

    def _day_of(self, at: int) -> int:
        return int(self._prices.day_number[self._first + at])

    def _settle(self, day_number: int, now_ns: int) -> str:
        """Settle a delivery day whose last interval has ended, and return its date.

        A position that is only notified has a contract behind it whose money the market does not see. It is taken to have been
        struck at the price of imbalance: then it makes no difference how much of what was delivered had been notified.
        """
        readings, self._readings = self._readings, []
        day = date.fromordinal(day_number + _EPOCH)
        award = self._award_of(day.isoformat())
        if award is None:
            award = MarketAward(
                resource_id=RESOURCE,
                market_id=self._market.rules.market_id,
                settlement_point=self._setting.settlement_point,
                delivery_date=day.isoformat(),
                bid_id="",
                version=1,
                published_ns=now_ns,
                quantities=(),
            )
        settlement = self._settlement(award, readings, now_ns)
        for line in settlement.lines:
            self._book(line.start_ns, f"{line.product} {line.kind}", line.amount)
            if line.kind == "capacity":
                self._service_amount[bisect_left(self.start_ns, line.start_ns + 1) - 1] += line.amount
        if self._product.settled_by == "notified" and self._market.rules.imbalance_price:
            for start_ns, wh in positions_wh(self._market.rules, award).items():
                at = bisect_left(self.start_ns, start_ns + 1) - 1
                cents = int(self._prices.price_cents_per_mwh[self._first + at])
                self._book(start_ns, f"{self._setting.product_id} contract", -wh * cents)
        return day.isoformat()

    def _book(self, start_ns: int, kind: str, amount: int) -> None:
        self._amount[bisect_left(self.start_ns, start_ns + 1) - 1] += amount
        self._kind_amount[kind] += amount

    def _settlement(self, award: MarketAward, readings: list[Delivered], now_ns: int) -> Settlement:
        """Return the first settlement; a deviation whose price is not in the file is taken at the product's own."""
        rules, own = self._market.rules, self._setting.product_id
        price: dict[int, float] = {}
        metered: dict[int, float] = {}
        for one in readings:
            at = bisect_left(self.start_ns, one.start_ns + 1) - 1
            metered[one.start_ns] = self.price_per_mwh[at]
            price[self.start_ns[at]] = metered[one.start_ns]
        deviation = self._prices.deviation_per_mwh
        if deviation:
            metered = {start_ns: deviation.get(start_ns, each) for start_ns, each in metered.items()}
        prices = {**self._service_per_mwh, own: price}
        if rules.imbalance_price:
            prices[rules.imbalance_price] = prices.get(rules.imbalance_price, {}) | metered
        return self._market.settle(award, readings, prices, run=rules.runs[0].run, issued_ns=now_ns)

    def outcome(self, *, rungs: Mapping[str, int], reasons: Counter[str]) -> GateOutcome:
        """Return the books, with how often each rung held and why others did not."""
        had_plan = np.isfinite(self._planned_w)
        return GateOutcome(
            first_index=self._first,
            planned_wh=self._carried_out(had_plan),
            planned=had_plan,
            asked_wh=self._asked_wh,
            delivered_wh=self._delivered_wh,
            energy_kwh=self._energy_kwh,
            amount=self._amount,
            service_amount=self._service_amount,
            sell_limit_per_mwh=self._sell_limit,
            buy_limit_per_mwh=self._buy_limit,
            end_value_per_mwh=self._end_value,
            kind_amount=dict(sorted(self._kind_amount.items())),
            decisions_count=sum(rungs.values()),
            rungs=dict(sorted(rungs.items())),
            reasons=dict(reasons.most_common()),
        )

    def _carried_out(self, had_plan: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return what the plans would have moved as they are: whatever the price, as far as the storage could follow them all.

        Plans begin where the storage really stood; followed from the first on, none counts energy that another one has used.
        """
        planned = np.where(had_plan, self._planned_w, self._asked_w).tolist()
        schedule = [
            AwardedQuantity(
                product=self._setting.product_id,
                start_ns=start,
                end_ns=end,
                power_w=int(power_w),
                price_per_mwh=0.0,
            )
            for start, end, power_w in zip(self.start_ns, self.end_ns, planned, strict=True)
        ]
        return follow(self._storage, schedule).delivered_wh
