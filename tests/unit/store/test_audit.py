"""The audit over a real database: one list, no line twice and none left out, whatever comes in between."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from shoal.domain.errors import InvalidInputError
from shoal.store.audit import KINDS, SOURCES, Audit, AuditFilter, AuditLine, Key, narrowed
from shoal.store.consents import Consents
from shoal.store.database import open_database
from shoal.store.devices import Devices
from shoal.store.order_records import AuditEntry
from shoal.store.orders import Orders
from shoal.store.proposals import Proposals, Proposed
from shoal.store.users import Users
from tests.unit.api.doors import CHEAP, database


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    (tmp_path / "registry.db").write_bytes(database())
    return open_database(f"sqlite:///{tmp_path / 'registry.db'}")


def fill(engine: Engine) -> None:
    """One thing after the other, at instants 1 to 9."""
    orders, users = Orders(engine), Users(engine, cost=CHEAP)
    orders.note([AuditEntry(at_ns=1, by="ada", action="put", subject="evening", detail="100 kW")])
    users.put("bob", roles=["viewer"], password="correct horse battery", by="ada", at_ns=2)
    orders.note([AuditEntry(at_ns=3, by="control", action="trial", subject="evening")])
    Devices(engine).enrol("home-0", by="bob", at_ns=4)
    Consents(engine).say("approval", subject="bess-0", by="tina", at_ns=5, content=b"{}")
    orders.note(
        [
            AuditEntry(
                at_ns=6, by="home-1", action="report", subject="evening", outcome="refused", reason="soc"
            )
        ]
    )
    orders.note([AuditEntry(at_ns=7, by="ada", action="abort", subject="evening", reason="storm")])
    proposals = Proposals(engine)
    proposal = Proposed(
        proposal_id="p-1",
        kind="dispatch",
        subject="",
        title="200 kW of homes",
        amount=200.0,
        body={},
        by="ada",
        at_ns=8,
        reason="peak",
        expires_ns=100,
    )
    proposals.propose(proposal)
    proposals.decide("p-1", "refused", by="bob", now_ns=9, note="too late")


def told(lines: tuple[AuditLine, ...]) -> list[tuple[int, str, str, str]]:
    return [(one.at_ns, one.by, one.action, one.about) for one in lines]


EVERY = [
    (9, "bob", "refused", "p-1"),
    (8, "ada", "proposed", "p-1"),
    (7, "ada", "abort", "evening"),
    (6, "home-1", "report", "evening"),
    (5, "tina", "approval", "bess-0"),
    (4, "bob", "device enrolled", "home-0"),
    (3, "control", "trial", "evening"),
    (2, "ada", "added", "bob"),
    (1, "ada", "put", "evening"),
]


def test_every_source_is_in_one_list_the_newest_first(engine: Engine) -> None:
    fill(engine)
    page = Audit(engine, engine).page(100)
    assert told(page.lines) == EVERY
    assert page.before == ""
    assert [one.outcome for one in page.lines if one.action == "report"] == ["refused"]
    assert {one.kind for one in page.lines} == {"orders", "people", "devices", "bids", "proposals"}


@pytest.mark.parametrize("limit", [1, 2, 4, 8])
def test_pages_go_on_where_the_last_one_ended_although_more_comes(engine: Engine, limit: int) -> None:
    fill(engine)
    audit, found, before = Audit(engine, engine), [], ""
    while True:
        page = audit.page(limit, before=before)
        found += told(page.lines)
        before = page.before
        if not before:
            break
        # what happens while somebody reads belongs before the first page
        Orders(engine).note([AuditEntry(at_ns=50, by="eve", action="put", subject="late")])
        assert len(page.lines) == limit
    assert found == EVERY


@pytest.mark.parametrize(
    ("only", "instants"),
    [
        (AuditFilter(by="AD"), [8, 7, 2, 1]),
        (AuditFilter(about="even"), [7, 6, 3, 1]),
        (AuditFilter(kinds=("people", "devices")), [4, 2]),
        (AuditFilter(from_ns=3, until_ns=6), [5, 4, 3]),
        (AuditFilter(people_only=True), [9, 8, 7, 5, 4, 2, 1]),
        (AuditFilter(by="100%"), []),
    ],
)
def test_filters_narrow_the_list(engine: Engine, only: AuditFilter, instants: list[int]) -> None:
    fill(engine)
    assert [one.at_ns for one in Audit(engine, engine).page(100, only=only).lines] == instants


@pytest.mark.parametrize(
    "before",
    [
        "%%%",
        "bm9uc2Vuc2U",
        "eyJvcmRlcnMiOlsxXX0",
        "eyJvcmRlcnMiOlsxLDIsM119",
        "eyJvcmRlcnMiOlswLCJ4Il19",
        "eyJvcmRlcnMiOlswLDkyMjMzNzIwMzY4NTQ3NzU4MDhdfQ",
        "x" * 5_000,
    ],
)
def test_cursor_that_was_never_given_is_refused(engine: Engine, before: str) -> None:
    with pytest.raises(InvalidInputError, match="next"):
        Audit(engine, engine).page(10, before=before)


@pytest.mark.parametrize(
    ("source", "table", "reached"),
    [("alarms", "alarm_event", [0, 5, 1, "raised"]), ("bids", "market_bid_step", [0, 5, "bid", 1])],
)
@pytest.mark.parametrize("going_on", [False, True])
@pytest.mark.parametrize("only", [AuditFilter(), AuditFilter(by="ada", from_ns=1, people_only=True)])
def test_newest_steps_are_found_by_their_time(
    engine: Engine, source: str, table: str, reached: Key, going_on: bool, only: AuditFilter
) -> None:
    """Neither the whole table is read nor is anything sorted, however long the plant has run."""
    chosen = next(one for one in SOURCES if one.name == source)
    query = narrowed(chosen, only, reached if going_on else None).limit(100)
    text = str(query.compile(engine, compile_kwargs={"literal_binds": True}))
    with engine.connect() as connection:
        plan = [str(row.detail) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")]
    narrow = going_on or only.from_ns is not None
    assert plan[0].startswith(f"{'SEARCH' if narrow else 'SCAN'} {table} USING INDEX ix_{table}_")
    assert not any("TEMP B-TREE" in line for line in plan)
    assert not any(line.startswith("SCAN") for line in plan[1:])


def test_every_kind_has_a_source() -> None:
    assert set(KINDS) == {"orders", "alarms", "bids", "proposals", "people", "devices"}
