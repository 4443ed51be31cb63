"""Identity of devices: the server asks, this answers with a signed token or a refusal.

A device signs in with its site id and its secret, over MQTT with the site id as client id too (or `<site>:<anything>`),
so that no device can take over another's session. What it gets is the right to its own three subjects, and nothing
that is internal to the server.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
import ssl
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from shoal.domain.errors import InvalidInputError, ShoalError, UnavailableError
from shoal.domain.ids import SiteId, site_id
from shoal.fabric.config import PLANT_ACCOUNT
from shoal.fabric.connection import connect, translated
from shoal.fabric.keys import Identity, Keys, Role
from shoal.fabric.subjects import downlink_subjects, journal_subject, telemetry_subject

SIGN_IN_SUBJECT: Final = "$SYS.REQ.USER.AUTH"
CONNECTION_TYPES: Final = ("MQTT", "MQTT_WS", "STANDARD", "WEBSOCKET")
_HEADER: Final = b'{"typ":"JWT","alg":"ed25519-nkey"}'
_DEVICE_SUBSCRIPTIONS: Final = 8
_CACHE_ENTRIES: Final = 200_000
_CONCURRENT: Final = 32
_LONGEST_WAIT_S: Final = 0.2
"""Devices come back as soon as the server does; who answers for them must be there first."""

_log = structlog.get_logger(__name__)

Verify = Callable[[str, str], bool]
"""Whether a site id and a secret belong together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalloutStatistics:
    """What was answered so far.

    Attributes:
        signed_in: Accepted sign-ins.
        from_cache: Those of them that needed no verification.
        refused: Refusals by reason: ``site_id``, ``client_id``, ``secret``, ``unavailable``, ``fault``.
        in_progress: Being verified now.
    """

    signed_in: int
    from_cache: int
    refused: Mapping[str, int]
    in_progress: int


class AuthCallout:
    """The service that signs devices in. Run `serve()` in a task group.

    Args:
        keys: The plant's keys.
        verify: Says whether a site id and a secret belong together; it may block, it runs in a thread.
        lifetime_s: After how long a device must sign in again, in seconds; None for never.
        cache_s: How long a verified secret is believed without asking again, in seconds.
        max_payload_bytes: Largest message a device may send; None for the server's limit.
    """

    def __init__(
        self,
        keys: Keys,
        verify: Verify,
        *,
        lifetime_s: float | None = None,
        cache_s: float = 30.0,
        max_payload_bytes: int | None = None,
    ) -> None:
        self._keys = keys
        self._account = keys.account_identity()
        self._verify = verify
        self._lifetime_s = lifetime_s
        self._max_payload_bytes = -1 if max_payload_bytes is None else max_payload_bytes
        self._cache = _SecretCache(lifetime_s=cache_s)
        self._signed_in = 0
        self._from_cache = 0
        self._refused: Counter[str] = Counter()
        self._in_progress = 0
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
            in_progress=self._in_progress,
        )

    async def _serve(self, client: Client, lost: asyncio.Event) -> None:
        slots = asyncio.Semaphore(_CONCURRENT)
        async with asyncio.TaskGroup() as tasks:

            async def received(message: Msg) -> None:
                # Waiting here leaves further requests in the subscription's bounded queue.
                await slots.acquire()
                tasks.create_task(self._answer(message)).add_done_callback(lambda _: slots.release())

            with translated("the auth callout"):
                await client.subscribe(SIGN_IN_SUBJECT, queue="callout", cb=received)
                await client.flush()
            self.ready.set()
            await lost.wait()
            raise UnavailableError("the auth callout", "the server ended its connection")

    async def _answer(self, message: Msg) -> None:
        """Answer one request, whatever is wrong with it: the device must hear a refusal, the service must go on."""
        self._in_progress += 1
        try:
            request = _claims(message.data)
            with translated("the auth callout"):
                await message.respond(await self._decide(request["nats"]))
        except UnavailableError as error:
            _log.warning("sign-in not answered", why=error.why)
        except Exception:  # noqa: BLE001 - the supervisor of one request
            self._refused["fault"] += 1
            _log.exception("sign-in failed")
        finally:
            self._in_progress -= 1

    async def _decide(self, request: Mapping[str, Any]) -> bytes:
        options = request["connect_opts"]
        user, secret = str(options.get("user", "")), str(options.get("pass", ""))
        reason = await self._reason_to_refuse(user, secret, request.get("client_info", {}))
        if reason:
            self._refused[reason] += 1
            _log.info("sign-in refused", reason=reason, user=user[:64])
            body: dict[str, Any] = {"error": reason}
        else:
            self._signed_in += 1
            body = {"jwt": self._device_token(SiteId(user), request["user_nkey"])}
        return _token(
            self._account,
            subject=request["user_nkey"],
            audience=request["server_id"]["id"],
            body={"type": "authorization_response", "version": 2, **body},
        ).encode()

    async def _reason_to_refuse(self, user: str, secret: str, client: Mapping[str, Any]) -> str:
        try:
            site = site_id(user)
        except InvalidInputError:
            return "site_id"
        mqtt_id = client.get("mqtt_id")
        if mqtt_id is not None and mqtt_id != site and not str(mqtt_id).startswith(f"{site}:"):
            return "client_id"
        if self._cache.has(site, secret):
            self._from_cache += 1
            return ""
        try:
            right = await asyncio.to_thread(self._verify, site, secret)
        except ShoalError as error:
            _log.error("device secrets cannot be verified", why=str(error))
            return "unavailable"
        except Exception:  # noqa: BLE001 - the supervisor of code that was handed in
            _log.exception("device secrets cannot be verified")
            return "fault"
        if right:
            self._cache.put(site, secret)
        return "" if right else "secret"

    def _device_token(self, site: SiteId, user_key: str) -> str:
        body = {
            "type": "user",
            "version": 2,
            # Publish rights are checked after the mapping: the mapped subject is the one that counts.
            # The server lets MQTT clients use its internal `$MQTT.` subjects unasked: for reading its own
            # queues a device needs that, for writing it does not.
            "pub": {"allow": [telemetry_subject(site), journal_subject(site)], "deny": ["$MQTT.>"]},
            "sub": {"allow": [downlink_subjects(site)]},
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


class _SecretCache:
    """Secrets that were right lately, as keyed digests; bounded, the oldest goes first."""

    def __init__(self, *, lifetime_s: float) -> None:
        self._lifetime_s = lifetime_s
        self._key = secrets.token_bytes(32)
        self._entries: OrderedDict[str, tuple[bytes, float]] = OrderedDict()

    def has(self, site: str, secret: str) -> bool:
        digest, until_s = self._entries.get(site, (b"", 0.0))
        return time.monotonic() < until_s and hmac.compare_digest(digest, self._digest(site, secret))

    def put(self, site: str, secret: str) -> None:
        self._entries.pop(site, None)
        self._entries[site] = (self._digest(site, secret), time.monotonic() + self._lifetime_s)
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
    digest = hashlib.sha256(msgspec.json.encode(claims)).digest()
    claims["jti"] = base64.b32encode(digest).rstrip(b"=").decode()
    signed = _base64(_HEADER) + b"." + _base64(msgspec.json.encode(claims))
    return (signed + b"." + _base64(issuer.sign(signed))).decode()


def _claims(token: bytes) -> dict[str, Any]:
    """Return the claims of a request; only the server can publish on its subject, so the signature adds nothing."""
    part = token.split(b".")[1]
    claims: dict[str, Any] = msgspec.json.decode(base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)))
    return claims


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
