"""Device secrets: the plant keeps a salted digest, never the secret.

A secret is 256 random bits, so one HMAC-SHA-256 is enough: a slow hash has no guessing to slow.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

SECRET_BYTES: Final = 32
SALT_BYTES: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What is stored of a device's secret; `revoked_ns` is None while it is good."""

    salt: bytes
    digest: bytes
    created_ns: int
    revoked_ns: int | None = None

    def matches(self, secret: str) -> bool:
        """Whether the secret is the right one and not revoked; takes the same time for every wrong one."""
        right = hmac.compare_digest(_digest(secret, self.salt), self.digest)
        return right and self.revoked_ns is None


def new_secret(random_bytes: Callable[[int], bytes]) -> str:
    """Return a fresh secret of 43 URL-safe characters.

    Args:
        random_bytes: Source of randomness, such as `secrets.token_bytes`.
    """
    return base64.urlsafe_b64encode(random_bytes(SECRET_BYTES)).rstrip(b"=").decode("ascii")


def seal(secret: str, *, created_ns: int, random_bytes: Callable[[int], bytes]) -> Credential:
    """Return what may be stored of a secret."""
    salt = random_bytes(SALT_BYTES)
    return Credential(salt=salt, digest=_digest(secret, salt), created_ns=created_ns)


def _digest(secret: str, salt: bytes) -> bytes:
    return hmac.new(salt, secret.encode(), hashlib.sha256).digest()
