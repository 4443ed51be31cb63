"""Programs on both databases: consent and dates, exclusivity, leaving and coming back, promises, and bulk reads."""

from __future__ import annotations

import numpy as np
import pytest
from sqlalchemy import Engine, Table, inspect, select

from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.ids import ProgramId, SiteId
from shoal.programs.claims import UNLIMITED_WH
from shoal.programs.program import Program, ProgramBook, default_book
from shoal.store.database import alembic_config, migrate, open_database, reading, writing
from shoal.store.known_terms import KnownTerms
from shoal.store.programs import ProgramStore
from shoal.store.records import Program as ProgramRow
from shoal.store.registry import Registry
from shoal.store.schema import ENROLMENT, OPT_OUT, OWNER_PROMISE
from tests.integration.store.fleets import make_fleet

SITES = make_fleet().site_ids
FIRST, SECOND = SITES[:2]
EXCLUSIVE = ProgramBook(
    programs=(
        Program(id="utility", name="Utility", kind="power", exclusive=True),
        Program(id="retailer", name="Retailer", kind="power", exclusive=True, terms="2026-01"),
        Program(id="must", name="Must", kind="power", may_opt_out=False),
        Program(id="home", name="Home", kind="local", beside_exclusive=True),
    )
)


@pytest.fixture
def store(tables: Engine) -> ProgramStore:
    """Return programs over a registry of twelve sites and no programs."""
    Registry(tables).load_fleet(make_fleet(), valid_from_ns=0)
    return ProgramStore(tables)


def test_book_is_that_of_the_package_until_another_is_saved(store: ProgramStore) -> None:
    assert store.book() == default_book()
    store.save_book(EXCLUSIVE)
    assert store.book() == EXCLUSIVE
    reordered = ProgramBook(programs=tuple(reversed(EXCLUSIVE.programs[:3])))
    store.save_book(reordered)
    assert store.book() == reordered


def test_a_program_with_enrolments_stays_in_the_book(store: ProgramStore) -> None:
    store.save_book(EXCLUSIVE)
    store.enrol("home", [FIRST], at_ns=0)
    with pytest.raises(InvalidInputError, match="program: 'home' cannot be used; keep it in the book"):
        store.save_book(ProgramBook(programs=EXCLUSIVE.programs[:3]))
    assert store.book() == EXCLUSIVE


def test_a_fleet_file_enrols_with_the_terms_of_the_package(tables: Engine) -> None:
    registry, store = Registry(tables), ProgramStore(tables)
    rows = [ProgramRow(program_id=ProgramId("self-consumption"), name="Self-consumption", priority=10)]
    registry.load_fleet(make_fleet(), valid_from_ns=0, programs=rows)
    assert store.book().programs == (default_book().program("self-consumption"),)
    consent = store.enrolments(FIRST)[0]
    assert (consent.consented_by, consent.consented_ns, consent.end_ns) == ("", None, None)
    before = store.version()
    store.enrol("self-consumption", [FIRST], at_ns=0, by="ada", said_ns=3)
    registry.load_fleet(make_fleet(), valid_from_ns=0, programs=rows)
    assert store.version() == before  # takes part already, and the terms are the same


def test_enrolment_keeps_consent_and_withdrawal(store: ProgramStore) -> None:
    store.save_book(EXCLUSIVE)
    assert store.enrol("retailer", [FIRST, SECOND], at_ns=1_000, by="ada", said_ns=900) == 2
    assert store.enrol("retailer", [FIRST], at_ns=1_500, by="bob", said_ns=1_400) == 0
    assert store.withdraw("retailer", [FIRST], at_ns=2_000, by="ada", said_ns=1_999) == 1
    assert store.withdraw("retailer", [FIRST], at_ns=2_500, by="bob", said_ns=2_500) == 0
    (held,) = store.enrolments(FIRST)
    assert (held.start_ns, held.end_ns, held.terms) == (1_000, 2_000, "2026-01")
    assert (held.consented_by, held.consented_ns) == ("ada", 900)
    assert (held.withdrawn_by, held.withdrawn_ns) == ("ada", 1_999)
    counts = [len(store.enrolled_at("retailer", t_ns)) for t_ns in (999, 1_000, 1_999, 2_000)]
    assert counts == [0, 2, 2, 1]
    assert store.enrolments(FIRST, at_ns=2_000) == []


def test_withdrawal_ends_what_was_planned_too(store: ProgramStore) -> None:
    store.enrol("market", [FIRST], at_ns=1_000, until_ns=2_000)
    store.enrol("market", [FIRST], at_ns=3_000)
    store.withdraw("market", [FIRST], at_ns=1_500)
    assert [(one.start_ns, one.end_ns) for one in store.enrolments(FIRST)] == [(1_000, 1_500)]
    terms = store.terms_at(5_000)
    assert not terms.enrolled_bits.any()
    assert terms.ever_enrolled_bits == 1 << terms.book.position("market")


def test_new_terms_ask_for_new_consent(store: ProgramStore) -> None:
    store.save_book(EXCLUSIVE)
    store.enrol("retailer", [FIRST], at_ns=1_000, by="ada", said_ns=900)
    newer = Program(id="retailer", name="Retailer", kind="power", exclusive=True, terms="2027-01")
    store.save_book(ProgramBook(programs=(EXCLUSIVE.programs[0], newer, *EXCLUSIVE.programs[2:])))
    assert store.enrol("retailer", [FIRST], at_ns=2_000, by="ada", said_ns=1_900) == 1
    assert [(one.terms, one.start_ns, one.end_ns) for one in store.enrolments(FIRST)] == [
        ("2026-01", 1_000, 2_000),
        ("2027-01", 2_000, None),
    ]


def test_two_exclusive_programs_over_one_span_are_refused(store: ProgramStore) -> None:
    store.save_book(EXCLUSIVE)
    store.enrol("utility", [FIRST], at_ns=1_000, until_ns=2_000)
    with pytest.raises(
        InvalidInputError, match=r"utility has the site for itself from .* until .* withdraw it"
    ):
        store.enrol("retailer", [SECOND, FIRST], at_ns=1_999)
    assert store.enrolments(SECOND) == []
    store.enrol("retailer", [FIRST], at_ns=500, until_ns=1_000)
    store.enrol("retailer", [FIRST], at_ns=2_000)
    store.enrol("home", [FIRST], at_ns=0)
    terms = store.terms_at(1_500)
    assert terms.enrolled_bits[0] == 0b1001


def test_owner_leaves_and_comes_back(store: ProgramStore) -> None:
    store.enrol("market", SITES, at_ns=0)
    store.opt_out("market", [FIRST], at_ns=1_000, by="ada", said_ns=1_000)
    store.opt_out("market", [SECOND], at_ns=1_000, until_ns=2_000, by="bob", said_ns=900)
    store.opt_in("market", [FIRST], at_ns=3_000)
    market = np.uint64(1 << store.book().position("market"))
    out = [
        np.flatnonzero(store.terms_at(t_ns).opted_out_bits & market) for t_ns in (999, 1_000, 2_000, 3_000)
    ]
    assert [rows.tolist() for rows in out] == [[], [0, 1], [0], []]
    assert [(one.start_ns, one.end_ns, one.said_by) for one in store.opt_outs(FIRST)] == [
        (1_000, 3_000, "ada")
    ]
    # left again within what is on record: nothing changes
    assert store.opt_out("market", [SECOND], at_ns=1_200, until_ns=1_500, by="bob", said_ns=1_200) == 0
    # over what is on record: one span
    store.opt_out("market", [SECOND], at_ns=500, until_ns=2_500, by="bob", said_ns=400)
    assert [(one.start_ns, one.end_ns) for one in store.opt_outs(SECOND)] == [(500, 2_500)]


def test_what_may_not_be_left_is_refused(store: ProgramStore) -> None:
    store.save_book(EXCLUSIVE)
    with pytest.raises(InvalidInputError, match="cannot be left for a while"):
        store.opt_out("must", [FIRST], at_ns=0, by="ada", said_ns=0)


def test_promises_have_dates_and_may_be_raised_for_a_while(store: ProgramStore) -> None:
    store.promise("reserve_frac", [FIRST], 0.3, at_ns=1_000, by="ada", said_ns=900)
    store.promise("reserve_frac", [FIRST], 0.8, at_ns=2_000, until_ns=3_000, by="ada", said_ns=2_000)
    store.promise("cycle_wh_per_day", [FIRST, SECOND], 5_000, at_ns=0, by="bob", said_ns=0)
    store.promise("cycle_wh_per_day", [SECOND], None, at_ns=2_500, by="bob", said_ns=2_500)
    floors = [store.terms_at(t_ns).promises.reserve_frac[0] for t_ns in (999, 1_000, 2_000, 3_000)]
    assert floors == [0.0, 0.3, 0.8, 0.3]
    budgets = store.terms_at(2_600).promises.cycle_budget_wh
    assert budgets.tolist() == [5_000] + [UNLIMITED_WH] * 11
    assert [(one.kind, one.amount) for one in store.promises(FIRST, at_ns=2_500)] == [
        ("cycle_wh_per_day", 5_000.0),
        ("reserve_frac", 0.8),
    ]
    with pytest.raises(
        InvalidInputError, match=r"reserve_frac: 1\.2 cannot be used; give a number from 0 to 1"
    ):
        store.promise("reserve_frac", [FIRST], 1.2, at_ns=0, by="ada", said_ns=0)


def test_version_and_next_change_tell_when_to_read_again(store: ProgramStore) -> None:
    assert (store.version(), store.next_change_ns(0)) == (0, None)
    store.enrol("market", [FIRST], at_ns=1_000)
    store.opt_out("market", [FIRST], at_ns=1_200, until_ns=1_300, by="ada", said_ns=0)
    store.promise("reserve_frac", [FIRST], 0.3, at_ns=1_250, by="ada", said_ns=0)
    assert store.version() == 3
    store.promise("reserve_frac", [FIRST], 0.3, at_ns=1_260, by="ada", said_ns=0)
    assert store.version() == 3
    changes, t_ns = [], 0
    while (following := store.next_change_ns(t_ns)) is not None:
        changes.append(following)
        t_ns = following
    assert changes == [1_000, 1_200, 1_250, 1_300]


def test_known_terms_are_read_again_when_they_may_have_changed(store: ProgramStore) -> None:
    known = KnownTerms(store)
    store.promise("reserve_frac", [FIRST], 0.3, at_ns=1_000, until_ns=2_000, by="ada", said_ns=0)
    first = known.at(1_500)
    assert known.at(1_999) is first
    floors = [known.at(t_ns).promises.reserve_frac[0] for t_ns in (999, 1_000, 1_999, 2_000)]
    assert floors == [0.0, 0.3, 0.3, 0.0]
    store.promise("reserve_frac", [FIRST], 0.6, at_ns=1_800, by="ada", said_ns=0)
    assert known.at(2_000).promises.reserve_frac[0] == 0.6


def test_participation_over_a_span_agrees_with_each_instant(store: ProgramStore) -> None:
    store.enrol("market", SITES[:6], at_ns=1_000, until_ns=2_000)
    store.enrol("storm", SITES[3:], at_ns=1_500)
    store.opt_out("market", [FIRST], at_ns=1_200, until_ns=1_300, by="ada", said_ns=0)
    whole = store.participation(0, 5_000)
    for t_ns in (0, 1_000, 1_250, 1_500, 2_000, 4_999):
        terms = store.terms_at(t_ns)
        np.testing.assert_array_equal(whole.enrolled_bits(t_ns), terms.enrolled_bits)
        np.testing.assert_array_equal(whole.opted_out_bits(t_ns), terms.opted_out_bits)
        rows = np.arange(12)
        for place, program in enumerate(terms.book.ids):
            bit = np.uint64(1 << place)
            open_to = (terms.enrolled_bits & ~terms.opted_out_bits & bit) != 0
            np.testing.assert_array_equal(whole.eligible(rows, program, t_ns), open_to)


@pytest.mark.parametrize("table", [ENROLMENT, OPT_OUT, OWNER_PROMISE], ids=lambda table: table.name)
def test_database_refuses_two_rows_at_one_instant(store: ProgramStore, tables: Engine, table: Table) -> None:
    store.enrol("market", [FIRST], at_ns=1_000)
    store.opt_out("market", [FIRST], at_ns=1_000, by="ada", said_ns=0)
    store.promise("reserve_frac", [FIRST], 0.3, at_ns=1_000, by="ada", said_ns=0)
    with reading(tables) as connection:
        row = dict(connection.execute(select(table)).mappings().one())
    with pytest.raises(InvalidInputError, match="valid at one instant"), writing(tables) as connection:
        connection.execute(table.insert().values({**row, "valid_from_ns": 2_000}))


def test_unknown_names_are_refused(store: ProgramStore) -> None:
    nobody = [SiteId("nobody")]
    for refused in (
        lambda: store.enrol("nothing", SITES, at_ns=0),
        lambda: store.enrol("market", nobody, at_ns=0),
        lambda: store.withdraw("market", nobody, at_ns=0),
        lambda: store.opt_out("market", nobody, at_ns=0, by="", said_ns=0),
        lambda: store.promise("reserve_frac", nobody, 0.5, at_ns=0, by="", said_ns=0),
        lambda: store.promises(nobody[0]),
    ):
        with pytest.raises(UnknownIdError):
            refused()
    with pytest.raises(InvalidInputError, match="give an end after the beginning"):
        store.enrol("market", SITES, at_ns=10, until_ns=10)
    assert store.version() == 0


def test_former_programs_get_their_terms_by_migration(empty_url: str) -> None:
    from alembic import command

    migrate(empty_url)
    engine = open_database(empty_url)
    with writing(engine, lock="migrate") as connection:
        command.downgrade(alembic_config(connection), "0010")
        assert "opt_out" not in inspect(connection).get_table_names()
        for program, priority in (("market", 50), ("self-consumption", 10)):
            connection.exec_driver_sql(
                f"INSERT INTO program (program_id, name, priority) VALUES ('{program}', 'A name', {priority})"
            )
    migrate(empty_url)
    book = ProgramStore(engine).book()
    engine.dispose()
    assert [(one.id, one.kind, one.beside_exclusive) for one in book.programs] == [
        ("market", "power", False),
        ("self-consumption", "local", True),
    ]
