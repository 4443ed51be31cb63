"""ERCOT's public reports: day-ahead and real-time settlement point prices, and day-ahead prices of ancillary services.

Hours are local (Central Prevailing Time) and named by their END. The hour that the autumn clock change repeats comes
twice: the second time with DSTFlag ``Y``. The hour that spring leaves out does not exist; a row for it is set aside.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from shoal.connect.feeds.archive import is_zip, unpacked
from shoal.connect.feeds.feed import Ask, Feed, FeedDescription, FeedError, Licence, Reading, SeriesNote
from shoal.connect.feeds.gather import Gatherer, instant_ns, number, refuse_html, whole
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S, Interval, to_ns

ZONE: Final = ZoneInfo("America/Chicago")
HUBS_AND_ZONES: Final = ("HB_*", "LZ_*")
LICENCE: Final = Licence(
    name="ERCOT terms of use (public reports; no open licence is stated)",
    url="https://www.ercot.com/help/terms",
    attribution="Source: Electric Reliability Council of Texas (ERCOT)",
)
_LISTING: Final = "https://www.ercot.com/misapp/servlets/IceDocListJsonWS?reportTypeId="
_DOCUMENT: Final = "https://www.ercot.com/misdownload/servlets/mirDownload?doclookupId="
_DATE: Final = re.compile(r"([0-9]{2})/([0-9]{2})/([0-9]{4})")
_HOUR: Final = re.compile(r"([0-9]{1,2})(?::00)?")
_TOKEN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.&-]{0,63}")
_IDENTITY: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_QUARTER_NS: Final = 15 * NS_PER_MINUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Where a report keeps what.

    Attributes:
        hour: The hour-ending column.
        quarter: The column of the quarter of the hour; empty for hourly reports.
        point: The settlement point or the service.
        value: The price.
        kind: The column that tells kinds of points apart; empty when there is none.
        series: The series, with ``{point}`` or ``{service}``.
    """

    hour: str
    point: str
    value: str
    series: str
    quarter: str = ""
    kind: str = ""


DAY_AHEAD: Final = Columns(
    hour="HourEnding",
    point="SettlementPoint",
    value="SettlementPointPrice",
    series="price/ercot/{point}/day-ahead",
)
REAL_TIME: Final = Columns(
    hour="DeliveryHour",
    quarter="DeliveryInterval",
    point="SettlementPointName",
    kind="SettlementPointType",
    value="SettlementPointPrice",
    series="price/ercot/{point}/real-time",
)
ANCILLARY: Final = Columns(
    hour="HourEnding", point="AncillaryType", value="MCPC", series="price/ercot/system/day-ahead-{service}"
)


_PRODUCTS: Final = {"NSPIN": "nonspin"}
"""Services whose product has another name than the report gives them; all are in lower case."""


class _Document(msgspec.Struct, frozen=True):
    DocID: str | int
    PublishDate: str
    FriendlyName: str = ""


class _Item(msgspec.Struct, frozen=True):
    Document: _Document


class _List(msgspec.Struct, frozen=True):
    DocumentList: list[_Item] | _Item | None = None


class _Listing(msgspec.Struct, frozen=True):
    ListDocsByRptTypeRes: _List


class ErcotFeed(Feed):
    """One report.

    Args:
        description: What it gives.
        report_type: ERCOT's number of the report.
        columns: Where the report keeps what.
        early_s: How long before an interval begins its document may be published.
        late_s: How long after it ends.
        points: Names of points to keep, ``*`` at the end standing for anything.
    """

    def __init__(
        self,
        description: FeedDescription,
        report_type: int,
        columns: Columns,
        *,
        early_s: float,
        late_s: float,
        points: tuple[str, ...],
    ) -> None:
        self._description = description
        self._report_type = report_type
        self._columns = columns
        self._early_s, self._late_s = early_s, late_s
        self._names = frozenset(point for point in points if not point.endswith("*"))
        self._prefixes = tuple(point[:-1] for point in points if point.endswith("*"))

    @property
    def description(self) -> FeedDescription:
        """What it gives, how often, and on which terms."""
        return self._description

    def asks(self, span: Interval) -> tuple[Ask, ...]:
        """Return the list of the report's documents."""
        return (Ask(url=f"{_LISTING}{self._report_type}", listing=True),)

    def follow(self, listing: bytes, *, ask: Ask, span: Interval) -> tuple[Ask, ...]:
        """Return the CSV documents published when those of a span are, oldest first.

        Raises:
            FeedError: when it is no list of documents.
        """
        name = self._description.name
        refuse_html(name, listing)
        try:
            held = msgspec.json.decode(listing, type=_Listing).ListDocsByRptTypeRes.DocumentList
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise FeedError(
                feed=name, field="listing", value=ask.url, fix=f"no list of documents: {error}"
            ) from error
        items = [held] if isinstance(held, _Item) else held or []
        # The offset of PublishDate is off by an hour for part of the year, hence an hour more on each side.
        earliest_ns = span.start_ns - int(self._early_s * NS_PER_S) - NS_PER_HOUR
        latest_ns = span.end_ns + int(self._late_s * NS_PER_S) + NS_PER_HOUR
        found: list[tuple[int, str]] = []
        for item in items:
            document, published_ns = item.Document, instant_ns(item.Document.PublishDate)
            identity = str(document.DocID)
            if published_ns is None or not _IDENTITY.fullmatch(identity):
                continue
            if document.FriendlyName.lower().endswith("_xml"):
                continue
            if earliest_ns <= published_ns <= latest_ns:
                found.append((published_ns, identity))
        return tuple(Ask(url=f"{_DOCUMENT}{identity}", immutable=True) for _, identity in sorted(set(found)))

    def read(self, content: bytes, *, known_ns: int) -> Reading:
        """Return what a report says, as ZIP or as CSV.

        Raises:
            FeedError: when it is neither, is cut off, or lacks a column.
        """
        name = self._description.name
        refuse_html(name, content)
        files = unpacked(name, content, suffix=".csv") if is_zip(content) else [("", content)]
        gatherer = Gatherer(source=self._description.source, known_ns=known_ns)
        for _, text in files:
            self._read_csv(text.decode("latin-1").removeprefix("ï»¿"), gatherer)
        return gatherer.reading()

    def _read_csv(self, text: str, gatherer: Gatherer) -> None:
        rows = self._rows(text)
        head = [cell.strip() for cell in next(rows, [])]
        told = self._columns
        for needed in ("DeliveryDate", told.hour, told.quarter, told.point, told.value):
            if needed and needed not in head:
                raise FeedError(
                    feed=self._description.name,
                    field="columns",
                    value=", ".join(head),
                    fix=f"the column {needed} is missing: see whether ERCOT changed the report",
                )
        flagged = "DSTFlag" in head
        starts: dict[tuple[str, str, str], int | str] = {}
        for line, cells in enumerate(rows, 2):
            if not cells:
                continue
            row = dict(zip(head, (cell.strip() for cell in cells), strict=False))
            self._take(row, f"line {line}", gatherer, starts, flagged=flagged)

    def _rows(self, text: str) -> Iterator[list[str]]:
        try:
            yield from csv.reader(text.splitlines())
        except csv.Error as error:
            raise FeedError(
                feed=self._description.name, field="CSV", value=str(error), fix="fetch it again"
            ) from error

    def _take(
        self,
        row: dict[str, str],
        where: str,
        gatherer: Gatherer,
        starts: dict[tuple[str, str, str], int | str],
        *,
        flagged: bool,
    ) -> None:
        told = self._columns
        point = row.get(told.point, "")
        if not self._wanted(point, row.get(told.kind, "")):
            return
        key = (row.get("DeliveryDate", ""), row.get(told.hour, ""), row.get("DSTFlag", "N") or "N")
        hour = starts.get(key)
        if hour is None:
            hour = starts[key] = hour_start(*key, flagged=flagged)
        if isinstance(hour, str):
            gatherer.quarantine(where, told.hour, " ".join(key), hour)
            return
        start_ns, length_ns = hour, NS_PER_HOUR
        if told.quarter:
            quarter = whole(row.get(told.quarter, ""))
            if quarter is None or not 1 <= quarter <= 4:
                gatherer.quarantine(where, told.quarter, row.get(told.quarter, ""), "no quarter of an hour")
                return
            start_ns, length_ns = start_ns + (quarter - 1) * _QUARTER_NS, _QUARTER_NS
        text = row.get(told.value, "")
        value = number(text)
        if value is None:
            if text:
                gatherer.quarantine(where, told.value, text, "not a number")
            else:
                gatherer.absent()
            return
        name = told.series.format(point=point, service=_PRODUCTS.get(point, point.lower()))
        gatherer.take(name, start_ns=start_ns, end_ns=start_ns + length_ns, value=value, where=where)

    def _wanted(self, point: str, kind: str) -> bool:
        # Kinds that end in EW weigh by energy: a second price of the same zone, for another use.
        if kind.endswith("EW") or not _TOKEN.fullmatch(point):
            return False
        return point in self._names or point.startswith(self._prefixes)


def hour_start(day: str, hour_ending: str, repeated: str, *, flagged: bool) -> int | str:
    """Return when a local hour begins, in UTC ns, or why there is no such hour.

    Args:
        day: ``MM/DD/YYYY``.
        hour_ending: ``01:00`` to ``24:00``, or ``1`` to ``24``.
        repeated: ``Y`` for the second of the two hours that the autumn clock change makes of one.
        flagged: Whether the file has the column at all.
    """
    found, hour = _DATE.fullmatch(day), _HOUR.fullmatch(hour_ending)
    if found is None or hour is None or not 1 <= int(hour[1]) <= 24:
        return "no hour of a day"
    if repeated not in ("Y", "N"):
        return "DSTFlag is neither Y nor N"
    try:
        naive = datetime.combine(date(int(found[3]), int(found[1]), int(found[2])), datetime.min.time())
        local = (naive + timedelta(hours=int(hour[1]) - 1)).replace(tzinfo=ZONE)
        second = local.replace(fold=1)
        real = local.astimezone(UTC).astimezone(ZONE).replace(tzinfo=None) == local.replace(tzinfo=None)
    except (ValueError, OverflowError):
        return "no hour of a day"
    if not real:
        return "the clock change leaves this hour out"
    twice = local.utcoffset() != second.utcoffset()
    if repeated == "Y" and not twice:
        return "DSTFlag is Y, yet the clock does not repeat this hour"
    if twice and not flagged:
        return "the clock repeats this hour, and the file has no DSTFlag"
    return to_ns(second if repeated == "Y" else local)


_DAM: Final = FeedDescription(
    name="ercot-day-ahead",
    source="ercot",
    about="day-ahead settlement point prices of hubs and load zones (NP4-190-CD)",
    series=(SeriesNote(pattern=DAY_AHEAD.series, unit="USD/MWh", step="1 h"),),
    url=f"{_DOCUMENT}{{document}}",
    cadence_s=1800.0,
    delay_s=60.0,
    stale_after_s=0.0,
    behind_s=86_400.0,
    ahead_s=2 * 86_400.0,
    licence=LICENCE,
    rate_per_s=1.0,
)
_RTM: Final = replace(
    _DAM,
    name="ercot-real-time",
    about="real-time settlement point prices of hubs and load zones (NP6-905-CD)",
    series=(SeriesNote(pattern=REAL_TIME.series, unit="USD/MWh", step="15 min"),),
    cadence_s=900.0,
    delay_s=150.0,
    stale_after_s=2700.0,
    behind_s=3600.0,
    ahead_s=0.0,
)
_AS: Final = replace(
    _DAM,
    name="ercot-ancillary",
    about="day-ahead clearing prices of ancillary services (NP4-188-CD)",
    series=(SeriesNote(pattern=ANCILLARY.series, unit="USD/MW/h", step="1 h"),),
)


def ercot_feeds(points: tuple[str, ...] = HUBS_AND_ZONES) -> tuple[ErcotFeed, ...]:
    """Return ERCOT's feeds for some settlement points."""
    ahead: dict[str, Any] = {"early_s": 2 * 86_400.0, "late_s": 0.0}
    return (
        ErcotFeed(_DAM, 12331, DAY_AHEAD, points=points, **ahead),
        ErcotFeed(_RTM, 12301, REAL_TIME, points=points, early_s=0.0, late_s=1200.0),
        ErcotFeed(_AS, 12329, ANCILLARY, points=("*",), **ahead),
    )
