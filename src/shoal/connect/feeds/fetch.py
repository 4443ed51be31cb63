"""Gets documents over HTTP as a good guest: conditional, paced, bounded in time and size, and never telling a secret.

Each request goes retry (a few tries with back-off) inside circuit breaker (a host that is down is left alone) inside
pace. What came back is kept on disk; when it has not changed, the copy is the answer.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import httpx
import structlog

import shoal
from shoal.connect.feeds.cache import Copy, DocumentCache, digest_of, fresh_for_s
from shoal.connect.feeds.feed import Ask, FeedDescription, FeedError
from shoal.connect.feeds.gather import looks_like_html, whole
from shoal.connect.feeds.hidden import HiddenSecrets
from shoal.connect.feeds.host import Host, HostPace
from shoal.domain.errors import InvalidInputError, UnavailableError
from shoal.domain.interval import NS_PER_S
from shoal.flow.breaker import CircuitBreaker
from shoal.flow.retry import Backoff, Retry

CONTACT_VARIABLE: Final = "SHOAL_FEEDS_CONTACT"
_AGAIN: Final = frozenset({408, 425, 429})
_GONE: Final = frozenset({404, 410})
_REFUSED: Final = frozenset({401, 403, 407})
_MOST_REDIRECTS: Final = 3
_LONGEST_HOLD_S: Final = 300.0
_LONGEST_FRESH_S: Final = 86_400.0
_LOG: Final = structlog.get_logger(__name__)


class Outcome(StrEnum):
    """What a request came to."""

    NEW = "new"
    UNCHANGED = "unchanged"
    """The provider says, or the bytes say, that it is what we have."""
    COPY = "copy"
    """It was not asked for again: it never changes, or the provider asked to wait."""
    ABSENT = "absent"
    """There is no such document, or not yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """An answer.

    Attributes:
        outcome: What the request came to.
        content: The document; empty when it is absent.
        digest: Of the document.
    """

    outcome: Outcome
    content: bytes = b""
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLimits:
    """What a request may take.

    Attributes:
        connect_s: To connect.
        read_s: Between two parts of an answer.
        total_s: For one try altogether.
        body_bytes: The most bytes of an answer, unpacked.
        tries: The most tries.
        budget_s: For all tries together.
        failures_to_open: Failures in a row after which a host is left alone.
        rest_s: For how long.
    """

    connect_s: float = 10.0
    read_s: float = 30.0
    total_s: float = 60.0
    body_bytes: int = 64 << 20
    tries: int = 4
    budget_s: float = 180.0
    failures_to_open: int = 3
    rest_s: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchStatistics:
    """What a fetcher has done.

    Attributes:
        requests_total: Requests sent.
        received_bytes_total: Bytes of bodies, unpacked.
        outcomes_total: Answers by what they came to.
        failures_total: Calls that ended in an error.
        waited_s_total: Time spent waiting for a turn at a host.
        open_hosts: Hosts that are left alone now.
    """

    requests_total: int
    received_bytes_total: int
    outcomes_total: Mapping[str, int]
    failures_total: int
    waited_s_total: float
    open_hosts: tuple[str, ...]


class Fetcher:
    """A client of public feeds, for one event loop.

    Args:
        cache: Copies of documents.
        now_ns: The plant's clock, for how long a copy is fresh.
        contact: A mail or web address that tells providers who asks.
        use_proxy: Whether the proxies that the environment names are used.
        secrets: Values of secrets by the name of their environment variable.
        mirrors: Other places of documents: the beginning of a URL, and what to put in its place.
        limits: What a request may take.
        retry: How a failed request is tried again; from the limits when None.
        pace: Makes the pace of a host from its rate.

    Raises:
        InvalidInputError: when the contact holds anything but printable ASCII.
    """

    def __init__(
        self,
        *,
        cache: DocumentCache,
        now_ns: Callable[[], int],
        contact: str = "",
        use_proxy: bool = False,
        secrets: Mapping[str, str] | None = None,
        mirrors: Mapping[str, str] | None = None,
        limits: FetchLimits | None = None,
        retry: Retry | None = None,
        pace: Callable[[float], HostPace] = lambda rate_per_s: HostPace(rate_per_s=rate_per_s),
    ) -> None:
        if not (contact.isascii() and (not contact or contact.isprintable())):
            raise InvalidInputError(
                field=CONTACT_VARIABLE, value=contact, fix="give a mail or web address in ASCII"
            )
        self._cache = cache
        self._now_ns = now_ns
        self._contact = contact
        self._secrets = {name: value for name, value in (secrets or {}).items() if value}
        self._mirrors = dict(mirrors or {})
        self._limits = limits or FetchLimits()
        self._retry = retry or Retry(
            backoff=Backoff(first_s=1.0, cap_s=30.0), tries=self._limits.tries, budget_s=self._limits.budget_s
        )
        self._pace = pace
        self._hosts: dict[str, Host] = {}
        self._requests = self._bytes = self._failures = 0
        self._outcomes: dict[str, int] = {outcome.value: 0 for outcome in Outcome}
        self._hidden = HiddenSecrets(self._secrets.values())
        self._client = httpx.AsyncClient(
            headers={
                "User-Agent": f"shoal/{shoal.__version__} {contact}".strip(),
                "Accept-Encoding": "gzip, identity",
            },
            timeout=httpx.Timeout(self._limits.read_s, connect=self._limits.connect_s),
            limits=httpx.Limits(max_connections=8, max_keepalive_connections=4),
            follow_redirects=False,
            trust_env=use_proxy,
        )

    async def __aenter__(self) -> Fetcher:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
        self._hidden.close()

    async def fetch(self, ask: Ask, feed: FeedDescription) -> Fetched:
        """Return a document: fetched, or the copy when it is as good.

        Raises:
            UnavailableError: when the host cannot be reached, answers with an error, or is left alone for a while.
            FeedError: when the request is refused, the answer is no document, or a secret is missing.
        """
        url = self._url(ask, feed)
        copy = await asyncio.to_thread(self._cache.get, ask.url)
        if copy is not None and (ask.immutable or self._now_ns() < copy.fresh_until_ns):
            return self._counted(Fetched(outcome=Outcome.COPY, content=copy.body, digest=copy.digest))
        host = self._host(url, feed)
        try:
            fetched = await host.breaker.call(
                lambda: self._retry.call(lambda: self._once(url, ask, feed, copy, host))
            )
        except (UnavailableError, FeedError):
            self._failures += 1
            raise
        return self._counted(fetched)

    async def forget(self, ask: Ask) -> None:
        """Drop the copy of a document that turned out to be of no use."""
        await asyncio.to_thread(self._cache.forget, ask.url)

    def statistics(self) -> FetchStatistics:
        """Return the counters."""
        return FetchStatistics(
            requests_total=self._requests,
            received_bytes_total=self._bytes,
            outcomes_total=dict(self._outcomes),
            failures_total=self._failures,
            waited_s_total=sum(host.pace.waited_s_total for host in self._hosts.values()),
            open_hosts=tuple(
                sorted(name for name, host in self._hosts.items() if host.breaker.statistics().is_open)
            ),
        )

    def _counted(self, fetched: Fetched) -> Fetched:
        self._outcomes[fetched.outcome.value] += 1
        return fetched

    def _url(self, ask: Ask, feed: FeedDescription) -> httpx.URL:
        if feed.needs_contact and not self._contact:
            raise FeedError(
                feed=feed.name,
                field=CONTACT_VARIABLE,
                value="",
                fix="set it to a mail or web address: this provider asks users who they are",
            )
        text = ask.url
        for begin, other in self._mirrors.items():
            if text.startswith(begin):
                text = other + text.removeprefix(begin)
                break
        url = httpx.URL(text)
        if feed.secret is None:
            return url
        value = self._secrets.get(feed.secret.variable)
        if not value:
            raise FeedError(
                feed=feed.name, field=feed.secret.variable, value="", fix=f"set it: {feed.secret.source}"
            )
        return url.copy_add_param(feed.secret.parameter, value)

    def _host(self, url: httpx.URL, feed: FeedDescription) -> Host:
        name = url.netloc.decode("ascii", "replace")
        host = self._hosts.get(name)
        if host is None:
            breaker = CircuitBreaker(
                name, failures=self._limits.failures_to_open, rest_s=self._limits.rest_s, now_s=time.monotonic
            )
            host = self._hosts[name] = Host(self._pace(feed.rate_per_s), breaker)
        host.pace.slow_to(feed.rate_per_s)
        return host

    async def _once(
        self, url: httpx.URL, ask: Ask, feed: FeedDescription, copy: Copy | None, host: Host
    ) -> Fetched:
        await host.pace.wait_turn()
        # Errors of the library carry the request and with it the secret, hence "from None".
        try:
            async with asyncio.timeout(self._limits.total_s):
                return await self._exchange(url, ask, feed, copy, host)
        except TimeoutError:
            raise self._unavailable(feed, ask, f"no whole answer within {self._limits.total_s:g} s") from None
        except (httpx.HTTPError, httpx.StreamError, zlib.error) as error:
            raise self._unavailable(feed, ask, type(error).__name__) from None
        except (httpx.InvalidURL, httpx.CookieConflict):
            raise self._wrong(feed, "url", ask.url, "it is no address") from None

    async def _exchange(
        self, url: httpx.URL, ask: Ask, feed: FeedDescription, copy: Copy | None, host: Host
    ) -> Fetched:
        headers = {"If-None-Match": copy.etag} if copy and copy.etag else {}
        if copy and copy.last_modified:
            headers["If-Modified-Since"] = copy.last_modified
        request = self._client.build_request("GET", url, headers=headers)
        for _ in range(_MOST_REDIRECTS + 1):
            self._requests += 1
            response = await self._client.send(request, stream=True)
            try:
                if response.next_request is None:
                    return await self._answer(response, ask, feed, copy, host)
                request = self._redirected(request, response.next_request, ask, feed)
            finally:
                await response.aclose()
        raise self._wrong(
            feed, "redirects", ask.url, f"more than {_MOST_REDIRECTS}: see whether it has moved"
        )

    def _redirected(
        self, request: httpx.Request, following: httpx.Request, ask: Ask, feed: FeedDescription
    ) -> httpx.Request:
        if feed.secret is not None or (request.url.scheme == "https" and following.url.scheme != "https"):
            raise self._wrong(
                feed, "redirect", ask.url, "it leads away from where a secret or TLS is safe: it has moved"
            )
        return following

    async def _answer(
        self, response: httpx.Response, ask: Ask, feed: FeedDescription, copy: Copy | None, host: Host
    ) -> Fetched:
        status = response.status_code
        if status == httpx.codes.NOT_MODIFIED and copy is not None:
            await self._keep(ask, copy.body, response, feed)
            return Fetched(outcome=Outcome.UNCHANGED, content=copy.body, digest=copy.digest)
        if status in _GONE:
            return Fetched(outcome=Outcome.ABSENT)
        if status in _REFUSED:
            raise self._wrong(
                feed, "status", status, "the provider refuses this client; check key and contact"
            )
        if status >= httpx.codes.INTERNAL_SERVER_ERROR or status in _AGAIN:
            wait_s = whole(response.headers.get("Retry-After", ""))
            if wait_s is not None:
                host.pace.hold(min(float(wait_s), _LONGEST_HOLD_S))
            raise self._unavailable(feed, ask, f"status {status}")
        if status != httpx.codes.OK and status not in feed.told_in_body:
            raise self._wrong(feed, "status", status, f"{ask.url} answers with this")
        body = await self._body(response, ask, feed)
        if not ask.listing and looks_like_html(body):
            raise self._unavailable(feed, ask, "a web page in place of data")
        if status != httpx.codes.OK:
            return Fetched(outcome=Outcome.NEW, content=body, digest=digest_of(body))
        await self._keep(ask, body, response, feed)
        digest = digest_of(body)
        same = copy is not None and copy.digest == digest
        return Fetched(outcome=Outcome.UNCHANGED if same else Outcome.NEW, content=body, digest=digest)

    async def _body(self, response: httpx.Response, ask: Ask, feed: FeedDescription) -> bytes:
        """Read a body, unpacked, never more than the limit."""
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("", "identity", "gzip"):
            raise self._wrong(feed, "Content-Encoding", encoding, "only gzip was offered")
        limit_bytes = self._limits.body_bytes
        gzip = zlib.decompressobj(zlib.MAX_WBITS | 16) if encoding == "gzip" else None
        body = bytearray()
        async for part in response.aiter_raw():
            body += part if gzip is None else gzip.decompress(part, limit_bytes + 1 - len(body))
            if len(body) > limit_bytes:
                raise self._wrong(
                    feed, "body", f"more than {limit_bytes} bytes", "it is not what this feed gives"
                )
        if gzip is not None and not gzip.eof:
            raise self._unavailable(feed, ask, "the answer is cut off")
        self._bytes += len(body)
        return bytes(body)

    async def _keep(self, ask: Ask, body: bytes, response: httpx.Response, feed: FeedDescription) -> None:
        headers = response.headers
        if "no-store" in headers.get("Cache-Control", "").lower():
            return
        fresh_s = min(fresh_for_s(headers), feed.cadence_s, _LONGEST_FRESH_S)
        try:
            await asyncio.to_thread(
                self._cache.put,
                ask.url,
                body,
                etag=headers.get("ETag", ""),
                last_modified=headers.get("Last-Modified", ""),
                fresh_until_ns=self._now_ns() + int(fresh_s * NS_PER_S),
            )
        except OSError as error:  # a full disk costs the copy, not the document
            _LOG.warning("feed_copy_not_kept", url=ask.url, error=str(error))

    def _unavailable(self, feed: FeedDescription, ask: Ask, why: str) -> UnavailableError:
        return UnavailableError(f"feed {feed.name}", f"{why} at {ask.url}")

    def _wrong(self, feed: FeedDescription, field: str, value: object, fix: str) -> FeedError:
        return FeedError(feed=feed.name, field=field, value=value, fix=fix)
