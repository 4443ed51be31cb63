"""The book of documents: who is to be told what, whatever was lost on the way."""

from __future__ import annotations

import json
from collections.abc import Iterable

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.control.desired_book import LEAP, VERSION_EPOCH_NS, DesiredBook, Entry, Item
from shoal.control.leases import NOBODY, LeaseBook
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.domain.orders import DroopArming, Envelope, OrderReport, PriceSeries, ScheduledEvent, SiteOrders
from shoal.domain.telemetry import TELEMETRY
from shoal.edge.agent_columns import MOST_ENVELOPES
from tests.unit.control.plants import START_NS

SITES = 6
PATIENCE_NS = 10 * NS_PER_S


def rows(*numbers: int) -> NDArray[np.int64]:
    return np.array(numbers, dtype=np.int64)


def event(name: str = "e1", battery_w: int = -2_000, hours: float = 1.0) -> ScheduledEvent:
    return ScheduledEvent(
        event_id=name,
        program="peak",
        kind="power",
        start_ns=START_NS,
        end_ns=START_NS + round(hours * NS_PER_HOUR),
        battery_w=battery_w,
    )


def entry(item: ScheduledEvent, *numbers: int, own_w: Iterable[int] | None = None) -> Entry:
    own = None if own_w is None else np.array(list(own_w), dtype=np.int64)
    return Entry(key=item.event_id, item=item, end_ns=item.end_ns, rows=rows(*numbers), battery_w=own)


def due(book: DesiredBook, after_s: float, spoke_s: float | None = None) -> list[int]:
    spoke_ns = 0 if spoke_s is None else START_NS + round(spoke_s * NS_PER_S)
    found = book.due(
        START_NS + round(after_s * NS_PER_S), spoke_ns=np.full(len(book), spoke_ns), patience_ns=PATIENCE_NS
    )
    return found.tolist()  # type: ignore[no-any-return]


def send(book: DesiredBook, after_s: float, *numbers: int) -> list[SiteOrders]:
    t_ns = START_NS + round(after_s * NS_PER_S)
    made = book.documents(rows(*numbers), t_ns, issuer="control", fence=3)
    return [msgspec.json.decode(payload, type=SiteOrders) for payload in made.payloads]


def report(version: int, outcome: str = "applied", reason: str = "", **more: object) -> OrderReport:
    values = {"kind": "orders", "version": version, "outcome": outcome, "reason": reason, "t_ns": START_NS}
    return msgspec.convert({**values, **more}, OrderReport)


def test_site_that_nothing_is_wanted_of_is_told_nothing() -> None:
    assert due(DesiredBook(SITES), 0, 0) == []


def test_document_is_told_once_and_again_only_while_unheard() -> None:
    book = DesiredBook(SITES)
    assert book.put(entry(event(), 1, 3)).tolist() == [1, 3]
    assert due(book, 0) == [1, 3]
    documents = send(book, 0, 1, 3)
    assert [document.events for document in documents] == [(event(),), (event(),)]
    assert {(document.issuer, document.fence) for document in documents} == {("control", 3)}
    assert due(book, 60) == [], "who has not spoken since is not told again"
    assert due(book, 5, 4) == [], "patience"
    assert due(book, 60, 50) == [1, 3]
    assert book.report(1, report(documents[0].version))
    assert due(book, 60, 50) == [3]
    assert book.unheard().tolist() == [3]


def test_site_that_never_answers_is_told_at_growing_distances() -> None:
    book = DesiredBook(SITES)
    book.put(entry(event(), 0))
    told = []
    for second in range(0, 2_000, 10):
        if due(book, second, second):
            told.append(second)
            send(book, second, 0)
    gaps = np.diff(told)
    assert gaps[0] <= 20
    assert gaps[-1] >= 320
    assert len(told) < 12


def test_device_that_was_away_gets_what_still_applies_and_nothing_else() -> None:
    book = DesiredBook(SITES)
    for number, power_w in enumerate((-1_000, -2_000, -3_000)):
        book.put(entry(event(battery_w=power_w), 2))
        send(book, number, 2)
    book.put(entry(event("e2"), 2))
    send(book, 3, 2)
    book.drop("e1")
    assert due(book, 4) == [2]
    (document,) = send(book, 4, 2)
    assert [one.event_id for one in document.events] == ["e2"]
    assert due(book, 600) == []


def test_change_reaches_those_whom_it_concerns() -> None:
    book = DesiredBook(SITES)
    book.put(entry(event(), 0, 1, 2, own_w=[-1, -2, -3]))
    send(book, 0, 0, 1, 2)
    assert book.put(entry(event(), 1, 2, 4, own_w=[-2, -30, -5])).tolist() == [0, 4, 2]
    assert due(book, 1) == [0, 2, 4]
    documents = dict(zip((0, 2, 4), send(book, 1, 0, 2, 4), strict=True))
    assert [one.battery_w for one in documents[2].events] == [-30]
    assert documents[0].events == ()
    assert book.put(entry(event(hours=2), 1, 2, 4, own_w=[-2, -30, -5])).tolist() == [1, 2, 4]


def test_event_that_ends_by_itself_is_forgotten_without_a_word() -> None:
    book = DesiredBook(SITES)
    book.put(entry(event(), 1))
    send(book, 0, 1)
    book.report(1, report(int(book.doc_version[1])))
    assert book.forget_ended(START_NS + NS_PER_HOUR) == ["e1"]
    assert due(book, 3_600, 3_590) == []


def test_event_that_ends_before_it_was_told_is_told_no_more() -> None:
    book = DesiredBook(SITES)
    book.put(entry(event(), 1))
    book.forget_ended(START_NS + NS_PER_HOUR)
    assert due(book, 3_600, 3_590) == []


def test_owners_reserve_is_told_and_taken_back_and_stands_beside_events() -> None:
    book = DesiredBook(SITES)
    kept = np.zeros(SITES)
    kept[2] = 0.35
    assert book.keep_reserve(kept).tolist() == [2]
    assert due(book, 0) == [2], "nobody else has anything to hear"
    assert [document.reserve_frac for document in send(book, 0, 2)] == [0.35]
    book.put(entry(event(), 1, 2))
    before, kept_too = send(book, 1, 1, 2)
    assert (before.reserve_frac, kept_too.reserve_frac) == (0.0, 0.35)
    assert [len(document.events) for document in (before, kept_too)] == [1, 1]
    assert book.keep_reserve(kept).tolist() == [], "the same again is no news"
    assert book.keep_reserve(np.zeros(SITES)).tolist() == [2]
    book.drop("e1")
    assert due(book, 2) == [1, 2], "what it was told has to be taken back"
    assert send(book, 2, 2)[0].reserve_frac == 0.0
    successor = DesiredBook(SITES)
    successor.restore(book.state())
    assert 2 in due(successor, 3)


def test_halted_site_is_told_so_and_told_when_it_is_free_again() -> None:
    book = DesiredBook(SITES)
    halted = np.arange(SITES) == 4
    assert book.halt(halted).tolist() == [4]
    assert due(book, 0) == [4]
    (document,) = send(book, 0, 4)
    assert document.halted
    book.halt(np.zeros(SITES, dtype=np.bool_))
    assert due(book, 1) == [4]
    (document,) = send(book, 1, 4)
    assert not document.halted
    assert document.version > 0


def test_document_holds_everything_that_stands() -> None:
    book = DesiredBook(SITES)
    until_ns = START_NS + NS_PER_HOUR
    items: tuple[Item, ...] = (
        event(),
        Envelope(start_ns=START_NS, end_ns=until_ns, import_limit_w=5_000, export_limit_w=0),
        PriceSeries(start_ns=START_NS, step_s=3_600, import_per_kwh=(0.3,), export_per_kwh=(0.1,)),
        DroopArming(
            start_ns=START_NS,
            end_ns=until_ns,
            reference_hz=60.0,
            deadband_hz=0.02,
            full_deviation_hz=0.3,
            up_w=900,
        ),
    )
    for number, item in enumerate(items):
        book.put(Entry(key=str(number), item=item, end_ns=until_ns, rows=rows(0)))
    (document,) = send(book, 0, 0)
    assert (document.events, document.envelopes) == ((items[0],), (items[1],))
    assert (document.prices, document.droop) == (items[2], items[3])
    assert book.document(0, START_NS, issuer="control", fence=3) == document


def test_equal_documents_share_their_bytes() -> None:
    book = DesiredBook(1_000)
    book.put(entry(event(), *range(1_000)))
    made = book.documents(np.arange(1_000), START_NS, issuer="control", fence=3)
    assert len({id(payload) for payload in made.payloads}) == 1


def test_versions_grow_within_a_second_and_beyond_what_a_device_has() -> None:
    book = DesiredBook(SITES)
    book.put(entry(event(), 0))
    versions = []
    for power_w in (-1, -2, -3):
        book.put(entry(event(battery_w=power_w), 0))
        versions += [document.version for document in send(book, 0, 0)]
    base = (START_NS - VERSION_EPOCH_NS) // NS_PER_S
    assert versions == [base, base + 1, base + 2]
    # the device says that it has a newer one, though it was told this one only once
    assert book.report(0, report(versions[-1], "refused", "stale_version"))
    assert due(book, 1) == [0]
    assert send(book, 1, 0)[0].version == versions[-1] + LEAP + 1


def test_word_on_an_older_document_says_nothing_of_the_newest() -> None:
    book = DesiredBook(SITES)
    book.put(entry(event(), 0))
    (first,) = send(book, 0, 0)
    assert due(book, 20, 15) == [0]
    (again,) = send(book, 20, 0)
    assert again.version > first.version
    assert not book.report(0, report(first.version))
    assert book.unheard().tolist() == [0]
    assert book.report(0, report(again.version, "curtailed", "over_nameplate"))
    assert book.unheard().tolist() == []
    assert not book.report(0, report(again.version, "refused", "stale_version")), "it came twice"
    assert due(book, 600, 590) == []


def test_successor_tells_everybody_who_may_hold_something() -> None:
    book = DesiredBook(SITES)
    book.put(entry(event(), 1, 3))
    send(book, 0, 1, 3)
    kept = json.loads(json.dumps(book.state()))
    heir = DesiredBook(SITES)
    heir.restore(kept)
    # the event was cancelled meanwhile: whoever had it hears that there is nothing
    assert due(heir, 100) == [1, 3]
    documents = send(heir, 100, 1, 3)
    assert all(document.events == () for document in documents)
    assert documents[0].version > book.doc_version[1]
    assert due(heir, 101) == []


def test_owners_who_left_are_remembered_until_the_event_is_over() -> None:
    book = DesiredBook(SITES)
    book.put(entry(event(), 1))
    send(book, 0, 1)
    book.note_left(1, ("e1",))
    book.note_left(2, ("e1",))
    book.note_left(2, ())
    assert book.opted_out == {1: ("e1",)}
    book.forget_ended(START_NS + NS_PER_HOUR)
    assert book.opted_out == {}


def test_more_events_than_a_device_takes_are_told_in_their_turn() -> None:
    book = DesiredBook(SITES)
    for number in range(10):
        book.put(entry(event(f"e{number}", hours=1 + number), 1))
    (document,) = send(book, 0, 1)
    assert len(document.events) == 8
    book.report(1, report(document.version))
    assert book.forget_ended(START_NS + NS_PER_HOUR) == ["e0"]
    assert due(book, 3_600) == [1]
    (document,) = send(book, 3_600, 1)
    assert [one.event_id for one in document.events] == [f"e{number}" for number in range(1, 9)]


# -- leases


def records(version: int = 0, spoke_s: float = 0.0) -> NDArray[np.void]:
    latest = TELEMETRY.empty(SITES)
    latest["ts_ns"] = START_NS + round(spoke_s * NS_PER_S)
    latest["command_version"] = version
    return latest


def test_lease_has_one_owner_and_one_count_of_versions() -> None:
    leases = LeaseBook(SITES)
    mine = rows(0, 1)
    leases.tell(mine, START_NS, owner=0, wanted_w=rows(-5, -6), end_ns=rows(START_NS + 9, START_NS + 9))
    leases.tell(rows(1), START_NS, owner=1, wanted_w=rows(-6), end_ns=rows(START_NS + 99))
    assert leases.owner.tolist() == [0, 1, *[NOBODY] * 4]
    assert leases.version[1] == leases.version[0] + 1
    assert leases.in_force(np.arange(SITES), START_NS + 10).tolist() == [False, True] + [False] * 4


def test_lease_is_due_when_changed_ending_unheard_or_anothers() -> None:
    leases = LeaseBook(SITES)
    every = np.arange(SITES)
    length_ns = np.full(SITES, 100 * NS_PER_S)
    leases.tell(every, START_NS, owner=0, wanted_w=np.full(SITES, -5), end_ns=START_NS + length_ns)
    version = int(leases.version[0])

    def asks(owner: int, wanted_w: int, after_s: float, latest: NDArray[np.void]) -> bool:
        found = leases.due(
            every,
            START_NS + round(after_s * NS_PER_S),
            owner=owner,
            wanted_w=np.full(SITES, wanted_w),
            length_ns=length_ns,
            latest=latest,
        )
        assert found.all() or not found.any()
        return bool(found.all())

    assert not asks(0, -5, 10, records(version, 5))
    assert not asks(0, -5, 10, records(0, 0)), "it has not spoken since"
    assert asks(0, -6, 10, records(version, 5))
    assert asks(0, -5, 51, records(version, 5))
    assert asks(0, -5, 10, records(version - 1, 5))
    assert asks(1, -5, 10, records(version, 5))


def test_lease_that_a_device_calls_stale_goes_on_under_a_later_version() -> None:
    leases = LeaseBook(SITES)
    leases.tell(rows(0), START_NS, owner=0, wanted_w=rows(-5), end_ns=rows(START_NS + 9))
    version = int(leases.version[0])
    leases.report(0, report(version, "refused", "stale_version", kind="desired"))
    assert leases.version[0] == version + LEAP
    leases.tell(rows(0), START_NS, owner=0, wanted_w=rows(-5), end_ns=rows(START_NS + 9))
    assert leases.report(0, report(int(leases.version[0]), kind="desired"))
    assert leases.taken[0] == version + LEAP + 1


def test_lease_without_an_answer_is_told_again_while_it_lasts() -> None:
    leases = LeaseBook(SITES)
    every = np.arange(SITES)
    end_ns = START_NS + 300 * NS_PER_S
    leases.tell(every, START_NS, owner=0, wanted_w=np.full(SITES, -5), end_ns=np.full(SITES, end_ns))
    leases.report(1, report(int(leases.version[1]), kind="desired"))
    able = every != 2
    told: list[float] = []
    for second in range(400):
        t_ns = START_NS + second * NS_PER_S
        again = leases.unheard(t_ns, patience_ns=3 * NS_PER_S, able=able)
        assert set(again.tolist()) <= {0, 3, 4, 5}
        if 0 in again:
            told.append(second)
            before = leases.version[again].copy()
            leases.tell_again(again, t_ns)
            assert np.all(leases.version[again] > before)
    assert told == [3, 6, 9, 12, 18, 30, 54, 102], "and one that never answered is given up"
    assert leases.since_ns[0] == START_NS, "what it is asked has not changed"
    leases.report(0, report(int(leases.version[0]), kind="desired"))
    assert leases.speaks[0]
    assert 0 not in leases.unheard(START_NS + 200 * NS_PER_S, patience_ns=NS_PER_S, able=able)


def test_a_document_names_first_what_goes_first_however_late_it_begins() -> None:
    book = DesiredBook(SITES)
    book.rank(("storm", "emergency", "market"))
    early = ScheduledEvent(
        event_id="a-market",
        program="market",
        kind="power",
        start_ns=START_NS,
        end_ns=START_NS + 8 * NS_PER_HOUR,
        battery_w=-1_000,
    )
    own = msgspec.structs.replace(early, event_id="e-1-return", program="emergency", kind="local")
    power = msgspec.structs.replace(
        early, event_id="e-1", program="emergency", start_ns=START_NS + 2 * NS_PER_HOUR
    )
    storm = msgspec.structs.replace(
        early, event_id="s", program="storm", kind="charge", start_ns=START_NS + 3 * NS_PER_HOUR, battery_w=1
    )
    unknown = msgspec.structs.replace(early, event_id="x", program="other")
    for one in (early, own, power, storm, unknown):
        book.put(entry(one, 0))
    document = book.document(0, START_NS, issuer="control", fence=1)
    assert [one.event_id for one in document.events] == ["s", "e-1", "e-1-return", "a-market", "x"]
    book.documents(rows(0), START_NS, issuer="control", fence=1)
    book.report(0, OrderReport(kind="orders", version=int(book.doc_version[0]), outcome="applied", t_ns=1))
    assert due(book, 0) == []
    book.rank(("storm", "emergency", "market"))
    assert due(book, 0) == [], "the same order is no news"
    book.rank(("market", "storm", "emergency"))
    assert due(book, 0) == [0], "another order of programs is another document"


def test_more_envelopes_than_a_document_holds_are_told_as_the_first_of_them_end() -> None:
    book = DesiredBook(SITES)
    minute = 60 * NS_PER_S

    def told() -> list[Envelope]:
        (document,) = send(book, 0, 1)
        return list(document.envelopes)

    starts_ns = [START_NS + number * minute for number in range(MOST_ENVELOPES + 2)]
    spans = [
        Envelope(start_ns=start_ns, end_ns=start_ns + minute, import_limit_w=number, export_limit_w=0)
        for number, start_ns in enumerate(starts_ns)
    ]
    for number, one in enumerate(spans):
        book.put(Entry(key=f"envelope:{number}", item=one, end_ns=one.end_ns, rows=rows(1)))
    book.put(Entry(key="envelope:other", item=spans[0], end_ns=spans[0].end_ns, rows=rows(2)))
    assert due(book, 0) == [1, 2]
    assert told() == spans[:MOST_ENVELOPES]
    send(book, 0, 2)
    # the two that had no room must reach the device, or it falls back to what always holds
    for ended in (1, 2):
        book.forget_ended(START_NS + ended * minute)
        assert due(book, 60 * ended) == [1]
        assert told() == spans[ended : MOST_ENVELOPES + ended]
    book.forget_ended(START_NS + 3 * minute)
    assert due(book, 180) == []
