"""The ERCOT day-ahead market (DAM), in the part that a price-taking battery or virtual power plant needs.

From ERCOT's rules: bids until 10:00 and results at 13:30 Central Prevailing Time on the day before, hourly
intervals of a local day (23 or 25 hours when the clock changes), 0.1 MW steps, prices in US cents; the
high system-wide offer cap is 9,000 USD/MWh, and 5,000 from 2022-01-01 (Public Utility Commission of Texas,
2021-12-02; ERCOT notice M-A120721-01).

Simplified here:

- the cap is the high cap throughout; in truth it falls to 2,000 USD/MWh for the rest of a year whose scarcity
  revenue has passed a threshold, as it did in 2021 after the February storm;
- the floor of -250 USD/MWh and the cap, which ERCOT sets for offers, are applied to energy bids as well;
- one order a side and interval, where ERCOT takes curves of up to ten points;
- orders from 0.1 MW are taken, so that small fleets can take part, where ERCOT asks for at least 1 MW
  in an energy-only offer or bid (Nodal Protocols 4.4.9.5.1 and 4.4.9.6.1);
- ancillary services, block orders, collateral and congestion rights are absent;
- results are taken to be out exactly at 13:30, though they may come later.

The deviation charge of 10 % is no ERCOT rule: ERCOT settles deviations at real-time prices. Shoal's simulated
settlement uses the day-ahead price and this charge in their place.
"""

from __future__ import annotations

from datetime import date, time
from typing import Final
from zoneinfo import ZoneInfo

from shoal.domain.interval import NS_PER_HOUR
from shoal.market.rules import DayAheadMarket, PriceLimits

ERCOT_DAY_AHEAD: Final = DayAheadMarket(
    market_id="ercot-da",
    name="ERCOT day-ahead market",
    zone=ZoneInfo("America/Chicago"),
    currency="USD",
    gate=time(10, 0),
    publication=time(13, 30),
    interval_ns=NS_PER_HOUR,
    quantity_minimum_mw=0.1,
    quantity_step_mw=0.1,
    price_tick_per_mwh=0.01,
    price_limits_from=(
        PriceLimits(effective_from=date(2015, 6, 1), floor_per_mwh=-250.0, cap_per_mwh=9000.0),
        PriceLimits(effective_from=date(2022, 1, 1), floor_per_mwh=-250.0, cap_per_mwh=5000.0),
    ),
    max_orders_per_side=1,
    deviation_charge_permille=100,
)
