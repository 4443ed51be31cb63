"""The recorded samples, as they are and as providers pack them."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Final

from shoal.connect.feeds.catalogue import catalogue
from shoal.connect.feeds.feed import Feed, Reading
from shoal.domain.facts import Facts

FOLDER: Final = Path(__file__).parent / "samples"
KNOWN_NS: Final = 1_800_000_000_000_000_000
FEEDS: Final = catalogue()

SAMPLE_OF: Final = {
    "nem-dispatch": "aemo_dispatchis.csv",
    "nem-trading": "aemo_tradingis.csv",
    "nem-p5min": "aemo_p5min.csv",
    "nem-predispatch": "aemo_predispatchis.csv",
    "nem-archive-price": "aemo_archive_dispatchprice.csv",
    "nem-archive-load": "aemo_dispatchis.csv",
    "ercot-day-ahead": "ercot_dam.csv",
    "ercot-real-time": "ercot_rtm.csv",
    "ercot-ancillary": "ercot_as.csv",
    "entsoe-price": "entsoe_a44.xml",
    "entsoe-load-actual": "entsoe_a65.xml",
    "entsoe-load-forecast": "entsoe_nothing.xml",
    "energy-charts-DE-LU": "energy_charts.json",
    "elexon-system-price": "elexon_system_prices.json",
    "dwd-mosmix": "dwd_mosmix.kml",
    "met-norway-berlin": "met_norway.json",
}
"""A sample that each feed reads."""


def sample(name: str) -> bytes:
    return (FOLDER / name).read_bytes()


def zipped(content: bytes, member: str = "REPORT.CSV") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, content)
    return buffer.getvalue()


def read(feed: str | Feed, content: bytes | str) -> Reading:
    found = FEEDS[feed] if isinstance(feed, str) else feed
    return found.read(content.encode() if isinstance(content, str) else content, known_ns=KNOWN_NS)


def series(reading: Reading, name: str) -> Facts:
    (found,) = (facts for facts in reading.facts if facts.series_id == name)
    return found


def values(reading: Reading, name: str) -> list[float]:
    found: list[float] = series(reading, name).value[:, 0].tolist()
    return found


def starts(reading: Reading, name: str) -> list[int]:
    found: list[int] = series(reading, name).start_ns.tolist()
    return found


def reasons(reading: Reading) -> dict[str, int]:
    return dict(reading.reasons)
