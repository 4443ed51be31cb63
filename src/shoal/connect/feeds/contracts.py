"""What every series of the feeds may say: one table of unit, range, step, resolution and staleness.

Ranges are wide enough for whatever a market ever published or its rules allow, since a true value that is set aside costs
more than a wrong one that is not; they catch other units, shifted columns and sentinels such as 99999. A series whose step
has changed, or differs from place to place, has none here; a resolution stands where the market's own rules round.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Final

from shoal.domain.contracts import SeriesContract, ValueColumn
from shoal.domain.facts import SeriesId
from shoal.domain.interval import NS_PER_MINUTE, NS_PER_S

_PLACEHOLDER: Final = re.compile(r"\\\{[a-z]+\\\}")
_DAY_S: Final = 86_400.0
_DAILY_S: Final = 27 * 3600.0
"""A day, an hour more when the clock is set back, and two for being late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractRow:
    """The contract of all series of one pattern.

    Attributes:
        pattern: Names with the varying parts in braces: ``price/nem/{region}/dispatch``.
        unit: Of the values.
        column: The one value, its range and its resolution.
        step_ns: How long each interval is; None where that differs.
        stale_after_s: How old the newest knowledge may become; a word that repeats what is known is none.
    """

    pattern: str
    unit: str
    column: ValueColumn
    step_ns: int | None
    stale_after_s: float

    def takes(self, series_id: str) -> bool:
        """Whether a series is one of this row."""
        return matches(self.pattern, series_id)


def matches(pattern: str, series_id: str) -> bool:
    """Whether a series is one of a pattern, whose parts in braces stand for any name.

    >>> matches("price/nem/{region}/dispatch", "price/nem/VIC1/dispatch")
    True
    """
    return _compiled(pattern).fullmatch(series_id) is not None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(_PLACEHOLDER.sub("[^/]+", re.escape(pattern)))


def _row(
    pattern: str,
    unit: str,
    name: str,
    bounds: tuple[float, float],
    *,
    minutes: int | None,
    stale_after_s: float,
    tick: float | None = None,
) -> ContractRow:
    return ContractRow(
        pattern=pattern,
        unit=unit,
        column=ValueColumn(name=name, low=bounds[0], high=bounds[1], tick_size=tick),
        step_ns=None if minutes is None else minutes * NS_PER_MINUTE,
        stale_after_s=stale_after_s,
    )


def _nem(product: str, minutes: int, stale_after_s: float, *, load: str = "") -> tuple[ContractRow, ...]:
    """Return the rows of one of AEMO's runs; the price cap grows by some percent a year, 20,300 AUD/MWh in 2025-26."""
    price = (-1_000.0, 30_000.0)
    rows = [
        _row(
            f"price/nem/{{region}}/{product}",
            "AUD/MWh",
            "price_per_mwh",
            price,
            minutes=minutes,
            stale_after_s=stale_after_s,
        ),
        _row(
            f"price/nem/{{region}}/{product}-{{service}}",
            "AUD/MW/h",
            "price_per_mw_h",
            price,
            minutes=minutes,
            stale_after_s=stale_after_s,
        ),
    ]
    if load:
        # demand on the grid is what solar roofs leave: below nothing in South Australia
        demand = (-5_000.0, 25_000.0)
        rows.append(
            _row(
                f"load/nem/{{region}}/{load}",
                "MW",
                "load_mw",
                demand,
                minutes=minutes,
                stale_after_s=stale_after_s,
            )
        )
    return tuple(rows)


def _weather(
    provider: str,
    bounds_of: dict[str, tuple[str, float, float]],
    *,
    minutes: int | None,
    stale_after_s: float,
) -> tuple[ContractRow, ...]:
    names = {"°C": "celsius", "%": "percent", "m/s at 10 m": "m_per_s"}
    return tuple(
        _row(
            f"weather/{provider}/{{place}}/{variable}",
            unit,
            names.get(unit, "w_per_m2"),
            (low, high),
            minutes=minutes,
            stale_after_s=stale_after_s,
        )
        for variable, (unit, low, high) in bounds_of.items()
    )


_AIR: Final = {
    "temperature": ("°C", -90.0, 60.0),
    "cloud-cover": ("%", 0.0, 100.0),
    "wind-speed": ("m/s at 10 m", 0.0, 120.0),
}

TABLE: Final[tuple[ContractRow, ...]] = (
    *_nem("dispatch", 5, 900.0, load="actual"),
    _row(
        "price/nem/{region}/trading",
        "AUD/MWh",
        "price_per_mwh",
        (-1_000.0, 30_000.0),
        minutes=None,  # 30 before October 2021
        stale_after_s=900.0,
    ),
    *_nem("p5min", 5, 900.0, load="p5min"),
    *_nem("predispatch", 30, 5_400.0, load="forecast"),
    _row(
        "price/ercot/{point}/day-ahead",
        "USD/MWh",
        "price_per_mwh",
        (-5_000.0, 20_000.0),
        minutes=60,
        stale_after_s=_DAILY_S,
        tick=0.01,
    ),
    _row(
        "price/ercot/{point}/real-time",
        "USD/MWh",
        "price_per_mwh",
        (-5_000.0, 20_000.0),
        minutes=15,
        stale_after_s=2_700.0,
        tick=0.01,
    ),
    # more than 25,000 in February 2021
    _row(
        "price/ercot/system/day-ahead-{service}",
        "USD/MW/h",
        "price_per_mw_h",
        (0.0, 50_000.0),
        minutes=60,
        stale_after_s=_DAILY_S,
        tick=0.01,
    ),
    _row(
        "price/sdac/{zone}/day-ahead",
        "EUR/MWh",
        "price_per_mwh",
        (-1_000.0, 10_000.0),
        minutes=None,  # 60 before October 2025
        stale_after_s=_DAILY_S,
        tick=0.01,
    ),
    _row(
        "load/sdac/{zone}/actual",
        "MW",
        "load_mw",
        (0.0, 200_000.0),
        minutes=None,  # 15 to 60, as the zone reports
        stale_after_s=3 * 3600.0,
    ),
    _row(
        "load/sdac/{zone}/forecast",
        "MW",
        "load_mw",
        (0.0, 200_000.0),
        minutes=None,
        stale_after_s=_DAILY_S,
    ),
    _row(
        "price/gb/system/imbalance",
        "GBP/MWh",
        "price_per_mwh",
        (-10_000.0, 10_000.0),
        minutes=30,
        stale_after_s=3 * 3600.0,
    ),
    _row(
        "imbalance/gb/system/volume",
        "MWh, positive when the system is short",
        "energy_mwh",
        (-20_000.0, 20_000.0),
        minutes=30,
        stale_after_s=3 * 3600.0,
    ),
    *_weather(
        "dwd",
        _AIR | {"irradiance": ("W/m², global horizontal, mean of the hour", 0.0, 1_500.0)},
        minutes=60,
        stale_after_s=14 * 3600.0,  # four runs a day, the last of which may be missed
    ),
    *_weather("met-norway", _AIR | {"humidity": ("%", 0.0, 100.0)}, minutes=None, stale_after_s=_DAY_S / 2),
)
"""In no order: no series is one of two rows, which a test holds."""


def contract_of(series_id: SeriesId) -> SeriesContract | None:
    """Return the contract of a series, None for one that no feed gives."""
    row = next((row for row in TABLE if row.takes(series_id)), None)
    if row is None:
        return None
    return SeriesContract(
        series_id=series_id,
        unit=row.unit,
        columns=(row.column,),
        step_ns=row.step_ns,
        stale_after_ns=int(row.stale_after_s * NS_PER_S),
    )
