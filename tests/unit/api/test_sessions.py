"""Signing in on the page: sessions, their end, forged requests, guessing, and who administers whom."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from shoal.api.app import create_app
from shoal.api.door.access import SESSION_COOKIE, Gate
from shoal.api.door.doorman import BELIEVED_S, MAX_WRONG, WINDOW_S, Doorman
from shoal.api.plant import Plant
from shoal.store.database import open_database
from shoal.store.users import Users
from tests.unit.api.doors import CHEAP, make_page, make_plant

HERE = "http://127.0.0.1:8765"
PASSWORD = "four plain words here"
HOUR_NS = 3_600_000_000_000


class Wall:
    """Both clocks of a doorman, moved by hand."""

    def __init__(self) -> None:
        self.ns = 1_800_000_000_000_000_000

    def wall_ns(self) -> int:
        return self.ns

    def now_s(self) -> float:
        return self.ns / 1e9

    def pass_s(self, seconds: float) -> None:
        self.ns += round(seconds * 1e9)


class Door:
    """A plant whose people sign in, and callers at its door."""

    def __init__(self, folder: Path) -> None:
        self.wall = Wall()
        plant = make_plant(folder)
        self.users = Users(open_database(f"sqlite:///{folder / 'registry.db'}"), cost=CHEAP)
        doorman = Doorman(self.users, wall_ns=self.wall.wall_ns, now_s=self.wall.now_s)
        values = {name: getattr(plant, name) for name in Plant.__dataclass_fields__}
        self.plant = Plant(**{**values, "doorman": doorman})
        self.doorman = doorman
        self.app = create_app(
            self.plant, operators={"robot": "a robot's token"}, page=make_page(folder / "page")
        )

    def add(self, name: str, *roles: str, sites: tuple[str, ...] = ()) -> None:
        self.users.put(name, roles=roles, sites=sites, password=PASSWORD, by="test", at_ns=self.wall.ns)
        self.doorman.forget()

    def ask(
        self, method: str, path: str, *, session: str = "", origin: str | None = HERE, **request: Any
    ) -> httpx.Response:
        headers = request.pop("headers", {})
        if origin is not None and method not in ("GET", "HEAD"):
            headers["Origin"] = origin
        if session:
            headers["Cookie"] = f"{SESSION_COOKIE}={session}"

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, client=("192.0.2.7", 1))
            async with httpx.AsyncClient(transport=transport, base_url=HERE) as caller:
                return await caller.request(method, path, headers=headers, **request)

        return asyncio.run(send())

    def sign_in(self, name: str, password: str = PASSWORD) -> httpx.Response:
        return self.ask("POST", "/api/session", json={"name": name, "password": password})

    def session_of(self, name: str) -> str:
        answer = self.sign_in(name)
        assert answer.status_code == 200, answer.text
        return answer.cookies[SESSION_COOKIE]

    def listens(self, session: str) -> bool:
        met: list[str] = []

        async def inside(scope: Any, receive: Any, send: Any) -> None:
            met.append("inside")

        async def send(message: Any) -> None:
            met.append(message["type"])

        async def receive() -> Any:
            raise AssertionError("nothing is to be received")

        named = [(b"host", b"127.0.0.1:8765"), (b"cookie", f"{SESSION_COOKIE}={session}".encode())]
        scope = {
            "type": "websocket",
            "path": "/api/live",
            "query_string": b"",
            "headers": named,
            "scheme": "ws",
        }
        asyncio.run(Gate(inside, token="", doorman=self.doorman)(scope, receive, send))
        return met == ["inside"]


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


def test_without_users_this_machine_may_everything(door: Door) -> None:
    session = door.ask("GET", "/api/session").json()
    assert (session["mode"], session["sign_in"], session["name"]) == ("open", False, "this machine")
    assert door.ask("GET", "/api/state").status_code == 200


def test_the_first_user_closes_the_door(door: Door) -> None:
    door.add("ada", "operator")
    assert door.ask("GET", "/api/state").status_code == 401
    assert door.ask("GET", "/").status_code == 200  # the form is in the page
    assert door.ask("GET", "/healthz").status_code == 200
    session = door.ask("GET", "/api/session").json()
    assert (session["mode"], session["sign_in"], session["rights"]) == (None, True, [])
    shown = {"Authorization": "Bearer a robot's token"}
    assert door.ask("GET", "/api/state", headers=shown).status_code == 200


def test_signing_in_makes_a_session_that_the_page_cannot_read(door: Door) -> None:
    door.add("ada", "operator", "trader")
    answer = door.sign_in(" Ada ")
    said = answer.json()
    assert (said["name"], said["mode"], said["roles"]) == ("ada", "user", ["operator", "trader"])
    assert said["rights"] == ["operate", "see", "trade"]
    assert said["until_ms"] - said["now_ms"] == 12 * 3_600_000
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    assert PASSWORD not in answer.text
    session = answer.cookies[SESSION_COOKIE]
    assert door.ask("GET", "/api/state", session=session).status_code == 200
    assert door.listens(session)
    assert not door.listens("0" * 64)


@pytest.mark.parametrize(
    ("name", "password"), [("ada", "wrong password!"), ("eve", PASSWORD), ("", ""), ("ada", "")]
)
def test_a_wrong_name_or_password_is_told_the_same(door: Door, name: str, password: str) -> None:
    door.add("ada", "viewer")
    answer = door.sign_in(name, password)
    assert answer.status_code == 401
    assert "no such name and password" in answer.json()["detail"]
    assert SESSION_COOKIE not in answer.cookies


def test_session_ends_by_time_by_signing_out_and_with_its_user(door: Door) -> None:
    door.add("ada", "viewer")
    for end in ("time", "out", "password", "removed"):
        door.add("ada", "viewer")
        session = door.session_of("ada")
        assert door.ask("GET", "/api/state", session=session).status_code == 200
        if end == "time":
            door.wall.pass_s(12 * 3_600)
        elif end == "out":
            assert door.ask("DELETE", "/api/session", session=session).json()["name"] is None
        elif end == "password":
            door.users.set_password("ada", "another four plain words", by="test", at_ns=door.wall.ns)
            door.wall.pass_s(BELIEVED_S + 1)
        else:
            door.users.remove("ada", by="test", at_ns=door.wall.ns)
            door.add("bob", "viewer")
            door.wall.pass_s(BELIEVED_S + 1)
        assert door.ask("GET", "/api/state", session=session).status_code == 401, end
        assert not door.listens(session)


def test_homeowner_stays_for_a_month_and_sees_no_plant(door: Door) -> None:
    door.add("mia", "homeowner", sites=("home-0",))
    said = door.sign_in("mia").json()
    assert (said["rights"], said["sites"]) == (["home"], ["home-0"])
    assert said["until_ms"] - said["now_ms"] == 30 * 24 * 3_600_000
    session = door.session_of("mia")
    refused = door.ask("GET", "/api/state", session=session)
    assert refused.status_code == 403
    assert "mia may not do this" in refused.json()["detail"]
    assert door.listens(session)


def test_viewer_may_look_but_not_command(door: Door) -> None:
    door.add("vic", "viewer")
    session = door.session_of("vic")
    assert door.ask("GET", "/api/commands/stops", session=session).status_code == 200
    body = {"fleet": True, "reason": "because"}
    assert door.ask("POST", "/api/commands/stops", session=session, json=body).status_code == 403
    door.add("ada", "operator")
    answer = door.ask("POST", "/api/commands/stops", session=door.session_of("ada"), json=body)
    assert answer.status_code == 200
    assert answer.json()["by"] == "ada"


@pytest.mark.parametrize("origin", ["http://evil.example", "null", None])
def test_a_session_changes_nothing_from_elsewhere(door: Door, origin: str | None) -> None:
    door.add("ada", "operator")
    session = door.session_of("ada")
    for path in ("/api/commands/stops", "/api/session/password"):
        answer = door.ask("POST", path, session=session, origin=origin, json={"fleet": True, "reason": "x"})
        assert answer.status_code == 403, path
    assert door.ask("DELETE", "/api/session", session=session, origin=origin).status_code == 403
    assert door.ask("GET", "/api/commands/stops", session=session).json() == []


def test_guessing_is_slowed_down_for_a_name_and_an_address(door: Door) -> None:
    door.add("ada", "viewer")
    for _ in range(MAX_WRONG):
        assert door.sign_in("ada", "a wrong password").status_code == 401
    refused = door.sign_in("ada")
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= WINDOW_S
    assert door.sign_in("bob", "a wrong password").status_code == 401  # another name
    door.wall.pass_s(WINDOW_S + 1)
    assert door.sign_in("ada").status_code == 200
    for number in range(60):
        last = door.sign_in(f"user{number}", "a wrong password").status_code
    assert last == 429
    assert door.sign_in("ada").status_code == 429


def test_new_password_ends_every_other_session(door: Door) -> None:
    door.add("ada", "viewer")
    first, second = door.session_of("ada"), door.session_of("ada")
    wrong = {"old": "not the old one", "new": "a new password at last"}
    refused = door.ask("POST", "/api/session/password", session=first, json=wrong)
    assert (refused.status_code, refused.json()["field"]) == (403, "old")
    for new in ("short", PASSWORD):
        refused = door.ask("POST", "/api/session/password", session=first, json={"old": PASSWORD, "new": new})
        assert (refused.status_code, refused.json()["field"]) == (422, "new")
        assert PASSWORD not in refused.text
    right = {"old": PASSWORD, "new": "a new password at last"}
    answer = door.ask("POST", "/api/session/password", session=first, json=right)
    assert answer.status_code == 200
    assert door.ask("GET", "/api/state", session=answer.cookies[SESSION_COOKIE]).status_code == 200
    for session in (first, second):
        assert door.ask("GET", "/api/state", session=session).status_code == 401
    assert door.sign_in("ada").status_code == 401


def test_administrator_manages_people_but_not_away_from_the_plant(door: Door) -> None:
    door.add("root", "admin")
    session = door.session_of("root")
    new = {"roles": ["operator"], "password": PASSWORD}
    assert door.ask("PUT", "/api/admin/users/Ada", session=session, json=new).json()["roles"] == ["operator"]
    assert door.sign_in("ada").status_code == 200
    (ada, _) = door.ask("GET", "/api/admin/users", session=session).json()
    assert (ada["name"], ada["made_by"], ada["sessions"]) == ("ada", "root", 1)
    assert "password" not in ada
    for body, field in (
        ({"roles": ["king"]}, "roles"),
        ({"roles": ["homeowner"]}, "sites"),
        ({"roles": ["viewer"], "password": "short"}, "password"),
    ):
        refused = door.ask("PUT", "/api/admin/users/ada", session=session, json=body)
        assert (refused.status_code, refused.json()["field"]) == (422, field)
    assert (
        door.ask("PUT", "/api/admin/users/new", session=session, json={"roles": ["viewer"]}).status_code
        == 422
    )
    assert (
        door.ask("PUT", "/api/admin/users/root", session=session, json={"roles": ["viewer"]}).status_code
        == 409
    )
    assert door.ask("DELETE", "/api/admin/users/root", session=session).status_code == 409
    assert door.ask("DELETE", "/api/admin/users/ada", session=session).status_code == 204
    assert door.ask("DELETE", "/api/admin/users/ada", session=session).status_code == 404
    steps = door.ask("GET", "/api/admin/users/steps", session=session).json()
    assert [(one["by"], one["action"], one["subject"]) for one in steps[:2]] == [
        ("root", "removed", "ada"),
        ("ada", "signed in", "ada"),
    ]


def test_operator_manages_nobody(door: Door) -> None:
    door.add("ada", "operator")
    session = door.session_of("ada")
    assert door.ask("GET", "/api/admin/users", session=session).status_code == 403
    assert (
        door.ask("PUT", "/api/admin/users/ada", session=session, json={"roles": ["admin"]}).status_code == 403
    )


def test_many_at_once_get_no_more_guesses_than_one_after_the_other(door: Door) -> None:
    door.add("ada", "viewer")

    async def guess() -> list[int]:
        transport = httpx.ASGITransport(door.app, client=("192.0.2.9", 1))
        async with httpx.AsyncClient(transport=transport, base_url=HERE) as caller:
            wrong = {"name": "ada", "password": "a wrong password"}
            answers = await asyncio.gather(*(caller.post("/api/session", json=wrong) for _ in range(12)))
        return [one.status_code for one in answers]

    assert asyncio.run(guess()).count(401) == MAX_WRONG
