"""What programs and owners leave of a resource: who is out and why, raised reserves, cycle budgets that outlast anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.bidding.cycle_budgets import most_discharged_kwh
from shoal.bidding.offered import Hold, HoldReason, Left, Offering
from shoal.domain.errors import UnavailableError
from shoal.domain.fleet import NAMEPLATE
from shoal.domain.interval import NS_PER_HOUR, Interval
from shoal.domain.telemetry import TELEMETRY
from shoal.programs.enrolment import Participation, Spans
from shoal.programs.program import Program, ProgramBook, default_book
from shoal.store.terms_over import DAY_NS, TermsOver

SITES: Final = 8
FOREVER_NS: Final = 2**62
NOW_NS: Final = 400 * DAY_NS + 10 * NS_PER_HOUR
DAY: Final = Interval(start_ns=401 * DAY_NS, end_ns=402 * DAY_NS)
BOOK: Final = default_book()


@dataclass
class Record:
    """Terms as a test writes them: (row, program or kind, amount, start, end)."""

    book: ProgramBook = BOOK
    enrolled: list[tuple[int, str, int, int]] = field(default_factory=list)
    left: list[tuple[int, str, int, int]] = field(default_factory=list)
    promised: list[tuple[int, int, float, int, int]] = field(default_factory=list)
    away: bool = False

    def over(self, span: Interval) -> TermsOver:
        if self.away:
            raise UnavailableError("the registry", "it is away")
        return TermsOver(
            participation=Participation(
                book=self.book,
                sites=SITES,
                enrolled=self._spans(self.enrolled),
                opted_out=self._spans(self.left),
            ),
            ever_enrolled=frozenset(name for _, name, _, _ in self.enrolled),
            promised=_columns([(row, kind, start, end) for row, kind, _, start, end in self.promised]),
            amounts=np.array([amount for _, _, amount, _, _ in self.promised]),
        )

    def _spans(self, held: list[tuple[int, str, int, int]]) -> Spans:
        return _columns([(row, self.book.position(name), start, end) for row, name, start, end in held])


def _columns(found: Sequence[tuple[int, int, int, int]]) -> Spans:
    table = np.array(found, dtype=np.int64).reshape(-1, 4)
    return Spans(
        rows=table[:, 0], program_index=table[:, 1].astype(np.int16), start_ns=table[:, 2], end_ns=table[:, 3]
    )


def plate(sites: int = SITES) -> NDArray[Any]:
    found = NAMEPLATE.empty(sites)
    found["charge_limit_kw"], found["discharge_limit_kw"] = 5.0, 5.0
    found["energy_capacity_kwh"], found["reserve_frac"] = 10.0, 0.2
    found["charge_efficiency_frac"] = found["discharge_efficiency_frac"] = 0.95
    return found


def left_of(
    record: Record, holds: Sequence[Hold] = (), *, covers: Interval = DAY, sites: int = SITES, **more: Any
) -> Left:
    offering = Offering(record, lambda _as_of_ns: holds)
    for t_ns, meter_wh in more.get("meters", ()):
        latest = TELEMETRY.empty(sites)
        latest["discharge_wh"] = meter_wh
        offering.note(t_ns, latest)
    return offering.left(np.arange(sites), plate(sites), covers, more.get("as_of_ns", NOW_NS))


def reasons(left: Left) -> dict[str, int]:
    return {one.reason: one.sites for one in left.withheld}


def hold(
    program: str, start_ns: int, end_ns: int, rows: Sequence[int] = (0, 1), reason: HoldReason = "event"
) -> Hold:
    return Hold(
        reason=reason,
        name="e",
        program=program,
        rows=np.array(rows),
        start_ns=start_ns,
        end_ns=end_ns,
    )


def test_plant_that_keeps_no_enrolments_offers_everything() -> None:
    for record in (Record(), None):
        left = Offering(record, lambda _as_of_ns: ()).left(np.arange(SITES), plate(), DAY, NOW_NS)
        assert left.sites.all() and (left.share_frac == 1.0).all() and left.withheld == ()
        assert (left.reserve_frac == 0.2).all()


def test_only_who_takes_part_throughout_is_offered() -> None:
    half_ns = DAY.start_ns + 12 * NS_PER_HOUR
    record = Record(
        enrolled=[
            (0, "market", 0, FOREVER_NS),
            (1, "market", 0, half_ns),
            (1, "market", half_ns, FOREVER_NS),  # new terms, without a gap
            (2, "market", 0, half_ns),
            (3, "market", half_ns, FOREVER_NS),
            (4, "peak", 0, FOREVER_NS),
            (5, "market", 0, FOREVER_NS),
        ],
        left=[
            (5, "market", DAY.end_ns - 1, DAY.end_ns),
            (0, "market", DAY.end_ns, FOREVER_NS),
            (1, "peak", 0, FOREVER_NS),
        ],
    )
    left = left_of(record)
    assert np.flatnonzero(left.sites).tolist() == [0, 1]
    assert reasons(left) == {"not_enrolled": 5, "opted_out": 1}
    (said,) = [one.said for one in left.withheld if one.reason == "opted_out"]
    assert (
        said
        == "5 kW and 8 kWh of 1 of 8 sites are not offered: their owners leave at some time in these hours"
    )


def test_nobody_is_offered_once_everybody_has_withdrawn() -> None:
    left = left_of(Record(enrolled=[(0, "market", 0, NOW_NS)]))
    assert not left.sites.any()
    assert reasons(left) == {"not_enrolled": SITES}


def test_site_of_an_exclusive_program_is_not_offered() -> None:
    utility = Program(id="utility", name="Utility's own", kind="power", exclusive=True)
    record = Record(book=ProgramBook(programs=(*BOOK.programs, utility)))
    record.enrolled = [(row, "market", 0, FOREVER_NS) for row in range(SITES)]
    record.enrolled.append((2, "utility", DAY.end_ns - NS_PER_HOUR, FOREVER_NS))
    left = left_of(record)
    assert np.flatnonzero(~left.sites).tolist() == [2]
    assert reasons(left) == {"exclusive": 1}


@pytest.mark.parametrize(
    ("program", "start_ns", "end_ns", "out"),
    [
        ("emergency", DAY.start_ns - NS_PER_HOUR, DAY.start_ns + 1, [0, 1]),
        ("emergency", DAY.start_ns - NS_PER_HOUR, DAY.start_ns, []),
        ("emergency", DAY.end_ns, FOREVER_NS, []),
        ("storm", DAY.start_ns + NS_PER_HOUR, DAY.end_ns, [0, 1]),
        ("peak", DAY.start_ns, DAY.end_ns, []),
        ("market", DAY.start_ns, DAY.end_ns, []),
        ("nobody-knows", DAY.start_ns, DAY.end_ns, []),
        ("", 0, FOREVER_NS, [0, 1]),
    ],
)
def test_who_goes_before_the_market_has_its_sites(
    program: str, start_ns: int, end_ns: int, out: list[int]
) -> None:
    left = left_of(Record(), [hold(program, start_ns, end_ns)])
    assert np.flatnonzero(~left.sites).tolist() == out
    before = {"drawn": 2} if end_ns == DAY.start_ns else {}
    assert reasons(left) == ({"event": 2} if out else before)


def test_event_holds_only_those_that_take_part_in_it() -> None:
    record = Record(
        enrolled=[(0, "emergency", DAY.start_ns + NS_PER_HOUR, FOREVER_NS), (2, "emergency", 0, FOREVER_NS)],
        left=[(2, "emergency", 0, FOREVER_NS)],
    )
    event = hold("emergency", DAY.start_ns, DAY.start_ns + 2 * NS_PER_HOUR, rows=(0, 1, 2))
    assert np.flatnonzero(~left_of(record, [event]).sites).tolist() == [0]


def test_what_an_event_may_draw_before_the_span_is_not_counted_on() -> None:
    before = hold("emergency", NOW_NS - 1, NOW_NS + NS_PER_HOUR)
    left = left_of(Record(), [before, hold("storm", NOW_NS, NOW_NS + 1, (3,), "storm")])
    assert left.sites.all() and np.flatnonzero(left.is_drawn).tolist() == [0, 1]
    (told,) = left.withheld
    assert (told.reason, told.sites) == ("drawn", 2)
    assert told.said == "2 of 8 sites count as standing at their reserve: an event may draw them before"


def test_highest_promise_of_the_span_counts_and_never_lowers_the_nameplate() -> None:
    late_ns = DAY.end_ns - NS_PER_HOUR
    record = Record(
        promised=[
            (0, 0, 0.4, 0, late_ns),
            (0, 0, 0.7, late_ns, FOREVER_NS),
            (1, 0, 0.1, 0, FOREVER_NS),
            (2, 0, 0.9, 0, DAY.start_ns),
            (3, 0, 1.0, 0, FOREVER_NS),
        ]
    )
    left = left_of(record)
    assert left.sites.all()
    assert left.reserve_frac[:4].tolist() == [0.7, 0.2, 0.2, 1.0]
    (kept,) = left.withheld
    assert (kept.reason, kept.sites, kept.power_kw) == ("reserve", 2, 0.0)
    assert kept.energy_kwh == pytest.approx(13.0)


def test_cycle_budget_outlasts_the_hardest_schedule() -> None:
    """A battery that is cycled without rest, at its share of itself, never discharges more than its budget."""
    budget_wh = 12_000
    left = left_of(Record(promised=[(0, 1, float(budget_wh), 0, FOREVER_NS), (1, 1, 1e6, 0, FOREVER_NS)]))
    share = left.share_frac[0]
    assert 0.1 < share < 0.3 and (left.share_frac[1:] == 1.0).all()
    assert reasons(left) == {"cycle_budget": 1}
    rng = np.random.default_rng(7)
    for _ in range(50):
        window_kwh, stored_kwh, given_kwh = 8.0 * share, 8.0 * share, 0.0
        bold = rng.random()
        for _ in range(24 * 60):
            if stored_kwh > 0 and (rng.random() < bold or stored_kwh >= window_kwh):
                kwh = min(5.0 * share / 60, stored_kwh * 0.95)
                stored_kwh, given_kwh = stored_kwh - kwh / 0.95, given_kwh + kwh
            else:
                stored_kwh = min(stored_kwh + 5.0 * share / 60 * 0.95, window_kwh)
        assert given_kwh <= budget_wh / 1e3 + 1e-9


def test_budget_that_is_spent_today_leaves_nothing_for_today_and_all_for_tomorrow() -> None:
    record = Record(promised=[(0, 1, 4_000.0, 0, FOREVER_NS)])
    today = Interval(start_ns=NOW_NS, end_ns=NOW_NS + NS_PER_HOUR // 12)
    start_ns = NOW_NS // DAY_NS * DAY_NS
    meters = [(start_ns, 100_000), (NOW_NS, 104_000)]
    assert left_of(record, covers=today).share_frac[0] == 1.0, "five minutes do not spend it"
    spent = left_of(record, covers=today, meters=meters)
    assert spent.share_frac[0] == 0.0 and spent.share_frac[1] == 1.0
    small = Record(promised=[(0, 1, 70_000.0, 0, FOREVER_NS)])
    assert left_of(small, meters=meters).share_frac[0] == 1.0, "more than a day can spend"
    assert left_of(record, meters=meters).share_frac[0] > 0.0, "a new day has a budget of its own"


def test_what_was_sold_before_the_span_counts_on_the_same_budget() -> None:
    record = Record(promised=[(0, 1, 9_000.0, 0, FOREVER_NS)])
    later = Interval(start_ns=NOW_NS + 6 * NS_PER_HOUR, end_ns=NOW_NS + 7 * NS_PER_HOUR)
    assert left_of(record, covers=later).share_frac[0] < 0.5
    assert left_of(record, covers=later, as_of_ns=later.start_ns).share_frac[0] == 1.0


def test_most_discharged_grows_in_proportion_to_the_battery() -> None:
    whole, half = plate(), plate()
    for name in ("charge_limit_kw", "discharge_limit_kw"):
        half[name] *= 0.5
    for hours in (0.0, 0.1, 1.0, 5.0, 24.0):
        most = most_discharged_kwh(whole, np.full(SITES, 8.0), hours)
        assert np.allclose(most_discharged_kwh(half, np.full(SITES, 4.0), hours), 0.5 * most)
        assert (most <= 5.0 * hours + 1e-9).all()
    none = plate()
    none["charge_limit_kw"] = none["discharge_limit_kw"] = 0.0
    assert (most_discharged_kwh(none, np.full(SITES, 8.0), 24.0) == 0.0).all()


def test_site_that_the_registry_does_not_know_yet_takes_part_where_nobody_is_asked() -> None:
    assert left_of(Record(), sites=SITES + 2).sites.all()
    enrolled = Record(enrolled=[(row, "market", 0, FOREVER_NS) for row in range(SITES)])
    assert np.flatnonzero(~left_of(enrolled, sites=SITES + 2).sites).tolist() == [SITES, SITES + 1]


def test_last_word_counts_while_the_registry_is_away_and_none_is_no_leave_to_offer() -> None:
    record = Record(left=[(0, "market", 0, FOREVER_NS)], away=True)
    offering = Offering(record, lambda _as_of_ns: ())
    with pytest.raises(UnavailableError):
        offering.left(np.arange(SITES), plate(), DAY, NOW_NS)
    record.away = False
    first = offering.left(np.arange(SITES), plate(), DAY, NOW_NS)
    record.away = True
    again = offering.left(np.arange(SITES), plate(), DAY, NOW_NS)
    assert first.withheld == again.withheld and not again.sites[0]
