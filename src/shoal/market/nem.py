"""The Australian National Electricity Market: five-minute energy and ten frequency services (FCAS) from a bidirectional unit.

A unit gives ten prices a side for the trading day, fixed at 12:30 the day before, and for each dispatch interval what is
available at each; quantities may be rebid, with a reason, until dispatch. Market time is UTC+10 all year, the trading day
begins at 04:00, and the market's own files name an interval by its END.

Sources: price cap by financial year, AEMC schedules of reliability settings (2014-15 to 2025-26), floor -1,000; daily bids
at 12:30 and rebids, National Electricity Rules 3.8.9 and 3.8.22 and the AER's rebidding guideline; bands, availability,
sides and convexity (the dearest effective LOAD band below the cheapest effective GEN band), AEMO "Bid convexity and
monotonically increasing validation" and EMMS release June 2024; very fast services from 2023-10-09, AEMO; trapezia and joint
capacity, AEMO "FCAS model in NEMDE"; revised statements about 20 and 30 weeks after the billing period, AEMO.

Simplified: band prices are those at the regional reference node (loss factor 1); ramp rates, FCAS scaling for telemetry and
inflexibility profiles are absent; bands ascend strictly; the last known cap holds on after 2025-26; an interval's gate is held
20 s before it begins, where in truth it is "some seconds". Before 2021-10-01 energy is settled at the mean of the six dispatch
prices of its half-hour (five-minute settlement, NER 3.9.2). Services are settled as enabled; causer charges are absent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from typing import Final

from shoal.domain.interval import NS_PER_MINUTE, NS_PER_S, Interval, iso
from shoal.market.awards import AwardedQuantity, Delivered, MarketAward, SettlementLine
from shoal.market.bids import BandOffer, MarketBid
from shoal.market.calendar import parsed_date
from shoal.market.checks import reasons, rejected
from shoal.market.contract import (
    Direction,
    DispatchRules,
    GateRule,
    LengthFrom,
    MarketRules,
    Prices,
    Product,
    RebidRules,
    RejectedBid,
    SettlementRunRule,
    SubmissionRules,
)
from shoal.market.merit import Side, Stack, cleared_against
from shoal.market.module import MarketModule
from shoal.market.nem_services import enabled_w
from shoal.market.rules import PriceLimits
from shoal.market.standing import starts_of

ENERGY: Final = "energy"
_FIVE_MINUTES_NS: Final = 5 * NS_PER_MINUTE
_HALF_HOUR_NS: Final = 30 * NS_PER_MINUTE
_FIVE_MINUTE_SETTLEMENT: Final = date(2021, 10, 1)
_FLOOR_PER_MWH: Final = -1000.0
_CAP_FROM_JULY: Final = {
    2014: 13_500.0,
    2015: 13_800.0,
    2016: 14_000.0,
    2017: 14_200.0,
    2018: 14_500.0,
    2019: 14_700.0,
    2020: 15_000.0,
    2021: 15_100.0,
    2022: 15_500.0,
    2023: 16_600.0,
    2024: 17_500.0,
    2025: 20_300.0,
}
_SERVICES: Final[tuple[tuple[str, str, Direction, date], ...]] = (
    ("raise1sec", "Very fast raise", "up", date(2023, 10, 9)),
    ("raise6sec", "Fast raise", "up", date(2014, 7, 1)),
    ("raise60sec", "Slow raise", "up", date(2014, 7, 1)),
    ("raise5min", "Delayed raise", "up", date(2014, 7, 1)),
    ("raisereg", "Raise regulation", "up", date(2014, 7, 1)),
    ("lower1sec", "Very fast lower", "down", date(2023, 10, 9)),
    ("lower6sec", "Fast lower", "down", date(2014, 7, 1)),
    ("lower60sec", "Slow lower", "down", date(2014, 7, 1)),
    ("lower5min", "Delayed lower", "down", date(2014, 7, 1)),
    ("lowerreg", "Lower regulation", "down", date(2014, 7, 1)),
)
SERVICES: Final = tuple(service[0] for service in _SERVICES)
"""The ten services, named as in AEMO's bids."""

REGULATION: Final = ("raisereg", "lowerreg")
"""The services that are offered for each side of the unit; a contingency service is offered once, as ``gen``."""

_GATES: Final = (
    GateRule(kind="bands", at=time(12, 30)),
    GateRule(kind="interval", lead_ns=20 * NS_PER_S),
)


def _limits(floor_per_mwh: float) -> tuple[PriceLimits, ...]:
    return tuple(
        PriceLimits(effective_from=date(year, 7, 1), floor_per_mwh=floor_per_mwh, cap_per_mwh=cap_per_mwh)
        for year, cap_per_mwh in _CAP_FROM_JULY.items()
    )


def _service(product_id: str, name: str, direction: Direction, first_day: date) -> Product:
    return Product(
        product_id=product_id,
        name=name,
        kind="capacity",
        direction=direction,
        shapes=("bands",),
        gates=_GATES,
        lengths=(LengthFrom(effective_from=date(2014, 7, 1), interval_ns=_FIVE_MINUTES_NS),),
        limits=_limits(0.0),
        quantity_minimum_mw=1.0,
        quantity_step_mw=1.0,
        price_tick_per_mwh=0.01,
        points_count=10,
        settled_by="capacity",
        first_day=first_day,
    )


RULES: Final = MarketRules(
    market_id="nem",
    name="National Electricity Market",
    zone="Australia/Brisbane",  # UTC+10 and no daylight saving: the market's time
    currency="AUD",
    day_start=time(4),
    label="end",
    products=(
        Product(
            product_id=ENERGY,
            name="Energy",
            kind="energy",
            direction="both",
            shapes=("bands",),
            gates=_GATES,
            lengths=(LengthFrom(effective_from=date(2014, 7, 1), interval_ns=_FIVE_MINUTES_NS),),
            limits=_limits(_FLOOR_PER_MWH),
            quantity_minimum_mw=1.0,
            quantity_step_mw=1.0,
            price_tick_per_mwh=0.01,
            points_count=10,
            settled_by="metered",
            first_day=date(2014, 7, 1),
        ),
        *(_service(*service) for service in _SERVICES),
    ),
    rebid=RebidRules(
        allowed=True,
        reason_required=True,
        categories=("physical", "forecast", "financial", "error"),
    ),
    submission=SubmissionRules(idempotent=False, read_back=True),
    dispatch=DispatchRules(
        instruction_s=300,
        telemetry_s=4,
        measurement="five-minute energy at the connection point; services by enablement",
    ),
    runs=(
        SettlementRunRule(run="preliminary", after_days=5, working=True),
        SettlementRunRule(run="final", after_days=18, working=True),
        SettlementRunRule(run="revision-1", after_days=140),
        SettlementRunRule(run="revision-2", after_days=210),
    ),
    settlement_ns=_FIVE_MINUTES_NS,
    imbalance_price="",
    reasons=(*reasons("bands"), "rebid_reason", "convexity", "service_side"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NemMarket(MarketModule):
    """The market with its own rules: convexity of a bidirectional unit, services within their trapezia, merit order."""

    def _refused(
        self, bid: MarketBid, standing: MarketBid | None, day: date, received_ns: int
    ) -> RejectedBid | None:
        """Return what is wrong between the offers of a unit."""
        for position, offer in enumerate(bid.offers):
            if (
                isinstance(offer, BandOffer)
                and offer.side == "load"
                and offer.product not in (ENERGY, *REGULATION)
            ):
                fix = "offer contingency services once, on the 'gen' side"
                return rejected("service_side", f"offers[{position}].side", offer.side, fix)
        return _convexity_refused(bid, standing)

    def _quantities(self, bid: MarketBid, day: date, prices: Prices) -> list[AwardedQuantity]:
        """Return the award: energy by its price, then regulation, then contingency services, as the trapezia allow."""
        offers = [offer for offer in bid.offers if offer.product == ENERGY]
        found = self._product_award(ENERGY, offers, day, prices.get(ENERGY, {})) if offers else []
        if len(offers) == len(bid.offers):
            return found
        tick_per_mwh = self.product(ENERGY).price_tick_per_mwh
        for product_id, enabled in enabled_w(bid, prices, tick_per_mwh).items():
            price_per_mwh = prices.get(product_id, {})
            found += self._rows(product_id, day, dict.fromkeys(price_per_mwh, 0) | enabled, price_per_mwh)
        return found

    def _lines(
        self,
        award: MarketAward,
        delivered: Sequence[Delivered],
        prices: Prices,
        wanted: Callable[[Interval], bool],
    ) -> list[SettlementLine]:
        """Return the lines, energy at the half-hour's mean price while settlement was by the half-hour."""
        if (parsed_date(award.delivery_date) or _FIVE_MINUTE_SETTLEMENT) < _FIVE_MINUTE_SETTLEMENT:
            prices = {**prices, ENERGY: half_hour_means(prices.get(ENERGY, {}))}
        # The dataclass decorator makes the class anew for its slots, so a bare super() would not find it.
        return super(NemMarket, self)._lines(award, delivered, prices, wanted)

    def clear_against(
        self,
        bid: MarketBid,
        stacks: dict[int, Stack],
        *,
        bid_id: str,
        published_ns: int,
        version: int = 1,
    ) -> tuple[MarketAward, dict[int, float]]:
        """Return the energy award in merit order with the offers of others, and the prices that come of it.

        Args:
            bid: A valid bid.
            stacks: What others offer and the demand, by the start of the interval.
            bid_id: The market's name for the bid.
            published_ns: When the award is published.
            version: Grows when the market corrects an award.

        Raises:
            InvalidInputError: see `shoal.market.merit`.
        """
        day = parsed_date(bid.delivery_date) or self.delivery_date(published_ns)
        floor_per_mwh, cap_per_mwh = self.price_limits(ENERGY, day)
        sides: dict[str, Side] = {
            side: (offer.band_price_per_mwh, {band.start_ns: band for band in offer.intervals})
            for side, offer in _energy(bid).items()
        }
        quantities, price_per_mwh = [], {}
        for start_ns, stack in sorted(stacks.items()):
            power_w, price = cleared_against(
                sides, start_ns, stack, floor_per_mwh=floor_per_mwh, cap_per_mwh=cap_per_mwh
            )
            price_per_mwh[start_ns] = price
            quantities.append(
                AwardedQuantity(
                    product=ENERGY,
                    start_ns=start_ns,
                    end_ns=start_ns + _FIVE_MINUTES_NS,
                    power_w=power_w,
                    price_per_mwh=price,
                )
            )
        award = self._awarded(bid, quantities, bid_id=bid_id, published_ns=published_ns, version=version)
        return award, price_per_mwh


def half_hour_means(price_per_mwh: Mapping[int, float]) -> dict[int, float]:
    """Return for each dispatch interval the mean price of its half-hour, of those half-hours that have all six prices."""
    halves: dict[int, list[int]] = {}
    for start_ns in price_per_mwh:
        halves.setdefault(start_ns // _HALF_HOUR_NS, []).append(start_ns)
    return {
        start_ns: sum(price_per_mwh[each] for each in starts) / len(starts)
        for starts in halves.values()
        if len(starts) * _FIVE_MINUTES_NS == _HALF_HOUR_NS
        for start_ns in starts
    }


def _convexity_refused(bid: MarketBid, standing: MarketBid | None) -> RejectedBid | None:
    """Return the first interval of the bid in which charging and discharging could both be dispatched."""
    listed = {start_ns for offer in _energy(bid).values() for start_ns in starts_of(offer)}
    held = {} if standing is None else _energy(standing)
    dearest: dict[int, float] = {}
    cheapest: dict[int, float] = {}
    for offers in (held, _energy(bid)):  # what the bid lists comes last and counts
        if "load" in offers:
            dearest |= _outermost(offers["load"], listed, dearest_first=True)
        if "gen" in offers:
            cheapest |= _outermost(offers["gen"], listed, dearest_first=False)
    for start_ns in sorted(dearest.keys() & cheapest.keys()):
        if dearest[start_ns] >= cheapest[start_ns]:
            value = f"{iso(start_ns)}: load at {dearest[start_ns]}, gen at {cheapest[start_ns]}"
            fix = "keep every load band with MW below every gen band with MW, or set one max_avail_mw to 0"
            return rejected("convexity", "offers", value, fix)
    return None


def _energy(bid: MarketBid) -> dict[str, BandOffer]:
    """Return the energy offers of a bid by side."""
    return {
        offer.side: offer for offer in bid.offers if isinstance(offer, BandOffer) and offer.product == ENERGY
    }


def _outermost(offer: BandOffer, listed: set[int], *, dearest_first: bool) -> dict[int, float]:
    """Return the price of the outermost band with MW, by the start of the interval; infinite where there is none."""
    order = range(9, -1, -1) if dearest_first else range(10)
    found = {}
    for band in offer.intervals:
        if band.start_ns in listed:
            found[band.start_ns] = -math.inf if dearest_first else math.inf
            if band.max_avail_mw > 0:
                for number in order:
                    if band.band_avail_mw[number] > 0:
                        found[band.start_ns] = offer.band_price_per_mwh[number]
                        break
    return found


NEM: Final = NemMarket(rules=RULES)
