"""The gateway against a server that answers as it is told: each answer becomes a value or the right error."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest

from shoal.connect.exchange_http import HttpExchange
from shoal.domain.errors import InvalidInputError, UnavailableError
from shoal.market.awards import MarketAward, MarketReceipt
from shoal.market.bids import MarketBid, Orders
from shoal.market.exchange import PublishedPrice
from tests.unit.bidding.plans import DAY

RECEIPT = MarketReceipt(idempotency_key="k", bid_id="b-1", state="accepted", received_ns=5)
BID = MarketBid(
    idempotency_key="k",
    resource_id="bess-1",
    market_id="ercot-da",
    settlement_point="HB_NORTH",
    delivery_date=DAY.isoformat(),
    revision=1,
    offers=(Orders(product="day-ahead", orders=()),),
)


class Exchange:
    """A server with one answer at a time; it remembers what it was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.body = b""
        self.drop = False
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        exchange = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                exchange.asked.append((self.command, self.path, dict(self.headers), body))
                if exchange.drop:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.send_response(exchange.status)
                self.send_header("Content-Length", str(len(exchange.body)))
                self.end_headers()
                self.wfile.write(exchange.body)

            do_GET = do_POST = _answer

            def log_message(self, *_: Any) -> None:
                """Stay silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()

    def answers(self, status: int, content: Any) -> None:
        self.status = status
        self.body = content if isinstance(content, bytes) else msgspec.json.encode(content)


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    exchange = Exchange()
    yield exchange
    exchange.close()


@pytest.fixture
def gateway(exchange: Exchange) -> Iterator[HttpExchange]:
    gateway = HttpExchange(url=exchange.url, token="secret", timeout_s=5.0)
    yield gateway
    gateway.close()


Call = Callable[[HttpExchange], object]
CALLS: dict[str, Call] = {
    "submit": lambda g: g.submit(BID, timeout_s=5.0),
    "receipt": lambda g: g.receipt("k", timeout_s=5.0),
    "standing": lambda g: g.standing("bess-1", DAY.isoformat()),
    "awards": lambda g: g.awards("bess-1", DAY.isoformat()),
    "prices": lambda g: g.prices("HB_NORTH", "day-ahead", from_ns=0, to_ns=9),
    "settlements": lambda g: g.settlements("bess-1", DAY.isoformat()),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())


def test_submission_carries_key_and_token(exchange: Exchange, gateway: HttpExchange) -> None:
    exchange.answers(200, RECEIPT)
    assert gateway.submit(BID, timeout_s=5.0) == RECEIPT
    ((method, path, headers, body),) = exchange.asked
    assert (method, path) == ("POST", "/bids")
    assert headers["Idempotency-Key"] == BID.idempotency_key
    assert headers["Authorization"] == "Bearer secret"
    assert msgspec.json.decode(body, type=type(BID)) == BID


def test_receipt_is_read_back_under_its_key(exchange: Exchange, gateway: HttpExchange) -> None:
    exchange.answers(200, RECEIPT)
    assert gateway.receipt("bid-bess-1-2021-07-02-r1", timeout_s=5.0) == RECEIPT
    assert exchange.asked[0][1] == "/bids/bid-bess-1-2021-07-02-r1"


def test_awards_and_prices_are_decoded(exchange: Exchange, gateway: HttpExchange) -> None:
    award = MarketAward(
        resource_id="bess-1",
        market_id="ercot-da",
        settlement_point="HB_NORTH",
        delivery_date=DAY.isoformat(),
        bid_id="b-1",
        version=1,
        published_ns=3,
        quantities=(),
    )
    exchange.answers(200, [award])
    assert gateway.awards("bess-1", DAY.isoformat()) == [award]
    price = PublishedPrice(
        product="day-ahead",
        settlement_point="HB_NORTH",
        start_ns=0,
        end_ns=1,
        price_per_mwh=-3.5,
        published_ns=0,
    )
    exchange.answers(200, [price])
    assert gateway.prices("HB_NORTH", "day-ahead", from_ns=0, to_ns=9) == [price]
    asked = "/prices?settlement_point=HB_NORTH&product=day-ahead&from_ns=0&to_ns=9&since_ns=0"
    assert exchange.asked[1][1] == asked


def test_what_is_not_there_is_none(exchange: Exchange, gateway: HttpExchange) -> None:
    exchange.answers(404, {"reason": "unknown", "detail": "never arrived"})
    assert gateway.receipt("k", timeout_s=5.0) is None
    assert gateway.standing("bess-1", DAY.isoformat()) is None
    assert gateway.awards("bess-1", DAY.isoformat()) == []


@every_call
@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 425, 429])
def test_outcome_may_be_unknown(exchange: Exchange, gateway: HttpExchange, call: Call, status: int) -> None:
    exchange.answers(status, {"detail": "later"})
    with pytest.raises(UnavailableError, match=str(status)):
        call(gateway)
    assert len(exchange.asked) == 1, "it is for the caller to read back: nothing is sent twice"


@every_call
@pytest.mark.parametrize("status", [400, 401, 403, 409, 413, 422])
def test_wrong_request_says_what_the_market_says(
    exchange: Exchange, gateway: HttpExchange, call: Call, status: int
) -> None:
    exchange.answers(status, {"reason": "malformed", "detail": "no such field"})
    with pytest.raises(InvalidInputError, match="no such field"):
        call(gateway)


@every_call
@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'"\xff"', b'{"\xff": 1}', b"[1]"])
def test_answer_that_cannot_be_read_leaves_the_outcome_unknown(
    exchange: Exchange, gateway: HttpExchange, call: Call, body: bytes
) -> None:
    exchange.answers(200, body)
    with pytest.raises(UnavailableError, match="cannot be read"):
        call(gateway)


@every_call
def test_broken_connection_leaves_the_outcome_unknown(
    exchange: Exchange, gateway: HttpExchange, call: Call
) -> None:
    exchange.drop = True
    with pytest.raises(UnavailableError):
        call(gateway)
    assert len(exchange.asked) == 1


@every_call
def test_market_that_is_not_there_is_unavailable(call: Call) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    gateway = HttpExchange(url=f"http://127.0.0.1:{port}", token="secret")
    try:
        with pytest.raises(UnavailableError, match="ConnectError"):
            call(gateway)
    finally:
        gateway.close()


def test_market_that_does_not_answer_in_time_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        gateway = HttpExchange(
            url=f"http://127.0.0.1:{silent.getsockname()[1]}", token="secret", timeout_s=0.1
        )
        try:
            with pytest.raises(UnavailableError, match="ReadTimeout"):
                gateway.submit(BID, timeout_s=0.1)
        finally:
            gateway.close()


def test_gateway_serves_several_threads(exchange: Exchange, gateway: HttpExchange) -> None:
    exchange.answers(200, RECEIPT)
    answers: list[MarketReceipt | None] = []
    threads = [
        threading.Thread(target=lambda: answers.append(gateway.receipt("k", timeout_s=5.0))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [RECEIPT] * 8
