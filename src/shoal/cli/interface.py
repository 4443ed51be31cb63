"""Asking the plant's own interface from the command line: where it is, which token is shown, and faults in one line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

from shoal.cli.options import read_settings

if TYPE_CHECKING:
    import httpx

TOKEN_VARIABLE: Final = "SHOAL_OPERATOR_TOKEN"
_TIMEOUT_S: Final = 30.0
_FIXES: Final = {401: f"set {TOKEN_VARIABLE} or api.token"}

Url: TypeAlias = Annotated[
    str | None,
    typer.Option("--url", help="Address of the interface; else that of the settings.", metavar="URL"),
]


def open_interface(url: str | None, config: Path | None, assignments: list[str] | None) -> httpx.Client:
    """Return a client of the plant's interface that shows the operator's token, else the one of the settings."""
    import httpx

    settings = read_settings(config, assignments).api
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)
    token = os.environ.get(TOKEN_VARIABLE) or settings.token
    return httpx.Client(
        base_url=url or f"http://{host}:{settings.port}",
        headers={"Authorization": f"Bearer {token}"} if token else {},
        timeout=_TIMEOUT_S,
        trust_env=False,
    )


def ask_interface(
    interface: httpx.Client,
    method: str,
    path: str,
    *,
    fix: str,
    fixes: Mapping[int, str] = _FIXES,
    query: Mapping[str, Any] | None = None,
    body: Any = None,
) -> Any:
    """Return what the interface answers.

    Args:
        interface: From `open_interface`.
        method: GET, or what changes something.
        path: Below the interface's address.
        fix: What to do when it refuses.
        fixes: What to do instead when it refuses with one of these statuses.
        query: Parameters; those that are None are left out.
        body: Sent as JSON; None sends nothing.

    Raises:
        UnavailableError: when it cannot be reached, or cannot answer now.
        InvalidInputError: when it refuses.
    """
    import httpx

    from shoal.domain.errors import InvalidInputError, UnavailableError

    given = {name: value for name, value in (query or {}).items() if value is not None}
    try:
        response = interface.request(method, path, params=given, json=body)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UnavailableError(f"the interface {interface.base_url}", str(error)) from error
    if response.is_success:
        return response.json()
    try:
        detail = str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = response.reason_phrase
    if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise UnavailableError("the plant", detail)
    raise InvalidInputError(field=path, value=detail, fix=fixes.get(response.status_code, fix))


def instant(t_ms: int) -> str:
    """Return an instant of an answer as it is printed."""
    return datetime.fromtimestamp(t_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
