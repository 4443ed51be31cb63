"""What was awarded, as the plant follows and settles it: energy by interval, from the newest version of each award.

A market's award lists powers of products; a resource delivers energy. Where several energy products cover an instant the
one with the shortest intervals counts, since it was dispatched last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from shoal.domain.fleet import Resource
from shoal.market.awards import AwardedQuantity, MarketAward
from shoal.market.contract import Market
from shoal.market.settlement import energy_wh
from shoal.market.types import Award, AwardedInterval
from shoal.store.cycles import Cycles


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


def _energy(award: MarketAward, market: Market) -> list[AwardedQuantity]:
    energy = {product.product_id for product in market.rules.products if product.kind == "energy"}
    return [one for one in award.quantities if one.product in energy]


def _interval(one: AwardedQuantity) -> AwardedInterval:
    return AwardedInterval(
        start_ns=one.start_ns,
        end_ns=one.end_ns,
        energy_wh=energy_wh(one.power_w, one.start_ns, one.end_ns),
        price_per_mwh=one.price_per_mwh,
    )
