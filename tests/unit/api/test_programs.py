"""Programs at the door: their order, a site's record, and who may promise or leave for its owner."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from fastapi import FastAPI

from shoal.api.door.access import Gate
from shoal.api.problem import handle_faults
from shoal.api.programs.answers import ProgramNow, SitePrograms
from shoal.api.programs.routes import program_routes
from shoal.domain.interval import NS_PER_HOUR
from shoal.store.database import open_database
from shoal.store.programs import ProgramStore
from tests.unit.api.doors import database
from tests.unit.api.plants import T0_NS, make_fleet

TOKEN = "read-read-read"
OPERATORS = {"ada": "ada-ada-ada-ada"}
ADA = {"Authorization": f"Bearer {OPERATORS['ada']}"}
READER = {"Authorization": f"Bearer {TOKEN}"}
T0_MS = T0_NS // 1_000_000
HOUR_MS = 3_600_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ProgramStore]:
    (tmp_path / "registry.db").write_bytes(database())
    engine = open_database(f"sqlite:///{tmp_path / 'registry.db'}")
    store = ProgramStore(engine)
    store.enrol("market", make_fleet().site_ids, at_ns=0, by="ada", said_ns=0)
    store.enrol("storm", ["home-0"], at_ns=0, until_ns=T0_NS - 1)  # type: ignore[list-item]
    yield store
    engine.dispose()


def ask(
    store: ProgramStore, method: str, path: str, headers: dict[str, str], **request: Any
) -> httpx.Response:
    app = FastAPI()
    app.include_router(program_routes(store, lambda: T0_NS))
    handle_faults(app)
    app.add_middleware(Gate, token=TOKEN, operators=OPERATORS)

    async def send() -> httpx.Response:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://127.0.0.1"
        ) as caller:
            return await caller.request(method, path, headers=headers, **request)

    return asyncio.run(send())


def record(answer: httpx.Response) -> SitePrograms:
    assert answer.status_code == 200, answer.text
    return msgspec.json.decode(answer.content, type=SitePrograms)


def test_programs_come_in_order_with_those_who_take_part(store: ProgramStore) -> None:
    store.opt_out("market", [make_fleet().site_ids[1]], at_ns=0, by="ada", said_ns=0)
    said = ask(store, "GET", "/api/programs", READER)
    programs = msgspec.json.decode(said.content, type=list[ProgramNow])
    assert [one.place for one in programs] == list(range(1, 9))
    assert {one.program_id: (one.sites, one.opted_out_sites) for one in programs if one.sites} == {
        "market": (3, 1)
    }


def test_site_has_its_enrolments_past_and_present(store: ProgramStore) -> None:
    found = record(ask(store, "GET", "/api/sites/home-0/programs", READER))
    assert [(one.program_id, one.now, one.consented_by) for one in found.enrolments] == [
        ("market", True, "ada"),
        ("storm", False, ""),
    ]
    assert ask(store, "GET", "/api/sites/nobody/programs", READER).status_code == 404


def test_reserve_is_raised_at_once_by_an_operator(store: ProgramStore) -> None:
    body = {"reserve_frac": 0.8, "until_ms": T0_MS + HOUR_MS}
    found = record(ask(store, "PUT", "/api/sites/home-0/promises", ADA, json=body))
    (promise,) = found.promises
    assert (promise.kind, promise.amount, promise.now, promise.said_by) == ("reserve_frac", 0.8, True, "ada")
    floors = [store.terms_at(t_ns).promises.reserve_frac[0] for t_ns in (T0_NS, T0_NS + NS_PER_HOUR)]
    assert floors == [0.8, 0.0]
    taken_back = {"reserve_frac": None}
    assert record(ask(store, "PUT", "/api/sites/home-0/promises", ADA, json=taken_back)).promises == []


def test_owner_leaves_and_comes_back(store: ProgramStore) -> None:
    found = record(ask(store, "PUT", "/api/sites/home-0/opt-outs/market", ADA, json={}))
    assert [(one.program_id, one.until_ms, one.now) for one in found.opt_outs] == [("market", None, True)]
    assert ask(store, "DELETE", "/api/sites/home-0/opt-outs/market", ADA).status_code == 204
    assert record(ask(store, "GET", "/api/sites/home-0/programs", READER)).opt_outs == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/api/sites/home-0/promises", {"reserve_frac": 0.5}),
        ("PUT", "/api/sites/home-0/opt-outs/market", {}),
        ("DELETE", "/api/sites/home-0/opt-outs/market", None),
    ],
)
def test_who_may_only_read_changes_nothing(
    store: ProgramStore, method: str, path: str, body: dict[str, float] | None
) -> None:
    before = store.version()
    assert ask(store, method, path, READER, json=body).status_code == 403
    assert ask(store, method, path, {}, json=body).status_code == 401
    assert store.version() == before


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/sites/home-0/promises", {}, 422),
        ("/api/sites/home-0/promises", {"reserve_frac": 1.5}, 422),
        ("/api/sites/home-0/promises", {"reserve_frac": 0.5, "from_ms": T0_MS - 1}, 422),
        ("/api/sites/home-0/promises", {"reserve_frac": 0.5, "until_ms": T0_MS - 1}, 422),
        ("/api/sites/nobody/promises", {"reserve_frac": 0.5}, 404),
        ("/api/sites/home-0/opt-outs/nothing", {}, 404),
    ],
)
def test_what_cannot_be_used_is_refused(
    store: ProgramStore, path: str, body: dict[str, float], status: int
) -> None:
    before = store.version()
    assert ask(store, "PUT", path, ADA, json=body).status_code == status
    assert store.version() == before
