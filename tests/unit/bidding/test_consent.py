"""Who may let a bid go: every mode, one and two people, refusals, changed content, manual bids, and when words count."""

from __future__ import annotations

import pytest

from shoal.bidding.cycle.consent import (
    Approval,
    ManualBid,
    Mode,
    ModeSet,
    manual_for,
    may_go,
    mode_at,
)
from shoal.bidding.cycle.known import FixedPower, GateRef
from shoal.domain.outcome import Accepted, Rejected

GATE = GateRef(
    market_id="nem",
    product_id="energy",
    kind="interval",
    delivery_date="2024-12-05",
    covers_start_ns=100,
    covers_end_ns=200,
    closes_ns=90,
)


def mode(which: Mode, *, four_eyes: bool = False, by: str = "boss", at_ns: int = 1) -> ModeSet:
    return ModeSet(resource_id="big", mode=which, four_eyes=four_eyes, by=by, at_ns=at_ns)


def word(by: str, *, approved: bool = True, at_ns: int = 1, digest: str = "d", key: str = "k") -> Approval:
    return Approval(
        idempotency_key=key, content_digest=digest, approved=approved, by=by, at_ns=at_ns, reason="so"
    )


def verdict(which: ModeSet, *words: Approval, author: str = "") -> str:
    found = may_go(which, key="k", content_digest="d", author=author, approvals=words)
    return "" if isinstance(found, Accepted) else found.reason if isinstance(found, Rejected) else "?"


@pytest.mark.parametrize(
    ("which", "four_eyes", "author", "by", "expected"),
    [
        ("automatic", False, "", (), ""),
        ("automatic", True, "", (), ""),  # four eyes are for people: the machine bids by itself
        ("automatic", False, "ann", (), ""),
        ("automatic", True, "ann", (), "second_approval_missing"),
        ("automatic", True, "ann", ("ann",), "second_approval_missing"),
        ("automatic", True, "ann", ("bob",), ""),
        ("advisory", False, "", (), "approval_missing"),
        ("advisory", False, "", ("ann",), ""),
        ("advisory", False, "ann", (), ""),  # who writes a bid lets it go
        ("advisory", True, "", (), "approval_missing"),
        ("advisory", True, "", ("ann",), "second_approval_missing"),
        ("advisory", True, "", ("ann", "ann"), "second_approval_missing"),
        ("advisory", True, "", ("ann", "bob"), ""),
        ("advisory", True, "ann", (), "second_approval_missing"),
        ("advisory", True, "ann", ("ann",), "second_approval_missing"),
        ("advisory", True, "ann", ("bob",), ""),
        ("off", False, "", ("ann", "bob"), "off"),
        ("off", False, "ann", ("ann", "bob"), "off"),
    ],
)
def test_who_has_to_speak(
    which: Mode, four_eyes: bool, author: str, by: tuple[str, ...], expected: str
) -> None:
    words = [word(name, at_ns=at_ns) for at_ns, name in enumerate(by, 1)]
    assert verdict(mode(which, four_eyes=four_eyes), *words, author=author) == expected


def test_one_refusal_holds_a_bid_back_in_every_mode() -> None:
    for which in ("automatic", "advisory"):
        held = mode(which, four_eyes=True)
        assert verdict(held, word("ann"), word("bob"), word("cid", approved=False)) == "refused"


def test_the_newest_word_of_a_person_counts_whatever_the_order_of_the_list() -> None:
    no_then_yes = (word("ann", at_ns=2), word("ann", approved=False, at_ns=1))
    yes_then_no = (word("ann", approved=False, at_ns=2), word("ann", at_ns=1))
    assert verdict(mode("advisory"), *no_then_yes) == ""
    assert verdict(mode("advisory"), *yes_then_no) == "refused"


def test_words_about_another_content_or_bid_do_not_count() -> None:
    others = (word("ann", digest="other"), word("bob", key="other"))
    assert verdict(mode("advisory"), *others) == "approval_missing"
    assert verdict(mode("automatic"), word("ann", digest="other", approved=False)) == ""


def test_a_resource_is_automatic_until_somebody_says_otherwise() -> None:
    said = [mode("off", at_ns=30), mode("advisory", at_ns=10), mode("automatic", at_ns=20)]
    for as_of_ns, expected in ((9, "automatic"), (10, "advisory"), (25, "automatic"), (30, "off")):
        assert mode_at(sorted(said, key=lambda one: one.at_ns), "big", as_of_ns=as_of_ns).mode == expected
    assert mode_at(said, "big", as_of_ns=40).mode == "off"
    assert mode_at(said, "small", as_of_ns=40).by == ""


def test_of_two_words_at_one_instant_the_later_said_counts() -> None:
    assert mode_at([mode("off", at_ns=5), mode("advisory", at_ns=5)], "big", as_of_ns=5).mode == "advisory"


def by_hand(
    name: str, at_ns: int, *, until_ns: int = 1_000, withdrawn: bool = False, market: str = "nem"
) -> ManualBid:
    return ManualBid(
        manual_id=name,
        resource_id="big",
        market_id=market,
        offers=(),
        fixed=(FixedPower(start_ns=0, end_ns=until_ns, power_kw=1.0, reason=""),),
        by="ann",
        at_ns=at_ns,
        reason="",
        withdrawn=withdrawn,
    )


def test_manual_bids_stand_until_taken_back_or_over() -> None:
    said = [
        by_hand("b", 20),
        by_hand("a", 10),
        by_hand("a", 30, withdrawn=True),
        by_hand("c", 5, market="gb"),
    ]

    def names(as_of_ns: int) -> list[str]:
        return [one.manual_id for one in manual_for(said, GATE, "big", as_of_ns=as_of_ns)]

    assert names(9) == []
    assert names(15) == ["a"]
    assert names(25) == ["a", "b"]
    assert names(30) == ["b"]
    assert names(999) == ["b"]
    assert names(1_000) == []
    assert manual_for(said, GATE, "small", as_of_ns=25) == ()
