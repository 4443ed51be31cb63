"""Who may come in: the token, the page's cookie, the names this machine answers to, and the headers on every answer.

Without a token the interface serves this machine only, and only under a loopback name, so that a foreign page cannot
reach it by pointing its own name here. A browser's live socket must come from the same host as the page.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shoal.api.problem import problem
from shoal.domain.errors import SettingsError

COOKIE: Final = "shoal_page"
TOKEN_PARAMETER: Final = "token"
OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})
"""What probes ask; nothing in the answers is secret."""

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


def is_loopback(host: str) -> bool:
    """Whether the name or address means this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Gate:
    """The outermost layer of the application: lets in who may come in, and puts the headers on every answer.

    Args:
        app: What lies behind.
        token: What a caller shows; empty asks nobody.
    """

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        self._app = app
        self._token = token.encode()
        self._cookie = hmac.new(self._token, b"shoal/page", hashlib.sha256).hexdigest() if token else ""

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
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if path == "/" and self._token and self._is_token(dict(query).get(TOKEN_PARAMETER, "")):
            return self._remember(query, secure=scope["scheme"] == "https")
        if path in OPEN_PATHS or self._is_known(headers, query):
            return None
        if path == "/":
            return HTMLResponse(_REFUSED_PAGE, status_code=401)
        refused = problem(401, "Unauthorized", "show the token as 'Authorization: Bearer <token>'")
        refused.headers["WWW-Authenticate"] = "Bearer"
        return refused

    def _remember(self, query: Iterable[tuple[str, str]], *, secure: bool) -> Response:
        # On to the plain address, so that the token stays in no history.
        rest = urlencode([(name, value) for name, value in query if name != TOKEN_PARAMETER])
        answer = RedirectResponse("./" + (f"?{rest}" if rest else ""), status_code=303)
        answer.set_cookie(COOKIE, self._cookie, httponly=True, samesite="lax", secure=secure)
        answer.headers["Cache-Control"] = "no-store"
        return answer

    def _may_listen(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._token and not is_loopback(_host_name(host)):
            return False
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return False
        return self._is_known(headers, parse_qsl(scope["query_string"].decode("latin-1")), by_query=True)

    def _is_known(
        self, headers: Headers, query: Iterable[tuple[str, str]], *, by_query: bool = False
    ) -> bool:
        if not self._token:
            return True
        kind, _, shown = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._is_token(shown.strip()):
            return True
        if by_query and self._is_token(dict(query).get(TOKEN_PARAMETER, "")):
            return True
        return hmac.compare_digest(_cookie(headers).encode(), self._cookie.encode())

    def _is_token(self, shown: str) -> bool:
        return hmac.compare_digest(shown.encode(), self._token)


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
