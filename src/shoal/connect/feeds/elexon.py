"""Elexon's Insights API: the imbalance (system) price of Great Britain and the net imbalance volume.

A settlement day is a local day of 46, 48 or 50 half hours, counted from local midnight; the answer also says the start
in UTC, and a record whose two times differ is set aside. A later run of settlement replaces an earlier one: what is
fetched later is known later, and within one answer the record that was made last counts.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from shoal.connect.feeds.feed import Ask, Feed, FeedDescription, FeedError, Licence, Reading, SeriesNote
from shoal.connect.feeds.gather import Gatherer, finite, instant_ns, refuse_html
from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_MINUTE, Interval, local_day, to_datetime

ZONE: Final = ZoneInfo("Europe/London")
LICENCE: Final = Licence(
    name="Elexon licence to use BMRS open data (commercial use allowed)",
    url="https://www.elexon.co.uk/data/balancing-mechanism-reporting-agent/copyright-licence-bmrs-data/",
    attribution="Contains BMRS data © Elexon Limited copyright and database right {year}",
)
_API: Final = "https://data.elexon.co.uk/bmrs/api/v1/balancing/settlement/system-prices"
_HALF_HOUR_NS: Final = 30 * NS_PER_MINUTE
_MOST_DAYS: Final = 400
_PRICE: Final = "price/gb/system/imbalance"
_VOLUME: Final = "imbalance/gb/system/volume"
_DESCRIPTION: Final = FeedDescription(
    name="elexon-system-price",
    source="elexon",
    about="imbalance price and net imbalance volume of Great Britain, every half hour",
    series=(
        SeriesNote(pattern=_PRICE, unit="GBP/MWh", step="30 min"),
        SeriesNote(pattern=_VOLUME, unit="MWh, positive when the system is short", step="30 min"),
    ),
    url=f"{_API}/{{date}}?format=json",
    cadence_s=1800.0,
    delay_s=20 * 60.0,
    stale_after_s=3 * 3600.0,
    behind_s=2 * 86_400.0,
    ahead_s=0.0,
    licence=LICENCE,
)


class _Answer(msgspec.Struct, frozen=True):
    data: list[dict[str, Any]]


class ElexonFeed(Feed):
    """System prices, a settlement day a request."""

    @property
    def description(self) -> FeedDescription:
        """What it gives, how often, and on which terms."""
        return _DESCRIPTION

    def asks(self, span: Interval) -> tuple[Ask, ...]:
        """Return one request a settlement day.

        Raises:
            FeedError: when there are more than 400 days.
        """
        first = to_datetime(span.start_ns, ZONE).date()
        last = to_datetime(span.end_ns - 1, ZONE).date()
        days = (last - first).days + 1
        if days > _MOST_DAYS:
            raise FeedError(
                feed=_DESCRIPTION.name, field="span", value=f"{days} days", fix=f"give at most {_MOST_DAYS}"
            )
        return tuple(Ask(url=f"{_API}/{first + timedelta(days=n)}?format=json") for n in range(days))

    def read(self, content: bytes, *, known_ns: int) -> Reading:
        """Return what an answer says.

        Raises:
            FeedError: when it is no such answer.
        """
        refuse_html(_DESCRIPTION.name, content)
        try:
            answer = msgspec.json.decode(content, type=_Answer)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise FeedError(
                feed=_DESCRIPTION.name,
                field="document",
                value=content[:80].decode("latin-1"),
                fix=f"no answer: {error}",
            ) from error
        gatherer = Gatherer(source=_DESCRIPTION.source, known_ns=known_ns)
        for index, record in enumerate(answer.data):
            self._take(record, f"record {index}", gatherer)
        return gatherer.reading()

    def _take(self, record: dict[str, Any], where: str, gatherer: Gatherer) -> None:
        day, period = record.get("settlementDate"), record.get("settlementPeriod")
        start_ns = period_start_ns(day, period)
        if start_ns is None:
            gatherer.quarantine(where, "settlementPeriod", f"{day} {period}", "the day has no such period")
            return
        told = record.get("startTime")
        if told is not None and instant_ns(told) != start_ns:
            gatherer.quarantine(where, "startTime", str(told), "it is not when the settlement period begins")
            return
        rank = str(record.get("createdDateTime") or "")
        buy, sell = record.get("systemBuyPrice"), record.get("systemSellPrice")
        if buy != sell and None not in (buy, sell):
            gatherer.quarantine(
                where, "systemSellPrice", f"{sell} and {buy}", "two prices where there is one since 2015"
            )
        else:
            self._value(
                _PRICE, "systemBuyPrice", buy if sell is None else sell, start_ns, where, rank, gatherer
            )
        self._value(
            _VOLUME, "netImbalanceVolume", record.get("netImbalanceVolume"), start_ns, where, rank, gatherer
        )

    def _value(
        self,
        series: str,
        field: str,
        value: object,
        start_ns: int,
        where: str,
        rank: str,
        gatherer: Gatherer,
    ) -> None:
        if value is None:
            gatherer.absent()
        elif (told := finite(value)) is None:
            gatherer.quarantine(where, field, str(value)[:80], "not a number")
        else:
            gatherer.take(
                series,
                start_ns=start_ns,
                end_ns=start_ns + _HALF_HOUR_NS,
                value=told,
                where=where,
                rank=rank,
            )


def period_start_ns(day: object, period: object) -> int | None:
    """Return when a settlement period begins, None when its day has none of that number."""
    if not isinstance(day, str) or not isinstance(period, int) or isinstance(period, bool):
        return None
    try:
        span = local_day(date.fromisoformat(day), ZONE)
    except (ValueError, OverflowError, InvalidInputError):
        return None
    if not 1 <= period <= (span.end_ns - span.start_ns) // _HALF_HOUR_NS:
        return None
    return span.start_ns + (period - 1) * _HALF_HOUR_NS
