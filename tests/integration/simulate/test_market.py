"""The simulated market over HTTP: gates, idempotency, awards on real prices, its own account, restarts and faults."""

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

from shoal.connect.market_http import MarketGateway
from shoal.domain.errors import InvalidInputError, UnavailableError
from shoal.domain.interval import local_midnight_ns
from shoal.market.ercot import ERCOT_DAY_AHEAD as MARKET
from shoal.market.types import Award, Bid, BidReceipt, ClearingPrice, Order
from shoal.simulate.market import MarketFaults, create_app
from shoal.simulate.market_book import MarketSummary
from shoal.simulate.prices import prices_over
from tests.integration.simulate.clocks import HandClock
from tests.integration.simulate.market_process import RESOURCES, SINCE_NS, TOKENS

ROOT = Path(__file__).resolve().parents[3]
DAY = date(2021, 7, 2)
GATE_NS = MARKET.gate_ns(DAY)
OUT_NS = MARKET.publication_ns(DAY)
HOURS = MARKET.delivery_intervals(DAY)
TOKEN = {"Authorization": "Bearer token-of-shoal"}


def make_bid(
    key: str = "k1", *, revision: int = 1, resource_id: str = "bess-1", day: date = DAY, sell_mw: float = 2.0
) -> Bid:
    """Buy 1 MW in the first hour at any price up to 500, sell in the last one from 10 on."""
    hours = MARKET.delivery_intervals(day)
    return Bid(
        idempotency_key=key,
        resource_id=resource_id,
        market_id="ercot-da",
        settlement_point="HB_NORTH" if resource_id == "bess-1" else "LZ_NORTH",
        delivery_date=day.isoformat(),
        revision=revision,
        orders=(
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
        ),
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
    tmp_path: Path, clock: HandClock, *, faults: MarketFaults | None = None, since_ns: int = SINCE_NS
) -> Iterator[httpx.Client]:
    """Serve a market with its book in `tmp_path` and yield a client with a token."""
    app = create_app(
        MARKET,
        clock,
        store=tmp_path / "market" / "book.db",
        tokens=TOKENS,
        resources=RESOURCES,
        since_ns=since_ns,
        faults=faults,
    )
    with serving(app) as url, httpx.Client(base_url=url, headers=TOKEN, trust_env=False) as client:
        yield client


def post(client: httpx.Client, bid: Bid, *, key: str | None = None) -> httpx.Response:
    return client.post(
        "/bids", content=msgspec.json.encode(bid), headers={"Idempotency-Key": key or bid.idempotency_key}
    )


def receipt(response: httpx.Response) -> BidReceipt:
    assert response.status_code == 200, response.text
    return msgspec.json.decode(response.content, type=BidReceipt)


def summary(client: httpx.Client) -> MarketSummary:
    return msgspec.json.decode(client.get("/summary").content, type=MarketSummary)


def test_market_gate_closes_to_the_nanosecond(tmp_path: Path) -> None:
    clock = HandClock(GATE_NS - 1)
    with market(tmp_path, clock) as client:
        early = receipt(post(client, make_bid("early")))
        assert (early.status, early.received_ns) == ("accepted", GATE_NS - 1)
        clock.t_ns = GATE_NS
        late = receipt(post(client, make_bid("late", revision=2)))
        assert (late.status, late.reason, late.received_ns) == ("rejected", "gate_closed", GATE_NS)
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
        assert (account.bids_received, account.bids_accepted, account.bids_repeated, account.bids_late) == (
            2,
            1,
            1,
            0,
        )


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
        assert {(r.status, r.reason) for r in (same, lower)} == {("rejected", "duplicate_bid")}
        higher = receipt(post(client, make_bid("d", revision=3, sell_mw=5.0)))
        assert higher.status == "accepted"
        clock.t_ns = OUT_NS
        award = msgspec.json.decode(
            client.get("/awards", params={"resource_id": "bess-1", "delivery_date": DAY.isoformat()}).content,
            type=Award,
        )
        assert award.bid_id == higher.bid_id
        assert award.intervals[-1].energy_wh == -5_000_000
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
        assert (small.status, small.reason) == ("rejected", "quantity_minimum")
        unknown = receipt(post(client, msgspec.structs.replace(make_bid("unknown"), resource_id="bess-9")))
        assert (unknown.status, unknown.reason) == ("rejected", "resource_unknown")
        point = receipt(post(client, msgspec.structs.replace(make_bid("point"), settlement_point="HB_WEST")))
        assert (point.status, point.reason) == ("rejected", "settlement_point")
        for day in ("2023-01-01", "9999-12-31", "0001-01-01", "tomorrow"):
            far = receipt(
                post(client, msgspec.structs.replace(make_bid(f"far-{day}"), delivery_date=day, orders=()))
            )
            assert (far.status, far.reason) == ("rejected", "no_prices")
        broken = client.post("/bids", content=b'{"idempotency_key": 3}', headers={"Idempotency-Key": "3"})
        assert (broken.status_code, broken.json()["reason"]) == (400, "malformed")
        assert summary(client).bids_rejected == 7


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
    asked = {"resource_id": "bess-1", "delivery_date": DAY.isoformat()}
    with market(tmp_path, clock) as client:
        held = receipt(post(client, make_bid()))
        clock.t_ns = OUT_NS - 1
        hidden = client.get("/awards", params=asked)
        assert (hidden.status_code, hidden.json()["reason"]) == (404, "not_published")
        clock.t_ns = OUT_NS
        award = msgspec.json.decode(client.get("/awards", params=asked).content, type=Award)
        _, cents = prices_over(
            "HB_NORTH", type(HOURS[0])(start_ns=HOURS[0].start_ns, end_ns=HOURS[-1].end_ns)
        )
        assert [hour.price_per_mwh for hour in award.intervals] == [int(c) / 100 for c in cents]
        assert [hour.energy_wh for hour in award.intervals] == [1_000_000, *[0] * 22, -2_000_000]
        assert (award.bid_id, award.published_ns) == (held.bid_id, OUT_NS)
        clock.t_ns = OUT_NS + 10**15
        assert msgspec.json.decode(client.get("/awards", params=asked).content, type=Award) == award
        without = client.get("/awards", params={**asked, "resource_id": "vpp-1"})
        assert (without.status_code, without.json()["reason"]) == (404, "no_bid")
        stranger = client.get("/awards", params={**asked, "resource_id": "x"})
        assert (stranger.status_code, stranger.json()["reason"]) == (404, "resource_unknown")
        assert client.get("/awards", params={**asked, "delivery_date": "soon"}).status_code == 400


def test_market_prices_show_only_what_is_published(tmp_path: Path) -> None:
    clock = HandClock(OUT_NS - 1)
    first_ns = local_midnight_ns(date(2021, 1, 1), MARKET.zone)
    with market(tmp_path, clock) as client:

        def prices(from_ns: int, to_ns: int, point: str = "HB_NORTH") -> list[ClearingPrice]:
            answer = client.get(
                "/prices", params={"settlement_point": point, "from_ns": from_ns, "to_ns": to_ns}
            )
            assert answer.status_code == 200, answer.text
            return msgspec.json.decode(answer.content, type=list[ClearingPrice])

        history = prices(0, 2**62)
        assert history[0].start_ns == first_ns
        assert history[-1].end_ns == HOURS[0].start_ns, "the last published day is the one before"
        assert len(history) == (HOURS[0].start_ns - first_ns) // (3_600 * 10**9)
        assert all(price.published_ns <= clock.t_ns for price in history)
        assert prices(HOURS[0].start_ns, HOURS[-1].end_ns) == []
        clock.t_ns = OUT_NS
        day = prices(HOURS[0].start_ns, HOURS[-1].end_ns)
        assert [(price.start_ns, price.end_ns) for price in day] == [
            (hour.start_ns, hour.end_ns) for hour in HOURS
        ]
        assert prices(HOURS[3].start_ns, HOURS[3].end_ns) == [day[3]]
        assert prices(HOURS[3].end_ns, HOURS[3].start_ns) == []
        assert (
            client.get("/prices", params={"settlement_point": "X", "from_ns": 0, "to_ns": 1}).status_code
            == 400
        )
        assert client.get("/prices", params={"settlement_point": "HB_NORTH"}).json()["reason"] == "malformed"


def test_market_rules_name_the_next_gate(tmp_path: Path) -> None:
    clock = HandClock(GATE_NS - 1)
    with market(tmp_path, clock) as client:
        rules = client.get("/market").json()
        assert (rules["zone"], rules["next_delivery_date"]) == ("America/Chicago", "2021-07-02")
        assert (rules["next_gate_ns"], rules["next_publication_ns"]) == (GATE_NS, OUT_NS)
        assert (rules["quantity_step_mw"], rules["price_tick_per_mwh"]) == (0.1, 0.01)
        clock.t_ns = GATE_NS
        assert client.get("/market").json()["next_delivery_date"] == "2021-07-03"


def test_market_summary_counts_every_gate_and_resource(tmp_path: Path) -> None:
    clock = HandClock(SINCE_NS - 10)
    with market(tmp_path, clock) as client:
        receipt(post(client, make_bid("b1")))
        receipt(post(client, make_bid("v1", resource_id="vpp-1")))
        clock.t_ns = GATE_NS
        assert (summary(client).gates_passed, summary(client).gates_valid) == (1, 2)
        receipt(post(client, make_bid("b2", day=DAY + timedelta(days=1))))
        clock.t_ns = MARKET.gate_ns(DAY + timedelta(days=1)) - 1
        assert summary(client).gates_passed == 1
        clock.t_ns += 1
        account = summary(client)
        assert (account.gates_passed, account.gates_valid, account.gates_missed) == (2, 3, 1)
        missed = [(gate.delivery_date, gate.resource_id) for gate in account.gates if gate.status == "missed"]
        assert missed == [("2021-07-03", "vpp-1")]
        assert [award.resource_id for award in account.awards] == ["bess-1", "vpp-1"], (
            "only the first day is out"
        )


def test_market_book_survives_a_restart(tmp_path: Path) -> None:
    clock = HandClock(GATE_NS - 10)
    with market(tmp_path, clock) as client:
        held = receipt(post(client, make_bid()))
    clock.t_ns = OUT_NS
    with market(tmp_path, clock, since_ns=OUT_NS) as client:
        assert receipt(client.get("/bids/k1")) == held
        assert receipt(post(client, make_bid())) == held
        account = summary(client)
        assert (account.since_ns, account.gates_passed, account.gates_missed) == (SINCE_NS, 1, 1)
        assert (account.bids_received, account.bids_repeated) == (2, 1)
        assert [award.bid_id for award in account.awards] == [held.bid_id]


def test_market_book_survives_kill_9(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [
        *(sys.executable, "-m", "tests.integration.simulate.market_process"),
        *(str(tmp_path / "market" / "book.db"), str(port), str(GATE_NS - 10)),
    ]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    held: list[BidReceipt] = []
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
    assert [one.status for one in held] == ["accepted"] * 10
    with market(tmp_path, HandClock(GATE_NS)) as client:
        account = summary(client)
        assert (account.bids_received, account.bids_accepted, account.gates_valid) == (10, 10, 1)
        assert account.gates[0].bid_id == held[-1].bid_id


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
    with market(tmp_path, clock, faults=MarketFaults(unknown_frac=0.5, seed=3)) as client:
        with _gateway(client) as gateway:
            lost = 0
            for number in range(1, 21):
                clock.t_ns += 10**9
                bid = make_bid(f"k{number}", revision=number)
                try:
                    gateway.submit(bid)
                except UnavailableError:
                    lost += 1
                    found = _until_known(gateway, bid.idempotency_key)
                    assert found is not None
                    assert found.status == "accepted"
        account = summary(client)
        assert 4 <= lost <= 16
        assert (account.bids_received, account.bids_accepted, account.bids_repeated) == (20, 20, 0)


def _until_known(gateway: MarketGateway, key: str) -> BidReceipt | None:
    for _ in range(60):
        try:
            return gateway.receipt(key)
        except UnavailableError:
            continue
    pytest.fail("every reading failed")


def test_market_late_answer_took_effect(tmp_path: Path) -> None:
    with market(tmp_path, HandClock(GATE_NS - 10), faults=MarketFaults(late_frac=1.0, late_s=0.3)) as client:
        with pytest.raises(httpx.ReadTimeout):
            client.post(
                "/bids",
                content=msgspec.json.encode(make_bid()),
                headers={"Idempotency-Key": "k1"},
                timeout=0.1,
            )
        assert receipt(client.get("/bids/k1")).status == "accepted"
        assert summary(client).bids_received == 1


def test_market_speaks_with_the_gateway(tmp_path: Path) -> None:
    clock = HandClock(GATE_NS - 10)
    with market(tmp_path, clock) as client, _gateway(client) as gateway:
        assert gateway.receipt("k1") is None
        held = gateway.submit(make_bid())
        assert gateway.receipt("k1") == held
        assert gateway.award("bess-1", DAY.isoformat()) is None
        clock.t_ns = OUT_NS
        award = gateway.award("bess-1", DAY.isoformat())
        assert award is not None
        prices = gateway.prices("HB_NORTH", from_ns=HOURS[0].start_ns, to_ns=HOURS[-1].end_ns)
        assert [p.price_per_mwh for p in prices] == [hour.price_per_mwh for hour in award.intervals]
        with pytest.raises(InvalidInputError):
            gateway.prices("X", from_ns=0, to_ns=1)
        with pytest.raises(InvalidInputError):
            gateway.submit(make_bid(sell_mw=7.0))


@contextmanager
def _gateway(client: httpx.Client) -> Iterator[MarketGateway]:
    gateway = MarketGateway(url=str(client.base_url), token="token-of-shoal")
    try:
        yield gateway
    finally:
        gateway.close()


@pytest.mark.parametrize("wrong", [{"unknown_frac": -0.1}, {"unknown_frac": 0.6, "late_frac": 0.6}])
def test_market_faults_refuse_wrong_shares(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError):
        MarketFaults(**wrong)  # type: ignore[arg-type]
