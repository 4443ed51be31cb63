"""What one person proposes and another decides: orders and bids that nobody may launch alone.

A proposal is claimed before it is carried out, so that it is carried out once at the most, whoever approves at the same
time; what cannot be carried out goes back to waiting. One that nobody decided is void from its instant on, by itself.
Calls block; an asynchronous caller runs them in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec
from sqlalchemy import Connection, Engine, and_, case, func, insert, or_, select

from shoal.domain.errors import InvalidInputError, ShoalError, UnknownIdError
from shoal.domain.ids import checked_id
from shoal.domain.interval import NS_PER_MINUTE
from shoal.store.database import insert_into, reading, writing
from shoal.store.proposal_schema import ORDER_PREVIEW, PROPOSAL

ProposalKind: TypeAlias = Literal["dispatch", "bid"]
ProposalState: TypeAlias = Literal["waiting", "approved", "refused", "withdrawn", "expired"]
"""`expired` is never written down: it is what waits and is past its instant."""
Verdict: TypeAlias = Literal["approved", "refused", "withdrawn"]

MOST_REASON_CHARACTERS: Final = 500
MOST_WAITING: Final = 200
"""Of one kind, so that nobody can bury a proposal under others."""
MOST_BODY_CHARACTERS: Final = 1_000_000
CLAIM_NS: Final = 5 * NS_PER_MINUTE
"""What was approved and has come to nothing after this, its process having died, waits again."""
_LOCK: Final = "proposals"
_DONE: Final = {"approved": "approved it", "refused": "refused it", "withdrawn": "withdrew it"}


class ProposalError(ShoalError):
    """A decision that cannot be taken: it was decided before, is void, or is one's own."""

    def __init__(self, proposal_id: str, why: str) -> None:
        super().__init__(why)
        self.proposal_id = proposal_id
        self.why = why


class Proposed(msgspec.Struct, frozen=True, kw_only=True):
    """A proposal as it stands.

    Attributes:
        proposal_id: Its name.
        kind: What it is.
        subject: What it is about: the order or bid that it would change; empty for a new one.
        title: In words.
        amount: What counts for the limit: kW of an order, MW of a bid, without direction.
        body: What would be done, as JSON values.
        shown: What the proposer saw of it, as JSON values; None for nothing.
        by: Who proposed it.
        at_ns: When.
        reason: Why.
        expires_ns: From then on it is void.
        state: Where it stands.
        decided_by: Who decided; empty before.
        decided_ns: When.
        note: What was said with the decision.
        result: What came of it, such as the order's id.
    """

    proposal_id: str
    kind: ProposalKind
    subject: str
    title: str
    amount: float
    body: Any
    by: str
    at_ns: int
    reason: str
    expires_ns: int
    shown: Any = None
    state: ProposalState = "waiting"
    decided_by: str = ""
    decided_ns: int | None = None
    note: str = ""
    result: str = ""


class Proposals:
    """Proposals in a migrated database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def propose(self, proposal: Proposed) -> Proposed:
        """Keep a new proposal; the same one again is returned as it stands.

        Raises:
            InvalidInputError: when it says no reason, is void from the start, or too many wait already.
        """
        checked_id("proposal_id", proposal.proposal_id)
        reason = checked_words("reason", proposal.reason, needed=True)
        if proposal.expires_ns <= proposal.at_ns:
            fix = "it would be void at once; give it a later end"
            raise InvalidInputError(field="expires", value=proposal.expires_ns, fix=fix)
        row = _row(msgspec.structs.replace(proposal, reason=reason, state="waiting"))
        if len(row["body"]) + len(row["shown"]) > MOST_BODY_CHARACTERS:
            fix = "it is too large to be kept; name groups in place of single sites"
            raise InvalidInputError(field="body", value=len(row["body"]), fix=fix)
        with writing(self._engine, lock=_LOCK) as connection:
            held = _held(connection, proposal.proposal_id)
            if held is not None:
                return at(held, proposal.at_ns)
            waiting = connection.execute(
                select(func.count()).select_from(PROPOSAL).where(_is_waiting(proposal.kind, proposal.at_ns))
            ).scalar_one()
            if waiting >= MOST_WAITING:
                fix = f"{MOST_WAITING} wait already; have some decided first"
                raise InvalidInputError(field="proposal", value=proposal.title[:60], fix=fix)
            connection.execute(insert(PROPOSAL), row)
        return self.proposal(proposal.proposal_id, now_ns=proposal.at_ns)

    def proposal(self, proposal_id: str, *, now_ns: int) -> Proposed:
        """Return a proposal as it stands at an instant.

        Raises:
            UnknownIdError: when there is no such proposal.
        """
        with reading(self._engine) as connection:
            held = _held(connection, proposal_id)
        if held is None:
            raise UnknownIdError("proposal", proposal_id)
        return at(held, now_ns)

    def proposals(
        self,
        kind: ProposalKind,
        *,
        now_ns: int,
        state: ProposalState | None = None,
        subject: str = "",
        offset: int = 0,
        limit: int = 100,
    ) -> tuple[int, list[Proposed]]:
        """Return how many there are, and some: those that wait first, the earliest to end on top, then the newest."""
        chosen = [PROPOSAL.c.kind == kind]
        waits = _is_waiting(kind, now_ns)
        if state == "waiting":
            chosen.append(waits)
        elif state == "expired":
            chosen += [PROPOSAL.c.state == "waiting", PROPOSAL.c.expires_ns <= now_ns]
        elif state is not None:
            chosen.append(PROPOSAL.c.state == state)
        if subject:
            chosen.append(or_(PROPOSAL.c.subject == subject, PROPOSAL.c.result == subject))
        order = (
            case((waits, 0), else_=1),
            case((waits, PROPOSAL.c.expires_ns), else_=0),
            PROPOSAL.c.at_ns.desc(),
            PROPOSAL.c.proposal_id,
        )
        with reading(self._engine) as connection:
            total = connection.execute(select(func.count()).select_from(PROPOSAL).where(*chosen)).scalar_one()
            query = select(PROPOSAL).where(*chosen).order_by(*order).offset(offset).limit(limit)
            return int(total), [at(_read(row), now_ns) for row in connection.execute(query).mappings()]

    def decide(
        self,
        proposal_id: str,
        verdict: Verdict,
        *,
        by: str,
        now_ns: int,
        note: str = "",
        act: Callable[[Proposed], str] | None = None,
    ) -> Proposed:
        """Decide a proposal that waits; return it as it then stands.

        Args:
            proposal_id: Which.
            verdict: Whoever withdraws must have proposed it, whoever approves must not; both may refuse.
            by: Who decides.
            now_ns: When.
            note: What is said with it; a refusal says why.
            act: Carries out what is approved, and returns what came of it: of one proposal the same, however often it
                is called. It is called after the proposal was claimed; what it raises is raised on, and the proposal
                waits again, as it does `CLAIM_NS` after a claim whose process died.

        Raises:
            UnknownIdError: when there is no such proposal.
            ProposalError: when it was decided before, is void, or is not for this person to decide so.
            InvalidInputError: when a refusal says nothing.
        """
        note = checked_words("note", note, needed=verdict == "refused")
        with writing(self._engine, lock=_LOCK) as connection:
            held = _held(connection, proposal_id)
            if held is None:
                raise UnknownIdError("proposal", proposal_id)
            check_decidable(at(held, now_ns), verdict, by=by)
            as_seen = (
                PROPOSAL.c.proposal_id == proposal_id,
                PROPOSAL.c.state == held.state,
                PROPOSAL.c.decided_ns.is_not_distinct_from(held.decided_ns),
            )
            done = "" if act is not None else proposal_id
            changed = connection.execute(
                PROPOSAL.update()
                .where(*as_seen)
                .values(state=verdict, decided_by=by, decided_ns=now_ns, note=note, result=done)
            )
            if not changed.rowcount:  # another connection was faster
                raise ProposalError(proposal_id, "somebody else decided it at the same moment")
        if verdict == "approved" and act is not None:
            try:
                result = act(held)
            except ShoalError:
                self._set(proposal_id, state="waiting", decided_by="", decided_ns=None, note="")
                raise
            self._set(proposal_id, result=result)
        return self.proposal(proposal_id, now_ns=now_ns)

    def approved_results(self, kind: ProposalKind, results: Sequence[str]) -> dict[str, str]:
        """Return who approved what came of a proposal, by result, for those of `results` that came of one."""
        found: dict[str, str] = {}
        names = list(dict.fromkeys(results))
        with reading(self._engine) as connection:
            for start in range(0, len(names), 500):
                query = select(PROPOSAL.c.result, PROPOSAL.c.decided_by).where(
                    PROPOSAL.c.kind == kind,
                    PROPOSAL.c.state == "approved",
                    PROPOSAL.c.result.in_(names[start : start + 500]),
                )
                for result, by in connection.execute(query.order_by(PROPOSAL.c.decided_ns)):
                    found[result] = by
        return found

    def _set(self, proposal_id: str, **values: Any) -> None:
        with writing(self._engine, lock=_LOCK) as connection:
            connection.execute(
                PROPOSAL.update().where(PROPOSAL.c.proposal_id == proposal_id).values(**values)
            )

    # -- previews that orders were launched from

    def keep_preview(self, order_id: str, said: bytes, *, by: str, at_ns: int) -> None:
        """Keep what was seen of an order before it was launched; of an order that has one, the first stays."""
        values = {"order_id": order_id, "at_ns": at_ns, "by": by, "said": said.decode()}
        with writing(self._engine) as connection:
            put = insert_into(connection, ORDER_PREVIEW).values(values)
            connection.execute(put.on_conflict_do_nothing(index_elements=["order_id"]))

    def preview_of(self, order_id: str) -> bytes | None:
        """Return what was seen of an order before it was launched; None for nothing."""
        query = select(ORDER_PREVIEW.c.said).where(ORDER_PREVIEW.c.order_id == order_id)
        with reading(self._engine) as connection:
            said = connection.execute(query).scalar()
        return None if said is None else str(said).encode()


def at(proposal: Proposed, now_ns: int) -> Proposed:
    """Return a proposal as it stands at an instant: one that waits and is past its end is void."""
    if (
        proposal.state == "approved"
        and not proposal.result
        and (proposal.decided_ns or 0) + CLAIM_NS <= now_ns
    ):
        proposal = msgspec.structs.replace(proposal, state="waiting", decided_by="", decided_ns=None, note="")
    if proposal.state == "waiting" and now_ns >= proposal.expires_ns:
        return msgspec.structs.replace(proposal, state="expired")
    return proposal


def check_decidable(proposal: Proposed, verdict: Verdict, *, by: str) -> None:
    """Refuse a decision that this person cannot take now.

    Raises:
        ProposalError: saying why, and what to do.
    """
    if proposal.state == "expired":
        raise ProposalError(proposal.proposal_id, "it is void: nobody decided it in time; propose it again")
    if proposal.state != "waiting":
        done = _DONE[proposal.state]
        raise ProposalError(proposal.proposal_id, f"{proposal.decided_by} {done} already")
    if verdict == "approved" and by == proposal.by:
        why = "you proposed it yourself: somebody else has to approve it; you may withdraw it"
        raise ProposalError(proposal.proposal_id, why)
    if verdict == "withdrawn" and by != proposal.by:
        raise ProposalError(
            proposal.proposal_id, f"only {proposal.by} can withdraw it; you may refuse it instead"
        )


def checked_words(field: str, words: str, *, needed: bool = False) -> str:
    """Return what somebody said, trimmed.

    Raises:
        InvalidInputError: when it is too long, or is needed and missing.
    """
    words = words.strip()
    if (needed and not words) or len(words) > MOST_REASON_CHARACTERS:
        raise InvalidInputError(
            field=field, value=words[:40], fix=f"say why, in at most {MOST_REASON_CHARACTERS} letters"
        )
    return words


def _is_waiting(kind: ProposalKind, now_ns: int) -> Any:
    left = and_(
        PROPOSAL.c.state == "approved", PROPOSAL.c.result == "", PROPOSAL.c.decided_ns <= now_ns - CLAIM_NS
    )
    waits = or_(PROPOSAL.c.state == "waiting", left)
    return and_(PROPOSAL.c.kind == kind, waits, PROPOSAL.c.expires_ns > now_ns)


def _held(connection: Connection, proposal_id: str) -> Proposed | None:
    row = connection.execute(select(PROPOSAL).where(PROPOSAL.c.proposal_id == proposal_id)).mappings().first()
    return None if row is None else _read(row)


def _row(proposal: Proposed) -> dict[str, Any]:
    row = msgspec.structs.asdict(proposal)
    row["body"] = msgspec.json.encode(proposal.body).decode()
    row["shown"] = "" if proposal.shown is None else msgspec.json.encode(proposal.shown).decode()
    return row


def _read(row: Any) -> Proposed:
    facts = dict(row)
    facts["body"] = msgspec.json.decode(facts["body"])
    facts["shown"] = msgspec.json.decode(facts["shown"]) if facts["shown"] else None
    return Proposed(**facts)
