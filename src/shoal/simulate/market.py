"""The simulated market as an HTTP server: bids until the gate, awards and real prices once published.

    POST /bids             a `Bid`, header ``Idempotency-Key`` as in its body: a `BidReceipt`, even refused
    GET  /bids/{key}       the `BidReceipt` under the key; 404 when it never arrived
    GET  /awards           ?resource_id&delivery_date: an `Award`; 404 with the reason while there is none
    GET  /prices           ?settlement_point&from_ns&to_ns: a list of `ClearingPrice`
    GET  /market           the rules; GET /summary: the market's own account (`MarketSummary`)
    GET  /healthz          open to all; everything else needs a bearer token

Errors are ``{"reason": code, "detail": text}``. The state is in `MarketBook`; here are its doors.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, Request, Response

from shoal.domain.clock import Clock
from shoal.domain.errors import InvalidInputError
from shoal.domain.outcome import Rejected
from shoal.market.rules import DayAheadMarket
from shoal.market.types import Bid
from shoal.simulate import draws
from shoal.simulate.doors import RefusalError, Tokens, add_refusals, json_answer, submitted
from shoal.simulate.market_book import KeyConflict, MarketBook, RegisteredResource

_MAX_KEY: Final = 200
_MAX_BODY_BYTES: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketFaults:
    """Answers that go wrong after the request was processed, drawn from the seed.

    Attributes:
        unknown_frac: Share of requests that are answered 503 although they took effect.
        late_frac: Share of requests that are answered late.
        late_s: How late, in real seconds.
        seed: The same seed gives the same faults for the same requests at the same times.
    """

    unknown_frac: float = 0.0
    late_frac: float = 0.0
    late_s: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.unknown_frac, self.late_frac, self.late_s) < 0 or self.unknown_frac + self.late_frac > 1:
            raise InvalidInputError(
                field="faults", value=self, fix="give shares from 0 up that together do not pass 1"
            )


def create_app(
    market: DayAheadMarket,
    clock: Clock,
    *,
    store: Path,
    tokens: Mapping[str, str],
    resources: Sequence[RegisteredResource],
    since_ns: int,
    faults: MarketFaults | None = None,
) -> FastAPI:
    """Return the market's application; `app.state.book` is its `MarketBook`, closed when the server stops.

    Args:
        market: The rules.
        clock: Time, real or simulated.
        store: The SQLite file of the book.
        tokens: The participant by bearer token.
        resources: Who may bid.
        since_ns: From which gate on each resource is expected to bid (the first start's value is kept).
        faults: Faults to inject; none by default.

    Raises:
        InvalidInputError: see `MarketBook`.
    """
    book = MarketBook(market, path=store, resources=resources, since_ns=since_ns)
    doors = _Doors(market, clock, book, tokens, faults or MarketFaults())

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        book.close()

    app = FastAPI(title=f"Simulated market {market.market_id}", lifespan=lifespan)
    app.state.book = book
    app.add_api_route("/bids", doors.submit, methods=["POST"])
    app.add_api_route("/bids/{key:path}", doors.receipt, methods=["GET"])
    app.add_api_route("/awards", doors.award, methods=["GET"])
    app.add_api_route("/prices", doors.prices, methods=["GET"])
    app.add_api_route("/market", doors.rules, methods=["GET"])
    app.add_api_route("/summary", doors.summary, methods=["GET"])
    app.add_api_route("/healthz", doors.health, methods=["GET"])
    add_refusals(app)
    return app


class _Doors:
    """The endpoints."""

    def __init__(
        self,
        market: DayAheadMarket,
        clock: Clock,
        book: MarketBook,
        tokens: Mapping[str, str],
        faults: MarketFaults,
    ) -> None:
        self._market = market
        self._clock = clock
        self._book = book
        self._tokens = Tokens(tokens)
        self._faults = faults
        self._fault_key = draws.keys([market.market_id], faults.seed, "market-faults")
        self._requests = count()

    async def submit(self, request: Request) -> Response:
        """Take a bid."""
        participant = self._participant(request)
        bid: Bid = await submitted(request, Bid, key_length=_MAX_KEY, most_bytes=_MAX_BODY_BYTES)
        # The instant of arrival is that of the complete message; nothing waits between here and the book.
        answer = self._book.submit(bid, participant=participant, received_ns=self._clock.now_ns())
        if isinstance(answer, KeyConflict):
            detail = f"{answer.idempotency_key!r} was used for another bid; take a new key"
            return await self._answer({"reason": "key_conflict", "detail": detail}, status=409)
        return await self._answer(answer)

    async def receipt(self, request: Request, key: str) -> Response:
        """Read back what is held under a key."""
        found = self._book.receipt(key, participant=self._participant(request))
        if found is None:
            return await self._answer({"reason": "unknown", "detail": f"{key!r} never arrived"}, status=404)
        return await self._answer(found)

    async def award(self, request: Request, resource_id: str, delivery_date: str) -> Response:
        """Read an award."""
        self._participant(request)
        try:
            day = date.fromisoformat(delivery_date)
        except ValueError as error:
            raise RefusalError(400, "delivery_date", "give a date as YYYY-MM-DD") from error
        found = self._book.award(resource_id, day, now_ns=self._clock.now_ns())
        if isinstance(found, Rejected):
            return await self._answer({"reason": found.reason, "detail": found.detail}, status=404)
        return await self._answer(found)

    async def prices(self, request: Request, settlement_point: str, from_ns: int, to_ns: int) -> Response:
        """Read published prices."""
        self._participant(request)
        try:
            found = self._book.prices(
                settlement_point, from_ns=from_ns, to_ns=to_ns, now_ns=self._clock.now_ns()
            )
        except InvalidInputError as error:
            raise RefusalError(400, error.field, str(error)) from error
        return await self._answer(found)

    async def rules(self, request: Request) -> Response:
        """Read the rules and the next gate."""
        self._participant(request)
        market = self._market
        day, gate_ns = market.next_gate(self._clock.now_ns())
        return json_answer(
            {
                "market_id": market.market_id,
                "name": market.name,
                "zone": market.zone.key,
                "currency": market.currency,
                "gate_local": market.gate.isoformat(),
                "publication_local": market.publication.isoformat(),
                "interval_ns": market.interval_ns,
                "quantity_minimum_mw": market.quantity_minimum_mw,
                "quantity_step_mw": market.quantity_step_mw,
                "price_tick_per_mwh": market.price_tick_per_mwh,
                "max_orders_per_side": market.max_orders_per_side,
                "price_limits_per_mwh": market.price_limits(day),
                "next_delivery_date": day.isoformat(),
                "next_gate_ns": gate_ns,
                "next_publication_ns": market.publication_ns(day),
            }
        )

    async def summary(self, request: Request) -> Response:
        """Read the market's own account."""
        self._participant(request)
        return json_answer(self._book.summary(now_ns=self._clock.now_ns()))

    async def health(self) -> Response:
        """Say that the market is up."""
        return json_answer({"status": "ok", "now_ns": self._clock.now_ns()})

    def _participant(self, request: Request) -> str:
        return self._tokens.participant(request)

    async def _answer(self, content: Any, *, status: int = 200) -> Response:
        """Answer a request that has been processed, with the faults of the day."""
        if self._faults.unknown_frac or self._faults.late_frac:
            number = self._clock.now_ns() + next(self._requests)
            drawn = float(draws.uniform(self._fault_key, number)[0])
            if drawn < self._faults.unknown_frac:
                raise RefusalError(503, "unavailable", "the outcome is unknown; read back")
            if drawn < self._faults.unknown_frac + self._faults.late_frac:
                await asyncio.sleep(self._faults.late_s)
        return json_answer(content, status=status)
