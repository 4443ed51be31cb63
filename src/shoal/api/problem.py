"""Faults as problem JSON (RFC 9457): what was wrong, where, and what to do; never a traceback."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from shoal.control.second_person import SecondNeededError
from shoal.domain.errors import (
    GateClosedError,
    InvalidInputError,
    ShoalError,
    UnavailableError,
    UnknownIdError,
)
from shoal.domain.interval import iso
from shoal.store.proposals import ProposalError

MEDIA_TYPE: Final = "application/problem+json"
_SHOWN_CHARACTERS: Final = 500
_NS_PER_MS: Final = 1_000_000


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What went wrong; `field`, `value` and `fix` where somebody can mend an input."""

    type: str
    title: str
    status: int
    detail: str
    field: str | None = None
    value: str | None = None
    fix: str | None = None


def problem(status: int, title: str, detail: str, **facts: str) -> Response:
    """Return a fault as an answer."""
    body = Problem(type="about:blank", title=title, status=status, detail=detail, **facts)
    return Response(msgspec.json.encode(body), status_code=status, media_type=MEDIA_TYPE)


def _invalid(field: str, value: object, fix: str) -> Response:
    shown = value if isinstance(value, str) else repr(value)
    shown = shown[:_SHOWN_CHARACTERS]
    return problem(422, "The input cannot be used", f"{field}: {fix}", field=field, value=shown, fix=fix)


def handle_faults(app: FastAPI) -> None:
    """Let the application answer the domain's errors, and its own, as problems."""

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, InvalidInputError)
        return _invalid(error.field, error.value, error.fix)

    async def unknown(request: Request, error: Exception) -> Response:
        assert isinstance(error, UnknownIdError)
        return problem(404, "Not known", f"there is no {error.kind} {error.value[:_SHOWN_CHARACTERS]!r}")

    async def unavailable(request: Request, error: Exception) -> Response:
        return problem(503, "Not available now", str(error))

    async def needs_second(request: Request, error: Exception) -> Response:
        assert isinstance(error, SecondNeededError)
        return problem(409, "A second person is needed", str(error), fix=error.fix)

    async def undecidable(request: Request, error: Exception) -> Response:
        return problem(409, "Not to be decided so", str(error))

    async def too_late(request: Request, error: Exception) -> Response:
        assert isinstance(error, GateClosedError)
        detail = f"the gate closed at {iso(error.gate_ns)}: nothing can be changed any more"
        gate_ms = str(error.gate_ns // _NS_PER_MS)
        return problem(409, "The gate has closed", detail, field="gate_ms", value=gate_ms)

    async def faulty(request: Request, error: Exception) -> Response:
        return problem(500, "A fault in the plant", str(error))

    async def malformed(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first: dict[str, Any] = dict(error.errors()[0])
        place = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
        return _invalid(place or "request", first.get("input"), str(first["msg"]))

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        title = HTTPStatus(error.status_code).phrase
        answer = problem(error.status_code, title, f"{error.detail}: {request.method} {request.url.path}")
        answer.headers.update(error.headers or {})
        return answer

    app.add_exception_handler(InvalidInputError, invalid)
    app.add_exception_handler(UnknownIdError, unknown)
    app.add_exception_handler(GateClosedError, too_late)
    app.add_exception_handler(UnavailableError, unavailable)
    app.add_exception_handler(SecondNeededError, needs_second)
    app.add_exception_handler(ProposalError, undecidable)
    app.add_exception_handler(ShoalError, faulty)
    app.add_exception_handler(RequestValidationError, malformed)
    app.add_exception_handler(HTTPException, refused)
