"""What an order would cost, as far as the plant knows prices: energy at the market's price, wear, and owners' pay. Pure.

What is not known is named and left out, never taken for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from shoal.api.dispatch.preview_answers import CostPart, CostView
from shoal.api.live.state import PriceSeries, to_ms
from shoal.domain.interval import NS_PER_HOUR
from shoal.store.order_records import CallSpec, Order

_KWH_PER_MWH: Final = 1_000.0
_MS_PER_HOUR: Final = NS_PER_HOUR // 1_000_000
_PERMILLE: Final = 1_000
REFILL: Final = "what filling the batteries again costs later"
NO_PRICE: Final = "the market's price of the energy: none is known for this time"
NO_MARKET: Final = "the market's price of the energy: these sites are in no market that is known"
NO_PAY: Final = "what owners are paid: this order says nothing of it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The part of an order's energy that is of one resource.

    Attributes:
        energy_kwh: Taken in positive.
        low_kwh: Nine times out of ten it is between this and `high_kwh`.
        high_kwh: See there.
        currency: Of its market.
        wear_per_mwh: Cost of wear per MWh given out.
        prices: Of its settlement point.
    """

    energy_kwh: float
    low_kwh: float
    high_kwh: float
    currency: str
    wear_per_mwh: float
    prices: PriceSeries


def cost_of(
    order: Order, shares: Sequence[Share], energy_kwh: float, low_kwh: float, high_kwh: float
) -> CostView:
    """Return what an order would cost; positive costs, negative earns.

    Args:
        order: The order.
        shares: What of its energy is of resources whose market is known.
        energy_kwh: All of its energy, taken in positive.
        low_kwh: Nine times out of ten it is between this and `high_kwh`.
        high_kwh: See there.
    """
    spec = order.spec
    if isinstance(spec, CallSpec):
        return _of_call(spec, energy_kwh, low_kwh, high_kwh)
    currencies = {share.currency for share in shares}
    missing = [NO_PAY]
    if energy_kwh < 0:
        missing.insert(0, REFILL)
    if len(currencies) != 1:
        return _made("", [], [], energy_kwh, [NO_MARKET, *missing])
    parts: list[tuple[Literal["energy", "wear", "owners"], str, float]] = []
    spans: list[tuple[float, float]] = []
    prices = [price_in(share.prices, order.start_ns, order.end_ns) for share in shares]
    known = [(share, price) for share, price in zip(shares, prices, strict=True) if price is not None]
    if len(known) < len(shares) or not shares:
        missing.insert(0, NO_PRICE)
    else:
        amount = sum(share.energy_kwh / _KWH_PER_MWH * price[1] for share, price in known)
        parts.append(("energy", "energy at the market's price", amount))
        spans.append(
            _sum_of(
                [
                    [e / _KWH_PER_MWH * p for e in (share.low_kwh, share.high_kwh) for p in price]
                    for share, price in known
                ]
            )
        )
    wear = sum(max(-share.energy_kwh, 0.0) / _KWH_PER_MWH * share.wear_per_mwh for share in shares)
    if wear:
        parts.append(("wear", "wear of the batteries", wear))
        spans.append(
            _sum_of(
                [
                    [
                        max(-e, 0.0) / _KWH_PER_MWH * share.wear_per_mwh
                        for e in (share.low_kwh, share.high_kwh)
                    ]
                    for share in shares
                ]
            )
        )
    rest_kwh = abs(energy_kwh) - sum(abs(share.energy_kwh) for share in shares)
    if rest_kwh > 0.01 * abs(energy_kwh):
        missing.append(f"{rest_kwh:,.0f} kWh of sites in no market that is known")
    return _made(next(iter(currencies)), parts, spans, energy_kwh, missing)


def price_in(prices: PriceSeries, start_ns: int, end_ns: int) -> tuple[float, float, float] | None:
    """Return the mean price of a span: low, expected, high; None unless all of it has one.

    A published price is sure; else the forecast's median counts, with the quantiles around it.
    """
    start_ms, end_ms = to_ms(start_ns), to_ms(end_ns)
    covered_ms, sums = 0, np.zeros(3)
    for at, begins_ms in enumerate(prices.start_ms):
        following = prices.start_ms[at + 1] if at + 1 < len(prices.start_ms) else begins_ms + _MS_PER_HOUR
        inside_ms = min(following, begins_ms + _MS_PER_HOUR, end_ms) - max(begins_ms, start_ms)
        actual, middle = prices.actual[at], prices.q50[at]
        expected = middle if actual is None else actual
        if inside_ms <= 0 or expected is None:
            continue
        low = expected if actual is not None else prices.q05[at]
        high = expected if actual is not None else prices.q95[at]
        row = (expected if low is None else low, expected, expected if high is None else high)
        sums += np.array(row) * inside_ms
        covered_ms += inside_ms
    if covered_ms < end_ms - start_ms or covered_ms <= 0:
        return None
    low, expected, high = (sums / covered_ms).tolist()
    return low, expected, high


def _of_call(spec: CallSpec, energy_kwh: float, low_kwh: float, high_kwh: float) -> CostView:
    if not spec.price_cents_per_mwh:
        return _made("", [], [], energy_kwh, [REFILL, NO_PAY])
    price = spec.price_cents_per_mwh / 100
    share_frac = spec.owner_share_permille / _PERMILLE

    def paid(kwh: float) -> float:
        return max(-kwh, 0.0) / _KWH_PER_MWH * price

    parts: list[tuple[Literal["energy", "wear", "owners"], str, float]] = [
        ("energy", "what the delivery is paid", -paid(energy_kwh)),
        ("owners", "the owners' part of it", paid(energy_kwh) * share_frac),
    ]
    ends = sorted(-paid(kwh) * (1.0 - share_frac) for kwh in (low_kwh, high_kwh))
    return _made(spec.currency, parts, [(ends[0], ends[1])], energy_kwh, [REFILL])


def _sum_of(corners: Sequence[Sequence[float]]) -> tuple[float, float]:
    return sum(min(one) for one in corners), sum(max(one) for one in corners)


def _made(
    currency: str,
    parts: Sequence[tuple[Literal["energy", "wear", "owners"], str, float]],
    spans: Sequence[tuple[float, float]],
    energy_kwh: float,
    missing: list[str],
) -> CostView:
    shown = [CostPart(name=name, words=words, amount=_money(amount)) for name, words, amount in parts]
    if not parts:
        return CostView(
            currency="",
            amount=None,
            low_amount=None,
            high_amount=None,
            per_mwh=None,
            parts=[],
            missing=missing,
        )
    # of the amounts as they are shown, so that they add up
    total = sum(round(amount * 100) for _, _, amount in parts) / 100
    mwh = abs(energy_kwh) / _KWH_PER_MWH
    return CostView(
        currency=currency,
        amount=_money(total),
        low_amount=_money(min(sum(low for low, _ in spans), total)),
        high_amount=_money(max(sum(high for _, high in spans), total)),
        per_mwh=_money(total / mwh) if mwh > 0 else None,
        parts=shown,
        missing=missing,
    )


def _money(amount: float) -> str:
    return f"{round(amount * 100) / 100 + 0.0:.2f}"
