"""AEMO's public reports (NEMWeb and the monthly MMSDM archive): several tables in one CSV, told apart by their records.

A record ``I`` names the columns of the ``D`` records that follow it, so columns are found by name and a new version of
a table does no harm. Times are market time (UTC+10 all year) and name the END of an interval; facts name the start.
Prices are those of the pricing run (INTERVENTION 0), which settle; demand is that of the physical run (the highest).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Final
from urllib.parse import urljoin

from shoal.connect.feeds.archive import is_zip, unpacked
from shoal.connect.feeds.feed import Ask, Feed, FeedDescription, FeedError, Reading
from shoal.connect.feeds.gather import LATEST_NS, Gatherer, number, refuse_html, whole
from shoal.domain.interval import NS_PER_MINUTE, Interval, to_datetime, to_ns

MARKET_TIME: Final = timezone(timedelta(hours=10))
REGIONS: Final = ("NSW1", "QLD1", "SA1", "TAS1", "VIC1")
SERVICES: Final = (
    *("raise1sec", "raise6sec", "raise60sec", "raise5min", "raisereg"),
    *("lower1sec", "lower6sec", "lower60sec", "lower5min", "lowerreg"),
)
_FIVE_MINUTE_SETTLEMENT_NS: Final = to_ns(datetime(2021, 10, 1, tzinfo=MARKET_TIME))
_ARCHIVE_NAMES_CHANGED: Final = (2024, 8)
_TIME: Final = re.compile(r"([0-9]{4})/([0-9]{2})/([0-9]{2}) ([0-9]{2}):([0-9]{2}):([0-9]{2})")
_FIRST_COLUMN: Final = 4
_MOST_REVISION: Final = 1 << 31
BASE: Final = "https://nemweb.com.au"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """One table of the reports: where its instants and values are, and which series they make."""

    instant: str
    step_ns: Callable[[int], int]
    series: dict[str, str]
    """Series by column; ``{region}`` is filled in."""
    revision: Callable[[dict[str, str]], int | None]
    pricing_run: bool


def _five_minutes(_end_ns: int) -> int:
    return 5 * NS_PER_MINUTE


def _half_hour(_end_ns: int) -> int:
    return 30 * NS_PER_MINUTE


def _trading(end_ns: int) -> int:
    return (5 if end_ns > _FIVE_MINUTE_SETTLEMENT_NS else 30) * NS_PER_MINUTE


def _no_count(_row: dict[str, str]) -> int | None:
    return 0


def _run_time(row: dict[str, str]) -> int | None:
    run_ns = _instant_ns(row.get("RUN_DATETIME", ""))
    return run_ns // (5 * NS_PER_MINUTE) if run_ns is not None and 0 <= run_ns <= LATEST_NS else None


def _run_number(row: dict[str, str]) -> int | None:
    text = row.get("PREDISPATCHSEQNO", "").strip()
    return int(text) if re.fullmatch(r"[0-9]{10}", text) and int(text) < _MOST_REVISION else None


def _prices(product: str) -> dict[str, str]:
    services = {f"{name.upper()}RRP": f"price/nem/{{region}}/{product}-{name}" for name in SERVICES}
    return {"RRP": f"price/nem/{{region}}/{product}"} | services


_TABLES: Final = {
    ("DISPATCH", "PRICE"): _Table(
        instant="SETTLEMENTDATE",
        step_ns=_five_minutes,
        series=_prices("dispatch"),
        revision=_no_count,
        pricing_run=True,
    ),
    ("DISPATCH", "REGIONSUM"): _Table(
        instant="SETTLEMENTDATE",
        step_ns=_five_minutes,
        series={"TOTALDEMAND": "load/nem/{region}/actual"},
        revision=_no_count,
        pricing_run=False,
    ),
    ("TRADING", "PRICE"): _Table(
        instant="SETTLEMENTDATE",
        step_ns=_trading,
        series={"RRP": "price/nem/{region}/trading"},
        revision=_no_count,
        pricing_run=True,
    ),
    ("P5MIN", "REGIONSOLUTION"): _Table(
        instant="INTERVAL_DATETIME",
        step_ns=_five_minutes,
        series=_prices("p5min") | {"TOTALDEMAND": "load/nem/{region}/p5min"},
        revision=_run_time,
        pricing_run=True,
    ),
    ("PREDISPATCH", "REGION_PRICES"): _Table(
        instant="DATETIME",
        step_ns=_half_hour,
        series=_prices("predispatch"),
        revision=_run_number,
        pricing_run=True,
    ),
    ("PREDISPATCH", "REGION_SOLUTION"): _Table(
        instant="DATETIME",
        step_ns=_half_hour,
        series={"TOTALDEMAND": "load/nem/{region}/forecast"},
        revision=_run_number,
        pricing_run=False,
    ),
}


class AemoFeed(Feed):
    """One kind of report.

    Args:
        description: What it gives.
        report: The report in file names (``DISPATCHIS``), or the table in the archive.
        tables: Which tables of the file are read.
        folder: Its folder on NEMWeb; empty for the monthly archive.
        newest_only: Whether the newest run alone is of use, as for a forecast.
        regions: Which regions are kept.
    """

    def __init__(
        self,
        description: FeedDescription,
        report: str,
        tables: tuple[tuple[str, str], ...],
        *,
        folder: str = "",
        newest_only: bool = False,
        regions: tuple[str, ...] = REGIONS,
    ) -> None:
        self._description = description
        self._report = report
        self._folder = folder
        self._tables = {key: _TABLES[key] for key in tables}
        self._newest_only = newest_only
        self._regions = frozenset(regions)
        self._link = re.compile(
            rf'href="([^"<>]*?PUBLIC_{report}_([0-9]{{12}})_([0-9]+)(?:_LEGACY)?\.zip)"', re.IGNORECASE
        )

    @property
    def description(self) -> FeedDescription:
        """What it gives, how often, and on which terms."""
        return self._description

    def asks(self, span: Interval) -> tuple[Ask, ...]:
        """Return the folder's listing, or one archive a month."""
        if self._folder:
            return (Ask(url=f"{BASE}/Reports/CURRENT/{self._folder}/", listing=True),)
        first = to_datetime(span.start_ns).astimezone(MARKET_TIME)
        last = to_datetime(span.end_ns - 1).astimezone(MARKET_TIME)
        months = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
        return tuple(
            Ask(url=archive_url(self._report, month // 12, month % 12 + 1), immutable=True)
            for month in months
        )

    def follow(self, listing: bytes, *, ask: Ask, span: Interval) -> tuple[Ask, ...]:
        """Return the files of the folder whose instants (ends of intervals, or runs) lie in a span, oldest first.

        Raises:
            FeedError: when the page lists no file of this report at all.
        """
        links = self._link.findall(listing.decode("latin-1"))
        if not links:
            raise FeedError(
                feed=self._description.name,
                field="listing",
                value=ask.url,
                fix=f"it names no PUBLIC_{self._report} file: see whether the folder has moved",
            )
        found: list[tuple[int, int, str]] = []
        for link, stamp, number_text in links:
            stamp_ns, url = _stamp_ns(stamp), urljoin(ask.url, link)
            if stamp_ns is not None and url.startswith(f"{BASE}/"):  # a page leads nowhere else
                found.append((stamp_ns, int(number_text[:20]), url))
        found.sort()
        if self._newest_only:
            kept = [item for item in found if item[0] < span.end_ns + 60 * NS_PER_MINUTE][-1:]
        else:
            kept = [item for item in found if span.start_ns < item[0] <= span.end_ns + 5 * NS_PER_MINUTE]
        return tuple(Ask(url=url, immutable=True) for _, _, url in dict.fromkeys(kept))

    def read(self, content: bytes, *, known_ns: int) -> Reading:
        """Return what a report says, as ZIP or as CSV.

        Raises:
            FeedError: when it is no report, is cut off, or has none of the tables of this feed.
        """
        name = self._description.name
        refuse_html(name, content)
        files = unpacked(name, content, suffix=".csv") if is_zip(content) else [("", content)]
        gatherer = Gatherer(source=self._description.source, known_ns=known_ns)
        seen = sum(self._read_csv(text.decode("latin-1"), gatherer) for _, text in files)
        if not seen:
            raise FeedError(
                feed=name,
                field="tables",
                value=", ".join("/".join(key) for key in self._tables),
                fix="none of them is in the file: see whether AEMO changed the report",
            )
        return gatherer.reading()

    def _read_csv(self, text: str, gatherer: Gatherer) -> int:
        """Take the rows of the wanted tables and return how many such tables there are."""
        table: _Table | None = None
        columns: list[str] = []
        seen = count = 0
        trailer: list[str] | None = None
        for count, row in enumerate(self._rows(text), 1):
            kind = row[0].strip() if row else ""
            if kind == "C":
                trailer = row if len(row) > 1 and row[1].strip() == "END OF REPORT" else trailer
                if count == 1:
                    gatherer.published_ns = _published_ns(row)
            elif kind == "I":
                table = self._tables.get((row[1].strip(), row[2].strip())) if len(row) > 2 else None
                columns = [cell.strip() for cell in row[_FIRST_COLUMN:]]
                if table is not None:
                    self._check_columns(table, columns)
                    seen += 1
            elif kind == "D":
                if table is not None:
                    self._take(table, dict(zip(columns, row[_FIRST_COLUMN:], strict=False)), count, gatherer)
            elif kind:
                raise self._no_report(f"line {count}", kind, "every line begins with C, I or D")
        if trailer is None:
            raise self._no_report("end", f"{count} lines", "the END OF REPORT is missing: it is cut off")
        if len(trailer) > 2 and whole(trailer[2]) != count:
            gatherer.quarantine("end", "count", trailer[2], "the report has not as many lines as it says")
        return seen

    def _rows(self, text: str) -> Iterator[list[str]]:
        try:
            yield from csv.reader(text.splitlines())
        except csv.Error as error:
            raise self._no_report("CSV", str(error), "fetch it again") from error

    def _check_columns(self, table: _Table, columns: list[str]) -> None:
        first_value = next(iter(table.series))
        for needed in (table.instant, "REGIONID", first_value):
            if needed not in columns:
                raise self._no_report("columns", needed, "the column is missing: AEMO changed the report")

    def _take(self, table: _Table, row: dict[str, str], line: int, gatherer: Gatherer) -> None:
        where, region = f"line {line}", row.get("REGIONID", "").strip()
        if region not in self._regions:
            return
        run = whole(row.get("INTERVENTION", "0") or "0")
        if run is None:
            gatherer.quarantine(where, "INTERVENTION", row["INTERVENTION"], "not a whole number")
            return
        if table.pricing_run and run != 0:
            return
        end_ns = _instant_ns(row.get(table.instant, ""))
        if end_ns is None:
            gatherer.quarantine(where, table.instant, row.get(table.instant, ""), "not an instant")
            return
        revision = table.revision(row)
        if revision is None:
            gatherer.quarantine(where, "run", "", "it does not say to which run it belongs")
            return
        rank = f"{run:09d} {whole(row.get('RUNNO', '')) or 0:09d} {row.get('LASTCHANGED', '').strip()}"
        for column, series in table.series.items():
            text = row.get(column)
            if text is None:
                continue  # this version of the table has no such column
            if not text.strip():
                gatherer.absent()
                continue
            value = number(text)
            if value is None:
                gatherer.quarantine(where, column, text, "not a number")
                continue
            gatherer.take(
                series.format(region=region),
                start_ns=end_ns - table.step_ns(end_ns),
                end_ns=end_ns,
                value=value,
                where=where,
                revision=revision,
                rank=rank,
            )

    def _no_report(self, field: str, value: str, fix: str) -> FeedError:
        return FeedError(feed=self._description.name, field=field, value=value, fix=fix)


def archive_url(table: str, year: int, month: int) -> str:
    """Return where the monthly archive keeps a table; the names changed in August 2024."""
    folder = (
        f"{BASE}/Data_Archive/Wholesale_Electricity/MMSDM/{year}/MMSDM_{year}_{month:02d}"
        "/MMSDM_Historical_Data_SQLLoader/DATA"
    )
    if (year, month) < _ARCHIVE_NAMES_CHANGED:
        return f"{folder}/PUBLIC_DVD_{table}_{year}{month:02d}010000.zip"
    return f"{folder}/PUBLIC_ARCHIVE%23{table}%23FILE01%23{year}{month:02d}010000.zip"


@lru_cache(maxsize=1024)  # the regions and services of a report share their few instants
def _instant_ns(text: str) -> int | None:
    match = _TIME.fullmatch(text.strip())
    return None if match is None else _market_ns(match.groups())


def _stamp_ns(text: str) -> int | None:
    return _market_ns((text[:4], text[4:6], text[6:8], text[8:10], text[10:12], "00"))


def _market_ns(parts: tuple[str, ...]) -> int | None:
    year, month, day, hour, minute, second = map(int, parts)
    try:
        return to_ns(datetime(year, month, day, hour, minute, second, tzinfo=MARKET_TIME))
    except ValueError:
        return None


def _published_ns(row: list[str]) -> int | None:
    """Return when a report was made: the sixth and seventh field of its first record."""
    return _instant_ns(f"{row[5].strip()} {row[6].strip()}") if len(row) > 6 else None
