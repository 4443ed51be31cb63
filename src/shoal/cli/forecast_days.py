"""Back-testing the day-ahead forecast on a file of prices: what is read, what is scored, what it earns.

The file has columns `market`, `ts` (local, 24 hours a day), `price` and any number of exogenous forecasts whose names
begin with `exog`; a file of forecasts to compare with has `market`, `ts` and a column for each forecast.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.forecast.compare import compare, relative_mae, symmetric_mape
from shoal.forecast.dayahead import MIN_HISTORY_DAYS, DayAheadRecipe, forecast, train
from shoal.forecast.dayahead_features import HOURS, LONGEST_LAG_DAYS, MarketDays
from shoal.forecast.score import coverage, crps_from_quantiles, pinball
from shoal.optimise.storage import Storage, plan_storage, plan_value

Prices = NDArray[np.float64]
BATTERY: Final = Storage(
    charge_limit_kw=1000.0,
    discharge_limit_kw=1000.0,
    charge_efficiency_frac=float(np.sqrt(0.85)),
    discharge_efficiency_frac=float(np.sqrt(0.85)),
    energy_capacity_kwh=2000.0,
    initial_energy_kwh=0.0,
)
"""1 MW for 2 h at a round trip of 85 %, empty at the start of each day."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MarketFile:
    """A market's days: `days` is known but for the prices of the last one, `observed` has them all."""

    market: str
    days: MarketDays
    observed: Prices

    def row_of(self, day: date) -> int:
        """Return the row of a day."""
        return (day - self.days.first_day).days


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Backtest:
    """What was forecast for D days, day by day, each from the days before it.

    Attributes:
        first_row: The row of the first of them in the file.
        central: D x 24 central prices.
        expected: D x 24 means.
        quantile: D x 24 x Q quantiles.
        level: Q levels.
        train_s: Processor seconds spent training.
        forecast_s: Processor seconds spent forecasting.
        trained_days: Days of it, warm-up included.
    """

    first_row: int
    central: Prices
    expected: Prices
    quantile: Prices
    level: Prices
    train_s: float
    forecast_s: float
    trained_days: int


def read_market(file: Path, market: str) -> MarketFile:
    """Return a market's days.

    Raises:
        InvalidInputError: when there is no such file, column or market, or a day has not 24 hours.
    """
    table = _table(file, market)
    exogenous = sorted(name for name in table if name.startswith("exog"))
    if "price" not in table:
        raise InvalidInputError(field="--data", value=str(file), fix="it has no column 'price'")
    first = _first_day(table["ts"], file)
    price = table["price"].astype(np.float64).reshape(-1, HOURS)
    level = np.empty((len(price), HOURS, len(exogenous)))
    for number, name in enumerate(exogenous):
        level[:, :, number] = table[name].astype(np.float64).reshape(-1, HOURS)
    if not np.isfinite(price).all():
        raise InvalidInputError(
            field="--data", value=str(file), fix="fill or leave out hours without a price"
        )
    days = MarketDays(first_day=first, price_per_mwh=price[:-1], exogenous_level=level)
    return MarketFile(market=market, days=days, observed=price)


def read_forecasts(file: Path, market: str) -> tuple[date, dict[str, Prices]]:
    """Return the first day and D x 24 prices of each forecast in a file.

    Raises:
        InvalidInputError: when there is no such file or market, or a day has not 24 hours.
    """
    table = _table(file, market)
    first = _first_day(table["ts"], file)
    named = {name: values for name, values in table.items() if name not in ("ts", "price")}
    return first, {name: values.astype(np.float64).reshape(-1, HOURS) for name, values in named.items()}


def backtest(
    recipe: DayAheadRecipe,
    market: MarketFile,
    first_row: int,
    last_row: int,
    *,
    warm_up_days: int,
    on_day: Callable[[], None] = lambda: None,
) -> Backtest:
    """Forecast the days `first_row` to `last_row`, both included, after a warm-up that is not scored.

    Args:
        recipe: The recipe.
        market: The market's file.
        first_row: Row of the first day that counts.
        last_row: Row of the last.
        warm_up_days: Days forecast before; fewer when the file does not have them.
        on_day: Called after each day, warm-up included.

    Raises:
        InvalidInputError: when there is no history before the first day.
    """
    start = max(MIN_HISTORY_DAYS, first_row - warm_up_days)
    if not start <= first_row <= last_row < len(market.observed):
        fix = f"choose days that have {MIN_HISTORY_DAYS} days before them and lie in the file"
        raise InvalidInputError(field="--from", value=first_row, fix=fix)
    state = None
    answers = []
    train_s = forecast_s = 0.0
    for row in range(start, last_row + 1):
        known = market.days.until(row)
        begun = time.process_time()
        state = train(recipe, state, known)
        trained = time.process_time()
        answer, state = forecast(recipe, state, known)
        train_s += trained - begun
        forecast_s += time.process_time() - trained
        if row >= first_row:
            answers.append(answer)
        on_day()
    return Backtest(
        first_row=first_row,
        central=np.stack([one.central_per_mwh for one in answers]),
        expected=np.stack([one.expected_per_mwh for one in answers]),
        quantile=np.stack([one.quantile_per_mwh for one in answers]),
        level=answers[0].quantile_level,
        train_s=train_s,
        forecast_s=forecast_s,
        trained_days=last_row + 1 - start,
    )


def naive_prices(observed: Prices, first_row: int, last_row: int) -> Prices:
    """Return the prices of a week before each day."""
    return observed[first_row - LONGEST_LAG_DAYS : last_row + 1 - LONGEST_LAG_DAYS]


def score(market: MarketFile, tested: Backtest, peers: dict[str, Prices]) -> list[dict[str, Any]]:
    """Return a row of scores for the forecast, its mean, the naive one and every peer.

    Args:
        market: The market's file.
        tested: What was forecast.
        peers: D x 24 prices of others for the same days.
    """
    last_row = tested.first_row + len(tested.central) - 1
    observed = market.observed[tested.first_row : last_row + 1]
    naive = naive_prices(market.observed, tested.first_row, last_row)
    others = {"naive (a week before)": naive, **peers}
    rows = [_point_scores("shoal", observed, tested.central, naive) | _spread_scores(observed, tested)]
    rows.append(_point_scores("shoal, expectation", observed, tested.expected, naive))
    for name, prices in others.items():
        row = _point_scores(name, observed, prices, naive)
        if len(observed) > 2 * LONGEST_LAG_DAYS:
            tested_against = compare(observed, tested.central, prices)
            row["p_shoal_better"] = tested_against.p_better_frac
        rows.append(row)
    return rows


def share_of_foresight(observed: Prices, planned: Prices, battery: Storage = BATTERY) -> float:
    """Return what plans on forecast prices earn at the real ones, as a share of plans on the real ones.

    Each day is planned alone, from empty to empty. `observed` and `planned` are D x 24.
    """
    earned = foresight = 0.0
    for real, thought in zip(observed, planned, strict=True):
        plan = plan_storage(battery, thought, 1.0)
        earned += plan_value(battery, real, plan.charge_kw, plan.discharge_kw, 1.0)
        foresight += plan_storage(battery, real, 1.0).value
    return earned / foresight if foresight else float("nan")


def battery_of(duration_h: float, round_trip_frac: float, degradation_per_mwh: float) -> Storage:
    """Return a battery of 1 MW."""
    one_way = float(np.sqrt(round_trip_frac))
    return replace(
        BATTERY,
        energy_capacity_kwh=1000.0 * duration_h,
        charge_efficiency_frac=one_way,
        discharge_efficiency_frac=one_way,
        throughput_cost_per_mwh=degradation_per_mwh,
    )


def _point_scores(name: str, observed: Prices, prices: Prices, naive: Prices) -> dict[str, Any]:
    return {
        "forecast": name,
        "mae": float(np.mean(np.abs(observed - prices))),
        "rmae": relative_mae(observed, prices, naive),
        "smape": symmetric_mape(observed, prices),
        "revenue_share": share_of_foresight(observed, prices),
    }


def _spread_scores(observed: Prices, tested: Backtest) -> dict[str, float]:
    flat = observed.ravel()
    quantile = tested.quantile.reshape(len(flat), -1)
    scores = {
        "pinball": float(pinball(flat, quantile, tested.level).mean()),
        "crps": crps_from_quantiles(flat, quantile, tested.level),
    }
    for percent in (50, 90):
        edge = (1.0 - percent / 100.0) / 2.0
        low, high = (int(np.argmin(np.abs(tested.level - at))) for at in (edge, 1.0 - edge))
        scores[f"coverage_{percent}"] = coverage(flat, quantile[:, low], quantile[:, high])
    return scores


def _table(file: Path, market: str) -> dict[str, NDArray[Any]]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise InvalidInputError(
            field="--data", value=str(file), fix=f"give a Parquet file ({error})"
        ) from error
    for name in ("market", "ts"):
        if name not in table.column_names:
            raise InvalidInputError(field="--data", value=str(file), fix=f"it has no column {name!r}")
    names = table["market"].cast(pa.string())
    chosen = table.filter(pc.equal(names, market)).sort_by("ts")
    if not len(chosen):
        known = ", ".join(sorted({str(name) for name in pc.unique(names).to_pylist()}))
        raise InvalidInputError(field="--market", value=market, fix=f"the file has {known}")
    return {
        name: chosen[name].to_numpy(zero_copy_only=False) for name in chosen.column_names if name != "market"
    }


def _first_day(ts: NDArray[Any], file: Path) -> date:
    """Return the first day of hours that must run from midnight without a gap."""
    hours = ts.astype("datetime64[h]")
    whole = len(hours) % HOURS == 0 and bool(np.all(np.diff(hours) == np.timedelta64(1, "h")))
    first = hours[0].astype("datetime64[D]")
    if not whole or hours[0] != first.astype("datetime64[h]"):
        raise InvalidInputError(
            field="--data", value=str(file), fix="give whole days of 24 hours without a gap"
        )
    return date(1970, 1, 1) + timedelta(days=int(first.astype(np.int64)))
