"""The simulated day-ahead market over HTTP: gates, keys, awards on real prices, its own account, restarts and faults."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import httpx
import msgspec
import pytest
import uvicorn
from fastapi import FastAPI

from shoal.cli.roles.market import awards_of
from shoal.connect.exchange_http import HttpExchange
from shoal.domain.errors import InvalidInputError, UnavailableError
from shoal.domain.interval import NS_PER_HOUR
from shoal.market.awards import MarketAward, MarketReceipt
from shoal.market.bids import MarketBid, Orders
from shoal.market.exchange import PublishedPrice
from shoal.market.types import Order
from shoal.simulate.exchange import ExchangeFaults, create_exchange
from shoal.simulate.exchange_book import ExchangeBook, ExchangeSummary
from shoal.simulate.exchange_tape import Corrections, Publisher
from shoal.simulate.prices import prices_over
from tests.integration.simulate.clocks import HandClock
from tests.integration.simulate.market_process import MARKET, RESOURCES, SINCE_NS, TAPES, TOKENS

ROOT = Path(__file__).resolve().parents[3]
DAY = date(2021, 7, 2)
GATE = MARKET.gates("day-ahead", DAY)[0]
GATE_NS = GATE.closes_ns
OUT_NS = GATE.publishes_ns or 0
HOURS = MARKET.delivery_intervals("day-ahead", DAY)
TOKEN = {"Authorization": "Bearer token-of-shoal"}


def make_bid(
    key: str = "k1", *, revision: int = 1, resource_id: str = "bess-1", day: date = DAY, sell_mw: float = 2.0
) -> MarketBid:
    """Buy 1 MW in the first hour at any price up to 500, sell in the last one from 10 on."""
    hours = MARKET.delivery_intervals("day-ahead", day)
    orders = (
        Order(
            start_ns=hours[0].start_ns,
            end_ns=hours[0].end_ns,
            side="buy",
            quantity_mw=1.0,
            limit_price_per_mwh=500.0,
        ),
        Order(
            start_ns=hours[-1].start_ns,
            end_ns=hours[-1].end_ns,
            side="sell",
            quantity_mw=sell_mw,
            limit_price_per_mwh=10.0,
        ),
    )
    return MarketBid(
        idempotency_key=key,
        resource_id=resource_id,
        market_id="ercot-da",
        settlement_point="HB_NORTH" if resource_id == "bess-1" else "LZ_NORTH",
        delivery_date=day.isoformat(),
        revision=revision,
        offers=(Orders(product="day-ahead", orders=orders),),
    )


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Serve the app on a free port in a thread and yield its URL."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=10)
            assert not thread.is_alive()


@contextmanager
def market(
    tmp_path: Path, clock: HandClock, *, faults: ExchangeFaults | None = None, since_ns: int = SINCE_NS
) -> Iterator[httpx.Client]:
    """Serve a market with its book in `tmp_path` and yield a client with a token."""
    app = create_exchange(
        MARKET,
        clock,
        store=tmp_path / "market" / "book.db",
        tokens=TOKENS,
        resources=RESOURCES,
        tapes=TAPES,
        since_ns=since_ns,
        faults=faults,
    )
    with serving(app) as url, httpx.Client(base_url=url, headers=TOKEN, trust_env=False) as client:
        yield client


def post(client: httpx.Client, bid: MarketBid, *, key: str | None = None) -> httpx.Response:
    return client.post(
        "/bids", content=msgspec.json.encode(bid), headers={"Idempotency-Key": key or bid.idempotency_key}
    )


def receipt(response: httpx.Response) -> MarketReceipt:
    assert response.status_code == 200, response.text
    return msgspec.json.decode(response.content, type=MarketReceipt)


def awards(client: httpx.Client, resource_id: str = "bess-1", day: date = DAY) -> list[MarketAward]:
    answer = client.get("/awards", params={"resource_id": resource_id, "delivery_date": day.isoformat()})
    return msgspec.json.decode(answer.content, type=list[MarketAward])


def summary(client: httpx.Client) -> ExchangeSummary:
    return msgspec.json.decode(client.get("/summary").content, type=ExchangeSummary)


def test_market_gate_closes_to_the_nanosecond(tmp_path: Path) -> None:
    clock = HandClock(GATE_NS - 1)
    with market(tmp_path, clock) as client:
        early = receipt(post(client, make_bid("early")))
        assert (early.state, early.received_ns) == ("accepted", GATE_NS - 1)
        clock.t_ns = GATE_NS
        late = receipt(post(client, make_bid("late", revision=2)))
        assert (late.state, late.reason, late.received_ns) == ("rejected", "gate_closed", GATE_NS)
        account = summary(client)
        assert (account.bids_received, account.bids_accepted, account.bids_late) == (2, 1, 1)


def test_market_same_key_and_body_is_one_bid(tmp_path: Path) -> None:
    clock = HandClock(GATE_NS - 10)
    with market(tmp_path, clock) as client:
        first = receipt(post(client, make_bid()))
        clock.t_ns = GATE_NS + 10
        again = receipt(post(client, make_bid()))
        assert again == first, "a repeat after the gate still finds the bid"
        read_back = receipt(client.get("/bids/k1"))
        assert read_back == first
        account = summary(client)
        counts = (account.bids_received, account.bids_accepted, account.bids_duplicate, account.bids_late)
        assert counts == (2, 1, 1, 0), "this market does not know keys: a repeat should have been read back"


def test_market_same_key_with_another_body_conflicts(tmp_path: Path) -> None:
    with market(tmp_path, HandClock(GATE_NS - 10)) as client:
        first = receipt(post(client, make_bid()))
        other = post(client, make_bid(sell_mw=3.0))
        assert (other.status_code, other.json()["reason"]) == (409, "key_conflict")
        assert receipt(client.get("/bids/k1")) == first
        assert summary(client).bids_conflicting == 1


def test_market_higher_revision_replaces_and_any_other_is_a_duplicate(tmp_path: Path) -> None:
    clock = HandClock(GATE_NS - 10)
    with market(tmp_path, clock) as client:
        receipt(post(client, make_bid("a", revision=2)))
        same = receipt(post(client, make_bid("b", revision=2)))
        lower = receipt(post(client, make_bid("c", revision=1)))
        assert {(r.state, r.reason) for r in (same, lower)} == {("rejected", "duplicate_bid")}
        higher = receipt(post(client, make_bid("d", revision=3, sell_mw=5.0)))
        assert higher.state == "accepted"
        clock.t_ns = OUT_NS
        (award,) = awards(client)
        assert award.bid_id == higher.bid_id
        assert award.quantities[-1].power_w == -5_000_000
        account = summary(client)
        assert (account.bids_duplicate, account.bids_accepted, account.bids_rejected) == (2, 2, 0)


def test_market_key_of_header_and_body_must_agree(tmp_path: Path) -> None:
    with market(tmp_path, HandClock(GATE_NS - 10)) as client:
        assert post(client, make_bid("k1"), key="k2").status_code == 400
        assert client.post("/bids", content=msgspec.json.encode(make_bid())).status_code == 400
        assert client.get("/bids/k1").status_code == 404
        assert summary(client).bids_received == 0


def test_market_refuses_wrong_bids_with_a_reason(tmp_path: Path) -> None:
    with market(tmp_path, HandClock(GATE_NS - 10)) as client:
        small = receipt(post(client, make_bid("small", sell_mw=0.05)))
        assert (small.state, small.reason) == ("rejected", "quantity_minimum")
        unknown = receipt(post(client, msgspec.structs.replace(make_bid("unknown"), resource_id="bess-9")))
        assert (unknown.state, unknown.reason) == ("rejected", "resource_unknown")
        point = receipt(post(client, msgspec.structs.replace(make_bid("point"), settlement_point="HB_WEST")))
        assert (point.state, point.reason) == ("rejected", "settlement_point")
        wrong = receipt(post(client, msgspec.structs.replace(make_bid("far"), delivery_date="tomorrow")))
        assert (wrong.state, wrong.reason) == ("rejected", "delivery_date")
        broken = client.post("/bids", content=b'{"idempotency_key": 3}', headers={"Idempotency-Key": "3"})
        assert (broken.status_code, broken.json()["reason"]) == (400, "malformed")
        assert summary(client).bids_rejected == 4


def test_market_needs_a_token_and_keeps_participants_apart(tmp_path: Path) -> None:
    with market(tmp_path, HandClock(GATE_NS - 10)) as client:
        receipt(post(client, make_bid()))
        assert client.get("/healthz", headers={"Authorization": ""}).json()["status"] == "ok"
        for path in (
            "/bids/k1",
            "/market",
            "/summary",
            "/awards?resource_id=bess-1&delivery_date=2021-07-02",
        ):
            for wrong in ("", "Bearer", "Bearer nobody", "Basic token-of-shoal"):
                answer = client.get(path, headers={"Authorization": wrong})
                assert (answer.status_code, answer.json()["reason"]) == (401, "unauthorised"), (path, wrong)
        other = {"Authorization": "Bearer token-of-other"}
        assert client.get("/bids/k1", headers=other).status_code == 404
        foreign = client.post(
            "/bids",
            content=msgspec.json.encode(make_bid("k1", revision=9)),
            headers={**other, "Idempotency-Key": "k1"},
        )
        assert receipt(foreign).reason == "resource_unknown"


def test_market_award_comes_out_at_publication_on_real_prices(tmp_path: Path) -> None:
    clock = HandClock(GATE_NS - 10)
    with market(tmp_path, clock) as client:
        held = receipt(post(client, make_bid()))
        clock.t_ns = OUT_NS - 1
        assert awards(client) == []
        clock.t_ns = OUT_NS
        (award,) = awards(client)
        _, cents = prices_over(
            "HB_NORTH", type(HOURS[0])(start_ns=HOURS[0].start_ns, end_ns=HOURS[-1].end_ns)
        )
        assert [hour.price_per_mwh for hour in award.quantities] == [int(c) / 100 for c in cents]
        assert [hour.power_w for hour in award.quantities] == [1_000_000, *[0] * 22, -2_000_000]
        assert (award.bid_id, award.published_ns, award.version) == (held.bid_id, OUT_NS, 1)
        clock.t_ns = OUT_NS + 10**15
        assert awards(client) == [award]
        assert awards(client, "vpp-1") == awards(client, "x") == []


def test_market_prices_show_only_what_is_published(tmp_path: Path) -> None:
    clock = HandClock(OUT_NS - 1)
    first_ns = int(MARKET.bounds_ns("day-ahead", date(2021, 1, 1))[0])
    with market(tmp_path, clock) as client:

        def prices(from_ns: int, to_ns: int, since_ns: int = 0) -> list[PublishedPrice]:
            span = {"from_ns": from_ns, "to_ns": to_ns, "since_ns": since_ns}
            where = {"settlement_point": "HB_NORTH", "product": "day-ahead"}
            answer = client.get("/prices", params={**where, **span})
            assert answer.status_code == 200, answer.text
            return msgspec.json.decode(answer.content, type=list[PublishedPrice])

        history = prices(0, 2**62)
        assert history[0].start_ns == first_ns
        assert history[-1].end_ns == HOURS[0].start_ns, "the last published day is the one before"
        assert len(history) == (HOURS[0].start_ns - first_ns) // NS_PER_HOUR
        assert all(price.published_ns <= clock.t_ns for price in history)
        assert prices(HOURS[0].start_ns, HOURS[-1].end_ns) == []
        clock.t_ns = OUT_NS
        day = prices(HOURS[0].start_ns, HOURS[-1].end_ns)
        assert [(price.start_ns, price.end_ns) for price in day] == [
            (hour.start_ns, hour.end_ns) for hour in HOURS
        ]
        assert prices(0, 2**62, OUT_NS) == day, "what came out since then"
        assert prices(HOURS[3].start_ns, HOURS[3].end_ns) == [day[3]]
        assert prices(HOURS[3].end_ns, HOURS[3].start_ns) == []
        nowhere = "/prices?settlement_point=X&product=day-ahead&from_ns=0&to_ns=1"
        assert client.get(nowhere).status_code == 400
        assert client.get("/prices", params={"settlement_point": "HB_NORTH"}).json()["reason"] == "malformed"


def test_market_rules_name_the_next_gate(tmp_path: Path) -> None:
    clock = HandClock(GATE_NS - 1)
    with market(tmp_path, clock) as client:
        rules = client.get("/market").json()
        assert (rules["market_id"], rules["currency"]) == ("ercot-da", "USD")
        assert [(p["product"], p["next_gate_ns"]) for p in rules["products"]] == [("day-ahead", GATE_NS)]
        clock.t_ns = GATE_NS
        (product,) = client.get("/market").json()["products"]
        next_day = MARKET.gates("day-ahead", DAY + timedelta(days=1))[0]
        assert product["next_gate_ns"] == next_day.closes_ns


def test_market_summary_counts_every_gate_and_resource(tmp_path: Path) -> None:
    clock = HandClock(SINCE_NS - 10)
    next_ns = MARKET.gates("day-ahead", DAY + timedelta(days=1))[0].closes_ns
    with market(tmp_path, clock) as client:
        receipt(post(client, make_bid("b1")))
        receipt(post(client, make_bid("v1", resource_id="vpp-1")))
        clock.t_ns = GATE_NS
        assert (summary(client).gates_passed, summary(client).gates_valid) == (2, 2)
        receipt(post(client, make_bid("b2", day=DAY + timedelta(days=1))))
        clock.t_ns = next_ns - 1
        assert summary(client).gates_passed == 2
        clock.t_ns += 1
        account = summary(client)
        assert (account.gates_passed, account.gates_valid, account.gates_missed) == (4, 3, 1)
        assert [(gate.closes_ns, gate.resource_id) for gate in account.missed] == [(next_ns, "vpp-1")]


def test_market_book_survives_a_restart(tmp_path: Path) -> None:
    clock = HandClock(GATE_NS - 10)
    with market(tmp_path, clock) as client:
        held = receipt(post(client, make_bid()))
    clock.t_ns = OUT_NS
    with market(tmp_path, clock, since_ns=OUT_NS) as client:
        assert receipt(client.get("/bids/k1")) == held
        account = summary(client)
        assert (account.since_ns, account.gates_passed, account.gates_missed) == (SINCE_NS, 2, 1)
        assert account.bids_received == 1
        assert [award.bid_id for award in awards(client)] == [held.bid_id]


def test_market_book_survives_kill_9(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [
        *(sys.executable, "-m", "tests.integration.simulate.market_process"),
        *(str(tmp_path / "market" / "book.db"), str(port), str(GATE_NS - 10)),
    ]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    held: list[MarketReceipt] = []
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=TOKEN, trust_env=False) as client:
        for life in range(2):
            process = subprocess.Popen(command, env=environment, cwd=ROOT)
            try:
                _wait_healthy(client, process)
                for earlier in held:
                    assert receipt(client.get(f"/bids/{earlier.idempotency_key}")) == earlier
                held += [
                    receipt(post(client, make_bid(f"{life}-{n}", revision=10 * life + n)))
                    for n in range(1, 6)
                ]
            finally:
                process.send_signal(signal.SIGKILL)
                process.wait(timeout=10)
    assert [one.state for one in held] == ["accepted"] * 10
    with market(tmp_path, HandClock(GATE_NS)) as client:
        account = summary(client)
        assert (account.bids_received, account.bids_accepted, account.gates_valid) == (10, 10, 1)
        standing = client.get("/standing", params={"resource_id": "bess-1", "delivery_date": DAY.isoformat()})
        whole = msgspec.json.decode(standing.content, type=MarketBid)
        assert whole.idempotency_key == held[-1].idempotency_key


def _wait_healthy(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + 20
    while time.monotonic() < deadline_s:
        assert process.poll() is None, "the market ended by itself"
        try:
            if client.get("/healthz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    pytest.fail("the market did not come up")


def test_market_unknown_outcome_is_found_by_reading_back(tmp_path: Path) -> None:
    clock = HandClock(GATE_NS - 10**12)
    with market(tmp_path, clock, faults=ExchangeFaults(unknown_frac=0.5, seed=3)) as client:
        with _gateway(client) as gateway:
            lost = 0
            for number in range(1, 21):
                clock.t_ns += 10**9
                bid = make_bid(f"k{number}", revision=number)
                try:
                    gateway.submit(bid, timeout_s=5.0)
                except UnavailableError:
                    lost += 1
                    found = _until_known(gateway, bid.idempotency_key)
                    assert found is not None
                    assert found.state == "accepted"
        account = summary(client)
        assert 4 <= lost <= 16
        assert (account.bids_received, account.bids_accepted, account.bids_repeated) == (20, 20, 0)


def _until_known(gateway: HttpExchange, key: str) -> MarketReceipt | None:
    for _ in range(60):
        try:
            return gateway.receipt(key, timeout_s=5.0)
        except UnavailableError:
            continue
    pytest.fail("every reading failed")


def test_market_late_answer_took_effect(tmp_path: Path) -> None:
    with market(
        tmp_path, HandClock(GATE_NS - 10), faults=ExchangeFaults(lost_frac=1.0, lost_s=0.3)
    ) as client:
        with pytest.raises(httpx.ReadTimeout):
            client.post(
                "/bids",
                content=msgspec.json.encode(make_bid()),
                headers={"Idempotency-Key": "k1"},
                timeout=0.1,
            )
        deadline_s = time.monotonic() + 10
        while not (account := summary(client)).bids_received:
            assert time.monotonic() < deadline_s
        assert (account.bids_received, account.bids_accepted) == (1, 1)


def test_market_speaks_with_the_gateway(tmp_path: Path) -> None:
    clock = HandClock(GATE_NS - 10)
    span = {"from_ns": HOURS[0].start_ns, "to_ns": HOURS[-1].end_ns}
    with market(tmp_path, clock) as client, _gateway(client) as gateway:
        assert gateway.receipt("k1", timeout_s=5.0) is None
        held = gateway.submit(make_bid(), timeout_s=5.0)
        assert gateway.receipt("k1", timeout_s=5.0) == held
        assert gateway.awards("bess-1", DAY.isoformat()) == []
        clock.t_ns = OUT_NS
        (award,) = gateway.awards("bess-1", DAY.isoformat())
        prices = gateway.prices("HB_NORTH", "day-ahead", **span)
        assert [p.price_per_mwh for p in prices] == [hour.price_per_mwh for hour in award.quantities]
        with pytest.raises(InvalidInputError):
            gateway.prices("X", "day-ahead", **span)
        with pytest.raises(InvalidInputError):
            gateway.submit(make_bid(sell_mw=7.0), timeout_s=5.0)


@contextmanager
def _gateway(client: httpx.Client) -> Iterator[HttpExchange]:
    gateway = HttpExchange(url=str(client.base_url), token="token-of-shoal")
    try:
        yield gateway
    finally:
        gateway.close()


def test_market_account_lists_the_awards_that_the_report_is_made_from(tmp_path: Path) -> None:
    clock = HandClock(GATE_NS - 10)
    with market(tmp_path, clock) as client:
        receipt(post(client, make_bid()))
        clock.t_ns = OUT_NS
        (sent,) = awards(client)
    book = ExchangeBook(
        MARKET,
        path=tmp_path / "market" / "book.db",
        resources=RESOURCES,
        publisher=Publisher(list(TAPES), Corrections()),
        since_ns=SINCE_NS,
    )
    (listed,) = awards_of(book, MARKET, ["bess-1", "vpp-1"], now_ns=OUT_NS)
    assert (listed.resource_id, listed.delivery_date) == ("bess-1", DAY.isoformat())
    assert [one.energy_wh for one in listed.intervals] == [one.power_w for one in sent.quantities]
    book.close()


@pytest.mark.parametrize("wrong", [{"unknown_frac": -0.1}, {"lost_frac": 1.1}])
def test_market_faults_refuse_wrong_shares(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError):
        ExchangeFaults(**wrong)  # type: ignore[arg-type]
