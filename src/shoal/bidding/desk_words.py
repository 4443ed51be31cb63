"""What a trader says of bids: how a resource bids, whether a bid may go, and bids made by hand.

Every word is kept with who said it and when, and none is ever changed; whoever bids reads them at its next turn.
"""

from __future__ import annotations

import msgspec

from shoal.bidding.cycle.consent import Approval, ManualBid, Mode, ModeSet
from shoal.bidding.cycle.manual import ManualFile, check_manual, manual_bid
from shoal.bidding.desk_views import (
    EVER_NS,
    approvals_of,
    manual_word,
    mode_of,
    standing_of,
    verdict_of,
)
from shoal.domain.errors import GateClosedError, InvalidInputError, UnknownIdError
from shoal.domain.outcome import Outcome
from shoal.market.bids import MarketBid, Offer
from shoal.market.contract import Market
from shoal.market.standing import starts_of
from shoal.store.consents import Consents
from shoal.store.cycles import Cycles, MarketBidRecord


def set_mode(
    consents: Consents,
    resource_id: str,
    *,
    mode: Mode | None,
    four_eyes: bool | None,
    by: str,
    at_ns: int,
    reason: str,
) -> ModeSet:
    """Say how a resource bids; what is None stays as it was."""
    held = mode_of(consents, resource_id)
    said = ModeSet(
        resource_id=resource_id,
        mode=held.mode if mode is None else mode,
        four_eyes=held.four_eyes if four_eyes is None else four_eyes,
        by=by,
        at_ns=at_ns,
        reason=reason,
    )
    consents.say("mode", subject=resource_id, by=by, at_ns=at_ns, content=msgspec.json.encode(said))
    return said


def loosens(consents: Consents, resource_id: str, *, mode: Mode | None, four_eyes: bool | None) -> bool:
    """Whether a word would let bids go that two persons had to see until now; being off for a while changes nothing."""
    if not mode_of(consents, resource_id).four_eyes:
        return False
    said = consents.said("mode", subject=resource_id, as_of_ns=EVER_NS)
    modes = [msgspec.json.decode(one.content, type=ModeSet) for one in said]
    on = [one.mode for one in sorted(modes, key=lambda one: one.at_ns) if one.mode != "off"]
    return four_eyes is False or (mode == "automatic" and on[-1:] == ["advisory"])


def bid_to_judge(cycles: Cycles, key: str) -> MarketBidRecord:
    """Return a bid that waits for a person.

    Raises:
        UnknownIdError: there is no such bid.
        InvalidInputError: it has gone, or was withdrawn.
    """
    record = cycles.bid(key)
    if record is None:
        raise UnknownIdError("bid", key)
    if record.state != "draft":
        fix = "it is too late for that: only a draft waits for a person"
        raise InvalidInputError(field=f"bid {key}", value=record.state, fix=fix)
    return record


def say_of_bid(
    consents: Consents, record: MarketBidRecord, *, approved: bool, by: str, at_ns: int, reason: str
) -> tuple[Approval, Outcome]:
    """Say that a bid may go, or may not; what is meant is its content as it is now.

    Returns:
        The word, and whether the bid may go by all that was said.
    """
    key = record.bid.idempotency_key
    said = Approval(
        idempotency_key=key,
        content_digest=record.content_digest,
        approved=approved,
        by=by,
        at_ns=at_ns,
        reason=reason,
    )
    consents.say("approval", subject=key, by=by, at_ns=at_ns, content=msgspec.json.encode(said))
    mode = mode_of(consents, record.bid.resource_id)
    return said, verdict_of(mode, record, approvals_of(consents, key))


def checked_manual(
    cycles: Cycles,
    file: ManualFile,
    market: Market,
    *,
    resource_id: str,
    settlement_point: str,
    by: str,
    at_ns: int,
    reason: str,
) -> tuple[ManualBid, MarketBid]:
    """Return a bid made by hand, and as it would be sent now; nothing is kept.

    Raises:
        InvalidInputError: the market would refuse it; it names the field, the value and the fix.
        UnknownIdError: the market has no such product.
    """
    made = manual_bid(file, market, resource_id=resource_id, by=by, at_ns=at_ns, reason=reason)
    records = cycles.bids(resource_id=resource_id, market_id=file.market_id, delivery_date=file.delivery_date)
    bid = check_manual(
        file,
        made,
        market,
        settlement_point=settlement_point,
        standing=standing_of(records),
        now_ns=at_ns,
    )
    return made, bid


def keep_manual(consents: Consents, manual: ManualBid) -> ManualBid:
    """Keep a word on a bid made by hand."""
    consents.say(
        "manual",
        subject=manual.resource_id,
        by=manual.by,
        at_ns=manual.at_ns,
        content=msgspec.json.encode(manual),
    )
    return manual


def take_back(consents: Consents, manual_id: str, *, by: str, at_ns: int, reason: str) -> ManualBid:
    """Take a bid made by hand back: what comes next is planned without it.

    Raises:
        UnknownIdError: there is none of that name.
        InvalidInputError: it was taken back already.
    """
    found = manual_word(consents, manual_id)
    if found.withdrawn:
        raise InvalidInputError(field="manual_id", value=manual_id, fix=f"{found.by} took it back already")
    return keep_manual(
        consents,
        msgspec.structs.replace(found, withdrawn=True, by=by, at_ns=at_ns, reason=reason or found.reason),
    )


def last_gate_ns(market: Market, offers: tuple[Offer, ...]) -> int:
    """Return until when something of what offers list can still be bid for."""
    return max(
        market.closes_ns(offer.product, market.interval_at(offer.product, start_ns))
        for offer in offers
        for start_ns in starts_of(offer)
    )


def check_open(gate_ns: int, now_ns: int) -> None:
    """Refuse what comes at or after a gate.

    Raises:
        GateClosedError: the gate has closed.
    """
    if now_ns >= gate_ns:
        raise GateClosedError(gate_ns=gate_ns, now_ns=now_ns)
