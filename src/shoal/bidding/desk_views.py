"""What a trader sees of bids: who has a say, what was known, tried, decided, said and awarded, and what stands.

Commands and interface are made from these; nothing here is remembered, all of it is read from the stores anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final, Literal, TypeAlias

import msgspec

from shoal.bidding.cycle.climb import Tried
from shoal.bidding.cycle.consent import Approval, ManualBid, ModeSet, may_go, mode_at
from shoal.bidding.cycle.decision import Decision
from shoal.bidding.cycle.footing import NOT_AT_THE_MARKET
from shoal.bidding.cycle.known import Question, Situation
from shoal.bidding.cycle.ports import FactReader
from shoal.domain.errors import CorruptStateError, UnknownIdError
from shoal.domain.facts import SeriesId
from shoal.domain.interval import NS_PER_S
from shoal.domain.outcome import Outcome, Rejected
from shoal.market.awards import AwardedQuantity, MarketAward
from shoal.market.bids import MarketBid
from shoal.market.standing import in_force, offer_key, starts_of
from shoal.store.consents import Consents
from shoal.store.cycles import Cycles, DecisionRecord, MarketBidRecord

ApprovalState: TypeAlias = Literal["not needed", "wanted", "second wanted", "approved", "refused", "off"]

EVER_NS: Final = 2**62
"""As of then everything that was ever said is known."""
_ASKS: Final[dict[str, ApprovalState]] = {
    "off": "off",
    "refused": "refused",
    "approval_missing": "wanted",
    "second_approval_missing": "second wanted",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A decision as it is kept, and what is in it."""

    record: DecisionRecord
    about: Situation
    decision: Decision
    tried: tuple[Tried, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputKnown:
    """How much of a series was known when something was decided.

    Attributes:
        series_id: The series.
        from_ns: Where the span begins that was asked for.
        to_ns: Where it ends.
        intervals_count: How many of its intervals were known.
        newest_known_ns: When the newest fact became known, None when there was none.
        newest_end_ns: Where the last known interval ends.
        newest_age_s: How old the newest fact was.
    """

    series_id: SeriesId
    from_ns: int
    to_ns: int
    intervals_count: int
    newest_known_ns: int | None = None
    newest_end_ns: int | None = None
    newest_age_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What somebody said; `at_ns` is None for what holds because nobody said otherwise."""

    at_ns: int | None
    by: str
    what: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AwardedOf:
    """What was awarded in the intervals that a bid lists, in the newest version."""

    award: MarketAward
    quantities: tuple[AwardedQuantity, ...]


def mode_of(consents: Consents, resource_id: str) -> ModeSet:
    """Return how a resource bids."""
    said = consents.said("mode", subject=resource_id, as_of_ns=EVER_NS)
    modes = [msgspec.json.decode(one.content, type=ModeSet) for one in said]
    return mode_at(modes, resource_id, as_of_ns=EVER_NS)


def approvals_of(consents: Consents, key: str) -> list[Approval]:
    """Return every word that was said on a bid, the earliest first."""
    said = consents.said("approval", subject=key, as_of_ns=EVER_NS)
    return [msgspec.json.decode(one.content, type=Approval) for one in said]


def verdict_of(mode: ModeSet, record: MarketBidRecord, approvals: Sequence[Approval]) -> Outcome:
    """Return whether a bid may be sent, by what was said until now."""
    return may_go(
        mode,
        key=record.bid.idempotency_key,
        content_digest=record.content_digest,
        author=record.author,
        approvals=approvals,
    )


def approval_of(
    mode: ModeSet, record: MarketBidRecord, approvals: Sequence[Approval]
) -> tuple[ApprovalState, str]:
    """Return who is still asked about a bid, and that in words; of one that has gone, what was said of it."""
    own = [one for one in approvals if one.content_digest == record.content_digest]
    yes = sorted({one.by for one in own if one.approved})
    if record.state == "draft":
        verdict = verdict_of(mode, record, approvals)
        if isinstance(verdict, Rejected):
            return _ASKS[verdict.reason], verdict.detail
    elif any(not one.approved for one in own) and record.state in NOT_AT_THE_MARKET:
        one = next(one for one in reversed(own) if not one.approved)
        return "refused", f"refused by {one.by}: {one.reason}"
    return ("approved", f"approved by {', '.join(yes)}") if yes else ("not needed", "")


def words_of(mode: ModeSet, record: MarketBidRecord, approvals: Sequence[Approval]) -> list[Word]:
    """Return what people said of a bid, after how its resource bids."""
    resource_id = record.bid.resource_id
    found = [
        Word(
            at_ns=mode.at_ns if mode.by else None,
            by=mode.by or "nobody",
            what=f"{resource_id} is {mode.mode}{' with four eyes' if mode.four_eyes else ''}",
            reason=mode.reason,
        )
    ]
    for one in approvals:
        covered = "" if one.content_digest == record.content_digest else ", of another content"
        what = f"{'approved' if one.approved else 'refused'}{covered}"
        found.append(Word(at_ns=one.at_ns, by=one.by, what=what, reason=one.reason))
    return found


def told_of(cycles: Cycles, decision_id: str) -> Told | None:
    """Return a decision with what is in it, None when none is kept under the name: a person made the bid.

    Raises:
        CorruptStateError: what is kept cannot be read.
    """
    try:
        record = cycles.decision(decision_id)
    except UnknownIdError:
        return None
    try:
        return Told(
            record=record,
            about=msgspec.json.decode(record.situation, type=Situation),
            decision=msgspec.json.decode(record.decision, type=Decision),
            tried=msgspec.json.decode(record.tried, type=tuple[Tried, ...]),
        )
    except msgspec.DecodeError as error:
        raise CorruptStateError(f"decision {decision_id}", str(error)) from error


def inputs_of(facts: FactReader, told: Told) -> list[InputKnown]:
    """Return how much of each series was known when something was decided, and how old its newest fact was."""
    found = []
    record = told.record
    for asked in msgspec.json.decode(record.questions, type=list[Question]):
        answer = facts.as_of(
            [asked.series_id],
            asked.from_ns,
            asked.to_ns,
            record.as_of_ns,
            up_to_record=told.about.record_no,
        )[asked.series_id]
        line = InputKnown(
            series_id=asked.series_id,
            from_ns=asked.from_ns,
            to_ns=asked.to_ns,
            intervals_count=len(answer.start_ns),
        )
        if line.intervals_count:
            known_ns = int(answer.known_ns.max())
            line = InputKnown(
                series_id=asked.series_id,
                from_ns=asked.from_ns,
                to_ns=asked.to_ns,
                intervals_count=line.intervals_count,
                newest_known_ns=known_ns,
                newest_end_ns=int(answer.end_ns[-1]),
                newest_age_s=(record.as_of_ns - known_ns) / NS_PER_S,
            )
        found.append(line)
    return found


def awarded_of(cycles: Cycles, bid: MarketBid) -> AwardedOf | None:
    """Return what was awarded in the intervals that a bid lists, None before there is an award of its day."""
    awards = cycles.awards(bid.resource_id, bid.market_id, bid.delivery_date)
    if not awards:
        return None
    listed: dict[str, set[int]] = {}
    for offer in bid.offers:
        listed.setdefault(offer.product, set()).update(starts_of(offer))
    quantities = [one for one in awards[-1].quantities if one.start_ns in listed.get(one.product, ())]
    return AwardedOf(award=awards[-1], quantities=tuple(quantities))


def standing_of(records: Iterable[MarketBidRecord], *, up_to_revision: int | None = None) -> MarketBid | None:
    """Return the whole that stands of one day's bids, as far as the plant knows.

    Args:
        records: The bids of one resource, market and day, by revision.
        up_to_revision: Leave out later ones; all when None.
    """
    held = [
        one.bid
        for one in records
        if one.state not in NOT_AT_THE_MARKET
        and (up_to_revision is None or one.bid.revision <= up_to_revision)
    ]
    return reduce(in_force, held[1:], held[0]) if held else None


def keys_that_stand(records: Sequence[MarketBidRecord]) -> set[str]:
    """Return the bids of one day of which something stands: an interval that no later one lists."""
    taken: set[tuple[object, int]] = set()
    found = set()
    for record in sorted(records, key=lambda one: -one.bid.revision):
        if record.state in NOT_AT_THE_MARKET:
            continue
        for offer in record.bid.offers:
            listed = {(offer_key(offer), start_ns) for start_ns in starts_of(offer)}
            if listed - taken or not listed:
                found.add(record.bid.idempotency_key)
            taken |= listed
    return found


def manual_words(consents: Consents, resource_id: str) -> list[ManualBid]:
    """Return the newest word on each bid that was made by hand for a resource, in the order they were first made."""
    newest: dict[str, ManualBid] = {}
    for one in consents.said("manual", subject=resource_id, as_of_ns=EVER_NS):
        manual = msgspec.json.decode(one.content, type=ManualBid)
        newest[manual.manual_id] = manual
    return list(newest.values())


def manual_word(consents: Consents, manual_id: str) -> ManualBid:
    """Return the newest word on a bid that was made by hand.

    Raises:
        UnknownIdError: there is none of that name.
    """
    for resource_id in consents.subjects("manual"):
        for one in manual_words(consents, resource_id):
            if one.manual_id == manual_id:
                return one
    raise UnknownIdError("manual bid", manual_id)
