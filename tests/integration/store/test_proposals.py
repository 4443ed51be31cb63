"""Proposals on disk: one decision, by somebody else, in time; what is approved is done once at the most."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from shoal.domain.errors import InvalidInputError, UnavailableError, UnknownIdError
from shoal.domain.interval import NS_PER_MINUTE
from shoal.store.proposals import CLAIM_NS, MOST_WAITING, ProposalError, Proposals, Proposed

NOW_NS = 1_612_972_800_000_000_000
VOID_NS = NOW_NS + 30 * NS_PER_MINUTE


def make_proposal(name: str = "p-1", **changes: Any) -> Proposed:
    facts: dict[str, Any] = {
        "proposal_id": name,
        "kind": "dispatch",
        "subject": "",
        "title": "discharge 200 kW",
        "amount": 200.0,
        "body": {"setpoint": {"fleet": True}},
        "by": "ann",
        "at_ns": NOW_NS,
        "reason": " evening peak ",
        "expires_ns": VOID_NS,
    }
    return Proposed(**{**facts, **changes})


@pytest.fixture
def store(tables: Engine) -> Proposals:
    return Proposals(tables)


def test_proposal_is_kept_as_it_was_made(store: Proposals) -> None:
    kept = store.propose(make_proposal(shown={"sites": 3}))
    assert (kept.reason, kept.state, kept.body, kept.shown) == (
        "evening peak",
        "waiting",
        {"setpoint": {"fleet": True}},
        {"sites": 3},
    )
    assert store.propose(make_proposal(title="something else")).title == kept.title
    assert store.proposal("p-1", now_ns=NOW_NS) == kept
    with pytest.raises(UnknownIdError):
        store.proposal("p-2", now_ns=NOW_NS)


@pytest.mark.parametrize("wrong", [{"reason": " "}, {"reason": "x" * 501}, {"expires_ns": NOW_NS}])
def test_proposal_without_reason_or_time_is_refused(store: Proposals, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        store.propose(make_proposal(**wrong))
    assert store.proposals("dispatch", now_ns=NOW_NS) == (0, [])


def test_somebody_else_approves_and_it_is_done_once(store: Proposals) -> None:
    store.propose(make_proposal())
    done: list[str] = []

    def act(proposed: Proposed) -> str:
        done.append(proposed.proposal_id)
        return "order-1"

    with pytest.raises(ProposalError, match="you proposed it yourself"):
        store.decide("p-1", "approved", by="ann", now_ns=NOW_NS, act=act)
    decided = store.decide("p-1", "approved", by="bob", now_ns=NOW_NS + 1, note="fine", act=act)
    assert (decided.state, decided.decided_by, decided.decided_ns) == ("approved", "bob", NOW_NS + 1)
    assert (decided.result, decided.note, done) == ("order-1", "fine", ["p-1"])
    with pytest.raises(ProposalError, match="bob approved it already"):
        store.decide("p-1", "approved", by="eve", now_ns=NOW_NS + 2, act=act)
    assert done == ["p-1"]
    assert store.approved_results("dispatch", ["order-1", "order-2"]) == {"order-1": "bob"}
    assert store.proposals("dispatch", now_ns=NOW_NS, subject="order-1")[0] == 1


def test_what_cannot_be_done_waits_again(store: Proposals) -> None:
    store.propose(make_proposal())

    def act(proposed: Proposed) -> str:
        with pytest.raises(ProposalError, match="bob approved it already"):
            store.decide("p-1", "approved", by="eve", now_ns=NOW_NS, act=lambda _: "twice")
        raise UnavailableError("the database", "it is away")

    with pytest.raises(UnavailableError):
        store.decide("p-1", "approved", by="bob", now_ns=NOW_NS, note="fine", act=act)
    held = store.proposal("p-1", now_ns=NOW_NS)
    assert (held.state, held.decided_by, held.decided_ns, held.note) == ("waiting", "", None, "")
    assert (
        store.decide("p-1", "approved", by="eve", now_ns=NOW_NS, act=lambda _: "order-2").result == "order-2"
    )


def test_nobody_decides_what_is_void(store: Proposals) -> None:
    store.propose(make_proposal())
    assert store.proposal("p-1", now_ns=VOID_NS).state == "expired"
    for verdict in ("approved", "refused"):
        with pytest.raises(ProposalError, match="it is void"):
            store.decide("p-1", verdict, by="bob", now_ns=VOID_NS, note="late")
    assert store.proposals("dispatch", now_ns=VOID_NS, state="waiting")[0] == 0
    assert store.proposals("dispatch", now_ns=VOID_NS, state="expired")[0] == 1


def test_refusing_says_why_and_withdrawing_is_the_proposers(store: Proposals) -> None:
    store.propose(make_proposal())
    with pytest.raises(InvalidInputError):
        store.decide("p-1", "refused", by="bob", now_ns=NOW_NS)
    with pytest.raises(ProposalError, match="only ann can withdraw it"):
        store.decide("p-1", "withdrawn", by="bob", now_ns=NOW_NS)
    assert store.decide("p-1", "refused", by="bob", now_ns=NOW_NS, note="not now").state == "refused"
    store.propose(make_proposal("p-2"))
    assert store.decide("p-2", "withdrawn", by="ann", now_ns=NOW_NS).state == "withdrawn"


def test_proposals_of_one_kind_waiting_first(store: Proposals) -> None:
    store.propose(make_proposal("p-1", expires_ns=VOID_NS + 1))
    store.propose(make_proposal("p-2"))
    store.propose(make_proposal("p-3", at_ns=NOW_NS - 1))
    store.propose(make_proposal("b-1", kind="bid"))
    store.decide("p-3", "refused", by="bob", now_ns=NOW_NS, note="no")
    total, found = store.proposals("dispatch", now_ns=NOW_NS)
    assert (total, [one.proposal_id for one in found]) == (3, ["p-2", "p-1", "p-3"])
    total, found = store.proposals("dispatch", now_ns=NOW_NS, offset=1, limit=1)
    assert (total, [one.proposal_id for one in found]) == (3, ["p-1"])
    assert store.proposals("bid", now_ns=NOW_NS, state="waiting")[0] == 1


def test_nobody_buries_a_proposal_under_others(store: Proposals) -> None:
    for number in range(MOST_WAITING):
        store.propose(make_proposal(f"p-{number}"))
    with pytest.raises(InvalidInputError, match="wait already"):
        store.propose(make_proposal("one-more"))
    store.propose(make_proposal("b-1", kind="bid"))


def test_first_preview_of_an_order_stays(store: Proposals) -> None:
    assert store.preview_of("order-1") is None
    store.keep_preview("order-1", b'{"sites":3}', by="ann", at_ns=NOW_NS)
    store.keep_preview("order-1", b'{"sites":4}', by="bob", at_ns=NOW_NS)
    assert store.preview_of("order-1") == b'{"sites":3}'


def test_approval_whose_process_died_can_be_finished(store: Proposals) -> None:
    class DiedError(BaseException):
        pass

    def die(_: Proposed) -> str:
        raise DiedError

    store.propose(make_proposal())
    with pytest.raises(DiedError):
        store.decide("p-1", "approved", by="bob", now_ns=NOW_NS, act=die)
    soon_ns, later_ns = NOW_NS + NS_PER_MINUTE, NOW_NS + CLAIM_NS
    with pytest.raises(ProposalError):
        store.decide("p-1", "approved", by="cem", now_ns=soon_ns, act=lambda _: "order-1")
    assert store.proposals("dispatch", now_ns=soon_ns, state="waiting") == (0, [])
    total, waiting = store.proposals("dispatch", now_ns=later_ns, state="waiting")
    assert (total, waiting[0].state, waiting[0].decided_by) == (1, "waiting", "")
    done = store.decide("p-1", "approved", by="cem", now_ns=later_ns, act=lambda _: "order-1")
    assert (done.state, done.decided_by, done.result) == ("approved", "cem", "order-1")
    assert store.proposal("p-1", now_ns=later_ns + CLAIM_NS).state == "approved"
