"""Proposals of orders: what one operator asks another to approve, and launching it in the first one's name when that is done.

The order is made anew at the moment of its approval, from what was asked, so that "from now on" means then; notice and
everything else is checked then again. The audit has who proposed, who decided, and what was seen.
"""

from __future__ import annotations

from typing import Final

import msgspec

from shoal.api.commands.door import CommandDoor
from shoal.api.dispatch.launching import keep, preview_line
from shoal.api.dispatch.order_answers import Proposal
from shoal.api.dispatch.order_asked import Asked, CallAsked, DispatchAsked, check_order_asked, order_of
from shoal.api.dispatch.order_titles import title_of
from shoal.api.dispatch.preview_answers import PreviewView
from shoal.api.live.state import to_ms
from shoal.control.asking import named
from shoal.control.second_person import most_w
from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.interval import NS_PER_MINUTE
from shoal.store.order_records import AuditEntry, CallSpec, EventSpec, Order
from shoal.store.proposals import Proposals, Proposed, Verdict

WAITS_NS: Final = 60 * NS_PER_MINUTE
"""Nobody approves what somebody wanted long ago."""
_ACTION: Final[dict[Verdict, str]] = {"approved": "approve", "refused": "refuse", "withdrawn": "withdraw"}
_W_PER_KW: Final = 1_000.0


class DispatchProposals:
    """Proposals of orders.

    Args:
        door: The plant's orders.
        store: Where proposals are kept.
    """

    def __init__(self, door: CommandDoor, store: Proposals) -> None:
        self._door = door
        self._store = store

    def propose(self, asked: DispatchAsked, *, by: str, reason: str, token: str) -> Proposal:
        """Keep what somebody asks another to approve; it is checked as if it were launched now. Blocks.

        Raises:
            InvalidInputError: when it cannot be carried out, says no reason, or would be void at once.
            UnknownIdError: when it names somebody who does not exist.
        """
        door, now_ns = self._door, self._door.now_ns()
        kind, what = asked.one()
        order = self._order(what, by=by, now_ns=now_ns)
        check_order_asked(order, door.fleet, door.book, now_ns=now_ns)
        seen = door.previews.of(token, what)
        proposal = Proposed(
            proposal_id=named("propose", now_ns, by, kind, reason, what.model_dump_json()),
            kind="dispatch",
            subject=order.order_id if order.revision > 1 else "",
            title=title_of(order, door.fleet),
            amount=abs(most_w(order, door.fleet)) / _W_PER_KW,
            body=asked.model_dump(mode="json", exclude_none=True),
            by=by,
            at_ns=now_ns,
            reason=reason,
            expires_ns=_expires_ns(order, door, now_ns),
            shown=None if seen is None else msgspec.to_builtins(seen.view),
        )
        kept = self._store.propose(proposal)
        lines = [
            AuditEntry(
                at_ns=now_ns,
                by=by,
                action="propose",
                subject=kept.proposal_id,
                reason=kept.reason,
                detail=f"{kept.title}; {kept.amount:,.1f} kW",
            )
        ]
        if seen is not None:
            lines.insert(0, preview_line(kept.proposal_id, seen.view, by=seen.by))
        door.orders.note(lines)
        return proposal_view(kept)

    def decide(self, proposal_id: str, verdict: Verdict, *, by: str, note: str) -> Proposal:
        """Approve a proposal, and launch it; or refuse or withdraw it. Blocks.

        Raises:
            UnknownIdError: when there is no such proposal.
            ProposalError: when it was decided before, is void, or is not for this person to decide so.
            InvalidInputError: when it cannot be carried out any more; it waits on.
        """
        now_ns = self._door.now_ns()

        def launch(proposed: Proposed) -> str:
            asked = DispatchAsked.model_validate(proposed.body)
            _, what = asked.one()
            order = self._order(what, by=proposed.by, now_ns=now_ns)
            if order.revision == 1 and not (isinstance(what, CallAsked) and what.event_id):
                # of this proposal, so that it can never be launched twice
                kind = order.program if isinstance(order.spec, CallSpec) else "order"
                name = named(kind, proposed.at_ns, proposed.proposal_id)
                if self._is_kept(name):
                    return name  # an earlier approval got so far
                order = msgspec.structs.replace(order, order_id=name)
            if not order.reason:
                order = msgspec.structs.replace(order, reason=proposed.reason)
            check_order_asked(order, self._door.fleet, self._door.book, now_ns=now_ns)
            seen = None if proposed.shown is None else msgspec.convert(proposed.shown, PreviewView)
            keep(self._door, order, seen=seen, seen_by=proposed.by)
            return order.order_id

        try:
            decided = self._store.decide(proposal_id, verdict, by=by, now_ns=now_ns, note=note, act=launch)
        except InvalidInputError as error:
            self._note(now_ns, by, verdict, proposal_id, note, str(error), refused=True)
            raise
        self._note(now_ns, by, verdict, proposal_id, decided.note, decided.title)
        if decided.result:
            lines = [
                AuditEntry(
                    at_ns=decided.at_ns,
                    by=decided.by,
                    action="propose",
                    subject=decided.result,
                    reason=decided.reason,
                    detail=f"proposal {proposal_id}",
                ),
                AuditEntry(
                    at_ns=now_ns,
                    by=by,
                    action="approve",
                    subject=decided.result,
                    reason=decided.note,
                    detail=f"proposal {proposal_id}",
                ),
            ]
            self._door.orders.note(lines)
        return proposal_view(decided)

    def _note(
        self,
        at_ns: int,
        by: str,
        verdict: Verdict,
        subject: str,
        said: str,
        detail: str,
        *,
        refused: bool = False,
    ) -> None:
        entry = AuditEntry(
            at_ns=at_ns,
            by=by,
            action=_ACTION[verdict],
            subject=subject,
            outcome="refused" if refused else "done",
            reason=said,
            detail=detail,
        )
        self._door.orders.note([entry])

    def _is_kept(self, order_id: str) -> bool:
        try:
            self._door.orders.order(order_id)
        except UnknownIdError:
            return False
        return True

    def _order(self, asked: Asked, *, by: str, now_ns: int) -> Order:
        door = self._door
        return order_of(asked, orders=door.orders, fleet=door.fleet, by=by, now_ns=now_ns)


def _expires_ns(order: Order, door: CommandDoor, now_ns: int) -> int:
    """Return when a proposal is void: within the hour, and not later than it could still be launched."""
    latest_ns = order.end_ns
    if order.revision == 1 and isinstance(order.spec, EventSpec | CallSpec):
        latest_ns = door.book.program(order.program).latest_notice_ns(order.start_ns)
    return min(now_ns + WAITS_NS, latest_ns)


def proposal_view(proposed: Proposed) -> Proposal:
    """Return a proposal of an order as it is shown."""
    kind, _ = DispatchAsked.model_validate(proposed.body).one()
    return Proposal(
        proposal_id=proposed.proposal_id,
        kind=kind,
        title=proposed.title,
        power_kw=proposed.amount,
        body=proposed.body[kind],
        by=proposed.by,
        at_ms=to_ms(proposed.at_ns),
        reason=proposed.reason,
        expires_ms=to_ms(proposed.expires_ns),
        state=proposed.state,
        decided_by=proposed.decided_by,
        decided_ms=None if proposed.decided_ns is None else to_ms(proposed.decided_ns),
        note=proposed.note,
        order_id=proposed.result or proposed.subject,
        preview=None if proposed.shown is None else msgspec.convert(proposed.shown, PreviewView),
    )
