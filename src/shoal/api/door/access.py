"""The door: tokens, sessions, the names this machine answers to, what a path takes, the headers on every answer.

Where nobody is asked who they are the interface serves this machine only, and only under a loopback name, so that a
foreign page cannot reach it by pointing its own name here. Programs show tokens, people sign in as soon as there is a
user. A browser's live socket, and whatever changes something, must come from the same host as the page. What a request
takes is looked up (`shoal.api.door.rights`) before any handler runs.
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
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shoal.api.door.doorman import Doorman
from shoal.api.door.rights import (
    EVERY_RIGHT,
    LOCAL,
    LOCAL_NAME,
    READING,
    Caller,
    Need,
    Right,
    may,
    need_of,
    remember,
)
from shoal.api.problem import problem
from shoal.domain.errors import SettingsError, ShoalError

COOKIE: Final = "shoal_page"
"""Of a browser that was opened with a token."""
SESSION_COOKIE: Final = "shoal_session"
"""Of somebody who has signed in."""
TOKEN_NAME: Final = "a token"
"""Under this name is let in who shows the token that is nobody's own."""
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
CONTENT_SECURITY_OF_DATA: Final = "default-src 'none'; frame-ancestors 'none'"
"""Of answers that are data: nothing in them is ever loaded or run."""
HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_WORDS: Final = {
    "see": "see the plant",
    "operate": "command it: an operator's",
    "trade": "bid for it: a trader's",
    "administer": "say who may what: an administrator's",
    "home": "look after homes: a homeowner's",
}
_REFUSED_PAGE: Final = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>Shoal</title>"
    "<h1>This plant asks for its token</h1>"
    "<p>Open this page with <code>?token=</code> and the value of the setting <code>api.token</code> "
    "at the end of the address, once; the browser then remembers it.</p></html>"
)


def check_exposure(host: str, token: str, *, users: bool = False) -> None:
    """Refuse to listen beyond this machine where nobody is asked who they are.

    Raises:
        SettingsError: naming ``api.token``.
    """
    if not (token or users) and not is_loopback(host):
        raise SettingsError(
            field="api.token",
            value="",
            fix=f"set it, or add somebody with 'shoal user add', to listen on {host!r}; or set api.host to 127.0.0.1",
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


def is_loopback(host: str) -> bool:
    """Whether the name or address means this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class _Shown:
    """A token, the cookie made from it, and who shows them."""

    caller: Caller
    token: bytes = field(repr=False)
    cookie: str = field(repr=False)

    @staticmethod
    def of(caller: Caller, token: str) -> _Shown:
        cookie = hmac.new(token.encode(), b"shoal/page", hashlib.sha256).hexdigest()
        return _Shown(caller, token.encode(), cookie)


class Gate:
    """The outermost layer of the application: lets in who may come in, and puts the headers on every answer.

    Args:
        app: What lies behind.
        token: What a program shows that may see; empty asks none.
        operators: Tokens of those who may act, by name.
        doorman: Knows who is signed in; None where nobody can sign in.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str,
        operators: Mapping[str, str] | None = None,
        doorman: Doorman | None = None,
    ) -> None:
        self._app = app
        self._token = token
        self._doorman = doorman
        self._shown = [
            _Shown.of(Caller(name=name, rights=EVERY_RIGHT), shown)
            for name, shown in (operators or {}).items()
        ]
        # Where only those who act show a token, whoever is at this machine may still see.
        seeing = frozenset[Right]({"see"})
        here = Caller(name=LOCAL_NAME, rights=seeing, mode="open") if self._shown else LOCAL
        self._anybody = None if token else here
        if token:
            self._shown.append(_Shown.of(Caller(name=TOKEN_NAME, rights=seeing), token))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or socket."""
        if scope["type"] == "http":
            answer = await self._answer_at_the_door(scope)
            await (answer or self._app)(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            if await self._may_listen(scope):
                await self._app(scope, receive, send)
            else:
                # Before it is accepted, closing a socket is an answer of 403.
                await send({"type": "websocket.close", "code": 1008})
        else:
            await self._app(scope, receive, send)

    async def _answer_at_the_door(self, scope: Scope) -> Response | None:
        """Return an answer for who is not let in, and the cookie for who opens the page with the token."""
        headers, path, method = Headers(scope=scope), scope["path"], scope["method"]
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        try:
            guarded = await self._guarded()
            if refused := self._refused_anyway(headers, method, guarded=guarded):
                return refused
            shown = self._by_token(dict(query).get(TOKEN_PARAMETER, "")) if path == "/" else None
            if shown is not None:
                return self._remember(shown, query, secure=scope["scheme"] == "https")
            caller = await self._caller(headers, query, guarded=guarded)
        except ShoalError as error:
            # A probe must not fail because the database does.
            return None if path in OPEN_PATHS else problem(503, "Not available now", str(error))
        remember(scope.setdefault("state", {}), caller)
        need = need_of(method, path)
        if need == "nothing" and self._token and not guarded and path not in OPEN_PATHS:
            allowed = caller is not None  # the page's files too: there is no form to sign in
        else:
            allowed = may(caller, need)
        return (
            self._refused_forgery(headers, method, caller) if allowed else _refused_caller(caller, path, need)
        )

    async def _guarded(self) -> bool:
        """Whether people sign in here."""
        return self._doorman is not None and await self._doorman.guarded()

    def _refused_anyway(self, headers: Headers, method: str, *, guarded: bool) -> Response | None:
        if not (self._token or guarded) and not is_loopback(_host_name(headers.get("host", ""))):
            return problem(
                421, "Misdirected Request", "where nobody has to sign in, only loopback names are answered"
            )
        if method not in READING and not _is_same_host(headers):
            return problem(403, "Forbidden", "what changes something must come from this plant's own page")
        return None

    @staticmethod
    def _refused_forgery(headers: Headers, method: str, caller: Caller | None) -> Response | None:
        """Refuse what another page makes a browser do that is signed in: it says where it comes from, and it is not here."""
        if method in READING or caller is None or caller.mode != "user" or "origin" in headers:
            return None
        return problem(403, "Forbidden", "a session changes something only from this plant's own page")

    @staticmethod
    def _remember(shown: _Shown, query: Iterable[tuple[str, str]], *, secure: bool) -> Response:
        # On to the plain address, so that the token stays in no history.
        rest = urlencode([(name, value) for name, value in query if name != TOKEN_PARAMETER])
        answer = RedirectResponse("./" + (f"?{rest}" if rest else ""), status_code=303)
        answer.set_cookie(COOKIE, shown.cookie, httponly=True, samesite="lax", secure=secure)
        answer.headers["Cache-Control"] = "no-store"
        return answer

    async def _may_listen(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        try:
            guarded = await self._guarded()
            if not (self._token or guarded) and not is_loopback(_host_name(host)):
                return False
            if not _is_same_host(headers):
                return False
            query = parse_qsl(scope["query_string"].decode("latin-1"))
            caller = await self._caller(headers, query, guarded=guarded, by_query=True)
        except ShoalError:
            return False
        remember(scope.setdefault("state", {}), caller)
        return caller is not None and bool(caller.rights & {"see", "home"})

    async def _caller(
        self, headers: Headers, query: Iterable[tuple[str, str]], *, guarded: bool, by_query: bool = False
    ) -> Caller | None:
        """Return who it is: by a token, by a session, by the cookie of a token, or by being at this machine."""
        kind, _, shown = headers.get("authorization", "").partition(" ")
        found = self._by_token(shown.strip()) if kind.lower() == "bearer" else None
        if found is None and by_query:
            found = self._by_token(dict(query).get(TOKEN_PARAMETER, ""))
        if found is not None:
            return found.caller
        if self._doorman is not None and guarded:
            caller = await self._doorman.caller_of(cookie_of(headers, SESSION_COOKIE))
            if caller is not None:
                return caller
        cookie = cookie_of(headers, COOKIE).encode()
        for one in self._shown:
            if hmac.compare_digest(cookie, one.cookie.encode()) and found is None:
                found = one
        if found is not None:
            return found.caller
        return None if guarded else self._anybody

    def _by_token(self, shown: str) -> _Shown | None:
        """Return whose token it is; takes the same time for every wrong one."""
        found = None
        for one in self._shown:
            if hmac.compare_digest(shown.encode(), one.token):
                found = one
        return found


def _refused_caller(caller: Caller | None, path: str, need: Need) -> Response:
    if caller is not None:
        if need == "never":
            return problem(404, "Not Found", f"there is nothing to change at {path}")
        return problem(
            403, "Forbidden", f"{caller.name} may not do this: it takes the right to {_WORDS.get(need, need)}"
        )
    if path == "/":
        return HTMLResponse(_REFUSED_PAGE, status_code=401)
    refused = problem(
        401, "Unauthorized", "sign in on the page, or show a token as 'Authorization: Bearer <token>'"
    )
    refused.headers["WWW-Authenticate"] = "Bearer"
    return refused


def _is_same_host(headers: Headers) -> bool:
    """Whether a browser says that the request comes from a page of this host; who is no browser says nothing."""
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if "json" in headers.get("content-type", ""):
                headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_OF_DATA)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending


def cookie_of(headers: Headers, name: str) -> str:
    """Return the value of a cookie, empty without one."""
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return "" if found is None else found.value


def _host_name(host: str) -> str:
    """Return the name in a `Host` header without its port; empty when it is malformed."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
