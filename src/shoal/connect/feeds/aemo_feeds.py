"""AEMO's feeds: dispatch, trading, five-minute and half-hour pre-dispatch, and the monthly archive of dispatch."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from shoal.connect.feeds.aemo import BASE, REGIONS, AemoFeed, archive_url
from shoal.connect.feeds.feed import FeedDescription, Licence, SeriesNote

LICENCE: Final = Licence(
    name="AEMO copyright permissions: any purpose, with attribution",
    url="https://www.aemo.com.au/privacy-and-legal-notices/copyright-permissions",
    attribution="Source: Australian Energy Market Operator (AEMO), NEMWeb",
)
_CURRENT: Final = f"{BASE}/Reports/CURRENT"
_MONTH_S: Final = 31 * 86_400.0


def _notes(product: str, step: str, *, load: str = "") -> tuple[SeriesNote, ...]:
    notes = [
        SeriesNote(pattern=f"price/nem/{{region}}/{product}", unit="AUD/MWh", step=step),
        SeriesNote(pattern=f"price/nem/{{region}}/{product}-{{service}}", unit="AUD/MW/h", step=step),
    ]
    if load:
        notes.append(SeriesNote(pattern=f"load/nem/{{region}}/{load}", unit="MW", step=step))
    return tuple(notes)


_DISPATCH: Final = FeedDescription(
    name="nem-dispatch",
    source="aemo",
    about="dispatch prices of energy and FCAS, and demand, every five minutes",
    series=_notes("dispatch", "5 min", load="actual"),
    url=f"{_CURRENT}/DispatchIS_Reports/PUBLIC_DISPATCHIS_{{end}}_{{number}}.zip",
    cadence_s=300.0,
    delay_s=30.0,
    stale_after_s=900.0,
    behind_s=1800.0,
    ahead_s=0.0,
    licence=LICENCE,
)
_TRADING: Final = replace(
    _DISPATCH,
    name="nem-trading",
    about="prices that settle, every five minutes",
    series=_notes("trading", "5 min; 30 min before October 2021")[:1],
    url=f"{_CURRENT}/TradingIS_Reports/PUBLIC_TRADINGIS_{{end}}_{{number}}.zip",
    delay_s=45.0,
)
_P5MIN: Final = replace(
    _DISPATCH,
    name="nem-p5min",
    about="AEMO's forecast of the next hour, run every five minutes",
    series=_notes("p5min", "5 min", load="p5min"),
    url=f"{_CURRENT}/P5_Reports/PUBLIC_P5MIN_{{run}}_{{number}}.zip",
    delay_s=60.0,
    stale_after_s=-1800.0,
    behind_s=600.0,
)
_PREDISPATCH: Final = replace(
    _DISPATCH,
    name="nem-predispatch",
    about="AEMO's forecast up to the end of the next trading day, run every half hour",
    series=_notes("predispatch", "30 min", load="forecast"),
    url=f"{_CURRENT}/PredispatchIS_Reports/PUBLIC_PREDISPATCHIS_{{run}}_{{number}}.zip",
    cadence_s=1800.0,
    delay_s=120.0,
    stale_after_s=-4 * 3600.0,
    behind_s=3600.0,
)
_PRICE_ARCHIVE: Final = replace(
    _DISPATCH,
    name="nem-archive-price",
    about="dispatch prices by the month (MMSDM), for back-filling",
    series=_notes("dispatch", "5 min"),
    url=archive_url("DISPATCHPRICE", 2025, 1).replace("202501", "{month}"),
    cadence_s=86_400.0,
    delay_s=6 * 3600.0,
    stale_after_s=2.5 * _MONTH_S,
    behind_s=2 * _MONTH_S,
)
_LOAD_ARCHIVE: Final = replace(
    _PRICE_ARCHIVE,
    name="nem-archive-load",
    about="demand by the month (MMSDM), for back-filling",
    series=(SeriesNote(pattern="load/nem/{region}/actual", unit="MW", step="5 min"),),
    url=archive_url("DISPATCHREGIONSUM", 2025, 1).replace("202501", "{month}"),
)


def aemo_feeds(regions: tuple[str, ...] = REGIONS) -> tuple[AemoFeed, ...]:
    """Return AEMO's feeds for some regions."""
    prices, sums = ("DISPATCH", "PRICE"), ("DISPATCH", "REGIONSUM")
    runs = (("PREDISPATCH", "REGION_PRICES"), ("PREDISPATCH", "REGION_SOLUTION"))
    return (
        AemoFeed(_DISPATCH, "DISPATCHIS", (prices, sums), folder="DispatchIS_Reports", regions=regions),
        AemoFeed(_TRADING, "TRADINGIS", (("TRADING", "PRICE"),), folder="TradingIS_Reports", regions=regions),
        AemoFeed(
            _P5MIN,
            "P5MIN",
            (("P5MIN", "REGIONSOLUTION"),),
            folder="P5_Reports",
            newest_only=True,
            regions=regions,
        ),
        AemoFeed(
            _PREDISPATCH,
            "PREDISPATCHIS",
            runs,
            folder="PredispatchIS_Reports",
            newest_only=True,
            regions=regions,
        ),
        AemoFeed(_PRICE_ARCHIVE, "DISPATCHPRICE", (prices,), regions=regions),
        AemoFeed(_LOAD_ARCHIVE, "DISPATCHREGIONSUM", (sums,), regions=regions),
    )
