"""Asking the plant's own interface from the command line: where it is, which token is shown, and faults in one line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

from shoal.cli.options import read_settings

if TYPE_CHECKING:
    import httpx

TOKEN_VARIABLE: Final = "SHOAL_OPERATOR_TOKEN"
_TIMEOUT_S: Final = 30.0

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


def ask_interface(interface: httpx.Client, path: str, *, fix: str, **parameters: Any) -> Any:
    """Return what the interface answers to a GET.

    Args:
        interface: From `open_interface`.
        path: Below the interface's address.
        fix: What to do when it knows nothing of that.
        parameters: Of the query; those that are None are left out.

    Raises:
        UnavailableError: when it cannot be reached, or cannot answer now.
        InvalidInputError: when it refuses.
    """
    import httpx

    from shoal.domain.errors import InvalidInputError, UnavailableError

    given = {name: value for name, value in parameters.items() if value is not None}
    try:
        response = interface.get(path, params=given)
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
    fixes = {401: f"set {TOKEN_VARIABLE} or api.token"}
    raise InvalidInputError(field=path, value=detail, fix=fixes.get(response.status_code, fix))
