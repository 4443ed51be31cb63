"""What every gateway to a market over HTTP does with one exchange: the token, the time limit, what an answer means.

An answer that leaves the outcome unknown (a time-out, a broken connection, an error of the server) is an `UnavailableError`;
one that says the request itself is wrong is an `InvalidInputError`. 404 is an answer like any other: it is for the caller.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import httpx
import msgspec

from shoal.domain.errors import InvalidInputError, UnavailableError

_T = TypeVar("_T")
KEY_HEADER: Final = "Idempotency-Key"
_TRY_AGAIN: Final = frozenset(
    {httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_EARLY, httpx.codes.TOO_MANY_REQUESTS}
)


class MarketClient:
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
