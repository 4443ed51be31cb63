"""A market from its rules: calendar, gates, validation, clearing and settlement follow from the data.

A market with rules of its own overrides `_refused` (more to refuse), `_cleared` or `_quantities` (another way to clear) or
`_lines` (another way to settle); see `docs/markets.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import Interval, iso
from shoal.domain.outcome import Accepted
from shoal.market.awards import AwardedQuantity, Delivered, MarketAward, Settlement, SettlementLine
from shoal.market.bids import BandOffer, Blocks, LoadTarget, MarketBid, Offer, Orders, StorageCurves
from shoal.market.calendar import parsed_date
from shoal.market.checks import OfferCheck, rejected
from shoal.market.clearing import (
    checked_price,
    cleared_bands_w,
    cleared_blocks_w,
    cleared_curve_w,
    cleared_orders_w,
    ticks,
    watts,
)
from shoal.market.contract import BidOutcome, Prices, Product, RejectedBid
from shoal.market.settlement import award_lines, checked_readings, metered_lines, settled
from shoal.market.standing import offer_key, same_bands, starts_of
from shoal.market.timetable import Timetable, is_active
from shoal.market.types import Order

_LAST_YEAR: Final = 2200
"""Instants outgrow 64 bits in 2262."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketModule(Timetable):
    """A market whose behaviour follows from its rules; it is a `shoal.market.contract.Market`."""

    # ── validation ──────────────────────────────────────────────────────────────────────────────────────────

    def validate(self, bid: MarketBid, *, received_ns: int, standing: MarketBid | None = None) -> BidOutcome:
        """Return whether the market takes the bid when it arrives at an instant, given what stands.

        A bid without offers is taken and changes nothing. The first thing wrong is given; `rules.reasons` lists the codes.
        """
        day = parsed_date(bid.delivery_date)
        wrong = self._envelope_refused(bid, day, standing)
        if wrong is not None or day is None:
            return wrong or rejected("delivery_date", "delivery_date", bid.delivery_date, "give a date")
        seen = set()
        for position, offer in enumerate(bid.offers):
            at = f"offers[{position}]"
            wrong = self._offer_refused(bid, offer, at, day, received_ns, standing)
            if wrong is None and offer_key(offer) in seen:
                wrong = rejected(
                    "duplicate_offer", at, offer.product, "give one offer for a product, shape and side"
                )
            if wrong is not None:
                return wrong
            seen.add(offer_key(offer))
        return (
            self._rebid_refused(bid, day, received_ns, standing)
            or self._refused(bid, standing, day, received_ns)
            or Accepted()
        )

    def _refused(
        self, bid: MarketBid, standing: MarketBid | None, day: date, received_ns: int
    ) -> RejectedBid | None:
        """Return what this market alone finds wrong with a bid that is sound otherwise, beside what stands."""
        return None

    def _envelope_refused(
        self, bid: MarketBid, day: date | None, standing: MarketBid | None
    ) -> RejectedBid | None:
        if bid.market_id != self.rules.market_id:
            return rejected("market_unknown", "market_id", bid.market_id, f"use {self.rules.market_id!r}")
        if not bid.idempotency_key:
            return rejected("idempotency_key", "idempotency_key", "", "give a key that no other bid has")
        if day is None:
            return rejected("delivery_date", "delivery_date", bid.delivery_date, "give a date as YYYY-MM-DD")
        if day.year >= _LAST_YEAR:
            fix = f"give a day before the year {_LAST_YEAR}"
            return rejected("delivery_date", "delivery_date", bid.delivery_date, fix)
        least = 1 if standing is None else standing.revision + 1
        if bid.revision < least:
            fix = "count revisions from 1" if standing is None else f"give at least {least}"
            return rejected("revision", "revision", bid.revision, fix)
        for field in () if standing is None else ("resource_id", "settlement_point", "delivery_date"):
            held, value = getattr(standing, field), getattr(bid, field)
            if held != value:
                return rejected("not_the_same", field, value, f"revise the bid of {held!r}")
        return None

    def _offer_refused(
        self,
        bid: MarketBid,
        offer: Offer,
        at: str,
        day: date,
        received_ns: int,
        standing: MarketBid | None,
    ) -> RejectedBid | None:
        names = [product.product_id for product in self.rules.products]
        if offer.product not in names:
            return rejected(
                "product_unknown", f"{at}.product", offer.product, f"use one of {', '.join(names)}"
            )
        product = self.product(offer.product)
        if not is_active(product, day) or day < product.limits[0].effective_from:
            fix = f"bid for days from {max(product.first_day, product.limits[0].effective_from)} on"
            if product.last_day is not None and day > product.last_day:
                fix = f"bid for days up to {product.last_day}"
            return rejected("product_inactive", f"{at}.product", offer.product, fix)
        shape = offer_key(offer)[1]
        if shape not in product.shapes:
            fix = f"{offer.product} takes {', '.join(product.shapes)}"
            return rejected("shape", at, shape, fix)
        ends = self.ends(offer.product, day)
        floor_per_mwh, cap_per_mwh = self.price_limits(offer.product, day)
        only_ns = bid.interval_start_ns
        if only_ns is not None:
            if only_ns not in ends:
                fix = f"give the start of an interval of {offer.product} on {day}"
                return rejected("interval_unknown", "interval_start_ns", only_ns, fix)
            ends = {only_ns: ends[only_ns]}
        check = OfferCheck(
            product=product,
            day=day,
            ends=ends,
            floor_per_mwh=floor_per_mwh,
            cap_per_mwh=cap_per_mwh,
            currency=self.rules.currency,
        )
        return check.offer(offer, at) or self._gate_refused(offer, at, day, received_ns, standing)

    def _gate_refused(
        self, offer: Offer, at: str, day: date, received_ns: int, standing: MarketBid | None
    ) -> RejectedBid | None:
        for rule in reversed(self.product(offer.product).gates):
            if rule.kind == "interval":
                for start_ns in sorted(starts_of(offer)):
                    closes_ns = start_ns - rule.lead_ns
                    if received_ns >= closes_ns:
                        fix = f"bid for {iso(start_ns)} before its gate at {iso(closes_ns)}, or leave it out"
                        return rejected("gate_closed", at, iso(received_ns), fix)
                continue
            gate_ns = self.day_gate_ns(rule, day)
            if received_ns < gate_ns:
                continue
            if rule.kind == "auction":
                fix = f"bid before the gate at {iso(gate_ns)}"
                return rejected("gate_closed", "received_ns", iso(received_ns), fix)
            if isinstance(offer, BandOffer) and not same_bands(offer, standing):
                fix = f"keep the prices that stood at {iso(gate_ns)} and change quantities only"
                field = f"{at}.band_price_per_mwh"
                return rejected("band_prices_fixed", field, offer.band_price_per_mwh, fix)
        return None

    def _rebid_refused(
        self, bid: MarketBid, day: date, received_ns: int, standing: MarketBid | None
    ) -> RejectedBid | None:
        rebid = self.rules.rebid
        if standing is None or not rebid.reason_required or not bid.offers:
            return None
        first = self.product(bid.offers[0].product).gates[0]
        if first.kind != "interval" and received_ns < self.day_gate_ns(first, day):
            return None
        why = bid.rebid
        if why is None:
            fix = "say why, with the times of event, awareness and decision"
            return rejected("rebid_reason", "rebid", None, fix)
        if why.category not in rebid.categories:
            fix = f"use one of {', '.join(rebid.categories)}"
            return rejected("rebid_reason", "rebid.category", why.category, fix)
        if not why.reason.strip():
            return rejected("rebid_reason", "rebid.reason", why.reason, "name what changed")
        if not why.event_ns <= why.aware_ns <= why.decision_ns <= received_ns:
            value = (why.event_ns, why.aware_ns, why.decision_ns, received_ns)
            fix = "order them: event, aware, decision, received"
            return rejected("rebid_reason", "rebid.event_ns", value, fix)
        return None

    # ── clearing ────────────────────────────────────────────────────────────────────────────────────────────

    def clear(
        self,
        bid: MarketBid,
        prices: Prices,
        *,
        bid_id: str,
        published_ns: int,
        version: int = 1,
    ) -> MarketAward:
        """Return the award of a valid bid at given prices: the bidder does not move them.

        Raises:
            InvalidInputError: when a price is not finite or of no interval of the day, or the bid has a wrong date.
        """
        day = parsed_date(bid.delivery_date)
        if day is None:
            raise InvalidInputError(field="delivery_date", value=bid.delivery_date, fix="clear valid bids")
        return self._awarded(
            bid,
            self._quantities(bid, day, prices),
            bid_id=bid_id,
            published_ns=published_ns,
            version=version,
        )

    def _quantities(self, bid: MarketBid, day: date, prices: Prices) -> list[AwardedQuantity]:
        """Return what each product of the bid is awarded."""
        found: list[AwardedQuantity] = []
        for product_id in dict.fromkeys(offer.product for offer in bid.offers):
            offers = [offer for offer in bid.offers if offer.product == product_id]
            found += self._product_award(product_id, offers, day, prices.get(product_id, {}))
        return found

    def _product_award(
        self, product_id: str, offers: Sequence[Offer], day: date, price_per_mwh: Mapping[int, float]
    ) -> list[AwardedQuantity]:
        """Return the award of one product: the sum of its offers in each interval with a price or a target."""
        product = self.product(product_id)
        power_w = dict.fromkeys(price_per_mwh, 0)
        for offer in offers:
            for start_ns, part_w in self._cleared(product, offer, price_per_mwh).items():
                power_w[start_ns] = power_w.get(start_ns, 0) + part_w
        return self._rows(product_id, day, power_w, price_per_mwh)

    def _rows(
        self,
        product_id: str,
        day: date,
        power_w: Mapping[int, int],
        price_per_mwh: Mapping[int, float],
    ) -> list[AwardedQuantity]:
        """Return quantities from powers and prices by the start of the interval.

        Raises:
            InvalidInputError: when a start is of no interval of the day, or a price not finite.
        """
        ends = self.ends(product_id, day)
        tick_per_mwh = self.product(product_id).price_tick_per_mwh
        found = []
        for start_ns in sorted(power_w):
            if start_ns not in ends:
                raise InvalidInputError(
                    field=f"prices[{product_id}]",
                    value=iso(start_ns),
                    fix=f"give prices for intervals of {day}",
                )
            price = checked_price(price_per_mwh.get(start_ns, 0.0), product_id, start_ns)
            found.append(
                AwardedQuantity(
                    product=product_id,
                    start_ns=start_ns,
                    end_ns=ends[start_ns],
                    power_w=power_w[start_ns],
                    price_per_mwh=round(ticks(price, tick_per_mwh) * tick_per_mwh, 9),
                )
            )
        return found

    def _cleared(
        self, product: Product, offer: Offer, price_per_mwh: Mapping[int, float]
    ) -> Mapping[int, int]:
        """Return the power of one offer by the start of the interval, where there is a price for it."""
        for start_ns, price in price_per_mwh.items():
            checked_price(price, product.product_id, start_ns)
        tick_per_mwh = product.price_tick_per_mwh
        match offer:
            case Orders():
                sign = 1 if product.kind == "energy" else -1
                return {
                    start_ns: sign * cleared_orders_w(orders, price_per_mwh[start_ns], tick_per_mwh)
                    for start_ns, orders in _by_start(offer.orders).items()
                    if start_ns in price_per_mwh
                }
            case StorageCurves():
                return {
                    curve.start_ns: cleared_curve_w(curve.points, price_per_mwh[curve.start_ns], tick_per_mwh)
                    for curve in offer.intervals
                    if curve.start_ns in price_per_mwh
                }
            case BandOffer():
                sign = -1 if product.kind == "energy" and offer.side == "gen" else 1
                return {
                    band.start_ns: sign
                    * cleared_bands_w(offer, band, price_per_mwh[band.start_ns], tick_per_mwh)
                    for band in offer.intervals
                    if band.start_ns in price_per_mwh
                }
            case Blocks():
                return cleared_blocks_w(offer.blocks, price_per_mwh, tick_per_mwh)
            case LoadTarget():
                return {target.start_ns: watts(target.load_mw) for target in offer.intervals}

    def _awarded(
        self,
        bid: MarketBid,
        quantities: Sequence[AwardedQuantity],
        *,
        bid_id: str,
        published_ns: int,
        version: int,
    ) -> MarketAward:
        return MarketAward(
            resource_id=bid.resource_id,
            market_id=bid.market_id,
            settlement_point=bid.settlement_point,
            delivery_date=bid.delivery_date,
            bid_id=bid_id,
            version=version,
            published_ns=published_ns,
            quantities=tuple(quantities),
        )

    # ── settlement ──────────────────────────────────────────────────────────────────────────────────────────

    def settle(
        self,
        award: MarketAward,
        delivered: Sequence[Delivered],
        prices: Prices,
        *,
        run: str,
        issued_ns: int,
        previous: Settlement | None = None,
        named: Sequence[Interval] | None = None,
    ) -> Settlement:
        """Return a settlement of the day: all of it, or what is `named` anew and the rest as in `previous`.

        Raises:
            InvalidInputError: see `shoal.market.contract.Market.settle`.
        """
        checked_readings(self.rules, delivered)
        return settled(
            self.rules,
            award,
            lines_of=lambda wanted: self._lines(award, delivered, prices, wanted),
            run=run,
            issued_ns=issued_ns,
            previous=previous,
            named=named,
        )

    def _lines(
        self,
        award: MarketAward,
        delivered: Sequence[Delivered],
        prices: Prices,
        wanted: Callable[[Interval], bool],
    ) -> list[SettlementLine]:
        """Return the lines of the intervals that are wanted."""
        return [
            *award_lines(self.rules, award, prices, wanted),
            *metered_lines(self.rules, award, delivered, prices, wanted),
        ]


def _by_start(orders: Sequence[Order]) -> dict[int, list[Order]]:
    found: dict[int, list[Order]] = {}
    for order in orders:
        found.setdefault(order.start_ns, []).append(order)
    return found
