"""What was awarded, as the plant follows and settles it: energy by interval, from the newest version of each award.

A market's award lists powers of products; a resource delivers energy. Where several energy products cover an instant the
one with the shortest intervals counts, since it was dispatched last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from shoal.domain.fleet import Resource
from shoal.domain.interval import NS_PER_HOUR
from shoal.market.awards import AwardedQuantity, MarketAward
from shoal.market.bids import BandOffer, Blocks, LoadTarget, Offer, Orders, StorageCurves
from shoal.market.contract import Market
from shoal.market.settlement import energy_wh
from shoal.market.types import Award, AwardedInterval
from shoal.store.cycles import Cycles

AHEAD_NS: Final = 48 * NS_PER_HOUR
"""Bids and awards are for no later than that."""
MAY_CLEAR: Final = ("submitted", "unknown", "accepted")
"""Bids in these states may be awarded yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """What was promised and is still to come, at the terminals, all >= 0.

    Attributes:
        most_charge_w: The most that is to be taken in any interval.
        most_discharge_w: The most that is to be given in any.
        charge_wh: What is to be taken in all of them.
        discharge_wh: What is to be given in all of them.
    """

    most_charge_w: int = 0
    most_discharge_w: int = 0
    charge_wh: int = 0
    discharge_wh: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Awarded:
    """Awards of energy in the store of cycles.

    Attributes:
        cycles: Where awards are.
        market: Returns a market by id.
    """

    cycles: Cycles
    market: Callable[[str], Market]

    def at(self, resource: Resource, t_ns: int) -> AwardedInterval | None:
        """Return the awarded interval of a resource that is under way at an instant, None when there is none."""
        market = self.market(resource.market_id)
        day = market.delivery_date(t_ns).isoformat()
        versions = self.cycles.awards(resource.resource_id, resource.market_id, day)
        if not versions:
            return None
        under_way = [one for one in _energy(versions[-1], market) if one.start_ns <= t_ns < one.end_ns]
        found = min(under_way, key=lambda one: one.end_ns - one.start_ns, default=None)
        return None if found is None else _interval(found)

    def ahead(self, resource: Resource, t_ns: int) -> Ahead:
        """Return what a resource has still to take and to give: what is awarded, and what is bid for days without an award.

        Args:
            resource: Whose.
            t_ns: The instant; the interval that is under way counts as a whole.
        """
        market = self.market(resource.market_id)
        powers: list[tuple[int, int]] = []  # W, ns
        days = set()
        for award in self.days(resource, t_ns, t_ns + AHEAD_NS):
            days.add(award.delivery_date)
            for one in award.intervals:
                if one.end_ns > t_ns:
                    length_ns = one.end_ns - one.start_ns
                    powers.append((-(-one.energy_wh * NS_PER_HOUR // length_ns), length_ns))
        first = market.delivery_date(t_ns)
        for number in range(AHEAD_NS // (24 * NS_PER_HOUR) + 1):
            day = (first + timedelta(days=number)).isoformat()
            if day in days:
                continue
            for record in self.cycles.bids(
                resource_id=resource.resource_id,
                market_id=resource.market_id,
                delivery_date=day,
                states=MAY_CLEAR,
            ):
                for offer in record.bid.offers:
                    if offer.product in _energy_products(market):
                        powers += offered_w(offer)
        return Ahead(
            most_charge_w=max((power_w for power_w, _ in powers if power_w > 0), default=0),
            most_discharge_w=max((-power_w for power_w, _ in powers if power_w < 0), default=0),
            charge_wh=_sum_wh(power for power in powers if power[0] > 0),
            discharge_wh=-_sum_wh(power for power in powers if power[0] < 0),
        )

    def days(
        self, resource: Resource, from_ns: int, to_ns: int, *, as_of_ns: int | None = None
    ) -> list[Award]:
        """Return the awards of a resource that overlap ``[from_ns, to_ns)``, by day, in the newest version of each.

        Args:
            resource: Whose.
            from_ns: Begin of the span.
            to_ns: Its end, exclusive.
            as_of_ns: See only what was published at or before this instant.
        """
        market = self.market(resource.market_id)
        versions = self.cycles.awards_between(
            resource.resource_id,
            resource.market_id,
            first_day=(market.delivery_date(from_ns) - timedelta(days=1)).isoformat(),
            last_day=(market.delivery_date(to_ns) + timedelta(days=1)).isoformat(),
        )
        newest: dict[str, MarketAward] = {}
        for one in versions:
            if as_of_ns is None or one.published_ns <= as_of_ns:
                newest[one.delivery_date] = one
        found = [energy_award(one, market) for one in newest.values()]
        return [
            one
            for one in found
            if one.intervals and one.intervals[0].start_ns < to_ns and one.intervals[-1].end_ns > from_ns
        ]


def energy_award(award: MarketAward, market: Market) -> Award:
    """Return the energy of an award: every interval of which something is known, 0 where nothing cleared, in order."""
    quantities = _energy(award, market)
    lengths_ns = {one.product: one.end_ns - one.start_ns for one in quantities}
    product = min(lengths_ns, key=lambda name: lengths_ns[name], default="")
    return Award(
        resource_id=award.resource_id,
        market_id=award.market_id,
        settlement_point=award.settlement_point,
        delivery_date=award.delivery_date,
        bid_id=award.bid_id,
        version=award.version,
        published_ns=award.published_ns,
        intervals=tuple(
            _interval(one)
            for one in sorted(quantities, key=lambda one: one.start_ns)
            if one.product == product
        ),
    )


def offered_w(offer: Offer) -> list[tuple[int, int]]:
    """Return the most that may come of an offer of energy, by interval: power, charging positive, in W, and length, in ns."""
    match offer:
        case Orders():
            found: Counter[tuple[int, int, str]] = Counter()
            for order in offer.orders:
                found[order.start_ns, order.end_ns, order.side] += _watts(order.quantity_mw)
            return _by_side(found)
        case StorageCurves():
            return [
                (-_watts(end.output_mw), one.end_ns - one.start_ns)
                for one in offer.intervals
                for end in (one.points[0], one.points[-1])
            ]
        case BandOffer():
            sign = -1 if offer.side == "gen" else 1
            return [(sign * _watts(one.max_avail_mw), one.end_ns - one.start_ns) for one in offer.intervals]
        case Blocks():
            found = Counter()
            for block in offer.blocks:
                for part in block.intervals:
                    found[part.start_ns, part.end_ns, block.side] += _watts(part.quantity_mw)
            return _by_side(found)
        case LoadTarget():
            return [(_watts(one.load_mw), one.end_ns - one.start_ns) for one in offer.intervals]


def _by_side(found: Mapping[tuple[int, int, str], int]) -> list[tuple[int, int]]:
    return [
        (power_w if side == "buy" else -power_w, end_ns - start_ns)
        for (start_ns, end_ns, side), power_w in found.items()
    ]


def _sum_wh(powers: Iterable[tuple[int, int]]) -> int:
    return sum(power_w * length_ns for power_w, length_ns in powers) // NS_PER_HOUR


def _watts(power_mw: float) -> int:
    return round(power_mw * 1e6)


def _energy_products(market: Market) -> set[str]:
    return {product.product_id for product in market.rules.products if product.kind == "energy"}


def _energy(award: MarketAward, market: Market) -> list[AwardedQuantity]:
    energy = _energy_products(market)
    return [one for one in award.quantities if one.product in energy]


def _interval(one: AwardedQuantity) -> AwardedInterval:
    return AwardedInterval(
        start_ns=one.start_ns,
        end_ns=one.end_ns,
        energy_wh=energy_wh(one.power_w, one.start_ns, one.end_ns),
        price_per_mwh=one.price_per_mwh,
    )
