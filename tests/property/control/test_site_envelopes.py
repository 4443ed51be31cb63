"""What devices are told of their envelopes: at every instant the newest issue and nothing besides, whatever the order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shoal.control.site_envelopes import pieces_of
from shoal.store.limit_records import OperatingEnvelope

LAST = 12
spans = st.tuples(st.integers(0, LAST - 1), st.integers(1, 6), st.integers(0, 3))


@given(st.lists(spans, max_size=14))
def test_pieces_say_what_the_newest_issue_says_and_never_overlap(drawn: list[tuple[int, int, int]]) -> None:
    envelopes = [
        OperatingEnvelope(
            kind="site",
            target="s1",
            start_ns=start,
            end_ns=start + length,
            issued_ns=issued,
            import_limit_w=number,
            export_limit_w=0,
            by="x",
            at_ns=0,
        )
        for number, (start, length, issued) in enumerate(drawn)
    ]
    pieces = pieces_of(envelopes, {"s1": 4})
    for at in range(LAST + 6):
        told = [key for key in pieces if key[0] <= at < key[1]]
        held = [one for one in envelopes if one.start_ns <= at < one.end_ns]
        assert len(told) == bool(held)
        if told:
            newest = max(one.issued_ns for one in held)
            assert told[0][2] == newest
            assert told[0][3] in {one.import_limit_w for one in held if one.issued_ns == newest}
    assert all(rows == [4] for rows in pieces.values())


def test_day_of_short_envelopes_issued_again_and_again_is_no_long_work() -> None:
    steps, issues = 288, 30
    envelopes = [
        OperatingEnvelope(
            kind="site",
            target="s1",
            start_ns=step,
            end_ns=step + 1,
            issued_ns=issue,
            import_limit_w=1,
            export_limit_w=1,
            by="x",
            at_ns=0,
        )
        for issue in range(issues)
        for step in range(steps)
    ]
    pieces = pieces_of(envelopes, {"s1": 0})
    assert sorted(key[:3] for key in pieces) == [(step, step + 1, issues - 1) for step in range(steps)]
