"""`shoal backtest`: any market, storage and strategy over any span of prices, beside hindsight and the baselines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from shoal.cli.options import AsJson, print_json
from shoal.domain.errors import InvalidInputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from shoal.cli.backtest_runs import Tested
    from shoal.market.contract import Market
    from shoal.optimise.storage import Storage

KW_PER_MW: Final = 1_000.0
_USUAL: Final = {
    "day-ahead": "day-ahead",
    "real-time": "real-time",
    "energy": "markov",
    "imbalance": "imbalance",
    "reduction": "peak-event",
}
"""The strategy that bids for a product when none is named."""
_BANDS_USUAL: Final = "markov"
_CYCLE_MODULES: Final = ("day_ahead", "five_minute", "balancing", "peak_event", "reserves")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="backtest")(backtest)


def backtest(
    series: Annotated[Path, typer.Option("--series", metavar="FILE", help="Prices: .parquet or .csv.")],
    market: Annotated[
        str, typer.Option("--market", help="nem, ercot, ercot-rt, sdac, gb, peak and so on.")
    ] = "nem",
    product: Annotated[
        str | None,
        typer.Option("--product", help="What to bid for, gate by gate as the plant does: day-ahead, ..."),
    ] = None,
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
    initial: Annotated[
        float, typer.Option("--initial", help="Share of the capacity that is stored at the start.")
    ] = 0.0,
    strategy: Annotated[
        str | None, typer.Option("--strategy", help="How to bid; the usual one of the market when left out.")
    ] = None,
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
    """Test a strategy on prices that were, with what was known before each gate only.

    Without --product the markets nem, ercot-rt and gb are bid for in bands, in an engine made for years of short intervals.
    """
    from shoal.optimise.storage import Storage

    one_way = _within("--round-trip", round_trip, low=0.01, high=1.0) ** 0.5
    power_kw = _within("--power-mw", power_mw, low=1e-3, high=1e6) * KW_PER_MW
    capacity_kwh = power_kw * _within("--duration-h", duration_h, low=0.05, high=1e3)
    storage = Storage(
        charge_limit_kw=power_kw,
        discharge_limit_kw=power_kw,
        charge_efficiency_frac=one_way,
        discharge_efficiency_frac=one_way,
        energy_capacity_kwh=capacity_kwh,
        initial_energy_kwh=capacity_kwh * _within("--initial", initial, low=0.0, high=1.0),
        throughput_cost_per_mwh=_within("--degradation-per-mwh", degradation_per_mwh, low=0.0, high=1e6),
    )
    if _in_bands(market, product, strategy):
        tested = _bands(series, market, point, storage, strategy or _BANDS_USUAL, from_, to)
    else:
        tested = _cycle(series, market, product, point, storage, strategy, from_, to)
    from shoal.cli.backtest_told import as_object, tell

    if report is not None:
        from shoal.cli.backtest_report import write_report

        write_report(report, tested)
    if as_json:
        print_json(as_object(tested))
    else:
        tell(tested, report)


def _in_bands(market: str, product: str | None, strategy: str | None) -> bool:
    """Whether the engine of bands is meant: for its markets, when neither a product nor a strategy of the cycle is named."""
    from shoal.bidding.backtest_markets import MARKETS
    from shoal.bidding.strategy_registry import PERFECT, STRATEGIES

    if product is not None or market not in MARKETS:
        return False
    return strategy in {*STRATEGIES, PERFECT} or (strategy is None and market != "gb")


def _bands(
    path: Path,
    market: str,
    point: str | None,
    storage: Storage,
    strategy: str,
    from_: str | None,
    to: str | None,
) -> Tested:
    from shoal.bidding.backtest import make_series
    from shoal.bidding.backtest_markets import band_market, day_limits
    from shoal.bidding.strategy import Setting
    from shoal.cli.backtest_runs import run_bands
    from shoal.cli.backtest_series import read_prices

    rules = band_market(market)
    file = read_prices(path, point, zone=rules.zone, product="real-time", market_id=market)
    days = [rules.trading_day(int(file.start_ns[at]))[0] for at in (0, -1)]
    rules = replace(band_market(market, first=days[0], last=days[1]), interval_ns=file.interval_ns)
    prices = make_series(rules, file.start_ns, file.price_per_mwh, limits=day_limits(market))
    span = _span(prices.day_number, from_, to)
    return run_bands(Setting(market=rules, storage=storage), prices, strategy, point=file.point, span=span)


def _cycle(
    path: Path,
    market_id: str,
    product: str | None,
    point: str | None,
    storage: Storage,
    strategy: str | None,
    from_: str | None,
    to: str | None,
) -> Tested:
    from zoneinfo import ZoneInfo

    from shoal.bidding.backtest_events import announce, event_grid
    from shoal.bidding.backtest_ledger import GateSetting
    from shoal.bidding.backtest_prices import grid_prices
    from shoal.bidding.backtest_tape import Tape
    from shoal.cli.backtest_extras import further_facts, service_prices
    from shoal.cli.backtest_runs import run_cycle
    from shoal.cli.backtest_series import read_prices
    from shoal.market.peak import PeakMarket

    market = _market(market_id)
    product = _product(market, product)
    name = _strategy(strategy, product)
    zone = ZoneInfo(market.rules.zone)
    if isinstance(market, PeakMarket):
        file = read_prices(path, point, zone=zone, market_id=market_id, column="target_mw")
        prices, called_mw = event_grid(market, product, file.start_ns, file.price_per_mwh)
        tape = Tape()
        announce(tape, market, product, file.point, called_mw)
        setting = GateSetting(
            market=market,
            product_id=product,
            settlement_point=file.point,
            storage=storage,
            strategy=name,
            called_mw=called_mw,
        )
        return run_cycle(setting, prices, span=_span(prices.day_number, from_, to), tape=tape)
    file = read_prices(path, point, zone=zone, product=product, market_id=market_id)
    prices = grid_prices(market, product, file.start_ns, file.price_per_mwh, interval_ns=file.interval_ns)
    setting = GateSetting(
        market=market,
        product_id=product,
        settlement_point=file.point,
        storage=storage,
        strategy=name,
        services=service_prices(path, market, file),
    )
    tape = further_facts(path, market, product, file)
    return run_cycle(setting, prices, span=_span(prices.day_number, from_, to), tape=tape)


def _market(market_id: str) -> Market:
    from shoal.bidding.backtest_markets import MARKETS
    from shoal.market.registry import MODULES

    for known in MODULES:
        if known.rules.market_id == market_id:
            return known
    names = sorted({*MARKETS, *(one.rules.market_id for one in MODULES)})
    raise InvalidInputError(field="--market", value=market_id, fix=f"choose one of {', '.join(names)}")


def _product(market: Market, product: str | None) -> str:
    energy = [one.product_id for one in market.rules.products if one.kind == "energy"]
    if product is None:
        return energy[0]
    if product not in energy:
        raise InvalidInputError(field="--product", value=product, fix=f"choose one of {', '.join(energy)}")
    return product


def _strategy(name: str | None, product: str) -> str:
    """Return a strategy of the cycle by name, the usual one of a product when none is named."""
    import importlib
    from importlib.util import find_spec

    from shoal.bidding.cycle.decision import strategies

    for module in _CYCLE_MODULES:
        if find_spec(f"shoal.bidding.cycle.{module}") is not None:
            importlib.import_module(f"shoal.bidding.cycle.{module}")
    names = [one.name for one in strategies()]
    chosen = name or _USUAL.get(product, "")
    if chosen not in names:
        raise InvalidInputError(field="--strategy", value=chosen, fix=f"choose one of {', '.join(names)}")
    return chosen


def _within(field: str, value: float, *, low: float, high: float) -> float:
    if not low <= value <= high:
        raise InvalidInputError(field=field, value=value, fix=f"give a number from {low:g} to {high:g}")
    return value


def _span(day_number: NDArray[np.int64], from_: str | None, to: str | None) -> tuple[int, int]:
    """Return the first interval of the first day and the interval after the last."""
    from datetime import date

    import numpy as np

    epoch = date(1970, 1, 1).toordinal()
    bounds = [0, len(day_number)]
    for at, (field, text) in enumerate((("--from", from_), ("--to", to))):
        if text is None:
            continue
        try:
            number = date.fromisoformat(text).toordinal() - epoch
        except ValueError as error:
            raise InvalidInputError(field=field, value=text, fix="give a day as YYYY-MM-DD") from error
        bounds[at] = int(np.searchsorted(day_number, number))
    if bounds[0] >= bounds[1]:
        first, last = (date.fromordinal(int(day_number[at]) + epoch) for at in (0, -1))
        raise InvalidInputError(
            field="--from", value=from_, fix=f"give a span of days within {first} to {last}"
        )
    return bounds[0], bounds[1]
