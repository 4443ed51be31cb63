"""Bids that people make: read from a file, judged by the market's own rules, and the power that they come to.

What a person offers is sent as it is; everything else is planned around the power that it is expected to come to. Where
that does not follow from the offers alone (a price decides which side is taken) the person says it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from shoal.bidding.cycle.consent import ManualBid
from shoal.bidding.cycle.known import FixedPower, canonical
from shoal.bidding.cycle.ports import Bidder
from shoal.bidding.cycle.workflow import Plant, content_digest
from shoal.domain.errors import InvalidInputError
from shoal.domain.outcome import Rejected
from shoal.market.bids import (
    BandOffer,
    Blocks,
    LoadTarget,
    MarketBid,
    Offer,
    Orders,
    RebidCategory,
    RebidReason,
)
from shoal.market.contract import Market
from shoal.market.standing import starts_of

_KW_PER_MW: Final = 1e3
_REASON_LENGTH: Final = 120
_ID_LENGTH: Final = 10


class FixedSpan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The power that a manual bid is expected to come to in a span; charging positive."""

    start_ns: int
    end_ns: int
    power_kw: float


class ManualFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person writes: the offers, and whatever of a bid does not follow from the resource.

    Attributes:
        market_id: In which market.
        delivery_date: The market's day, ``YYYY-MM-DD``.
        offers: As they are to be sent.
        settlement_point: Where it is priced; empty for that of the resource's other bids.
        fixed: The power that the offers are expected to come to; None where it follows from them.
        category: Of the reason, where the market asks for one.
    """

    market_id: str
    delivery_date: str
    offers: tuple[Offer, ...]
    settlement_point: str = ""
    fixed: tuple[FixedSpan, ...] | None = None
    category: RebidCategory = "financial"


def read_manual(content: bytes, *, name: str) -> ManualFile:
    """Return what a file holds.

    Args:
        content: JSON.
        name: Of the file, for the message.

    Raises:
        InvalidInputError: it is not what a manual bid looks like; the message names the field.
    """
    try:
        return msgspec.json.decode(content, type=ManualFile)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(field=name, value="not a bid", fix=str(error)) from error


def manual_bid(
    file: ManualFile, market: Market, *, resource_id: str, by: str, at_ns: int, reason: str
) -> ManualBid:
    """Return the manual bid that a person makes; its name is a function of what it says, who says it, and when.

    Raises:
        InvalidInputError: a span of `fixed` is empty; or see `fixed_power`.
    """
    spans = fixed_power(file.offers, market) if file.fixed is None else list(file.fixed)
    for number, one in enumerate(spans):
        if one.end_ns <= one.start_ns:
            raise InvalidInputError(
                field=f"fixed[{number}]", value=(one.start_ns, one.end_ns), fix="end it after its start"
            )
    why = f"manual bid of {by}: {reason}"
    named = canonical((resource_id, file.market_id, file.offers, by, at_ns))
    return ManualBid(
        manual_id=f"manual-{hashlib.sha256(named).hexdigest()[:_ID_LENGTH]}",
        resource_id=resource_id,
        market_id=file.market_id,
        offers=file.offers,
        fixed=tuple(
            FixedPower(start_ns=one.start_ns, end_ns=one.end_ns, power_kw=one.power_kw, reason=why)
            for one in spans
        ),
        by=by,
        at_ns=at_ns,
        reason=reason,
        category=file.category,
    )


def market_bid(
    manual: ManualBid, market: Market, *, settlement_point: str, delivery_date: str, revision: int
) -> MarketBid:
    """Return a manual bid as it is sent under a revision; it says why where the market asks.

    So does the day's first one, which the market does not ask: it may have to go over what was sent meanwhile.
    """
    rebid = None
    if market.rules.rebid.reason_required:
        rebid = RebidReason(
            category=manual.category,
            reason=manual.reason[:_REASON_LENGTH],
            event_ns=manual.at_ns,
            aware_ns=manual.at_ns,
            decision_ns=manual.at_ns,
        )
    return MarketBid(
        idempotency_key=manual.manual_id,
        resource_id=manual.resource_id,
        market_id=manual.market_id,
        settlement_point=settlement_point,
        delivery_date=delivery_date,
        revision=revision,
        offers=manual.offers,
        rebid=rebid,
    )


def check_manual(
    file: ManualFile,
    manual: ManualBid,
    market: Market,
    *,
    settlement_point: str,
    standing: MarketBid | None,
    now_ns: int,
) -> MarketBid:
    """Return the bid as it would be sent now, judged by the market's own rules.

    Args:
        file: What the person wrote.
        manual: The bid that was made of it.
        market: The market.
        settlement_point: Where it is priced.
        standing: The whole that stands for the day.
        now_ns: When it would arrive.

    Raises:
        InvalidInputError: the market would refuse it; or nothing is offered.
    """
    if not manual.offers:
        raise InvalidInputError(field="offers", value="none", fix="offer something")
    bid = market_bid(
        manual,
        market,
        settlement_point=settlement_point,
        delivery_date=file.delivery_date,
        revision=1 if standing is None else standing.revision + 1,
    )
    verdict = market.validate(bid, received_ns=now_ns, standing=standing)
    if isinstance(verdict, Rejected):
        raise InvalidInputError(field=verdict.field, value=verdict.value, fix=verdict.fix)
    return bid


def draft_manual(plant: Plant, bidder: Bidder, *, now_ns: int) -> list[str]:
    """Draft the manual bids of a resource that have no bid yet, and withdraw the drafts of those that were taken back.

    The drafts then go the way of every draft: whoever has a say lets them go, and they are brought to the market.

    Returns:
        The keys that were drafted.
    """
    market, drafted = plant.market(bidder.market_id), []
    newest: dict[str, ManualBid] = {}
    for one in plant.consents.said("manual", subject=bidder.resource_id, as_of_ns=now_ns):
        manual = msgspec.json.decode(one.content, type=ManualBid)
        newest[manual.manual_id] = manual
    for key, manual in newest.items():
        if manual.market_id != bidder.market_id:
            continue
        record = plant.cycles.bid(key)
        if record is not None and record.state == "draft" and manual.withdrawn:
            said = f"{manual.by} took it back: {manual.reason}"
            plant.cycles.move_bid(key, "withdrawn", at_ns=now_ns, by=manual.by, said=said)
        elif record is None and not (manual.withdrawn or manual.drafted):
            _draft(plant, bidder, market, manual, now_ns=now_ns)
            drafted.append(key)
    return drafted


def _draft(plant: Plant, bidder: Bidder, market: Market, manual: ManualBid, *, now_ns: int) -> None:
    first_ns = min(start for offer in manual.offers for start in starts_of(offer))
    day = market.delivery_date(first_ns).isoformat()
    plant.cycles.draft_bid(
        lambda revision: market_bid(
            manual,
            market,
            settlement_point=bidder.settlement_point,
            delivery_date=day,
            revision=revision,
        ),
        resource_id=manual.resource_id,
        market_id=manual.market_id,
        delivery_date=day,
        idempotency_key=manual.manual_id,
        gate_key=manual.manual_id,
        closes_ns=closes_ns(market, manual.offers),
        decision_id="",
        author=manual.by,
        created_ns=now_ns,
        digest=content_digest,
        by=plant.executor_id,
    )


def closes_ns(market: Market, offers: Sequence[Offer]) -> int:
    """Return the instant of the first gate of all that offers list: all of a bid has to be in time."""
    return min(
        market.closes_ns(offer.product, market.interval_at(offer.product, start_ns))
        for offer in offers
        for start_ns in starts_of(offer)
    )


def fixed_power(offers: Sequence[Offer], market: Market) -> list[FixedSpan]:
    """Return the power that offers of energy come to when all of them is taken, by span; charging positive.

    Raises:
        UnknownIdError: the market has no such product.
        InvalidInputError: an interval is offered on both sides, or by a curve, so that a price decides.
    """
    bought: dict[tuple[int, int], float] = {}
    sold: dict[tuple[int, int], float] = {}
    for offer in offers:
        if market.product(offer.product).kind != "energy":
            continue
        for start_ns, end_ns, power_mw in _powers_mw(offer):
            side = bought if power_mw > 0 else sold
            side[start_ns, end_ns] = side.get((start_ns, end_ns), 0.0) + power_mw
    for span in bought:
        other = next((one for one in sold if one[0] < span[1] and span[0] < one[1] and sold[one] != 0), None)
        if other is not None:
            raise InvalidInputError(
                field="fixed",
                value="both sides are offered",
                fix="say in `fixed` what power you expect of it: [{start_ns, end_ns, power_kw}, ...]",
            )
    every = {span: sold.get(span, 0.0) + bought.get(span, 0.0) for span in {*bought, *sold}}
    return [
        FixedSpan(start_ns=start_ns, end_ns=end_ns, power_kw=power_mw * _KW_PER_MW)
        for (start_ns, end_ns), power_mw in sorted(every.items())
    ]


def _powers_mw(offer: Offer) -> Iterator[tuple[int, int, float]]:
    """Yield spans and powers of what an offer adds up to, charging positive."""
    match offer:
        case Orders():
            for order in offer.orders:
                sign = 1.0 if order.side == "buy" else -1.0
                yield order.start_ns, order.end_ns, sign * order.quantity_mw
        case Blocks():
            for block in offer.blocks:
                sign = 1.0 if block.side == "buy" else -1.0
                for part in block.intervals:
                    yield part.start_ns, part.end_ns, sign * part.quantity_mw
        case BandOffer():
            sign = 1.0 if offer.side == "load" else -1.0
            for one in offer.intervals:
                yield one.start_ns, one.end_ns, sign * min(one.max_avail_mw, sum(one.band_avail_mw))
        case LoadTarget():
            for target in offer.intervals:
                yield target.start_ns, target.end_ns, target.load_mw
        case _:
            raise InvalidInputError(
                field="fixed",
                value="a curve is offered",
                fix="say in `fixed` what power you expect of it: [{start_ns, end_ns, power_kw}, ...]",
            )
