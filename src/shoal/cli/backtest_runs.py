"""A back-test with everything beside it: hindsight, baselines, where the money went; through bands or through the cycle."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from shoal.bidding.backtest import Outcome, Series, calendar_of, perfect_foresight, run_backtest
from shoal.bidding.backtest_bounds import DailyForesight, daily_foresight
from shoal.bidding.backtest_days import Days, Score, by_day, score
from shoal.bidding.backtest_markets import view_of
from shoal.bidding.backtest_stages import attributed
from shoal.bidding.strategy import Setting
from shoal.bidding.strategy_registry import BASELINES, PERFECT, make_strategy
from shoal.domain.errors import InvalidInputError
from shoal.settle.attribution import Attribution

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from shoal.bidding.backtest_ledger import GateOutcome, GateSetting
    from shoal.bidding.backtest_prices import GridPrices
    from shoal.bidding.backtest_tape import Tape

SCHEDULE = "shape"
"""The baseline that stands for a plan on a forecast where the strategy itself makes no plan."""
KW_PER_MW = 1e3
_EPOCH = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """Everything that a back-test came to.

    Attributes:
        setting: The market as one of bands, and the storage.
        series: Prices, before the span too.
        product: What was traded.
        point: Where.
        strategy: Who bid.
        outcome: What came of it.
        perfect: What hindsight would have made of it.
        days: Both by day.
        score: The figures.
        baselines: The figures of others.
        baseline_days: Their days.
        attribution: Every interval at the four stages, see `shoal.settle.attribution`.
        wall_s: How long the strategy took.
        daily: Hindsight day by day; None where there is no auction of a day.
        rungs: How often each rung of the cycle held.
        reasons: Why rungs did not hold, and how often.
        kind_amount: What was settled by product and kind of line, in 1e-8 of the unit of currency.
    """

    setting: Setting
    series: Series
    product: str
    point: str
    strategy: str
    outcome: Outcome
    perfect: Outcome
    days: Days
    score: Score
    baselines: dict[str, Score]
    baseline_days: dict[str, Days]
    attribution: Attribution
    wall_s: float
    daily: DailyForesight | None = None
    rungs: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    kind_amount: dict[str, int] = field(default_factory=dict)


def run_bands(
    setting: Setting, series: Series, strategy: str, *, point: str, span: tuple[int, int]
) -> Tested:
    """Run a strategy of bands, hindsight and every baseline over a span of the series, with a bar on a terminal."""
    first, end = span
    perfect = perfect_foresight(setting, series, first_index=first, end_index=end)
    with Bar(end - first) as bar:
        begun_s = time.perf_counter()
        outcome = _bands_outcome(setting, series, strategy, perfect, span, bar.about(strategy))
        wall_s = time.perf_counter() - begun_s
        others = _baselines(setting, series, perfect, span, bar, leave_out=strategy)
    planned = others.get(SCHEDULE, outcome)
    return _tested(
        setting,
        series,
        outcome,
        perfect,
        others,
        attribution=attributed(
            perfect_wh=perfect.delivered_wh,
            planned_wh=outcome.delivered_wh if strategy == PERFECT else planned.delivered_wh,
            asked_wh=outcome.asked_wh,
            delivered_wh=outcome.delivered_wh,
            amount=outcome.amount,
            price_cents_per_mwh=series.price_cents_per_mwh[first:end],
            wear_per_mwh=setting.storage.throughput_cost_per_mwh,
        ),
        product="energy",
        point=point,
        strategy=strategy,
        wall_s=wall_s,
    )


def run_cycle(
    setting: GateSetting, prices: GridPrices, *, span: tuple[int, int], tape: Tape | None = None
) -> Tested:
    """Run a strategy of the cycle over a span of gates, with hindsight and the baselines beside it.

    Args:
        setting: What is tested.
        prices: Prices that came out.
        span: The first interval, and the one after the last.
        tape: Further facts that strategies may ask for.

    Raises:
        InvalidInputError: the market would have taken none of its bids.
    """
    from shoal.bidding.backtest_gates import run_gates

    first, end = span
    epoch_day = [date.fromordinal(int(prices.day_number[at]) + _EPOCH) for at in (first, end - 1)]
    view = view_of(
        setting.market,
        setting.product_id,
        interval_ns=prices.interval_ns,
        first=epoch_day[0],
        last=epoch_day[1],
        widest=True,
    )
    bands = Setting(market=view, storage=setting.storage)
    slot_number, _ = calendar_of(view, prices.start_ns)
    series = Series(
        start_ns=prices.start_ns,
        price_cents_per_mwh=prices.price_cents_per_mwh,
        slot_number=slot_number,
        day_number=prices.day_number,
    )
    with Bar(end - first) as bar:
        begun_s = time.perf_counter()
        made = run_gates(
            setting,
            prices,
            first_index=first,
            end_index=end,
            tape=tape,
            progress=bar.about(setting.strategy),
        )
        wall_s = time.perf_counter() - begun_s
        if not made.asked_wh.any() and made.reasons:
            why = max(made.reasons, key=lambda one: made.reasons[one])
            raise InvalidInputError(
                field="--strategy", value=setting.strategy, fix=f"nothing was ever awarded; most often {why}"
            )
        called = setting.called_mw
        most_kw = None if called is None else _called_kw(called, series)
        perfect = perfect_foresight(
            bands, series, first_index=first, end_index=end, discharge_limit_kw=most_kw
        )
        others = {} if called is not None else _baselines(bands, series, perfect, span, bar, leave_out="")
    outcome = _as_outcome(made)
    return _tested(
        bands,
        series,
        outcome,
        perfect,
        others,
        attribution=attributed(
            perfect_wh=perfect.delivered_wh,
            planned_wh=(
                others[SCHEDULE].delivered_wh
                if SCHEDULE in others and not made.planned.any()
                else made.planned_wh
            ),
            asked_wh=made.asked_wh,
            delivered_wh=made.delivered_wh,
            amount=made.amount,
            price_cents_per_mwh=prices.price_cents_per_mwh[first:end],
            wear_per_mwh=setting.storage.throughput_cost_per_mwh,
            service_amount=made.service_amount,
        ),
        product=setting.product_id,
        point=setting.settlement_point,
        strategy=setting.strategy,
        wall_s=wall_s,
        daily=_daily(setting, prices, series, outcome, perfect, made),
        rungs=made.rungs,
        reasons=made.reasons,
        kind_amount=made.kind_amount,
    )


def _called_kw(called_mw: Mapping[int, float], series: Series) -> NDArray[np.float64]:
    return np.array([called_mw.get(start_ns, 0.0) * KW_PER_MW for start_ns in series.start_ns.tolist()])


def _bands_outcome(
    setting: Setting,
    series: Series,
    name: str,
    perfect: Outcome,
    span: tuple[int, int],
    progress: Callable[[int], None],
) -> Outcome:
    if name == PERFECT:
        return perfect
    first, end = span
    return run_backtest(
        make_strategy(name, setting), setting, series, first_index=first, end_index=end, progress=progress
    )


def _baselines(
    setting: Setting, series: Series, perfect: Outcome, span: tuple[int, int], bar: Bar, *, leave_out: str
) -> dict[str, Outcome]:
    return {
        name: _bands_outcome(setting, series, name, perfect, span, bar.about(name))
        for name in BASELINES
        if name != leave_out
    }


def _as_outcome(made: GateOutcome) -> Outcome:
    return Outcome(
        first_index=made.first_index,
        asked_wh=made.asked_wh,
        bought_wh=made.delivered_wh.clip(min=0),
        sold_wh=(-made.delivered_wh).clip(min=0),
        energy_kwh=made.energy_kwh,
        amount=made.amount,
        sell_limit_per_mwh=made.sell_limit_per_mwh,
        buy_limit_per_mwh=made.buy_limit_per_mwh,
        decisions_count=made.decisions_count,
    )


def _daily(
    setting: GateSetting,
    prices: GridPrices,
    series: Series,
    outcome: Outcome,
    perfect: Outcome,
    made: GateOutcome,
) -> DailyForesight | None:
    from shoal.bidding.backtest import AMOUNTS_PER_UNIT

    if setting.called_mw is not None or not any(
        rule.kind == "auction" for rule in setting.market.product(setting.product_id).gates
    ):
        return None
    days = by_day(series, outcome, perfect)
    first = outcome.first_index
    return daily_foresight(
        setting.storage,
        days=days.day,
        first_index=days.first_index,
        price_per_mwh=prices.price_per_mwh[first : first + len(outcome.amount)],
        interval_h=prices.interval_ns / 3_600e9,
        earned=days.amount / AMOUNTS_PER_UNIT,
        energy_kwh=outcome.energy_kwh,
        end_value_per_mwh=made.end_value_per_mwh,
    )


def _tested(
    setting: Setting,
    series: Series,
    outcome: Outcome,
    perfect: Outcome,
    others: dict[str, Outcome],
    *,
    attribution: Attribution,
    product: str,
    point: str,
    strategy: str,
    wall_s: float,
    daily: DailyForesight | None = None,
    rungs: dict[str, int] | None = None,
    reasons: dict[str, int] | None = None,
    kind_amount: dict[str, int] | None = None,
) -> Tested:
    days = by_day(series, outcome, perfect)
    baseline_days = {name: by_day(series, other, perfect) for name, other in others.items()}
    return Tested(
        setting=setting,
        series=series,
        product=product,
        point=point,
        strategy=strategy,
        outcome=outcome,
        perfect=perfect,
        days=days,
        score=score(setting.storage, days, outcome),
        baselines={name: score(setting.storage, baseline_days[name], others[name]) for name in others},
        baseline_days=baseline_days,
        attribution=attribution,
        wall_s=wall_s,
        daily=daily,
        rungs=rungs or {},
        reasons=reasons or {},
        kind_amount=kind_amount or {},
    )


class Bar:
    """Progress on standard error, when that is a terminal."""

    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._total = total
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def about(self, name: str) -> Callable[[int], None]:
        """Return what to call with the number of intervals done by a strategy."""
        task = self._bar.add_task(name, total=self._total)
        return lambda done: self._bar.update(task, completed=done)
