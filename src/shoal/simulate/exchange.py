"""A simulated market with gates of any kind, over HTTP, as hostile as it is told to be.

The doors are those that `shoal.connect.exchange_http` knows; beside them ``GET /summary`` (the market's own account,
`ExchangeSummary`), ``GET /market`` (products and the next gates) and ``GET /healthz``. Gates close by the market's
clock at the instant when the whole of a bid has arrived. What goes wrong is drawn from the seed: slow ways, errors
before and after the request took effect, answers that never come, refusals out of the blue, outages, corrected prices
and awards. It settles what was metered when its runs are due, and again when something was corrected.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

import msgspec
from fastapi import FastAPI, Request, Response

from shoal.domain.clock import Clock
from shoal.domain.errors import InvalidInputError
from shoal.market.bids import MarketBid
from shoal.market.contract import Market, RejectedBid
from shoal.market.metering import MeterReport
from shoal.simulate import draws
from shoal.simulate.doors import RefusalError, Tokens, add_refusals, json_answer, submitted
from shoal.simulate.exchange_book import ExchangeBook, Participant
from shoal.simulate.exchange_settling import SettlingRules
from shoal.simulate.exchange_tape import Corrections, Publisher, Tape


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeFaults:
    """What goes wrong, as shares of requests; each is drawn by itself.

    Attributes:
        slow_frac: Requests that take `slow_s` on the way in: a bid sent in time may arrive late.
        slow_s: In real seconds.
        refused_frac: Answered 503 before anything took effect.
        unknown_frac: Answered 503 although the request took effect.
        lost_frac: Took effect, but the answer never comes: the connection stays open for `lost_s`, then breaks.
        lost_s: In real seconds.
        busy_frac: Bids refused out of the blue, with reason ``market_busy``.
        outages: Spans ``(start_ns, end_ns)`` of the market's time in which everything is answered 503.
        seed: The same seed gives the same faults for the same order of requests.
    """

    slow_frac: float = 0.0
    slow_s: float = 0.5
    refused_frac: float = 0.0
    unknown_frac: float = 0.0
    lost_frac: float = 0.0
    lost_s: float = 30.0
    busy_frac: float = 0.0
    outages: tuple[tuple[int, int], ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("slow_frac", "refused_frac", "unknown_frac", "lost_frac", "busy_frac"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InvalidInputError(field=name, value=getattr(self, name), fix="give a share from 0 to 1")


_MAX_KEY: Final = 300
_MAX_BODY_BYTES: Final = 4_000_000
_METER_STATUS: Final = {"resource_unknown": 403, "not_the_meter": 403, "revision": 409}
_SLOW, _REFUSED, _UNKNOWN, _LOST, _BUSY = range(5)


def create_exchange(
    market: Market,
    clock: Clock,
    *,
    store: Path,
    tokens: Mapping[str, str],
    resources: Sequence[Participant],
    tapes: Sequence[Tape],
    since_ns: int,
    faults: ExchangeFaults | None = None,
    corrections: Corrections | None = None,
    settling: SettlingRules | None = None,
) -> FastAPI:
    """Return the market's application; `app.state.book` is its `ExchangeBook`, closed when the server stops.

    Args:
        market: The rules.
        clock: Time, real or simulated.
        store: The SQLite file of the book.
        tokens: The participant, or metering agent, by bearer token.
        resources: Who may bid.
        tapes: Prices.
        since_ns: From which gate on each resource is expected to bid (the first start's value is kept).
        faults: What goes wrong; nothing by default.
        corrections: How prices and awards are corrected; not at all by default.
        settling: When runs of the settlement are issued; as the market's calendar says by default.
    """
    publisher = Publisher(list(tapes), corrections or Corrections())
    book = ExchangeBook(
        market, path=store, resources=resources, publisher=publisher, since_ns=since_ns, settling=settling
    )
    doors = _Doors(market, clock, book, publisher, Tokens(tokens), faults or ExchangeFaults())

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        book.close()

    app = FastAPI(title=f"Simulated market {market.rules.market_id}", lifespan=lifespan)
    app.state.book = book
    app.add_api_route("/bids", doors.submit, methods=["POST"])
    app.add_api_route("/bids/{key:path}", doors.receipt, methods=["GET"])
    app.add_api_route("/standing", doors.standing, methods=["GET"])
    app.add_api_route("/awards", doors.awards, methods=["GET"])
    app.add_api_route("/prices", doors.prices, methods=["GET"])
    app.add_api_route("/meters", doors.take_meters, methods=["POST"])
    app.add_api_route("/meters", doors.meters, methods=["GET"])
    app.add_api_route("/settlements", doors.settlements, methods=["GET"])
    app.add_api_route("/market", doors.rules, methods=["GET"])
    app.add_api_route("/summary", doors.summary, methods=["GET"])
    app.add_api_route("/healthz", doors.health, methods=["GET"])
    add_refusals(app)
    return app


class _Doors:
    """The endpoints."""

    def __init__(
        self,
        market: Market,
        clock: Clock,
        book: ExchangeBook,
        publisher: Publisher,
        tokens: Tokens,
        faults: ExchangeFaults,
    ) -> None:
        self._market = market
        self._clock = clock
        self._book = book
        self._publisher = publisher
        self._tokens = tokens
        self._faults = faults
        names = [f"{market.rules.market_id}/{number}" for number in range(5)]
        self._fault_keys = draws.keys(names, faults.seed, "exchange-faults")
        self._requests = count()

    async def submit(self, request: Request) -> Response:
        """Take a bid."""
        participant, drawn = await self._let_in(request)
        bid: MarketBid = await submitted(request, MarketBid, key_length=_MAX_KEY, most_bytes=_MAX_BODY_BYTES)
        # the instant of arrival is that of the complete message; nothing waits between here and the book
        busy = drawn[_BUSY] < self._faults.busy_frac
        receipt = self._book.submit(bid, participant=participant, received_ns=self._clock.now_ns(), busy=busy)
        return await self._answer(receipt, drawn, status=409 if receipt.reason == "key_conflict" else 200)

    async def receipt(self, request: Request, key: str) -> Response:
        """Read back what is held under a key."""
        participant, drawn = await self._let_in(request)
        found = self._book.receipt(key, participant=participant)
        if found is None:
            missing = {"reason": "unknown", "detail": f"{key!r} never arrived"}
            return await self._answer(missing, drawn, status=404)
        return await self._answer(found, drawn)

    async def standing(self, request: Request, resource_id: str, delivery_date: str) -> Response:
        """Read the whole bid that stands."""
        _, drawn = await self._let_in(request)
        found = self._book.standing(resource_id, delivery_date)
        if found is None:
            missing = {"reason": "no_bid", "detail": f"nothing stands for {resource_id!r} on {delivery_date}"}
            return await self._answer(missing, drawn, status=404)
        return await self._answer(found, drawn)

    async def awards(self, request: Request, resource_id: str, delivery_date: str) -> Response:
        """Read every version of an award."""
        _, drawn = await self._let_in(request)
        try:
            found = self._book.awards(resource_id, delivery_date, now_ns=self._clock.now_ns())
        except ValueError as error:
            raise RefusalError(400, "delivery_date", "give a date as YYYY-MM-DD") from error
        return await self._answer(found, drawn)

    async def prices(
        self,
        request: Request,
        settlement_point: str,
        product: str,
        from_ns: int,
        to_ns: int,
        since_ns: int = 0,
    ) -> Response:
        """Read published prices."""
        _, drawn = await self._let_in(request)
        try:
            found = self._publisher.published(
                product,
                settlement_point,
                from_ns=from_ns,
                to_ns=to_ns,
                since_ns=since_ns,
                now_ns=self._clock.now_ns(),
            )
        except InvalidInputError as error:
            raise RefusalError(400, error.field, str(error)) from error
        return await self._answer(found, drawn)

    async def take_meters(self, request: Request) -> Response:
        """Take readings of meters."""
        participant, drawn = await self._let_in(request)
        body = await request.body()
        if len(body) > _MAX_BODY_BYTES:
            raise RefusalError(413, "too_large", f"a report has at most {_MAX_BODY_BYTES} bytes")
        try:
            report = msgspec.json.decode(body, type=MeterReport)
        except msgspec.DecodeError as error:
            raise RefusalError(400, "malformed", str(error)) from error
        now_ns = self._clock.now_ns()
        taken = self._book.take_meters(report, participant=participant, received_ns=now_ns)
        if isinstance(taken, RejectedBid):
            status = _METER_STATUS.get(taken.reason, 400)
            return await self._answer({"reason": taken.reason, "detail": taken.detail}, drawn, status=status)
        return await self._answer(taken, drawn)

    async def meters(self, request: Request, resource_id: str, delivery_date: str) -> Response:
        """Read back the readings that count."""
        _, drawn = await self._let_in(request)
        return await self._answer(self._book.meters(resource_id, delivery_date), drawn)

    async def settlements(self, request: Request, resource_id: str, delivery_date: str) -> Response:
        """Read every version of a settlement."""
        _, drawn = await self._let_in(request)
        now_ns = self._clock.now_ns()
        return await self._answer(self._book.settlements(resource_id, delivery_date, now_ns=now_ns), drawn)

    async def rules(self, request: Request) -> Response:
        """Read the products and the next gates."""
        self._tokens.participant(request)
        now_ns = self._clock.now_ns()
        products = [
            {
                "product": product.product_id,
                "name": product.name,
                "next_gate_ns": self._market.next_gate(product.product_id, now_ns).closes_ns,
            }
            for product in self._market.products(self._market.delivery_date(now_ns))
        ]
        rules = self._market.rules
        return json_answer(
            {
                "market_id": rules.market_id,
                "name": rules.name,
                "currency": rules.currency,
                "products": products,
            }
        )

    async def summary(self, request: Request) -> Response:
        """Read the market's own account."""
        self._tokens.participant(request)
        return json_answer(self._book.summary(now_ns=self._clock.now_ns()))

    async def health(self) -> Response:
        """Say that the market is up."""
        return json_answer({"status": "ok", "now_ns": self._clock.now_ns()})

    async def _let_in(self, request: Request) -> tuple[str, list[float]]:
        """Return who asks and the draws of this request, after what went wrong on the way in."""
        participant = self._tokens.participant(request)
        drawn: list[float] = draws.uniform(self._fault_keys, next(self._requests)).tolist()
        if drawn[_SLOW] < self._faults.slow_frac:
            await asyncio.sleep(self._faults.slow_s)
        now_ns = self._clock.now_ns()
        if any(start_ns <= now_ns < end_ns for start_ns, end_ns in self._faults.outages):
            raise RefusalError(503, "outage", "the market is down")
        if drawn[_REFUSED] < self._faults.refused_frac:
            raise RefusalError(503, "unavailable", "the request was not taken")
        return participant, drawn

    async def _answer(self, content: Any, drawn: list[float], *, status: int = 200) -> Response:
        """Answer a request that has been processed, unless the answer is lost."""
        if drawn[_LOST] < self._faults.lost_frac:
            await asyncio.sleep(self._faults.lost_s)
            raise RefusalError(504, "lost", "the answer was lost")
        if drawn[_UNKNOWN] < self._faults.unknown_frac:
            raise RefusalError(503, "unavailable", "the outcome is unknown; read back")
        return json_answer(content, status=status)
