"""The status page's server: HTTP/1.1 on asyncio alone, for one page, its picture of now, and the owner's buttons.

It answers on the addresses that it listens on and under no other name, so that no foreign page can reach it through a
name of its own. A button needs the page's token, and the PIN where there is one; on a network the page itself needs it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs

import structlog

from shoal.domain.errors import SettingsError, UnavailableError
from shoal.edge.page_assets import SCRIPT, STYLE
from shoal.edge.page_view import Status, live_html, page_html, sign_in_html

_MOST_HEAD: Final = 8_192
_MOST_BODY: Final = 4_096
_PATIENCE_S: Final = 10.0
_MOST_AT_ONCE: Final = 32
_WRONG_PINS: Final = 5
_WRONG_PINS_S: Final = 60.0
_MOST_SESSIONS: Final = 64
_COOKIE: Final = "shoal-edge"
_ALWAYS: Final = (
    "Content-Security-Policy: default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'\r\n"
    "X-Content-Type-Options: nosniff\r\nReferrer-Policy: same-origin\r\nCache-Control: no-store\r\n"
    "Cross-Origin-Opener-Policy: same-origin\r\nConnection: close\r\n"
)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the owner asks for with a button.

    Attributes:
        do: ``reserve``, ``leave``, ``come-back``, ``alone``, ``join``, ``off`` or ``on``.
        event_id: Of ``leave`` and ``come-back``.
        reserve_frac: Of ``reserve``.
    """

    do: str
    event_id: str = ""
    reserve_frac: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    method: str
    path: str
    headers: dict[str, str]
    form: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    status: HTTPStatus
    body: str = ""
    kind: str = "text/html; charset=utf-8"
    more: str = ""


class Page:
    """The server.

    Args:
        listen: Address to listen on.
        port: Its port; 0 for a free one.
        pin: What the buttons ask for; empty for none, which only goes on loopback.
        status: Returns what to show.
        grant: Does what the owner asks; returns why not, empty when it was done.
        monotonic_s: A clock that is never set.

    Raises:
        SettingsError: without a PIN on anything but loopback, or when `listen` is no address.
    """

    def __init__(
        self,
        *,
        listen: str,
        port: int,
        pin: str,
        status: Callable[[], Status],
        grant: Callable[[Wish], str],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        try:
            address = ipaddress.ip_address(listen)
        except ValueError as error:
            raise SettingsError(
                field="page.listen", value=listen, fix="give an address, as 127.0.0.1"
            ) from error
        if not address.is_loopback and not pin:
            raise SettingsError(
                field="page.pin_file", value="", fix="on a network the page needs a PIN: name its file"
            )
        self._listen, self._port = listen, port
        self._any_name = address.is_unspecified
        self._pin = pin
        self._on_network = not address.is_loopback
        self._status = status
        self._grant = grant
        self._monotonic_s = monotonic_s
        self._token = secrets.token_urlsafe(24)
        self._sessions: deque[str] = deque(maxlen=_MOST_SESSIONS)
        self._wrong_at_s: deque[float] = deque(maxlen=_WRONG_PINS)
        self._server: asyncio.Server | None = None
        self._open = 0
        self.answered = 0

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._port

    async def start(self) -> None:
        """Begin to answer.

        Raises:
            UnavailableError: when the port is taken.
        """
        try:
            self._server = await asyncio.start_server(
                self._serve, self._listen, self._port, limit=_MOST_HEAD, reuse_address=True
            )
        except OSError as error:
            raise UnavailableError(f"page on {self._listen}:{self._port}", str(error.strerror)) from error
        self._port = int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop answering."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._open >= _MOST_AT_ONCE:
            writer.close()
            return
        self._open += 1
        try:
            async with asyncio.timeout(_PATIENCE_S):
                request = await _read(reader)
                answer = request if isinstance(request, _Answer) else self._answer(request)
                body = answer.body.encode()
                head = (
                    f"HTTP/1.1 {answer.status.value} {answer.status.phrase}\r\nContent-Type: {answer.kind}\r\n"
                    f"Content-Length: {len(body)}\r\n{_ALWAYS}{answer.more}\r\n"
                )
                is_head = isinstance(request, _Request) and request.method == "HEAD"
                writer.write(head.encode() + (b"" if is_head else body))
                await writer.drain()
                self.answered += 1
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            writer.transport.abort()  # whoever asked has gone, or speaks no HTTP
        finally:
            self._open -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _answer(self, request: _Request) -> _Answer:
        if not self._is_our_name(request.headers.get("host", "")):
            return _Answer(status=HTTPStatus.MISDIRECTED_REQUEST, body="Not a name of this page.")
        if request.method == "POST":
            return self._posted(request)
        if request.method not in ("GET", "HEAD"):
            return _Answer(status=HTTPStatus.METHOD_NOT_ALLOWED, more="Allow: GET, HEAD, POST\r\n")
        if request.path == "/style.css":
            return _Answer(status=HTTPStatus.OK, body=STYLE, kind="text/css; charset=utf-8")
        if request.path == "/script.js":
            return _Answer(status=HTTPStatus.OK, body=SCRIPT, kind="text/javascript; charset=utf-8")
        if request.path == "/favicon.ico":
            return _Answer(status=HTTPStatus.NO_CONTENT)
        if request.path not in ("/", "/live"):
            return _Answer(status=HTTPStatus.NOT_FOUND, body="There is no such page.")
        if self._on_network and not self._is_signed_in(request):
            if request.path == "/live":
                return _Answer(status=HTTPStatus.UNAUTHORIZED)
            return _Answer(status=HTTPStatus.OK, body=sign_in_html(self._status().site, self._token, ""))
        status = self._status()
        if request.path == "/live":
            return _Answer(status=HTTPStatus.OK, body=live_html(status))
        needs_pin = bool(self._pin) and not self._is_signed_in(request)
        return _Answer(status=HTTPStatus.OK, body=page_html(status, self._token, needs_pin=needs_pin))

    def _posted(self, request: _Request) -> _Answer:
        if not hmac.compare_digest(request.form.get("token", "").encode(), self._token.encode()):
            return _Answer(status=HTTPStatus.FORBIDDEN, body="Load the page again, then press the button.")
        if request.path not in ("/owner", "/sign-in"):
            return _Answer(status=HTTPStatus.NOT_FOUND, body="There is no such page.")
        more = ""
        if self._pin and not self._is_signed_in(request):
            refusal = self._check_pin(request.form.get("pin", ""))
            if refusal is not None:
                return refusal
            session = secrets.token_urlsafe(24)
            self._sessions.append(session)
            more = f"Set-Cookie: {_COOKIE}={session}; HttpOnly; SameSite=Strict; Path=/\r\n"
        if request.path == "/owner":
            wish = _wish(request.form)
            why_not = "That is not a button of this page." if wish is None else self._grant(wish)
            if why_not:
                return _Answer(
                    status=HTTPStatus.UNPROCESSABLE_ENTITY, body=why_not, kind="text/plain; charset=utf-8"
                )
        return _Answer(status=HTTPStatus.SEE_OTHER, more=f"Location: /\r\n{more}")

    def _check_pin(self, given: str) -> _Answer | None:
        """Return the refusal of a PIN, None when it is right; after a few wrong ones all are refused for a while."""
        now_s = self._monotonic_s()
        if len(self._wrong_at_s) == _WRONG_PINS and now_s - self._wrong_at_s[0] < _WRONG_PINS_S:
            return _Answer(
                status=HTTPStatus.TOO_MANY_REQUESTS,
                body=sign_in_html(self._status().site, self._token, "Too many wrong PINs: wait a minute."),
                more=f"Retry-After: {_WRONG_PINS_S:.0f}\r\n",
            )
        if hmac.compare_digest(given.encode(), self._pin.encode()):
            return None
        self._wrong_at_s.append(now_s)
        _log.warning("wrong pin on the page")
        return _Answer(
            status=HTTPStatus.FORBIDDEN,
            body=sign_in_html(self._status().site, self._token, "That PIN is wrong."),
        )

    def _is_signed_in(self, request: _Request) -> bool:
        given = dict(
            part.strip().partition("=")[::2] for part in request.headers.get("cookie", "").split(";")
        ).get(_COOKIE, "")
        return any(hmac.compare_digest(given.encode(), known.encode()) for known in self._sessions)

    def _is_our_name(self, host: str) -> bool:
        """Whether a page was asked for by address, or by a name of this machine's own: no foreign name leads here."""
        name, colon, port = host.rpartition(":")
        if not colon or not port.isdigit() or host.endswith("]"):
            name = host
        name = name.strip("[]").lower()
        if name == "localhost" or name.endswith(".local"):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return self._any_name or address == ipaddress.ip_address(self._listen)


async def _read(reader: asyncio.StreamReader) -> _Request | _Answer:
    """Return a request, or the answer to one that cannot be read."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    method, _, rest = first.partition(" ")
    target, _, version = rest.partition(" ")
    if not version.startswith("HTTP/1.") or not target.startswith("/"):
        return _Answer(status=HTTPStatus.BAD_REQUEST)
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    length = headers.get("content-length", "0")
    if not length.isdigit() or "transfer-encoding" in headers:
        return _Answer(status=HTTPStatus.BAD_REQUEST)
    if int(length) > _MOST_BODY:
        return _Answer(status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    body = (await reader.readexactly(int(length))).decode("utf-8", "replace")
    form = {name: values[-1] for name, values in parse_qs(body, max_num_fields=16).items()}
    return _Request(method=method, path=target.partition("?")[0], headers=headers, form=form)


def _wish(form: dict[str, str]) -> Wish | None:
    do = form.get("do", "")
    if do in ("alone", "join", "off", "on"):
        return Wish(do=do)
    if do in ("leave", "come-back") and form.get("event_id"):
        return Wish(do=do, event_id=form["event_id"])
    percent = form.get("reserve_pct", "")
    if do == "reserve" and percent.isdigit() and int(percent) <= 100:
        return Wish(do=do, reserve_frac=int(percent) / 100)
    return None
