"""Energy-Charts of Fraunhofer ISE: day-ahead prices as open JSON, without a key.

The answer does not name the zone, so a feed is one zone. An interval ends one step after its start; the step is the
smallest distance of the answer, taken apart at 1 October 2025, when the coupled auction went from hours to quarters.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final

import msgspec

from shoal.connect.feeds.feed import Ask, Feed, FeedDescription, FeedError, Licence, Reading, SeriesNote
from shoal.connect.feeds.gather import EARLIEST_NS, LATEST_NS, Gatherer, refuse_html
from shoal.domain.interval import NS_PER_MINUTE, NS_PER_S, Interval, to_datetime, to_ns

LICENCE: Final = Licence(
    name="CC BY 4.0 for the zones that SMARD publishes (see license_info in each answer)",
    url="https://creativecommons.org/licenses/by/4.0/",
    attribution="Source: Energy-Charts (Fraunhofer ISE), from Bundesnetzagentur | SMARD.de",
)
_API: Final = "https://api.energy-charts.info/price"
_QUARTERS_BEGIN_NS: Final = to_ns(datetime(2025, 9, 30, 22, tzinfo=UTC))
_STEPS_NS: Final = frozenset({15 * NS_PER_MINUTE, 30 * NS_PER_MINUTE, 60 * NS_PER_MINUTE})
_UNIT: Final = "EUR/MWh"


class _Answer(msgspec.Struct, frozen=True):
    unix_seconds: list[int]
    price: list[float | None]
    unit: str = ""


class EnergyChartsFeed(Feed):
    """Prices of one bidding zone, e.g. ``DE-LU``."""

    def __init__(self, zone: str) -> None:
        self._zone = zone
        self._description = FeedDescription(
            name=f"energy-charts-{zone}",
            source="energy-charts",
            about=f"day-ahead prices of {zone}, an open mirror of the coupled European auction",
            series=(
                SeriesNote(
                    pattern=f"price/sdac/{zone}/day-ahead",
                    unit=_UNIT,
                    step="15 min; 1 h before October 2025",
                ),
            ),
            url=f"{_API}?bzn={zone}&start={{date}}&end={{date}}",
            cadence_s=1800.0,
            delay_s=120.0,
            stale_after_s=0.0,
            behind_s=86_400.0,
            ahead_s=2 * 86_400.0,
            licence=LICENCE,
            rate_per_s=0.5,
        )

    @property
    def description(self) -> FeedDescription:
        """What it gives, how often, and on which terms."""
        return self._description

    def asks(self, span: Interval) -> tuple[Ask, ...]:
        """Return one request for the dates of a span, which the provider takes as local ones: a day more each side."""
        begin = to_datetime(span.start_ns).date() - timedelta(days=1)
        end = to_datetime(span.end_ns).date() + timedelta(days=1)
        return (Ask(url=f"{_API}?bzn={self._zone}&start={begin}&end={end}"),)

    def read(self, content: bytes, *, known_ns: int) -> Reading:
        """Return what an answer says; a price that is null is not there.

        Raises:
            FeedError: when it is no such answer.
        """
        name = self._description.name
        refuse_html(name, content)
        try:
            answer = msgspec.json.decode(content, type=_Answer)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise FeedError(
                feed=name, field="document", value=content[:80].decode("latin-1"), fix=f"no answer: {error}"
            ) from error
        if len(answer.unix_seconds) != len(answer.price):
            lengths = (len(answer.unix_seconds), len(answer.price))
            raise FeedError(feed=name, field="price", value=lengths, fix="one price for each of unix_seconds")
        if answer.unit.replace(" ", "") != _UNIT:
            raise FeedError(feed=name, field="unit", value=answer.unit, fix=f"only {_UNIT} is taken")
        gatherer = Gatherer(source=self._description.source, known_ns=known_ns)
        instants: list[tuple[int, float | None, int]] = []
        for index, (seconds, price) in enumerate(zip(answer.unix_seconds, answer.price, strict=True)):
            if EARLIEST_NS <= seconds * NS_PER_S <= LATEST_NS:
                instants.append((seconds * NS_PER_S, price, index))
            else:
                gatherer.quarantine(f"item {index}", "unix_seconds", str(seconds)[:40], "no such instant")
        self._take([item for item in instants if item[0] < _QUARTERS_BEGIN_NS], gatherer)
        self._take([item for item in instants if item[0] >= _QUARTERS_BEGIN_NS], gatherer)
        return gatherer.reading()

    def _take(self, items: list[tuple[int, float | None, int]], gatherer: Gatherer) -> None:
        starts = sorted({start_ns for start_ns, _, _ in items})
        step_ns = min((b - a for a, b in pairwise(starts)), default=0)
        for start_ns, price, index in items:
            where = f"item {index}"
            if price is None:
                gatherer.absent()
            elif step_ns not in _STEPS_NS:
                gatherer.quarantine(where, "unix_seconds", str(start_ns), "how long it lasts cannot be told")
            else:
                gatherer.take(
                    f"price/sdac/{self._zone}/day-ahead",
                    start_ns=start_ns,
                    end_ns=start_ns + step_ns,
                    value=price,
                    where=where,
                )
