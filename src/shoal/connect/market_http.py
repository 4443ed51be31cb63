"""The gateway to a market that is reached over HTTP: submit, read back, awards, prices.

A submission whose outcome is not known (a time-out, a broken connection, an error of the server) raises
`UnavailableError`; the caller reads back under the idempotency key before it sends the same bid again.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import httpx
import msgspec

from shoal.domain.errors import InvalidInputError, UnavailableError
from shoal.market.types import Award, Bid, BidReceipt, ClearingPrice

_T = TypeVar("_T")
_KEY_HEADER: Final = "Idempotency-Key"
_TRY_AGAIN: Final = frozenset(
    {httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_EARLY, httpx.codes.TOO_MANY_REQUESTS}
)


class MarketGateway:
    """A client of one market; safe to use from several threads.

    Args:
        url: Where the market listens, e.g. ``http://127.0.0.1:8801``.
        token: The participant's bearer token.
        timeout_s: How long one exchange may take.
    """

    def __init__(self, *, url: str, token: str, timeout_s: float = 5.0) -> None:
        self._client = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=timeout_s, trust_env=False
        )

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
            headers={_KEY_HEADER: bid.idempotency_key, "Content-Type": "application/json"},
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

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _exchange(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            response = self._client.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise UnavailableError("market", f"{type(error).__name__} at {method} {path}") from error
        if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR or response.status_code in _TRY_AGAIN:
            raise UnavailableError("market", f"{response.status_code} at {method} {path}")
        if response.status_code >= httpx.codes.BAD_REQUEST and response.status_code != httpx.codes.NOT_FOUND:
            raise InvalidInputError(
                field=f"{method} {path}",
                value=response.status_code,
                fix=f"the market says: {response.text[:200]}",
            )
        return response

    @staticmethod
    def _decoded(response: httpx.Response, kind: type[_T]) -> _T:
        try:
            return msgspec.json.decode(response.content, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UnavailableError("market", f"an answer that cannot be read: {error}") from error
