"""Who may let a bid go: modes, approvals and manual bids, as rules over what was said by whom.

A resource is ``automatic`` (bids of the machine go by themselves), ``advisory`` (a person approves each), or ``off``
(nothing goes; what stands in the market stays). Four-eyes asks for two different people where a person has a say: for
every bid of an advisory resource, and for a manual one of an automatic one. Who wrote a manual bid is one of them.
Everything said is kept with who said it and when; the newest word that was known counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from shoal.bidding.cycle.known import FixedPower, GateRef
from shoal.domain.outcome import Accepted, Outcome, Rejected
from shoal.market.bids import Offer, RebidCategory

Mode: TypeAlias = Literal["automatic", "advisory", "off"]

FOUR_EYES: Final = 2


class ModeSet(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody set how a resource bids."""

    resource_id: str
    mode: Mode
    four_eyes: bool
    by: str
    at_ns: int
    reason: str = ""


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody approved a bid, or refused it; it names the content by its digest, so that a changed bid is not covered."""

    idempotency_key: str
    content_digest: str
    approved: bool
    by: str
    at_ns: int
    reason: str = ""


class ManualBid(msgspec.Struct, frozen=True, kw_only=True):
    """Offers that a person made; they stand as they are, and the plan of everything else is made around them.

    Attributes:
        manual_id: Its name.
        resource_id: For which resource.
        market_id: In which market.
        offers: As they are to be sent.
        fixed: The power that they are expected to come to, for the plan around them.
        by: Who made it.
        at_ns: When.
        reason: Why.
        category: Of the reason, where the market asks for one.
        withdrawn: Whether it was taken back.
        drafted: Whether it is only a draft yet: then nothing is bid or planned by it.
    """

    manual_id: str
    resource_id: str
    market_id: str
    offers: tuple[Offer, ...]
    fixed: tuple[FixedPower, ...]
    by: str
    at_ns: int
    reason: str
    category: RebidCategory = "financial"
    withdrawn: bool = False
    drafted: bool = False


def mode_at(said: Sequence[ModeSet], resource_id: str, *, as_of_ns: int) -> ModeSet:
    """Return the mode of a resource as of an instant; automatic, without four eyes, until somebody says otherwise."""
    newest = ModeSet(resource_id=resource_id, mode="automatic", four_eyes=False, by="", at_ns=0)
    for one in said:
        if one.resource_id == resource_id and newest.at_ns <= one.at_ns <= as_of_ns:
            newest = one
    return newest


def may_go(
    mode: ModeSet, *, key: str, content_digest: str, author: str, approvals: Sequence[Approval]
) -> Outcome:
    """Return whether a bid may be sent now.

    Args:
        mode: The mode in force.
        key: The bid's idempotency key.
        content_digest: Of what would be sent.
        author: Who made it by hand; empty for the machine.
        approvals: What was said of it.

    Returns:
        `Accepted`, or `Rejected` with reason ``off``, ``refused``, ``approval_missing`` or ``second_approval_missing``.
    """
    if mode.mode == "off":
        return Rejected(
            reason="off", detail=f"bidding of {mode.resource_id} was switched off by {mode.by or 'nobody'}"
        )
    newest: dict[str, Approval] = {}
    for one in sorted(approvals, key=lambda one: one.at_ns):
        if one.idempotency_key == key and one.content_digest == content_digest:
            newest[one.by] = one
    refused = sorted(who for who, one in newest.items() if not one.approved)
    if refused:
        return Rejected(
            reason="refused", detail=f"refused by {', '.join(refused)}: {newest[refused[0]].reason}"
        )
    # who wrote a bid by hand is the first pair of eyes
    eyes = sorted({*newest, author} - {""})
    people = mode.mode == "advisory" or bool(author)
    needed = 0 if not people else FOUR_EYES if mode.four_eyes else 1
    if len(eyes) >= needed:
        return Accepted()
    if eyes:
        return Rejected(
            reason="second_approval_missing",
            detail=f"{eyes[0]} has seen it; four eyes are wanted, so somebody else has to approve it",
        )
    return Rejected(
        reason="approval_missing",
        detail=f"{mode.resource_id} is {mode.mode}: a person has to approve it first",
    )


def manual_for(
    said: Sequence[ManualBid], gate: GateRef, resource_id: str, *, as_of_ns: int
) -> tuple[ManualBid, ...]:
    """Return the manual bids in force as of an instant, the earliest first; the newest word on each counts.

    One is in force until it is taken back, or the last span of its power is over.
    """
    newest: dict[str, ManualBid] = {}
    for one in sorted(said, key=lambda one: one.at_ns):
        if one.at_ns <= as_of_ns and one.resource_id == resource_id and one.market_id == gate.market_id:
            newest[one.manual_id] = one
    return tuple(
        one
        for one in newest.values()
        if not (one.withdrawn or one.drafted)
        and (not one.fixed or any(span.end_ns > as_of_ns for span in one.fixed))
    )
