"""What several processes set aside is one total that never falls."""

from __future__ import annotations

from shoal.api.live.quarantine import MOST_MEMBERS, RECENT, QuarantineTotals
from shoal.domain.live import Quarantined, QuarantineState


def said(member: str, *arrivals_ns: int, **by_reason: int) -> QuarantineState:
    return QuarantineState(
        t_ns=max(arrivals_ns, default=0),
        member=member,
        total=sum(by_reason.values()),
        by_reason=by_reason,
        recent=[
            Quarantined(arrival_ns=t_ns, site_id=member, reason="magic", detail="", size_bytes=1)
            for t_ns in arrivals_ns
        ],
    )


def shown(totals: QuarantineTotals) -> tuple[int, dict[str, int]]:
    total = totals.total()
    assert total is not None
    assert total.total == sum(total.by_reason.values())
    return total.total, total.by_reason


def test_processes_that_speak_by_turns_are_one_total() -> None:
    totals = QuarantineTotals()
    assert totals.total() is None
    totals.take(said("a", 1, 5, magic=3))
    totals.take(said("b", 2, magic=1, length=4))
    assert shown(totals) == (8, {"length": 4, "magic": 4})
    totals.take(said("b", 2, 9, magic=2, length=4))
    for _ in range(3):
        for state in (said("a", 1, 5, magic=3), said("b", 2, 9, magic=2, length=4)):
            totals.take(state)
            assert shown(totals) == (9, {"length": 4, "magic": 5})
    total = totals.total()
    assert total is not None
    assert [one.arrival_ns for one in total.recent] == [9, 5, 2, 1]


def test_word_that_comes_late_takes_nothing_back() -> None:
    totals = QuarantineTotals()
    totals.take(said("a", magic=5))
    totals.take(said("a", magic=3))
    assert shown(totals) == (5, {"magic": 5})


def test_processes_that_have_ended_stay_counted_in_bounded_room() -> None:
    totals = QuarantineTotals()
    totals.take(said("lasting", 1, magic=1))
    for number in range(1, 5 * MOST_MEMBERS):
        totals.take(said(f"process-{number}", number, number + 1, length=2))
        totals.take(said("lasting", 1, magic=number + 1))
        assert shown(totals) == (3 * number + 1, {"length": 2 * number, "magic": number + 1})
    assert len(totals._said) == MOST_MEMBERS
    total = totals.total()
    assert total is not None
    assert len(total.recent) == RECENT
    assert total.recent[0].arrival_ns == 5 * MOST_MEMBERS
