"""Who may come in, and who may act: tokens, the page's cookie, the names this machine answers to, the headers.

Without a token the interface serves this machine only, and only under a loopback name, so that a foreign page cannot
reach it by pointing its own name here. A browser's live socket, and whatever changes something, must come from the same
host as the page. To act is a right of its own: each operator has a name and a token, which is how it is known who did
what; where no token is asked for at all, whoever is at this machine may act.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shoal.api.problem import problem
from shoal.domain.errors import SettingsError

COOKIE: Final = "shoal_page"
TOKEN_PARAMETER: Final = "token"
OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})
"""What probes ask; nothing in the answers is secret."""

READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""
LOCAL_OPERATOR: Final = "this machine"
"""Under this name acts who is at a machine that asks for no token."""
_OPERATOR_STATE: Final = "operator"

CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "frame-ancestors 'none'",
        "object-src 'none'",
        "base-uri 'none'",
    )
)
HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_REFUSED_PAGE: Final = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>Shoal</title>"
    "<h1>This plant asks for its token</h1>"
    "<p>Open this page with <code>?token=</code> and the value of the setting <code>api.token</code> "
    "at the end of the address, once; the browser then remembers it.</p></html>"
)


def check_exposure(host: str, token: str) -> None:
    """Refuse to listen beyond this machine without a token.

    Raises:
        SettingsError: naming ``api.token``.
    """
    if not token and not is_loopback(host):
        raise SettingsError(
            field="api.token", value="", fix=f"set it to listen on {host!r}, or set api.host to 127.0.0.1"
        )


def operators_of(text: str) -> dict[str, str]:
    """Return the tokens of operators by name, from ``name:token`` with commas between.

    Raises:
        SettingsError: when a name or a token is missing, or stands twice.
    """
    found: dict[str, str] = {}
    for part in text.split(",") if text else ():
        name, colon, token = (piece.strip() for piece in part.partition(":"))
        if not (colon and name and token) or name in found or token in found.values():
            raise SettingsError(
                field="api.operators", value="***", fix="give name:token, each once, with commas between"
            )
        found[name] = token
    return found


def operator_of(request: Request) -> str | None:
    """Return the name under which the caller may act, None for one who may only read."""
    name: str | None = getattr(request.state, _OPERATOR_STATE, None)
    return name


def acting_operator(request: Request) -> str:
    """Return the name under which the caller acts.

    Raises:
        HTTPException: 403 for one who may only read.
    """
    name = operator_of(request)
    if name is None:
        raise HTTPException(403, "only an operator may do this: show a token of the setting api.operators")
    return name


def is_loopback(host: str) -> bool:
    """Whether the name or address means this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class _Caller:
    """Somebody who shows a token or the cookie made from it; `operator` is None for one who may only read."""

    operator: str | None
    token: bytes = field(repr=False)
    cookie: str = field(repr=False)

    @staticmethod
    def of(operator: str | None, token: str) -> _Caller:
        cookie = hmac.new(token.encode(), b"shoal/page", hashlib.sha256).hexdigest()
        return _Caller(operator, token.encode(), cookie)


class Gate:
    """The outermost layer of the application: lets in who may come in, and puts the headers on every answer.

    Args:
        app: What lies behind.
        token: What a caller shows; empty asks nobody.
        operators: Tokens of those who may act, by name.
    """

    def __init__(self, app: ASGIApp, *, token: str, operators: Mapping[str, str] | None = None) -> None:
        self._app = app
        self._token = token
        self._callers = [_Caller.of(name, shown) for name, shown in (operators or {}).items()]
        self._anybody = LOCAL_OPERATOR if not token and not self._callers else None
        if token:
            self._callers.append(_Caller.of(None, token))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or socket."""
        if scope["type"] == "http":
            answer = self._answer_at_the_door(scope)
            await (answer or self._app)(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            if self._may_listen(scope):
                await self._app(scope, receive, send)
            else:
                # Before it is accepted, closing a socket is an answer of 403.
                await send({"type": "websocket.close", "code": 1008})
        else:
            await self._app(scope, receive, send)

    def _answer_at_the_door(self, scope: Scope) -> Response | None:
        """Return an answer for who is not let in, and the cookie for who opens the page with the token."""
        headers, path = Headers(scope=scope), scope["path"]
        if not self._token and not is_loopback(_host_name(headers.get("host", ""))):
            return problem(421, "Misdirected Request", "without a token, only loopback names are answered")
        if scope["method"] not in READING and not _is_same_host(headers):
            return problem(403, "Forbidden", "what changes something must come from this plant's own page")
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if path == "/" and (caller := self._by_token(dict(query).get(TOKEN_PARAMETER, ""))):
            return self._remember(caller, query, secure=scope["scheme"] == "https")
        caller = self._caller(headers, query)
        scope.setdefault("state", {})[_OPERATOR_STATE] = caller.operator if caller else self._anybody
        if path in OPEN_PATHS or caller or not self._token:
            return None
        if path == "/":
            return HTMLResponse(_REFUSED_PAGE, status_code=401)
        refused = problem(401, "Unauthorized", "show the token as 'Authorization: Bearer <token>'")
        refused.headers["WWW-Authenticate"] = "Bearer"
        return refused

    @staticmethod
    def _remember(caller: _Caller, query: Iterable[tuple[str, str]], *, secure: bool) -> Response:
        # On to the plain address, so that the token stays in no history.
        rest = urlencode([(name, value) for name, value in query if name != TOKEN_PARAMETER])
        answer = RedirectResponse("./" + (f"?{rest}" if rest else ""), status_code=303)
        answer.set_cookie(COOKIE, caller.cookie, httponly=True, samesite="lax", secure=secure)
        answer.headers["Cache-Control"] = "no-store"
        return answer

    def _may_listen(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._token and not is_loopback(_host_name(host)):
            return False
        if not _is_same_host(headers):
            return False
        query = parse_qsl(scope["query_string"].decode("latin-1"))
        return not self._token or self._caller(headers, query, by_query=True) is not None

    def _caller(
        self, headers: Headers, query: Iterable[tuple[str, str]], *, by_query: bool = False
    ) -> _Caller | None:
        """Return who it is that shows a token or a cookie."""
        kind, _, shown = headers.get("authorization", "").partition(" ")
        found = self._by_token(shown.strip()) if kind.lower() == "bearer" else None
        if found is None and by_query:
            found = self._by_token(dict(query).get(TOKEN_PARAMETER, ""))
        cookie = _cookie(headers).encode()
        for caller in self._callers:
            if hmac.compare_digest(cookie, caller.cookie.encode()) and found is None:
                found = caller
        return found

    def _by_token(self, shown: str) -> _Caller | None:
        """Return whose token it is; takes the same time for every wrong one."""
        found = None
        for caller in self._callers:
            if hmac.compare_digest(shown.encode(), caller.token):
                found = caller
        return found


def _is_same_host(headers: Headers) -> bool:
    """Whether a browser says that the request comes from a page of this host; who is no browser says nothing."""
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value


def _host_name(host: str) -> str:
    """Return the name in a `Host` header without its port; empty when it is malformed."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
