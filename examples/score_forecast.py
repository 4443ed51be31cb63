"""A day-ahead price forecast with its uncertainty, scored on real prices beside the naive one: yesterday's prices again."""

from __future__ import annotations

import sys
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from shoal.domain.interval import NS_PER_HOUR, local_day
from shoal.forecast.price import QUANTILE_LEVELS, forecast_prices
from shoal.forecast.score import coverage, crps_from_quantiles, mae
from shoal.simulate.prices import real_prices

ZONE = ZoneInfo("America/Chicago")
POINT = "HB_NORTH"
FIRST_DAY = date(2022, 5, 1)
DAYS = 14


def main() -> None:
    """Forecast each day from the days before it, and score all of them together."""
    start_ns, cents = real_prices(POINT)
    price = cents / 100.0
    level = np.array(QUANTILE_LEVELS)
    observed, naive, median, quantiles = [], [], [], []
    for number in range(DAYS):
        day = local_day(FIRST_DAY + timedelta(days=number), ZONE)
        known = start_ns < day.start_ns
        target = (start_ns >= day.start_ns) & (start_ns < day.end_ns)
        forecast = forecast_prices(
            start_ns=start_ns[known],
            price_per_mwh=price[known],
            target_start_ns=start_ns[target],
            zone=ZONE,
            issued_ns=day.start_ns - 14 * NS_PER_HOUR,
        )
        observed.append(price[target])
        naive.append(price[known][-int(target.sum()) :])
        median.append(forecast.quantile_per_mwh[:, len(level) // 2])
        quantiles.append(forecast.quantile_per_mwh)
    actual, spread = np.concatenate(observed), np.concatenate(quantiles)
    print_line(f"mean absolute error   {mae(actual, np.concatenate(median)):7.2f} USD/MWh")
    print_line(f"  of yesterday again  {mae(actual, np.concatenate(naive)):7.2f}")
    print_line(f"CRPS                  {crps_from_quantiles(actual, spread, level):7.2f}")
    print_line(f"within the 90 % band  {coverage(actual, spread[:, 0], spread[:, -1]):7.1%}")


def print_line(text: str) -> None:
    """Write a line."""
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    main()
