"""What the doors of every simulated market share: bearer tokens, refusals as ``{"reason", "detail"}``, JSON answers."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError

from shoal.domain.errors import InvalidInputError

KEY_HEADER: Final = "Idempotency-Key"


class RefusalError(Exception):
    """A request that is answered with an error; it becomes the answer's status and body."""

    def __init__(self, status: int, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.status = status
        self.reason = reason
        self.detail = detail


class Tokens:
    """Who a bearer token belongs to."""

    def __init__(self, participants: Mapping[str, str]) -> None:
        self._participants = {token.encode(): name for token, name in participants.items()}

    def participant(self, request: Request) -> str:
        """Return who asks.

        Raises:
            RefusalError: 401 for a token that this market does not know.
        """
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        # every token is compared, in constant time, so that the time taken says nothing
        matches = [
            name for token, name in self._participants.items() if hmac.compare_digest(token, given.encode())
        ]
        if scheme.lower() != "bearer" or not matches:
            raise RefusalError(401, "unauthorised", "give a bearer token that this market knows")
        return matches[0]


async def submitted(request: Request, kind: type[Any], *, key_length: int, most_bytes: int) -> Any:
    """Return the bid in a request's body, whose idempotency key must be that of the header.

    Raises:
        RefusalError: 400 or 413 when it cannot be read.
    """
    body = await request.body()
    if len(body) > most_bytes:
        raise RefusalError(413, "too_large", f"a bid has at most {most_bytes} bytes")
    try:
        bid = msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, InvalidInputError) as error:
        raise RefusalError(400, "malformed", str(error)) from error
    if not 1 <= len(bid.idempotency_key) <= key_length:
        raise RefusalError(400, "idempotency_key", f"give a key of 1 to {key_length} characters")
    if request.headers.get(KEY_HEADER) != bid.idempotency_key:
        raise RefusalError(400, "idempotency_key", "header Idempotency-Key and body must agree")
    return bid


def json_answer(content: Any, *, status: int = 200) -> Response:
    """Return a value as a JSON response."""
    return Response(msgspec.json.encode(content), status_code=status, media_type="application/json")


def add_refusals(app: FastAPI) -> None:
    """Have refusals and requests that cannot be read answered as such."""
    app.add_exception_handler(RefusalError, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusalError)
    answer = json_answer({"reason": error.reason, "detail": error.detail}, status=error.status)
    if error.status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


async def _malformed(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    detail = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
    return json_answer({"reason": "malformed", "detail": detail}, status=400)
