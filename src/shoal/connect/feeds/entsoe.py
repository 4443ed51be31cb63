"""ENTSO-E's Transparency Platform: day-ahead prices (A44) and load (A65), as XML.

A document holds series, a series holds periods in UTC, and a period holds points by position. In curve type A03 a
position that is left out repeats the one before it; in A01 it is not known. Several auctions may share a document: the
one that couples the markets carries classification 1, or none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final
from xml.etree import ElementTree

from shoal.connect.feeds.feed import (
    Ask,
    Feed,
    FeedDescription,
    FeedError,
    Licence,
    Reading,
    Secret,
    SeriesNote,
)
from shoal.connect.feeds.gather import Gatherer, instant_ns, number, refuse_html, whole
from shoal.connect.feeds.xml import children, local, parsed, text_of
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, Interval, to_datetime

ZONES: Final[Mapping[str, str]] = {
    "AT": "10YAT-APG------L",
    "BE": "10YBE----------2",
    "CH": "10YCH-SWISSGRIDZ",
    "CZ": "10YCZ-CEPS-----N",
    "DE-LU": "10Y1001A1001A82H",
    "DK1": "10YDK-1--------W",
    "DK2": "10YDK-2--------M",
    "ES": "10YES-REE------0",
    "FI": "10YFI-1--------U",
    "FR": "10YFR-RTE------C",
    "HU": "10YHU-MAVIR----U",
    "NL": "10YNL----------L",
    "NO2": "10YNO-2--------T",
    "PL": "10YPL-AREA-----S",
    "PT": "10YPT-REN------W",
    "SE3": "10Y1001A1001A46L",
}
"""Energy identification codes of bidding zones, by the name that series carry."""

LICENCE: Final = Licence(
    name="ENTSO-E Transparency Platform terms: free re-use of what its list of data names, else as the data owner allows",
    url="https://transparency.entsoe.eu/content/static_content/Static%20content/terms%20and%20conditions/terms%20and%20conditions.html",
    attribution="Source: ENTSO-E Transparency Platform",
)
SECRET: Final = Secret(
    variable="SHOAL_ENTSOE_TOKEN",
    parameter="securityToken",
    source="register on transparency.entsoe.eu and ask for access to the RESTful API",
)
_API: Final = "https://web-api.tp.entsoe.eu/api"
_NOTHING: Final = "No matching data found"
_STEPS: Final = {
    "PT15M": 15 * NS_PER_MINUTE,
    "PT30M": 30 * NS_PER_MINUTE,
    "PT60M": NS_PER_HOUR,
    "PT1H": NS_PER_HOUR,
}
_UTC_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?Z")
_MOST_POSITIONS: Final = 40_000
_LONGEST_SPAN: Final = timedelta(days=300)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """What a document of some type says."""

    element: str
    zones: tuple[str, ...]
    units: tuple[tuple[str, str], ...]
    series: str


_KINDS: Final = {
    "A44": _Kind(
        element="price.amount",
        zones=("in_Domain.mRID", "out_Domain.mRID"),
        units=(("currency_Unit.name", "EUR"), ("price_Measure_Unit.name", "MWH")),
        series="price/sdac/{zone}/day-ahead",
    ),
    "A65": _Kind(
        element="quantity",
        zones=("outBiddingZone_Domain.mRID",),
        units=(("quantity_Measure_Unit.name", "MAW"),),
        series="load/sdac/{zone}/{process}",
    ),
}
_PROCESSES: Final = {"A16": "actual", "A01": "forecast"}


class EntsoeFeed(Feed):
    """Documents of one type.

    Args:
        description: What it gives.
        document_type: ``A44`` or ``A65``.
        process_type: ``A16`` (realised) or ``A01`` (day ahead) of load; empty for prices.
        zones: Names of bidding zones, see `ZONES`.

    Raises:
        FeedError: when a zone is not known.
    """

    def __init__(
        self,
        description: FeedDescription,
        document_type: str,
        *,
        process_type: str = "",
        zones: tuple[str, ...],
    ) -> None:
        for zone in zones:
            if zone not in ZONES:
                raise FeedError(
                    feed=description.name, field="zone", value=zone, fix=f"give one of {', '.join(ZONES)}"
                )
        self._description = description
        self._document_type = document_type
        self._process_type = process_type
        self._zones = zones
        self._name_of = {ZONES[zone]: zone for zone in zones}

    @property
    def description(self) -> FeedDescription:
        """What it gives, how often, and on which terms."""
        return self._description

    def asks(self, span: Interval) -> tuple[Ask, ...]:
        """Return one request a zone and stretch of at most 300 days; spans are cut to whole minutes outwards."""
        found: list[Ask] = []
        begin = to_datetime(span.start_ns).replace(second=0, microsecond=0)
        end = to_datetime(span.end_ns + NS_PER_MINUTE - 1).replace(second=0, microsecond=0)
        while begin < end:
            until = min(begin + _LONGEST_SPAN, end)
            period = f"periodStart={begin:%Y%m%d%H%M}&periodEnd={until:%Y%m%d%H%M}"
            for zone in self._zones:
                found.append(
                    Ask(url=f"{_API}?documentType={self._document_type}{self._query(zone)}&{period}")
                )
            begin = until
        return tuple(found)

    def _query(self, zone: str) -> str:
        code = ZONES[zone]
        if self._document_type == "A65":
            return f"&processType={self._process_type}&outBiddingZone_Domain={code}"
        return f"&in_Domain={code}&out_Domain={code}&contract_MarketAgreement.type=A01"

    def read(self, content: bytes, *, known_ns: int) -> Reading:
        """Return what a document says; nothing, when the platform says that it has no data.

        Raises:
            FeedError: when the platform refuses the request, or the document is none of these.
        """
        name = self._description.name
        refuse_html(name, content)
        root = parsed(name, content)
        gatherer = Gatherer(source=self._description.source, known_ns=known_ns)
        if local(root.tag) == "Acknowledgement_MarketDocument":
            reason = text_of(root, "Reason", "text")
            if _NOTHING.lower() in reason.lower():
                return gatherer.reading()
            raise FeedError(
                feed=name, field="request", value=reason, fix="the platform refuses it for this reason"
            )
        kind = _KINDS.get(text_of(root, "type"))
        if kind is None or text_of(root, "type") != self._document_type:
            raise FeedError(
                feed=name, field="type", value=text_of(root, "type"), fix=f"ask for {self._document_type}"
            )
        process = _PROCESSES.get(text_of(root, "process.processType"), "")
        if "{process}" in kind.series and not process:
            raise FeedError(
                feed=name,
                field="process.processType",
                value=text_of(root, "process.processType"),
                fix="ask for A16 or A01",
            )
        revision = whole(text_of(root, "revisionNumber"))
        gatherer.published_ns = _instant_ns(text_of(root, "createdDateTime"))
        for series in _of_the_auction(children(root, "TimeSeries")):
            self._take_series(series, kind, process, revision or 0, gatherer)
        return gatherer.reading()

    def _take_series(
        self, series: ElementTree.Element, kind: _Kind, process: str, revision: int, gatherer: Gatherer
    ) -> None:
        where = f"series {text_of(series, 'mRID')[:40]}"
        codes = {text_of(series, element) for element in kind.zones}
        zone = self._name_of.get(codes.pop()) if len(codes) == 1 else None
        if zone is None:
            gatherer.quarantine(where, kind.zones[0], str(sorted(codes)), "a zone that was not asked for")
            return
        for element, unit in kind.units:
            if text_of(series, element) != unit:
                gatherer.quarantine(where, element, text_of(series, element), f"not in {unit}")
                return
        curve = text_of(series, "curveType") or "A01"
        if curve not in ("A01", "A03"):
            gatherer.quarantine(where, "curveType", curve, "neither A01 nor A03")
            return
        name = kind.series.format(zone=zone, process=process)
        for period in children(series, "Period"):
            self._take_period(
                period,
                gatherer,
                name=name,
                element=kind.element,
                where=where,
                revision=revision,
                fill=curve == "A03",
            )

    def _take_period(
        self,
        period: ElementTree.Element,
        gatherer: Gatherer,
        *,
        name: str,
        element: str,
        where: str,
        revision: int,
        fill: bool,
    ) -> None:
        start_ns = _instant_ns(text_of(period, "timeInterval", "start"))
        end_ns = _instant_ns(text_of(period, "timeInterval", "end"))
        step_ns = _STEPS.get(text_of(period, "resolution"))
        if start_ns is None or end_ns is None or end_ns <= start_ns:
            gatherer.quarantine(where, "timeInterval", "", "no interval in UTC")
            return
        if (
            step_ns is None
            or (end_ns - start_ns) % step_ns
            or (end_ns - start_ns) // step_ns > _MOST_POSITIONS
        ):
            gatherer.quarantine(
                where, "resolution", text_of(period, "resolution"), "it does not divide the period"
            )
            return
        count = (end_ns - start_ns) // step_ns
        values: dict[int, float | None] = {}
        for point in children(period, "Point"):
            text = text_of(point, "position")
            position = whole(text)
            if position is None or not 1 <= position <= count:
                gatherer.quarantine(where, "position", text, "outside its period")
                continue
            said = text_of(point, element)
            value = number(said)
            if value is None:
                gatherer.quarantine(f"{where} position {position}", element, said, "not a number")
            if position in values and values[position] != value:
                gatherer.quarantine(f"{where} position {position}", element, said, "the position comes twice")
                value = None
            values[position] = value
        held: float | None = None
        for position in range(1, count + 1):
            # What was set aside is not known; it is no position that was left out.
            held = values.get(position, held if fill else None)
            if held is None:
                gatherer.absent()
                continue
            begin_ns = start_ns + (position - 1) * step_ns
            gatherer.take(
                name,
                start_ns=begin_ns,
                end_ns=begin_ns + step_ns,
                value=held,
                where=f"{where} position {position}",
                revision=revision,
            )


def _of_the_auction(series: list[ElementTree.Element]) -> list[ElementTree.Element]:
    """Return the series of the day-ahead coupling: classification 1 where any has one, else those without."""
    held = [item for item in series if text_of(item, "contract_MarketAgreement.type") in ("", "A01")]
    key = "classificationSequence_AttributeInstanceComponent.position"
    first = [item for item in held if text_of(item, key) == "1"]
    return first or [item for item in held if not text_of(item, key)]


def _instant_ns(text: str) -> int | None:
    return instant_ns(text) if _UTC_TIME.fullmatch(text) else None


def entsoe_feeds(zones: tuple[str, ...] = ("DE-LU",)) -> tuple[EntsoeFeed, ...]:
    """Return ENTSO-E's feeds for some bidding zones."""
    prices = FeedDescription(
        name="entsoe-price",
        about="day-ahead prices of the coupled European auction (A44)",
        series=(
            SeriesNote(
                pattern="price/sdac/{zone}/day-ahead", unit="EUR/MWh", step="15 min; 1 h before October 2025"
            ),
        ),
        url=f"{_API}?documentType=A44&in_Domain={{zone}}&out_Domain={{zone}}&periodStart={{from}}&periodEnd={{to}}",
        cadence_s=1800.0,
        delay_s=60.0,
        stale_after_s=0.0,
        behind_s=86_400.0,
        ahead_s=2 * 86_400.0,
        told_in_body=frozenset({400}),
        source="entsoe",
        licence=LICENCE,
        secret=SECRET,
    )
    return (
        EntsoeFeed(prices, "A44", zones=zones),
        EntsoeFeed(
            _load(prices, "actual", "load as measured (A65, A16)", stale_after_s=3 * 3600.0),
            "A65",
            process_type="A16",
            zones=zones,
        ),
        EntsoeFeed(
            _load(prices, "forecast", "load as forecast the day before (A65, A01)", stale_after_s=0.0),
            "A65",
            process_type="A01",
            zones=zones,
        ),
    )


def _load(prices: FeedDescription, what: str, about: str, *, stale_after_s: float) -> FeedDescription:
    return replace(
        prices,
        name=f"entsoe-load-{what}",
        about=about,
        series=(
            SeriesNote(
                pattern=f"load/sdac/{{zone}}/{what}", unit="MW", step="15 min to 1 h, as the zone reports"
            ),
        ),
        url=f"{_API}?documentType=A65&processType={{process}}&outBiddingZone_Domain={{zone}}&periodStart={{from}}&periodEnd={{to}}",
        stale_after_s=stale_after_s,
        cadence_s=900.0,
    )
