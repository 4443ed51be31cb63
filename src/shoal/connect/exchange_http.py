"""The gateway to a market with gates of any kind over HTTP: submit, read back, awards, prices, meters, settlements.

    POST /bids            a `MarketBid`, header ``Idempotency-Key`` as in its body: a `MarketReceipt`, even refused
    GET  /bids/{key}      the `MarketReceipt` of a bid; 404 when it never arrived
    GET  /standing        ?resource_id&delivery_date: the whole `MarketBid` that stands; 404 when none does
    GET  /awards          ?resource_id&delivery_date: a list of `MarketAward`, every version, the newest last
    GET  /prices          ?settlement_point&product&from_ns&to_ns&since_ns: a list of `PublishedPrice`
    POST /meters          a `MeterReport`: a `MeterReceipt`
    GET  /meters          ?resource_id&delivery_date: a list of `MeterReading`, those that count
    GET  /settlements     ?resource_id&delivery_date: a list of `Settlement`, every version, the newest last

A submission whose outcome is not known raises `UnavailableError`: read back before anything is sent again. Readings of
meters may be sent again as they are: they count once.
"""

from __future__ import annotations

from typing import Any, TypeVar

import httpx
import msgspec

from shoal.connect.market_client import KEY_HEADER, MarketClient
from shoal.market.awards import MarketAward, MarketReceipt, Settlement
from shoal.market.bids import MarketBid
from shoal.market.exchange import PublishedPrice
from shoal.market.metering import MeterReading, MeterReceipt, MeterReport

_T = TypeVar("_T")


class HttpExchange(MarketClient):
    """A client of one market; safe to use from several threads.

    Args:
        url: Where the market listens, e.g. ``http://127.0.0.1:8801``.
        token: The participant's bearer token.
        timeout_s: How long one exchange may take.
    """

    def submit(self, bid: MarketBid, *, timeout_s: float) -> MarketReceipt:
        """Send the bid and return the market's answer.

        Raises:
            UnavailableError: when the outcome is unknown.
            InvalidInputError: when the market says that the request itself is wrong.
        """
        headers = {KEY_HEADER: bid.idempotency_key, "Content-Type": "application/json"}
        answer = self._exchange(
            "POST", "/bids", content=msgspec.json.encode(bid), headers=headers, timeout=timeout_s
        )
        return self._decoded(answer, MarketReceipt)

    def receipt(self, idempotency_key: str, *, timeout_s: float) -> MarketReceipt | None:
        """Return the market's answer to a bid as read back, None when it never arrived.

        Raises:
            UnavailableError: when the market cannot be reached.
        """
        answer = self._exchange("GET", f"/bids/{idempotency_key}", timeout=timeout_s)
        return None if answer.status_code == httpx.codes.NOT_FOUND else self._decoded(answer, MarketReceipt)

    def standing(self, resource_id: str, delivery_date: str) -> MarketBid | None:
        """Return the whole bid that stands in the market, None when none does.

        Raises:
            UnavailableError: when the market cannot be reached.
        """
        asked = {"resource_id": resource_id, "delivery_date": delivery_date}
        answer = self._exchange("GET", "/standing", params=asked)
        return None if answer.status_code == httpx.codes.NOT_FOUND else self._decoded(answer, MarketBid)

    def awards(self, resource_id: str, delivery_date: str) -> list[MarketAward]:
        """Return every version of the award, the newest last.

        Raises:
            UnavailableError: when the market cannot be reached.
        """
        asked = {"resource_id": resource_id, "delivery_date": delivery_date}
        return self._found("/awards", asked, list[MarketAward])

    def prices(
        self, settlement_point: str, product: str, *, from_ns: int, to_ns: int, since_ns: int = 0
    ) -> list[PublishedPrice]:
        """Return the prices of intervals that start in ``[from_ns, to_ns)``, corrections too, published at or after `since_ns`.

        Raises:
            UnavailableError: when the market cannot be reached.
        """
        asked = {
            "settlement_point": settlement_point,
            "product": product,
            "from_ns": from_ns,
            "to_ns": to_ns,
            "since_ns": since_ns,
        }
        return self._found("/prices", asked, list[PublishedPrice])

    def settlements(self, resource_id: str, delivery_date: str) -> list[Settlement]:
        """Return every version of the market's own settlement, the newest last.

        Raises:
            UnavailableError: when the market cannot be reached.
        """
        asked = {"resource_id": resource_id, "delivery_date": delivery_date}
        return self._found("/settlements", asked, list[Settlement])

    def send_meters(self, report: MeterReport) -> MeterReceipt:
        """Send readings of a resource's meters and return what became of them.

        Raises:
            UnavailableError: when the outcome is unknown.
            InvalidInputError: when the market refuses them, or somebody else reads these meters.
        """
        headers = {"Content-Type": "application/json"}
        answer = self._exchange("POST", "/meters", content=msgspec.json.encode(report), headers=headers)
        return self._decoded(answer, MeterReceipt)

    def meters(self, resource_id: str, delivery_date: str) -> list[MeterReading]:
        """Return the readings of a day that the market holds, in order.

        Raises:
            UnavailableError: when the market cannot be reached.
        """
        asked = {"resource_id": resource_id, "delivery_date": delivery_date}
        return self._found("/meters", asked, list[MeterReading])

    def _found(self, path: str, asked: dict[str, Any], kind: type[list[_T]]) -> list[_T]:
        answer = self._exchange("GET", path, params=asked)
        return [] if answer.status_code == httpx.codes.NOT_FOUND else self._decoded(answer, kind)
