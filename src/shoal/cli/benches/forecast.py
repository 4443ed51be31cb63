"""Day-ahead prices of five markets: the last 728 days, recalibrated daily, beside the published forecasts.

The peers are the ensembles of Lago et al., Applied Energy 293 (2021) 116983, read from a file: four deep networks and four
windows of a lasso. The data is not part of the package: `SHOAL_DATA` names its folder, else `../shared/data` is looked for.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

import shoal
from shoal.cli.bench import Benchmark, Result
from shoal.cli.forecast_days import BATTERY, Backtest, MarketFile, backtest, read_forecasts, read_market
from shoal.cli.forecast_days import score as scores_of
from shoal.domain.errors import InvalidInputError
from shoal.forecast.dayahead import WARM_UP_DAYS, DayAheadRecipe

_MARKETS: Final = {f"epf_{name.lower()}": name for name in ("NP", "PJM", "BE", "FR", "DE")}
_PEERS: Final = {"dnn": "dnn_ensemble", "lear": "lear_ensemble"}
_PRICES: Final = "epf_benchmark.parquet"
_FORECASTS: Final = "epf_benchmark_forecasts.parquet"


class _Size(NamedTuple):
    tested_days: int
    warm_up_days: int


_USUAL: Final = _Size(tested_days=728, warm_up_days=WARM_UP_DAYS)
_QUICK: Final = _Size(tested_days=4, warm_up_days=4)


def data_folder() -> Path:
    """Return the folder that holds the prices.

    Raises:
        InvalidInputError: when it is nowhere.
    """
    named = os.environ.get("SHOAL_DATA")
    beside = Path(shoal.__file__).parents[2] / "../shared/data"
    for folder in [Path(named)] if named else [Path("../shared/data"), beside]:
        if (folder / _PRICES).is_file():
            return folder
    raise InvalidInputError(
        field="SHOAL_DATA", value=named or "not set", fix=f"let it name the folder that holds {_PRICES}"
    )


def run(case: str | None, quick: bool) -> list[Result]:
    """Back-test the markets and return their rows; a quick run takes one market unless one is named."""
    folder = data_folder()
    names = [case] if case is not None else list(_MARKETS)[: 1 if quick else None]
    return [row for name in names for row in _measure(name, folder, _QUICK if quick else _USUAL)]


def _measure(case: str, folder: Path, size: _Size) -> list[Result]:
    market = read_market(folder / _PRICES, _MARKETS[case])
    last = len(market.observed) - 1
    first = last + 1 - size.tested_days
    tested = backtest(DayAheadRecipe(), market, first, last, warm_up_days=size.warm_up_days)
    return _rows(case, market, tested, folder / _FORECASTS)


def _rows(case: str, market: MarketFile, tested: Backtest, forecasts: Path) -> list[Result]:
    days = len(tested.central)
    peers = {}
    if forecasts.is_file():
        begin, named = read_forecasts(forecasts, market.market)
        offset = tested.first_row - market.row_of(begin)
        peers = {peer: named[column][offset : offset + days] for peer, column in _PEERS.items()}
    own, expectation, naive, *others = scores_of(market, tested, peers)
    size = f"{market.market}, {days} days, {BATTERY.energy_capacity_kwh / 1000:g} h battery"
    rows = []
    beside = [("naive", naive), *zip(peers, others, strict=True)]
    for peer, scores in beside:
        for key, unit, better in (
            ("mae", "MAE per MWh", "lower"),
            ("revenue_share", "of perfect foresight", "higher"),
        ):
            rows.append(
                Result(
                    case=case,
                    size=size,
                    value=own[key],
                    unit=unit,
                    better="lower" if better == "lower" else "higher",
                    peer=peer,
                    peer_value=scores[key],
                )
            )
        if "p_shoal_better" in scores:
            rows.append(_alone(case, size, scores["p_shoal_better"], f"p against {peer}"))
    rows += [
        _alone(case, size, own["rmae"], "rMAE"),
        _alone(case, size, own["smape"], "sMAPE"),
        _alone(case, size, own["pinball"], "pinball per MWh"),
        _alone(case, size, own["crps"], "CRPS per MWh"),
        _alone(case, size, abs(own["coverage_50"] - 0.5), "off 50 % coverage"),
        _alone(case, size, abs(own["coverage_90"] - 0.9), "off 90 % coverage"),
        _alone(
            case, size, 1.0 - expectation["revenue_share"], "of foresight lost, planned on the expectation"
        ),
        _alone(case, size, tested.train_s / tested.trained_days, "s training a day, one core"),
        _alone(case, size, tested.forecast_s / tested.trained_days, "s forecasting a day, one core"),
    ]
    return rows


def _alone(case: str, size: str, value: float, unit: str) -> Result:
    return Result(case=case, size=size, value=value, unit=unit, better="lower")


BENCHMARK: Final = Benchmark(
    name="forecast",
    about="day-ahead prices of five markets, beside published forecasts",
    cases=tuple(_MARKETS),
    run=run,
)
