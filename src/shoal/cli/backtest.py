"""`shoal backtest`: any strategy over any span of prices, beside hindsight and the baselines."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from shoal.cli.options import AsJson, print_columns, print_json
from shoal.domain.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from shoal.bidding.backtest import Outcome, Series
    from shoal.bidding.backtest_days import Days, Score
    from shoal.bidding.strategy import Setting

KW_PER_MW: Final = 1_000.0
KWH_PER_MWH: Final = 1_000.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="backtest")(backtest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """Everything that a back-test came to."""

    setting: Setting
    series: Series
    point: str
    strategy: str
    outcome: Outcome
    perfect: Outcome
    days: Days
    score: Score
    baselines: dict[str, Score]
    baseline_days: dict[str, Days]
    wall_s: float


def backtest(
    series: Annotated[Path, typer.Option("--series", metavar="FILE", help="Prices: .parquet or .csv.")],
    market: Annotated[str, typer.Option("--market", help="nem, ercot-rt or gb.")] = "nem",
    point: Annotated[
        str | None, typer.Option("--point", help="Settlement point, where the file has several.")
    ] = None,
    power_mw: Annotated[float, typer.Option("--power-mw", help="Power both ways.")] = 1.0,
    duration_h: Annotated[float, typer.Option("--duration-h", help="Usable energy by power.")] = 2.0,
    round_trip: Annotated[
        float, typer.Option("--round-trip", help="Efficiency there and back, split evenly.")
    ] = 0.85,
    degradation_per_mwh: Annotated[
        float, typer.Option("--degradation-per-mwh", help="Wear by MWh discharged at the terminals.")
    ] = 10.0,
    strategy: Annotated[str, typer.Option("--strategy", help="How to bid.")] = "markov",
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="DAY", help="First trading day; what lies before is history."),
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="DAY", help="The trading day after the last.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write a page to look at.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Test a strategy on prices that were, with what was known before each interval only."""
    from shoal.bidding.backtest import make_series
    from shoal.bidding.backtest_markets import band_market
    from shoal.bidding.strategy import Setting
    from shoal.cli.backtest_series import read_prices
    from shoal.optimise.storage import Storage

    one_way = _within("--round-trip", round_trip, low=0.01, high=1.0) ** 0.5
    power_kw = _within("--power-mw", power_mw, low=1e-3, high=1e6) * KW_PER_MW
    storage = Storage(
        charge_limit_kw=power_kw,
        discharge_limit_kw=power_kw,
        charge_efficiency_frac=one_way,
        discharge_efficiency_frac=one_way,
        energy_capacity_kwh=power_kw * _within("--duration-h", duration_h, low=0.05, high=1e3),
        initial_energy_kwh=0.0,
        throughput_cost_per_mwh=_within("--degradation-per-mwh", degradation_per_mwh, low=0.0, high=1e6),
    )
    file = read_prices(series, point)
    rules = replace(band_market(market), interval_ns=file.interval_ns)
    prices = make_series(rules, file.start_ns, file.price_per_mwh)
    setting = Setting(market=rules, storage=storage)
    tested = run_all(setting, prices, strategy, point=file.point, span=_span(prices, from_, to))
    if report is not None:
        from shoal.cli.backtest_report import write_report

        write_report(report, tested)
    if as_json:
        print_json(as_object(tested))
    else:
        _tell(tested, report)


def run_all(setting: Setting, series: Series, strategy: str, *, point: str, span: tuple[int, int]) -> Tested:
    """Run a strategy, hindsight and every baseline over a span of the series, with a bar on a terminal."""
    from shoal.bidding.backtest import perfect_foresight, run_backtest
    from shoal.bidding.backtest_days import by_day, score
    from shoal.bidding.strategy_registry import BASELINES, PERFECT, make_strategy

    first, end = span
    perfect = perfect_foresight(setting, series, first_index=first, end_index=end)

    def run(name: str, progress: Callable[[int], None]) -> Outcome:
        if name == PERFECT:
            return perfect
        return run_backtest(
            make_strategy(name, setting), setting, series, first_index=first, end_index=end, progress=progress
        )

    with _Bar(end - first) as bar:
        begun_s = time.perf_counter()
        outcome = run(strategy, bar.about(strategy))
        wall_s = time.perf_counter() - begun_s
        others = {name: run(name, bar.about(name)) for name in BASELINES if name != strategy}
    days = by_day(series, outcome, perfect)
    baseline_days = {name: by_day(series, other, perfect) for name, other in others.items()}
    return Tested(
        setting=setting,
        series=series,
        point=point,
        strategy=strategy,
        outcome=outcome,
        perfect=perfect,
        days=days,
        score=score(setting.storage, days, outcome),
        baselines={name: score(setting.storage, baseline_days[name], others[name]) for name in others},
        baseline_days=baseline_days,
        wall_s=wall_s,
    )


def as_object(tested: Tested) -> dict[str, Any]:
    """Return the figures for ``--json``."""
    score, storage = tested.score, tested.setting.storage
    told: dict[str, Any] = {
        "market": tested.setting.market.market_id,
        "point": tested.point,
        "currency": tested.setting.market.currency,
        "strategy": tested.strategy,
        "power_mw": storage.discharge_limit_kw / KW_PER_MW,
        "duration_h": storage.energy_capacity_kwh / storage.discharge_limit_kw,
        "round_trip": storage.charge_efficiency_frac * storage.discharge_efficiency_frac,
        "degradation_per_mwh": storage.throughput_cost_per_mwh,
        "from": tested.days.day[0].isoformat(),
        "last_day": tested.days.day[-1].isoformat(),
        "days": len(tested.days.day),
        "revenue": score.revenue,
        "revenue_perfect_foresight": score.revenue_perfect_foresight,
        "share_of_perfect_foresight": score.share_of_perfect_foresight,
        "share_without_richest_days": score.share_without_richest_days,
        "perfect_share_in_richest_days": score.perfect_share_in_richest_days,
        "richest_days": [tested.days.day[at].isoformat() for at in tested.days.richest().tolist()],
    }
    for name, other in tested.baselines.items():
        told[f"revenue_{name}"] = other.revenue
        told[f"share_{name}"] = other.share_of_perfect_foresight
        told[f"share_without_richest_days_{name}"] = other.share_without_richest_days
    return told | {"cycles": score.cycles, "decisions": score.decisions, "wall_s": tested.wall_s}


def _within(field: str, value: float, *, low: float, high: float) -> float:
    if not low <= value <= high:
        raise InvalidInputError(field=field, value=value, fix=f"give a number from {low:g} to {high:g}")
    return value


def _span(series: Series, from_: str | None, to: str | None) -> tuple[int, int]:
    """Return the first interval of the first day and the interval after the last."""
    from datetime import date

    import numpy as np

    epoch = date(1970, 1, 1).toordinal()
    bounds = [0, len(series.start_ns)]
    for at, (field, text) in enumerate((("--from", from_), ("--to", to))):
        if text is None:
            continue
        try:
            number = date.fromisoformat(text).toordinal() - epoch
        except ValueError as error:
            raise InvalidInputError(field=field, value=text, fix="give a day as YYYY-MM-DD") from error
        bounds[at] = int(np.searchsorted(series.day_number, number))
    if bounds[0] >= bounds[1]:
        last = date.fromordinal(int(series.day_number[-1]) + epoch)
        raise InvalidInputError(field="--from", value=from_, fix=f"give a span of days up to {last}")
    return bounds[0], bounds[1]


def _tell(tested: Tested, report: Path | None) -> None:
    score, currency = tested.score, tested.setting.market.currency
    rows = [("", f"revenue {currency}", "of hindsight", "without the richest four", "cycles")]
    everyone = {tested.strategy: score, **tested.baselines}
    rows += [
        (
            name,
            f"{one.revenue:,.2f}",
            _percent(one.share_of_perfect_foresight),
            _percent(one.share_without_richest_days),
            f"{one.cycles:,.1f}",
        )
        for name, one in everyone.items()
    ]
    rows.append(("hindsight", f"{score.revenue_perfect_foresight:,.2f}", "100.0 %", "100.0 %", ""))
    storage = tested.setting.storage
    typer.echo(
        f"{tested.setting.market.market_id} {tested.point}, {tested.days.day[0]} to {tested.days.day[-1]}: "
        f"{storage.discharge_limit_kw / KW_PER_MW:g} MW, "
        f"{storage.energy_capacity_kwh / KWH_PER_MWH:g} MWh, wear {storage.throughput_cost_per_mwh:g} {currency}/MWh"
    )
    print_columns(rows)
    rich = ", ".join(tested.days.day[at].isoformat() for at in tested.days.richest().tolist())
    typer.echo(f"{_percent(score.perfect_share_in_richest_days)} of hindsight's value lies in {rich}")
    typer.echo(f"{score.decisions:,} decisions in {tested.wall_s:.1f} s")
    if report is not None:
        typer.echo(f"report: {report}")


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100.0 * share:.1f} %"


class _Bar:
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

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def about(self, name: str) -> Callable[[int], None]:
        """Return what to call with the number of intervals done by a strategy."""
        task = self._bar.add_task(name, total=self._total)
        return lambda done: self._bar.update(task, completed=done)
