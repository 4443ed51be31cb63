"""The status page over a real socket: what it says, what its buttons do, and whom it refuses."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pytest

from shoal.domain.errors import SettingsError, UnavailableError
from shoal.edge.agent_columns import EventCode
from shoal.edge.agent_owner import EventView
from shoal.edge.drivers.protocol import Measurement
from shoal.edge.modes import WORDS, Mode
from shoal.edge.page import Page, Wish
from shoal.edge.page_view import Status, age_words, live_html, page_html
from shoal.edge.planner import PlantBattery, SitePlanner
from shoal.edge.planner_forecast import SiteForecast
from shoal.edge.planner_tariff import Tariff
from shoal.edge.site_service import SiteService
from shoal.edge.store_forward import StoreStatistics
from tests.unit.edge.site_setup import Time, checked, home

NOW_NS = 1_700_006_400_000_000_000
UTC = ZoneInfo("UTC")
STORE = StoreStatistics(
    waiting=7,
    capacity=1_800,
    last_seq=9,
    on_disk_seq=9,
    lost_by_overflow=0,
    recovered=0,
    torn=0,
    disk_fault="",
)
STATUS = Status(
    site="home-1",
    zone=UTC,
    now_ns=NOW_NS,
    mode=Mode.LOCAL,
    reason="prices_ended",
    seen=Measurement(battery_w=3_000, solar_w=-5_000, load_w=1_000, grid_w=-1_000, soc_frac=0.54),
    age_s=2.0,
    fresh=True,
    capacity_kwh=10.0,
    reserve_frac=0.2,
    least_reserve_frac=0.13,
    switched_off=False,
    independent=False,
    plan=None,
    events=[
        EventView('"><script>', "<b>peak</b>", EventCode.POWER, NOW_NS, NOW_NS + 10**12, True, False, True)
    ],
    plant="plant.example",
    connected=False,
    contact_age_s=7_300.0,
    why_down="<no> connection",
    store=STORE,
    driver_fault="",
    currency="EUR",
)


@dataclass
class Answer:
    status: int
    headers: str
    body: str


class Server:
    """A page with a status that the test sets, and the wishes that it passed on."""

    def __init__(self, *, listen: str = "127.0.0.1", pin: str = "") -> None:
        self.status = STATUS
        self.wishes: list[Wish] = []
        self.why_not = ""
        self.now_s = 0.0
        self.page = Page(
            listen=listen,
            port=0,
            pin=pin,
            status=lambda: self.status,
            grant=self.grant,
            monotonic_s=lambda: self.now_s,
        )

    def grant(self, wish: Wish) -> str:
        self.wishes.append(wish)
        return self.why_not

    async def send(self, raw: bytes) -> Answer:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.page.port)
        writer.write(raw)
        content = (await reader.read()).decode()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        head, _, body = content.partition("\r\n\r\n")
        return Answer(int(head.split(" ", 2)[1]) if head else 0, head, body)

    async def get(self, path: str = "/", *, host: str = "127.0.0.1", cookie: str = "") -> Answer:
        more = f"Cookie: shoal-edge={cookie}\r\n" if cookie else ""
        return await self.send(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode())

    async def post(self, path: str = "/owner", *, cookie: str = "", **form: str) -> Answer:
        body = urlencode(form)
        more = f"Cookie: shoal-edge={cookie}\r\n" if cookie else ""
        head = f"POST {path} HTTP/1.1\r\nHost: localhost:{self.page.port}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
        return await self.send((head + body).encode())

    async def token(self, cookie: str = "") -> str:
        found = re.search(r'name="token" value="([^"]+)"', (await self.get(cookie=cookie)).body)
        assert found is not None
        return found[1]


def run(body: Coroutine[Any, Any, None]) -> None:
    asyncio.run(body)


def test_page_says_the_four_numbers_in_words_and_arrows() -> None:
    html = live_html(STATUS)
    for said in ("5.0 kW ↓", "3.0 kW ↑ charging", "1.0 kW used", "1.0 kW → to the grid", "54 % full"):
        assert said in html, said
    assert "The plant&#x27;s prices have ended" in html or "The plant's prices have ended" in html
    assert "2 h ago" in html
    assert "&lt;no&gt; connection" in html
    old = live_html(replace(STATUS, fresh=False))
    assert old.count("not measured") == 4
    for mode in Mode:
        for reason in WORDS:
            assert "<section" in live_html(replace(STATUS, mode=mode, reason=reason))


def test_page_shows_the_plan_and_escapes_what_comes_from_elsewhere() -> None:
    planner = SitePlanner(
        battery=PlantBattery(
            charge_limit_kw=5,
            discharge_limit_kw=5,
            charge_efficiency_frac=0.95,
            discharge_efficiency_frac=0.95,
            capacity_kwh=10,
            wear_per_kwh=0,
        ),
        tariff=Tariff(),
        zone=UTC,
        forecast=SiteForecast(UTC),
    )
    plan = planner.plan(NOW_NS, soc_frac=0.5, reserve_frac=0.2)
    html = page_html(replace(STATUS, plan=plan), "token", needs_pin=False)
    assert '<polyline class="price"' in html
    assert "your own tariff" in html
    assert "discharges 00:00 to" in html
    assert "<script>" not in html
    assert "<b>" not in html
    assert "style=" not in html, "the page's policy forbids it"
    assert [age_words(age) for age in (None, 3.0, 600.0, 9_000.0)] == [
        "never",
        "3 s ago",
        "10 min ago",
        "2 h ago",
    ]


def test_page_answers_strictly_and_only_to_its_own_names() -> None:
    async def body() -> None:
        server = Server()
        await server.page.start()
        page = await server.get()
        assert page.status == 200
        assert "default-src 'none'" in page.headers
        assert "http" not in page.body.replace("http-equiv", ""), "nothing from elsewhere"
        for path, status in (
            ("/style.css", 200),
            ("/script.js", 200),
            ("/live", 200),
            ("/favicon.ico", 204),
            ("/../secret", 404),
        ):
            assert (await server.get(path)).status == status, path
        for host, status in (
            (f"localhost:{server.page.port}", 200),
            ("[::1]:80", 421),
            ("127.0.0.1:80", 200),
            ("evil.example", 421),
            ("192.0.2.1", 421),
            ("", 421),
        ):
            assert (await server.get(host=host)).status == status, host
        assert (await server.send(b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n")).body == ""
        assert (await server.send(b"DELETE / HTTP/1.1\r\nHost: localhost\r\n\r\n")).status == 405
        assert (await server.send(b"rubbish\r\n\r\n")).status == 400
        big = b"POST /owner HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n"
        assert (await server.send(big)).status == 413
        chunked = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert (await server.send(chunked)).status == 400
        assert (await server.send(b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n")).status == 0
        assert (await server.get()).status == 200
        with pytest.raises(UnavailableError):
            await Page(
                listen="127.0.0.1",
                port=server.page.port,
                pin="",
                status=lambda: STATUS,
                grant=lambda wish: "",
            ).start()
        await server.page.close()

    run(body())


def test_buttons_need_the_token_of_the_page() -> None:
    async def body() -> None:
        server = Server()
        await server.page.start()
        assert (await server.post(do="off")).status == 403
        assert (await server.post(do="off", token="wrong")).status == 403
        assert not server.wishes
        token = await server.token()
        for form, wish in (
            ({"do": "off"}, Wish(do="off")),
            ({"do": "reserve", "reserve_pct": "35"}, Wish(do="reserve", reserve_frac=0.35)),
            ({"do": "leave", "event_id": "é<1>"}, Wish(do="leave", event_id="é<1>")),
        ):
            answer = await server.post(token=token, **form)
            assert (answer.status, server.wishes.pop()) == (303, wish)
        for form in (
            {"do": "explode"},
            {"do": "reserve", "reserve_pct": "101"},
            {"do": "reserve", "reserve_pct": "-1"},
            {"do": "leave"},
        ):
            assert (await server.post(token=token, **form)).status == 422
        server.why_not = "this event lets nobody leave"
        answer = await server.post(token=token, do="leave", event_id="e")
        assert (answer.status, answer.body) == (422, "this event lets nobody leave")
        await server.page.close()

    run(body())


def test_pin_guards_the_buttons_and_on_a_network_the_page() -> None:
    async def body() -> None:
        server = Server(listen="0.0.0.0", pin="4711")
        await server.page.start()
        asked = await server.get()
        assert "1.0 kW used" not in asked.body
        assert (await server.get("/live")).status == 401
        token = await server.token()
        assert (await server.post("/sign-in", token=token, pin="0000")).status == 403
        answer = await server.post("/sign-in", token=token, pin="4711")
        assert answer.status == 303
        assert "HttpOnly; SameSite=Strict" in answer.headers
        cookie = answer.headers.partition("shoal-edge=")[2].partition(";")[0]
        assert "1.0 kW used" in (await server.get(cookie=cookie)).body
        assert (await server.get("/live", cookie=cookie)).status == 200
        assert (await server.get("/live", cookie="made-up")).status == 401
        assert (await server.post(cookie=cookie, token=token, do="on")).status == 303
        assert (await server.post(token=token, do="off")).status == 403
        for _ in range(3):
            await server.post("/sign-in", token=token, pin="1234")
        assert (await server.post("/sign-in", token=token, pin="4711")).status == 429
        server.now_s += 61
        assert (await server.post("/sign-in", token=token, pin="4711")).status == 303
        assert [wish.do for wish in server.wishes] == ["on"]
        await server.page.close()
        guarded = Server(pin="4711")
        await guarded.page.start()
        page = await guarded.get()
        assert "1.0 kW used" in page.body, "on the box itself it may be read"
        assert 'name="pin"' in page.body
        assert (await guarded.post(token=await guarded.token(), do="off")).status == 403
        await guarded.page.close()

    run(body())


def test_page_is_refused_where_it_would_stand_open() -> None:
    with pytest.raises(SettingsError):
        Server(listen="0.0.0.0")
    with pytest.raises(SettingsError):
        Server(listen="somewhere")


def test_site_goes_on_without_a_page_when_its_port_is_taken(tmp_path: Path) -> None:
    async def body() -> None:
        taken = socket.create_server(("127.0.0.1", 0))
        time = Time()
        settings = checked(tmp_path, page={"listen": "127.0.0.1", "port": taken.getsockname()[1]})
        service = SiteService(
            settings, home(time), secret="", now_ns=time.now_ns, monotonic_s=time.monotonic_s
        )
        site = await service.start()
        assert service.page is None
        assert site.decision is not None
        assert service.grant(Wish(do="reserve", reserve_frac=0.5)) == ""
        assert service.grant(Wish(do="leave", event_id="none"))
        assert service.status().reserve_frac == pytest.approx(0.5)
        await site.close()
        taken.close()

    run(body())


def test_page_outlives_clients_that_say_nothing() -> None:
    async def body() -> None:
        server = Server()
        await server.page.start()
        silent = [await asyncio.open_connection("127.0.0.1", server.page.port) for _ in range(40)]
        for _, writer in silent[:20]:
            writer.close()
        async with asyncio.timeout(5):
            while (await server.get()).status != 200:  # noqa: ASYNC110 - the server decides
                await asyncio.sleep(0.01)
        for _, writer in silent[20:]:
            writer.close()
        await server.page.close()

    run(body())
