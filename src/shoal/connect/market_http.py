"""The gateway to a market that is reached over HTTP: submit, read back, awards, prices.

A submission whose outcome is not known (a time-out, a broken connection, an error of the server) raises
`UnavailableError`; the caller reads back under the idempotency key before it sends the same bid again.
"""

from __future__ import annotations

import httpx
import msgspec

from shoal.connect.market_client import KEY_HEADER, MarketClient
from shoal.market.types import Award, Bid, BidReceipt, ClearingPrice


class MarketGateway(MarketClient):
    """A client of one market; safe to use from several threads.

    Args:
        url: Where the market listens, e.g. ``http://127.0.0.1:8801``.
        token: The participant's bearer token.
        timeout_s: How long one exchange may take.
    """

    def submit(self, bid: Bid) -> BidReceipt:
        """Send the bid and return what the market holds under its key.

        Raises:
            UnavailableError: when the outcome is unknown.
            InvalidInputError: when the market says that the request itself is wrong.
        """
        response = self._exchange(
            "POST",
            "/bids",
            content=msgspec.json.encode(bid),
            headers={KEY_HEADER: bid.idempotency_key, "Content-Type": "application/json"},
        )
        return self._decoded(response, BidReceipt)

    def receipt(self, idempotency_key: str) -> BidReceipt | None:
        """Return what the market holds under the key, or None when it never heard of it.

        Raises:
            UnavailableError: when the market cannot be reached.
        """
        response = self._exchange("GET", f"/bids/{idempotency_key}")
        return None if response.status_code == httpx.codes.NOT_FOUND else self._decoded(response, BidReceipt)

    def award(self, resource_id: str, delivery_date: str) -> Award | None:
        """Return the award, or None while it is not published.

        Raises:
            UnavailableError: when the market cannot be reached.
        """
        response = self._exchange(
            "GET", "/awards", params={"resource_id": resource_id, "delivery_date": delivery_date}
        )
        return None if response.status_code == httpx.codes.NOT_FOUND else self._decoded(response, Award)

    def prices(self, settlement_point: str, *, from_ns: int, to_ns: int) -> list[ClearingPrice]:
        """Return the prices published so far of the intervals that start in `[from_ns, to_ns)`.

        Raises:
            UnavailableError: when the market cannot be reached.
        """
        response = self._exchange(
            "GET",
            "/prices",
            params={"settlement_point": settlement_point, "from_ns": from_ns, "to_ns": to_ns},
        )
        return self._decoded(response, list[ClearingPrice])
