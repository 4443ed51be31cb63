"""What a person decided stands: a draft leaves out what words by hand that come before it list.

Whoever plans knows only the words of its instant. A word that came while a bid was being made is drafted below that bid,
which would replace what the person offered; so a draft is held against all words once more when it is about to go. What
is drafted after it has a higher revision and goes over it by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from shoal.bidding.cycle.consent import ManualBid
from shoal.market.bids import Blocks, Offer, Orders
from shoal.market.standing import offer_key
from shoal.store.consents import Consents
from shoal.store.cycles import Cycles, MarketBidRecord

AT_THE_MARKET: Final = frozenset({"submitted", "unknown", "accepted", "superseded"})
_NOT_GOING: Final = frozenset({"rejected", "withdrawn"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What a draft may list.

    Attributes:
        offers: What is left of its offers; all of them when nobody's word comes before it.
        people: Who decided the rest, by name.
    """

    offers: tuple[Offer, ...]
    people: tuple[str, ...] = ()


def left_of(draft: MarketBidRecord, *, consents: Consents, cycles: Cycles, now_ns: int) -> Left:
    """Return what words by hand leave of a draft: over a bid of the plant all below it, over one by hand those said later.

    Args:
        draft: What is to go.
        consents: What people said.
        cycles: How their bids stand.
        now_ns: As of when.
    """
    words: dict[str, ManualBid] = {}
    for said in consents.said("manual", subject=draft.bid.resource_id, as_of_ns=now_ns):
        word = msgspec.json.decode(said.content, type=ManualBid)
        words.pop(word.manual_id, None)  # so they stay in the order of their newest word
        words[word.manual_id] = word
    names = list(words)
    own = draft.bid.idempotency_key
    later = names[names.index(own) + 1 :] if own in words else names
    offers, people = draft.bid.offers, list[str]()
    for name in later:
        word, found = words[name], cycles.bid(name)
        if found is None or word.withdrawn or word.drafted or found.state in _NOT_GOING:
            continue
        if (found.bid.market_id, found.bid.delivery_date) != (draft.bid.market_id, draft.bid.delivery_date):
            continue
        if draft.author:
            if found.state not in AT_THE_MARKET:
                continue  # it goes after this one
        elif found.bid.revision > draft.bid.revision:
            continue  # it goes over this one
        left = _without(offers, found.bid.offers, same_shape=bool(draft.author))
        if left != offers:
            offers, people = left, [*people, found.author]
    return Left(offers=offers, people=tuple(dict.fromkeys(people)))


def _without(offers: Sequence[Offer], decided: Sequence[Offer], *, same_shape: bool) -> tuple[Offer, ...]:
    """Return offers without the intervals that others list, of the same product or only of the same shape and side too."""
    found: list[Offer] = []
    for offer in offers:
        spans = [
            span
            for one in decided
            if one.product == offer.product and (not same_shape or offer_key(one) == offer_key(offer))
            for span in _spans(one)
        ]
        left = _left(offer, spans)
        if left is not None:
            found.append(left)
    return tuple(found)


def _left(offer: Offer, spans: Sequence[tuple[int, int]]) -> Offer | None:
    """Return what is left of an offer beside some spans, None when nothing is."""

    def is_free(one: tuple[int, int]) -> bool:
        return not any(start_ns < one[1] and one[0] < end_ns for start_ns, end_ns in spans)

    if all(is_free(one) for one in _spans(offer)):
        return offer
    if isinstance(offer, Blocks):
        return None  # blocks are linked to each other, and replaced as a whole
    if isinstance(offer, Orders):
        orders = tuple(one for one in offer.orders if is_free((one.start_ns, one.end_ns)))
        return msgspec.structs.replace(offer, orders=orders) if orders else None
    kept = tuple(one for one in offer.intervals if is_free((one.start_ns, one.end_ns)))
    return msgspec.structs.replace(offer, intervals=kept) if kept else None


def _spans(offer: Offer) -> Iterator[tuple[int, int]]:
    """Yield the spans that an offer lists."""
    if isinstance(offer, Blocks):
        yield from ((one.start_ns, one.end_ns) for block in offer.blocks for one in block.intervals)
    elif isinstance(offer, Orders):
        yield from ((one.start_ns, one.end_ns) for one in offer.orders)
    else:
        yield from ((one.start_ns, one.end_ns) for one in offer.intervals)
