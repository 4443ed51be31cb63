"""Identity of devices: the server asks, this answers with a signed token or a refusal.

A device signs in with its site id and its secret, over MQTT with the site id as client id too (or `<site>:<anything>`),
so that no device can take over another's session. What it gets is the right to its own subjects, and nothing that is
internal to the server. Whoever comes while too many do is refused at once and comes back later; secrets that are not
known yet are verified many at a time.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
import ssl
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from shoal.domain.errors import InvalidInputError, ShoalError, UnavailableError
from shoal.domain.ids import SiteId, site_id
from shoal.fabric._window import Window
from shoal.fabric.admission import Admission
from shoal.fabric.config import PLANT_ACCOUNT
from shoal.fabric.connection import connect, translated
from shoal.fabric.keys import Identity, Keys, Role
from shoal.fabric.subjects import (
    PACE,
    REGULATION_ALL,
    answer_subject,
    answers_behind,
    downlink_subjects,
    hello_subject,
    journal_subject,
    reading_subject,
    readings_behind,
    report_subject,
    reports_behind,
    telemetry_subject,
)

SIGN_IN_SUBJECT: Final = "$SYS.REQ.USER.AUTH"
CONNECTION_TYPES: Final = ("MQTT", "MQTT_WS", "STANDARD", "WEBSOCKET")
_HEADER: Final = base64.urlsafe_b64encode(b'{"typ":"JWT","alg":"ed25519-nkey"}').rstrip(b"=") + b"."
_DEVICE_SUBSCRIPTIONS: Final = 8
_CACHE_ENTRIES: Final = 200_000
_LONGEST_WAIT_S: Final = 0.2
"""Devices come back as soon as the server does; who answers for them must be there first."""
_MOST_WAITING: Final = 20_000
_PATIENCE_S: Final = 3.0
"""The server gives a sign-in up after 5 s: an answer that would be later than that is not worth its signature."""
_AT_ONCE: Final = 32
"""Sign-ins answered before the connection gets its turn: its answers must leave."""
_VERIFIERS: Final = 4
_BATCH: Final = 256

_log = structlog.get_logger(__name__)

Verify = Callable[[str, str], bool]
"""Whether a site id and a secret belong together."""
VerifyMany = Callable[[Sequence[tuple[str, str]]], Sequence[bool]]
"""The same for many pairs at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalloutStatistics:
    """What was answered so far.

    Attributes:
        signed_in: Accepted sign-ins.
        from_cache: Those of them that needed no verification.
        refused: Refusals by reason: ``site_id``, ``client_id``, ``secret``, ``busy``, ``cut_off``, ``unavailable``,
            ``fault``.
        expired: Requests that had waited so long that the server had given them up.
        in_progress: Waiting now.
    """

    signed_in: int
    from_cache: int
    refused: Mapping[str, int]
    expired: int
    in_progress: int


class _Request(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A sign-in as far as it was looked at."""

    at_s: float
    message: Msg
    claims: Mapping[str, Any]
    site: SiteId
    secret: str


class AuthCallout:
    """The service that signs devices in. Run `serve()` in a task group.

    Args:
        keys: The plant's keys.
        verify: Says whether a site id and a secret belong together; it may block, it runs in a thread.
        verify_many: The same for many at once, used instead when it is given.
        admission: How many are let through; everybody when None.
        lifetime_s: After how long a device must sign in again, in seconds; None for never.
        cache_s: How long a verified secret is believed without asking again, in seconds.
        max_payload_bytes: Largest message a device may send; None for the server's limit.
    """

    def __init__(
        self,
        keys: Keys,
        verify: Verify,
        *,
        verify_many: VerifyMany | None = None,
        admission: Admission | None = None,
        lifetime_s: float | None = None,
        cache_s: float = 30.0,
        max_payload_bytes: int | None = None,
    ) -> None:
        self._keys = keys
        self._account = keys.account_identity()
        self._verify_many = verify_many or (lambda pairs: [verify(*pair) for pair in pairs])
        self._admission = admission or Admission()
        self._lifetime_s = lifetime_s
        self._max_payload_bytes = -1 if max_payload_bytes is None else max_payload_bytes
        self._cache = _SecretCache(lifetime_s=cache_s)
        self._arrived: deque[tuple[float, Msg]] = deque()
        self._arrival = asyncio.Event()
        self._unverified: asyncio.Queue[_Request] = asyncio.Queue(_MOST_WAITING)
        self._signed_in = 0
        self._from_cache = 0
        self._expired = 0
        self._refused: Counter[str] = Counter()
        self._verifying = 0
        self.ready = asyncio.Event()

    async def serve(self, url: str, *, tls: ssl.SSLContext | None = None) -> None:
        """Answer sign-ins until cancelled, over any number of server restarts.

        Raises:
            UnavailableError: when the first connection fails, or the server ends the connection for good.
        """
        lost = asyncio.Event()
        client = await connect(
            url,
            seed=self._keys.seed(Role.CALLOUT),
            name="auth-callout",
            tls=tls,
            longest_wait_s=_LONGEST_WAIT_S,
            on_event=lambda event, _: lost.set() if event == "closed" else None,
        )
        try:
            await self._serve(client, lost)
        finally:
            self.ready.clear()
            await client.close()

    def statistics(self) -> CalloutStatistics:
        """Return what was answered so far."""
        return CalloutStatistics(
            signed_in=self._signed_in,
            from_cache=self._from_cache,
            refused=dict(self._refused),
            expired=self._expired,
            in_progress=len(self._arrived) + self._unverified.qsize() + self._verifying,
        )

    async def _serve(self, client: Client, lost: asyncio.Event) -> None:
        async def received(message: Msg) -> None:
            # Only noted, so that a request's age is known; the newest is let go when nothing else helps.
            if len(self._arrived) < _MOST_WAITING:
                self._arrived.append((time.monotonic(), message))
                self._arrival.set()
            else:
                self._expired += 1

        # Threads of its own: whatever else blocks in this process, devices can be signed in.
        threads = ThreadPoolExecutor(_VERIFIERS, thread_name_prefix="verify")
        try:
            await self._run(client, lost, received, threads)
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    async def _run(
        self,
        client: Client,
        lost: asyncio.Event,
        received: Callable[[Msg], Awaitable[None]],
        threads: ThreadPoolExecutor,
    ) -> None:
        async with asyncio.TaskGroup() as tasks:
            # The server takes answers in one after another, and costlier than they are made: without a bound they
            # would queue up until each came too late, and sign nobody in.
            window = Window(client, tasks)
            for _ in range(_VERIFIERS):
                tasks.create_task(self._verify_waiting(window, threads))
            tasks.create_task(self._answer_arrived(window))
            with translated("the auth callout"):
                await client.subscribe(SIGN_IN_SUBJECT, queue="callout", cb=received)
                await client.flush()
            self.ready.set()
            await lost.wait()
            raise UnavailableError("the auth callout", "the server ended its connection")

    async def _answer_arrived(self, window: Window) -> None:
        while True:
            await self._arrival.wait()
            self._arrival.clear()
            done = 0
            while self._arrived:
                await window.wait_room()
                at_s, message = self._arrived.popleft()
                if self._is_late(at_s):
                    continue
                await self._look_at(at_s, message, window)
                done += 1
                if done % _AT_ONCE == 0:
                    await asyncio.sleep(0)

    def _is_late(self, at_s: float) -> bool:
        late = time.monotonic() - at_s > _PATIENCE_S
        self._expired += late
        return late

    async def _look_at(self, at_s: float, message: Msg, window: Window) -> None:
        """Answer one request, or let its secret be verified, whatever is wrong with it: the service must go on."""
        try:
            claims: Mapping[str, Any] = _claims(message.data)["nats"]
            options = claims["connect_opts"]
            user, secret = str(options.get("user", "")), str(options.get("pass", ""))
            reason = _name_refused(user, claims.get("client_info", {})) or self._admission.reason_to_refuse(
                user
            )
            if reason:
                await self._respond(window, message, claims, user, reason)
                return
            request = _Request(at_s=at_s, message=message, claims=claims, site=SiteId(user), secret=secret)
            if self._cache.has(request.site, secret):
                self._from_cache += 1
                await self._respond(window, message, claims, user, "")
            elif self._unverified.full():
                await self._respond(window, message, claims, user, "busy")
            else:
                self._unverified.put_nowait(request)
        except Exception:  # noqa: BLE001 - the supervisor of one request
            self._refused["fault"] += 1
            _log.exception("sign-in failed")

    async def _verify_waiting(self, window: Window, threads: ThreadPoolExecutor) -> None:
        """Verify what waits, as much as there is at a time: a turn of the thread and of the registry for them all."""
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._unverified.get()]
            while len(batch) < _BATCH and not self._unverified.empty():
                batch.append(self._unverified.get_nowait())
            self._verifying += len(batch)
            try:
                pairs = [(one.site, one.secret) for one in batch]
                reasons = await loop.run_in_executor(threads, self._reasons, pairs)
                for request, reason in zip(batch, reasons, strict=True):
                    # Cut off since it was read that the secret is right: it may be so no more, and must not be believed.
                    if not reason and self._admission.is_cut_off(request.site):
                        reason = "cut_off"
                    if not reason and time.monotonic() - request.at_s < self._cache.lifetime_s:
                        self._cache.put(request.site, request.secret)
                    await window.wait_room()
                    if not self._is_late(request.at_s):
                        await self._respond(window, request.message, request.claims, request.site, reason)
            finally:
                self._verifying -= len(batch)

    def _reasons(self, pairs: Sequence[tuple[str, str]]) -> list[str]:
        """Return for each pair why it is refused, empty for none; in a thread."""
        try:
            return ["" if right else "secret" for right in self._verify_many(pairs)]
        except Exception as error:  # noqa: BLE001 - the supervisor of code that was handed in
            if len(pairs) > 1:  # one that cannot be verified must not keep out the others
                return [self._reasons([pair])[0] for pair in pairs]
            _log.error(
                "a device's secret cannot be verified", site=pairs[0][0], why=str(error), exc_info=True
            )
            return ["unavailable" if isinstance(error, ShoalError) else "fault"]

    async def _respond(
        self, window: Window, message: Msg, claims: Mapping[str, Any], user: str, reason: str
    ) -> None:
        if reason:
            self._refused[reason] += 1
            if reason != "busy":
                _log.info("sign-in refused", reason=reason, user=user[:64])
            body: dict[str, Any] = {"error": reason}
        else:
            self._signed_in += 1
            body = {"jwt": self._device_token(SiteId(user), claims["user_nkey"])}
        answer = _token(
            self._account,
            subject=claims["user_nkey"],
            audience=claims["server_id"]["id"],
            body={"type": "authorization_response", "version": 2, **body},
        )
        try:
            with translated("the auth callout"):
                await message.respond(answer.encode())
            window.sent()
        except UnavailableError as error:
            _log.warning("sign-in not answered", why=error.why)

    def _device_token(self, site: SiteId, user_key: str) -> str:
        body = {
            "type": "user",
            "version": 2,
            # Publish rights are checked after the mapping: the mapped subject is the one that counts.
            # The server lets MQTT clients use its internal `$MQTT.` subjects unasked: for reading its own
            # queues a device needs that, for writing it does not.
            "pub": {
                "allow": [
                    telemetry_subject(site),
                    journal_subject(site),
                    hello_subject(site),
                    report_subject(site),
                    reports_behind(site),
                    reading_subject(site),
                    readings_behind(site),
                    answer_subject(site),
                    answers_behind(site),
                ],
                "deny": ["$MQTT.>"],
            },
            "sub": {"allow": [downlink_subjects(site), PACE, REGULATION_ALL]},
            "subs": _DEVICE_SUBSCRIPTIONS,
            "data": -1,
            "payload": self._max_payload_bytes,
            "allowed_connection_types": list(CONNECTION_TYPES),
        }
        return _token(
            self._account,
            subject=user_key,
            audience=PLANT_ACCOUNT,
            body=body,
            name=site,
            lifetime_s=self._lifetime_s,
        )


def _name_refused(user: str, client: Mapping[str, Any]) -> str:
    """Return why a device may not come under its names, empty when it may."""
    try:
        site = site_id(user)
    except InvalidInputError:
        return "site_id"
    mqtt_id = client.get("mqtt_id")
    if mqtt_id is not None and mqtt_id != site and not str(mqtt_id).startswith(f"{site}:"):
        return "client_id"
    return ""


class _SecretCache:
    """Secrets that were right lately, as keyed digests; bounded, the oldest goes first."""

    def __init__(self, *, lifetime_s: float) -> None:
        self.lifetime_s = lifetime_s
        self._key = secrets.token_bytes(32)
        self._entries: OrderedDict[str, tuple[bytes, float]] = OrderedDict()

    def has(self, site: str, secret: str) -> bool:
        digest, until_s = self._entries.get(site, (b"", 0.0))
        return time.monotonic() < until_s and hmac.compare_digest(digest, self._digest(site, secret))

    def put(self, site: str, secret: str) -> None:
        self._entries.pop(site, None)
        self._entries[site] = (self._digest(site, secret), time.monotonic() + self.lifetime_s)
        while len(self._entries) > _CACHE_ENTRIES:
            self._entries.popitem(last=False)

    def _digest(self, site: str, secret: str) -> bytes:
        return hashlib.blake2b(f"{site}\0{secret}".encode(), key=self._key, digest_size=32).digest()


def _token(
    issuer: Identity,
    *,
    subject: str,
    audience: str,
    body: Mapping[str, Any],
    name: str = "",
    lifetime_s: float | None = None,
) -> str:
    """Return a signed NATS token (JWT with an NKEY signature)."""
    now_s = int(time.time())
    claims: dict[str, Any] = {
        "iat": now_s,
        "iss": issuer.public,
        "sub": subject,
        "aud": audience,
        "nats": body,
    }
    if name:
        claims["name"] = name
    if lifetime_s is not None:
        claims["exp"] = now_s + max(1, round(lifetime_s))
    claims["jti"] = hashlib.sha256(msgspec.json.encode(claims)).hexdigest()
    signed = _HEADER + _base64(msgspec.json.encode(claims))
    return (signed + b"." + _base64(issuer.sign(signed))).decode()


def _claims(token: bytes) -> dict[str, Any]:
    """Return the claims of a request; only the server can publish on its subject, so the signature adds nothing."""
    part = token.split(b".")[1]
    claims: dict[str, Any] = msgspec.json.decode(base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)))
    return claims


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
