"""Who may come in, what the page's files answer, and the headers on every answer."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path
from typing import Any

import pytest

from shoal.api.door.access import CONTENT_SECURITY_OF_DATA, COOKIE, HEADERS, Gate, check_exposure
from shoal.api.page import PageFiles
from shoal.api.plant import Plant
from shoal.domain.errors import SettingsError
from tests.unit.api.doors import ask, make_page, make_plant

TOKEN = "a long secret"


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return make_plant(tmp_path)


@pytest.fixture
def page(tmp_path: Path) -> PageFiles:
    return make_page(tmp_path / "page")


def cookie_of(plant: Plant, page: PageFiles) -> str:
    answer = ask(plant, "GET", f"/?token={TOKEN}", token=TOKEN, page=page)
    return answer.cookies[COOKIE]


def knock(token: str, path: str = "/api/live", query: bytes = b"", **headers: str) -> str:
    """Return what a socket meets at the gate: ``inside``, or the closing."""

    async def inside(scope: Any, receive: Any, send: Any) -> None:
        seen.append("inside")

    async def send(message: Any) -> None:
        seen.append(message["type"])

    async def receive() -> Any:
        raise AssertionError("nothing is to be received at the gate")

    seen: list[str] = []
    named = [(name.encode(), value.encode()) for name, value in {"host": "127.0.0.1:8765", **headers}.items()]
    scope = {"type": "websocket", "path": path, "query_string": query, "headers": named, "scheme": "ws"}
    asyncio.run(Gate(inside, token=token)(scope, receive, send))
    (met,) = seen
    return met


@pytest.mark.parametrize("path", ["/", "/api/state", "/docs", "/openapi.json", "/metrics", "/icon.svg"])
def test_token_guards_everything_but_the_probes(plant: Plant, page: PageFiles, path: str) -> None:
    assert ask(plant, "GET", path, token=TOKEN, page=page).status_code == 401
    shown = {"Authorization": f"Bearer {TOKEN}"}
    assert ask(plant, "GET", path, token=TOKEN, page=page, headers=shown).status_code == 200


@pytest.mark.parametrize("shown", ["Bearer wrong", "Bearer ", "Basic YTpi", TOKEN, "Bearer a long secret!"])
def test_a_wrong_token_is_refused(plant: Plant, shown: str) -> None:
    answer = ask(plant, "GET", "/api/state", token=TOKEN, headers={"Authorization": shown})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["status"] == 401


def test_probes_need_no_token(plant: Plant, page: PageFiles) -> None:
    assert ask(plant, "GET", "/healthz", token=TOKEN).status_code == 200
    assert ask(plant, "GET", "/readyz", token=TOKEN, page=page).status_code == 200


def test_page_opened_with_the_token_is_remembered_by_a_cookie(plant: Plant, page: PageFiles) -> None:
    answer = ask(plant, "GET", f"/?token={TOKEN}&tab=money", token=TOKEN, page=page)
    assert answer.status_code == 303
    assert answer.headers["location"] == "./?tab=money"
    set_cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in set_cookie
    assert "samesite=lax" in set_cookie.lower()
    assert TOKEN not in set_cookie
    cookies = {"Cookie": f"{COOKIE}={cookie_of(plant, page)}"}
    assert ask(plant, "GET", "/", token=TOKEN, page=page, headers=cookies).status_code == 200
    assert ask(plant, "GET", "/api/state", token=TOKEN, headers=cookies).status_code == 200
    assert ask(plant, "GET", "/api/state", token="another", headers=cookies).status_code == 401


def test_token_in_the_address_opens_the_page_and_nothing_else(plant: Plant, page: PageFiles) -> None:
    assert ask(plant, "GET", f"/api/state?token={TOKEN}", token=TOKEN).status_code == 401
    assert ask(plant, "GET", "/?token=wrong", token=TOKEN, page=page).status_code == 401


def test_socket_is_let_in_by_token_header_or_cookie(plant: Plant, page: PageFiles) -> None:
    assert knock(TOKEN) == "websocket.close"
    assert knock(TOKEN, query=b"token=wrong") == "websocket.close"
    assert knock(TOKEN, query=b"token=a%20long%20secret") == "inside"
    assert knock(TOKEN, authorization=f"Bearer {TOKEN}") == "inside"
    assert knock(TOKEN, cookie=f"{COOKIE}={cookie_of(plant, page)}") == "inside"
    assert knock("") == "inside"


@pytest.mark.parametrize(
    ("origin", "met"),
    [
        ("http://127.0.0.1:8765", "inside"),
        ("https://127.0.0.1:8765", "inside"),
        ("http://127.0.0.1:9999", "websocket.close"),
        ("http://elsewhere.example", "websocket.close"),
        ("null", "websocket.close"),
    ],
)
def test_socket_of_a_browser_must_come_from_the_same_host(origin: str, met: str) -> None:
    assert knock("", origin=origin) == met
    assert knock(TOKEN, query=b"token=a%20long%20secret", origin=origin) == met


def test_without_a_token_only_loopback_names_are_answered(plant: Plant) -> None:
    for name, status in [
        ("127.0.0.1:1", 200),
        ("localhost", 200),
        ("[::1]:8765", 200),
        ("evil.example", 421),
    ]:
        assert ask(plant, "GET", "/healthz", base_url=f"http://{name}").status_code == status
    assert knock("", host="evil.example") == "websocket.close"
    shown = {"Authorization": f"Bearer {TOKEN}"}
    answer = ask(plant, "GET", "/api/state", token=TOKEN, base_url="http://plant.example", headers=shown)
    assert answer.status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "plant.example", ""])
def test_listening_beyond_loopback_needs_a_token(host: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check_exposure(host, "")
    assert caught.value.field == "api.token"
    check_exposure(host, TOKEN)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_listening_on_loopback_needs_none(host: str) -> None:
    check_exposure(host, "")


@pytest.mark.parametrize("path", ["/", "/api/state", "/api/nothing", "/assets/none.js", "/metrics"])
def test_every_answer_carries_the_security_headers(plant: Plant, page: PageFiles, path: str) -> None:
    for token in ("", TOKEN):
        answer = ask(plant, "GET", path, token=token, page=page)
        data = "json" in answer.headers.get("content-type", "")
        expected = {**HEADERS, "Content-Security-Policy": CONTENT_SECURITY_OF_DATA} if data else HEADERS
        for name, value in expected.items():
            assert answer.headers[name] == value
        assert data == (path not in ("/", "/metrics") or (path == "/metrics" and answer.status_code == 401))
    assert "script-src" not in HEADERS["Content-Security-Policy"]  # falls back to 'self', nothing inline


def test_page_and_its_assets_are_served_with_their_caching(plant: Plant, page: PageFiles) -> None:
    document = ask(plant, "GET", "/", page=page)
    assert "the page" in document.text
    assert document.headers["cache-control"] == "no-cache"
    assert ask(plant, "HEAD", "/", page=page).status_code == 200
    asset = ask(plant, "GET", "/assets/index-abc123.js", page=page)
    assert "immutable" in asset.headers["cache-control"]
    assert asset.headers["content-type"].startswith("text/javascript")
    assert asset.headers["content-encoding"] == "gzip"
    assert ask(plant, "GET", "/icon.svg", page=page).headers["cache-control"] == "no-cache"


def test_packed_assets_go_to_who_takes_them_and_the_plain_ones_to_others(
    plant: Plant, page: PageFiles
) -> None:
    plain = Path(str(page.directory)) / "assets" / "index-abc123.js"
    plain.with_name(f"{plain.name}.gz").write_bytes(gzip.compress(b"// packed"))
    answer = ask(plant, "GET", "/assets/index-abc123.js", page=page)
    assert answer.text == "// packed"
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["content-type"].startswith("text/javascript")
    assert "immutable" in answer.headers["cache-control"]
    assert "accept-encoding" in answer.headers["vary"].lower()
    other = ask(plant, "GET", "/assets/index-abc123.js", page=page, headers={"accept-encoding": "identity"})
    assert other.content == plain.read_bytes()
    assert "content-encoding" not in other.headers


@pytest.mark.parametrize(
    "path",
    [
        "/assets/missing-123.js",
        "/nowhere",
        "/assets",
        "/.source-digest",
        "/../doors.py",
        "/%2e%2e/registry.db",
        "/assets/%2e%2e/%2e%2e/registry.db",
        "/api/",
    ],
)
def test_what_is_not_there_is_404_and_never_the_page(plant: Plant, page: PageFiles, path: str) -> None:
    answer = ask(plant, "GET", path, page=page)
    assert answer.status_code == 404
    assert "the page" not in answer.text


def test_page_that_was_not_built_says_what_to_run(plant: Plant, tmp_path: Path) -> None:
    nothing = PageFiles(tmp_path / "nowhere")
    answer = ask(plant, "GET", "/", page=nothing)
    assert answer.status_code == 200
    assert "hatch_build.py build" in answer.text
    assert ask(plant, "GET", "/api/state", page=nothing).status_code == 200
    assert ask(plant, "GET", "/icon.svg", page=nothing).status_code == 404
