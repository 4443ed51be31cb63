"""A storage on paper: what bids would have been awarded at the prices that came out, and what the storage could follow.

Shadows run one beside the real resource, and every strategy is scored on one, the live one too: same prices, same
physics, same books in whole watt-hours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.bidding.cycle.ports import FactReader
from shoal.domain.interval import NS_PER_HOUR
from shoal.market.awards import AwardedQuantity
from shoal.market.bids import MarketBid
from shoal.market.contract import Market
from shoal.market.series import price_series
from shoal.market.standing import starts_of
from shoal.optimise.storage import Storage

WH_PER_KWH: Final = 1e3
CENTS: Final = 100
AMOUNTS_PER_UNIT: Final = 100_000_000
"""Cents per MWh times Wh."""
_WHOLE: Final = 1e-6
"""What a sum of floats may lack of a whole watt-hour."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Followed:
    """What a storage made of awards of energy, N intervals in order.

    Attributes:
        start_ns: N starts.
        end_ns: N ends.
        asked_wh: N energies awarded, charging positive.
        delivered_wh: N energies that the storage could take or give, charging positive.
        price_cents_per_mwh: N prices.
        energy_kwh: N + 1 stored energies.
    """

    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    asked_wh: NDArray[np.int64]
    delivered_wh: NDArray[np.int64]
    price_cents_per_mwh: NDArray[np.int64]
    energy_kwh: NDArray[np.float64]

    def amounts(self, storage: Storage) -> NDArray[np.int64]:
        """Return N amounts, income less cost and wear, `AMOUNTS_PER_UNIT` to the unit of currency."""
        wear_cents = round(storage.throughput_cost_per_mwh * CENTS)
        sold_wh = np.maximum(-self.delivered_wh, 0)
        amounts: NDArray[np.int64] = -self.delivered_wh * self.price_cents_per_mwh - wear_cents * sold_wh
        return amounts


def published_prices(
    facts: FactReader,
    market_id: str,
    settlement_point: str,
    product: str,
    *,
    from_ns: int,
    to_ns: int,
    as_of_ns: int,
    up_to_record: int | None = None,
) -> dict[int, float]:
    """Return the price of each interval of a product that was known at an instant, by its start."""
    series_id = price_series(market_id, settlement_point, product)
    found = facts.as_of([series_id], from_ns, to_ns, as_of_ns, up_to_record=up_to_record)[series_id]
    there = np.isfinite(found.value[:, 0])
    return dict(zip(found.start_ns[there].tolist(), found.value[there, 0].tolist(), strict=True))


def awarded(
    market: Market, bid: MarketBid, product: str, price_per_mwh: Mapping[int, float], *, published_ns: int
) -> tuple[AwardedQuantity, ...]:
    """Return what a whole bid is awarded of one product at given prices, by start."""
    award = market.clear(bid, {product: dict(price_per_mwh)}, bid_id="", published_ns=published_ns)
    return tuple(sorted((one for one in award.quantities if one.product == product), key=_start_ns))


def span_of(bid: MarketBid, product: str) -> tuple[int, int] | None:
    """Return the first and the last start that a bid lists of a product; None when it lists none."""
    starts = {start for offer in bid.offers if offer.product == product for start in starts_of(offer)}
    return (min(starts), max(starts)) if starts else None


def follow(storage: Storage, quantities: Sequence[AwardedQuantity]) -> Followed:
    """Return what a storage makes of awards, from its initial energy on, each cut to what it can do.

    Args:
        storage: The storage.
        quantities: Awards of energy, by start, not overlapping.
    """
    count = len(quantities)
    asked, delivered = np.zeros(count, np.int64), np.zeros(count, np.int64)
    energy = np.empty(count + 1)
    energy[0] = now_kwh = storage.initial_energy_kwh
    bought_wh = sold_wh = 0
    for row, one in enumerate(quantities):
        hours = (one.end_ns - one.start_ns) / NS_PER_HOUR
        asked_wh = one.power_w * hours
        room_kwh = (storage.energy_capacity_kwh - now_kwh) / storage.charge_efficiency_frac
        held_kwh = now_kwh * storage.discharge_efficiency_frac
        most_wh = min(storage.charge_limit_kw * hours, room_kwh) * WH_PER_KWH
        least_wh = -min(storage.discharge_limit_kw * hours, held_kwh) * WH_PER_KWH
        cut_wh = min(max(asked_wh, least_wh), most_wh)
        whole_wh = int(abs(cut_wh) + _WHOLE) * (1 if cut_wh > 0 else -1)
        asked[row], delivered[row] = round(asked_wh), whole_wh
        bought_wh += max(whole_wh, 0)
        sold_wh += max(-whole_wh, 0)
        stored_wh = bought_wh * storage.charge_efficiency_frac - sold_wh / storage.discharge_efficiency_frac
        now_kwh = storage.initial_energy_kwh + stored_wh / WH_PER_KWH
        now_kwh = min(max(now_kwh, 0.0), storage.energy_capacity_kwh)
        energy[row + 1] = now_kwh
    return Followed(
        start_ns=np.array([one.start_ns for one in quantities], dtype=np.int64),
        end_ns=np.array([one.end_ns for one in quantities], dtype=np.int64),
        asked_wh=asked,
        delivered_wh=delivered,
        price_cents_per_mwh=np.array(
            [round(one.price_per_mwh * CENTS) for one in quantities], dtype=np.int64
        ),
        energy_kwh=energy,
    )


def _start_ns(one: AwardedQuantity) -> int:
    return one.start_ns
