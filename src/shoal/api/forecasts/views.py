"""Forecasts and their quality read from the stores: which are kept, and those of a span beside what came of them.

What was matched is kept until more of either series becomes known, so a page that is looked at all day costs one reading.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from shoal.api.forecasts.answers import ForecastSeries
from shoal.api.live import state
from shoal.api.records.books import known_resources
from shoal.bidding.cycle.decision import Decision
from shoal.bidding.forecast_contests import shadow_forecasts
from shoal.bidding.forecast_quality import (
    MARGIN_DAYS,
    OWN,
    Issued,
    Matched,
    issued_of,
    match,
    outcome_of,
)
from shoal.domain.contracts import SeriesContract
from shoal.domain.errors import UnknownIdError
from shoal.domain.facts import SeriesId
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_HOUR
from shoal.market.registry import market_module
from shoal.market.series import price_series
from shoal.store.cycles import Cycles
from shoal.store.facts import FactStore
from shoal.store.facts_records import Freshness

DAY_NS: Final = 24 * NS_PER_HOUR
KEPT_SPANS: Final = 16
LOOK_BACK_NS: Final = 8 * DAY_NS
"""So far back it is looked for when a model began to speak, and for a decision of a resource without a forecast."""
NOTHING_DECIDED: Final = "no bid was decided yet: the first forecast comes with the first bid"
_DECISION: Final = msgspec.json.Decoder(Decision)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a series' name says of it."""

    kind: str
    market_id: str
    place: str
    zone: str
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Beside:
    """A forecast of a span beside what came.

    Attributes:
        matched: What can be scored.
        issued: Intervals that were forecast.
        first_open_ns: Start of the first one that is not scored; None when all are.
        last_open_ns: Start of the last one.
        challengers: What strategies in the shadow would have said, by strategy.
    """

    matched: Matched
    issued: int
    first_open_ns: int | None
    last_open_ns: int | None
    challengers: dict[str, Matched]


def place_of(series_id: str) -> Place:
    """Return what the name of a forecast says.

    >>> place_of("forecast/price/ercot-da/HB_NORTH/day-ahead").place
    'HB_NORTH'
    """
    kind, _, rest = series_id.removeprefix(OWN).partition("/")
    market_id, _, rest = rest.partition("/")
    try:
        rules = market_module(market_id).rules
    except UnknownIdError:
        return Place(kind=kind, market_id=market_id, place=rest.partition("/")[0], zone="UTC", currency="")
    return Place(
        kind=kind,
        market_id=market_id,
        place=rest.partition("/")[0],
        zone=rules.zone,
        currency=rules.currency if kind == "price" else "",
    )


class ForecastReader:
    """Reads forecasts; safe to use from several threads. Calls block.

    Args:
        cycles: Where decisions are kept, those of shadows too.
        facts: The store of facts.
        fleet: Returns the plant's fleet.
    """

    def __init__(self, cycles: Cycles, facts: FactStore, fleet: Callable[[], Fleet]) -> None:
        self._cycles = cycles
        self._facts = facts
        self._fleet = fleet
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, int, int], tuple[object, Beside]] = OrderedDict()

    def series(self, now_ns: int) -> list[ForecastSeries]:
        """Return every forecast that is kept, and those that bids of the plant's resources would leave."""
        fresh = {str(one.series_id): one for one in self._facts.freshness(now_ns)}
        contracts = self._facts.contracts()
        found = []
        wanted = self._wanted()
        names = [name for name in fresh if outcome_of(name) is not None]
        for name in sorted({*names, *wanted}, key=lambda name: (not name.startswith(OWN), name)):
            outcome = outcome_of(name)
            assert outcome is not None
            if name.startswith(OWN) or outcome in fresh:
                found.append(
                    self._series(name, outcome, fresh, wanted.get(name, []), contracts, now_ns=now_ns)
                )
        return found

    def one(self, series_id: str, now_ns: int) -> ForecastSeries:
        """Return one of them.

        Raises:
            UnknownIdError: when there is none of that name.
        """
        outcome, wanted = outcome_of(series_id), self._wanted()
        fresh = {str(one.series_id): one for one in self._facts.freshness(now_ns)}
        if outcome is None or (series_id not in fresh and series_id not in wanted):
            raise UnknownIdError("forecast", series_id)
        return self._series(
            series_id, outcome, fresh, wanted.get(series_id, []), self._facts.contracts(), now_ns=now_ns
        )

    def beside(self, series_id: str, *, from_ns: int, to_ns: int, now_ns: int) -> Beside:
        """Return a forecast of the intervals that start in a span beside what came of it.

        Raises:
            UnknownIdError: when the series is no forecast.
        """
        outcome = outcome_of(series_id)
        if outcome is None:
            raise UnknownIdError("forecast", series_id)
        forecast = SeriesId(series_id)
        # what is known is what was recorded, and what of it is not in the future
        stand = (self._facts.last_record_of([forecast, outcome]), now_ns // NS_PER_HOUR)
        key = (series_id, from_ns, to_ns)
        with self._lock:
            held = self._kept.get(key)
            if held is not None and held[0] == stand:
                self._kept.move_to_end(key)
                return held[1]
        made = self._matched(forecast, outcome, from_ns, to_ns, now_ns)
        with self._lock:
            self._kept[key] = (stand, made)
            while len(self._kept) > KEPT_SPANS:
                self._kept.popitem(last=False)
        return made

    def _matched(
        self, forecast: SeriesId, outcome: SeriesId, from_ns: int, to_ns: int, now_ns: int
    ) -> Beside:
        zone = ZoneInfo(place_of(forecast).zone)
        said = self._facts.window([forecast], from_ns, to_ns).facts[forecast]
        said = said.take(said.known_ns <= now_ns)
        came = self._facts.window([outcome], from_ns - MARGIN_DAYS * DAY_NS, to_ns + DAY_NS).facts[outcome]
        issued = issued_of(said)
        matched = match(issued, came, zone=zone, as_of_ns=now_ns)
        starts = np.unique(issued.start_ns)
        unscored = np.setdiff1d(starts, matched.start_ns)
        names = self._wanted().get(forecast, [])
        shadows: dict[str, Issued] = {}
        if names:
            shadows = shadow_forecasts(
                self._cycles, names, forecast, from_ns=from_ns - 3 * DAY_NS, to_ns=to_ns
            )
        return Beside(
            matched=matched,
            issued=len(starts),
            first_open_ns=int(unscored[0]) if len(unscored) else None,
            last_open_ns=int(unscored[-1]) if len(unscored) else None,
            challengers={
                name: inside
                for name, one in shadows.items()
                if len(inside := _inside(match(one, came, zone=zone, as_of_ns=now_ns), from_ns, to_ns))
            },
        )

    def _wanted(self) -> dict[str, list[str]]:
        """Return the forecasts that bids of the resources would leave, with the resources."""
        found: dict[str, list[str]] = {}
        for resource in known_resources(self._fleet().resources):
            product = market_module(resource.market_id).rules.products[0].product_id
            prices = price_series(resource.market_id, resource.settlement_point, product)
            found.setdefault(f"{OWN}{prices}", []).append(str(resource.resource_id))
        return found

    def _series(
        self,
        name: str,
        outcome: SeriesId,
        fresh: dict[str, Freshness],
        resource_ids: list[str],
        contracts: dict[SeriesId, SeriesContract],
        *,
        now_ns: int,
    ) -> ForecastSeries:
        place = place_of(name)
        kept, came = fresh.get(name), fresh.get(outcome)
        contract = contracts.get(SeriesId(name)) or contracts.get(outcome)
        model, since_ns = ("", None) if kept is None else self._model(name, kept)
        return ForecastSeries(
            series_id=name,
            outcome_series_id=outcome,
            kind=place.kind,
            place=place.place,
            market_id=place.market_id,
            zone=place.zone,
            unit=_unit(place, contract),
            currency=place.currency,
            by="plant" if name.startswith(OWN) else "others",
            model=model,
            model_since_ms=None if since_ns is None else state.to_ms(since_ns),
            intervals=0 if kept is None else kept.facts,
            latest_known_ms=_ms(None if kept is None else kept.latest_known_ns),
            latest_end_ms=_ms(None if kept is None else kept.latest_end_ns),
            outcomes=0 if came is None else came.facts,
            outcome_end_ms=_ms(None if came is None else came.latest_end_ns),
            resource_ids=resource_ids,
            none_because="" if kept is not None and kept.facts else self._why_none(resource_ids, now_ns),
        )

    def _model(self, name: str, kept: Freshness) -> tuple[str, int | None]:
        """Return who said the newest word, and since when it speaks, as far back as is looked."""
        if kept.latest_start_ns is None:
            return "", None
        series_id, end_ns = SeriesId(name), kept.latest_start_ns + 1
        columns = self._facts.window([series_id], end_ns - LOOK_BACK_NS, end_ns).facts[series_id]
        if not len(columns):
            return "", None
        newest = int(np.argmax(columns.known_ns))
        said = self._facts.history(series_id, int(columns.start_ns[newest]))
        known_ns = int(columns.known_ns[newest])
        sources = [
            who for who, at_ns in zip(said.source, said.known_ns.tolist(), strict=True) if at_ns == known_ns
        ]
        same = columns.source_no == columns.source_no[newest]
        return (sources[-1] if sources else ""), int(columns.known_ns[same].min())

    def _why_none(self, resource_ids: list[str], now_ns: int) -> str:
        """Return why nothing is forecast: nothing was decided, or the strategy does without."""
        for resource_id in resource_ids:
            names = self._cycles.decision_ids(
                resource_id, from_ns=now_ns - LOOK_BACK_NS, to_ns=now_ns + LOOK_BACK_NS
            )
            if names:
                record = self._cycles.decision(names[-1])
                if _DECISION.decode(record.decision).forecast is None:
                    return (
                        f"the last bid, by {record.strategy} on rung {record.rung}, was made without a forecast "
                        "of its own"
                    )
        return NOTHING_DECIDED


def _inside(matched: Matched, from_ns: int, to_ns: int) -> Matched:
    return matched.take((matched.start_ns >= from_ns) & (matched.start_ns < to_ns))


def _unit(place: Place, contract: SeriesContract | None) -> str:
    if contract is not None:
        return contract.unit
    return f"{place.currency}/MWh" if place.kind == "price" and place.currency else ""


def _ms(t_ns: int | None) -> int | None:
    return None if t_ns is None else state.to_ms(t_ns)
