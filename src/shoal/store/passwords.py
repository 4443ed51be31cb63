"""Passwords of people: the plant keeps a salted scrypt digest with its cost, never the password.

People choose what can be guessed, so each guess has to cost memory and time; device secrets (`shoal.store.credentials`)
are random and need neither.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from shoal.domain.errors import CorruptStateError, InvalidInputError

MIN_CHARACTERS: Final = 12
MAX_CHARACTERS: Final = 1_000
_SALT_BYTES: Final = 16
_DIGEST_BYTES: Final = 32
_SCHEME: Final = "scrypt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one guess costs: 128 * `n` * `r` bytes of memory, `p` times over."""

    n: int = 1 << 15
    r: int = 8
    p: int = 3


USUAL_COST: Final = Cost()


def check_password(password: str) -> None:
    """Refuse a password that is too short to keep.

    Raises:
        InvalidInputError: saying what to choose.
    """
    if not MIN_CHARACTERS <= len(password) <= MAX_CHARACTERS:
        raise InvalidInputError(
            field="password",
            value=f"{len(password)} characters",
            fix=f"give {MIN_CHARACTERS} to {MAX_CHARACTERS:,} characters; a few words make a good one",
        )


def seal_password(password: str, *, random_bytes: Callable[[int], bytes], cost: Cost = USUAL_COST) -> str:
    """Return what may be stored of a password; takes a quarter of a second and tens of megabytes."""
    salt = random_bytes(_SALT_BYTES)
    return _sealed(salt, _digest(password, salt, cost), cost)


def unmatched_password(*, random_bytes: Callable[[int], bytes], cost: Cost = USUAL_COST) -> str:
    """Return what looks like a stored password and is none: to compare with takes as long as with a real one."""
    return _sealed(random_bytes(_SALT_BYTES), random_bytes(_DIGEST_BYTES), cost)


def password_matches(password: str, sealed: str) -> bool:
    """Whether it is the password that was sealed; takes the same time for every wrong one.

    Raises:
        CorruptStateError: when what is stored cannot be read.
    """
    try:
        scheme, n, r, p, salt, digest = sealed.split("$")
        cost = Cost(n=int(n), r=int(r), p=int(p))
        held, kept = base64.b64decode(salt, validate=True), base64.b64decode(digest, validate=True)
    except ValueError as error:
        raise CorruptStateError("a stored password", str(error)) from error
    if scheme != _SCHEME:
        raise CorruptStateError("a stored password", f"it is made by {scheme!r}")
    return hmac.compare_digest(_digest(password, held, cost), kept)


def _digest(password: str, salt: bytes, cost: Cost) -> bytes:
    memory_bytes = 128 * cost.r * (cost.n + cost.p + 2)
    return hashlib.scrypt(
        password.encode(),
        salt=salt,
        n=cost.n,
        r=cost.r,
        p=cost.p,
        maxmem=2 * memory_bytes,
        dklen=_DIGEST_BYTES,
    )


def _sealed(salt: bytes, digest: bytes, cost: Cost) -> str:
    return "$".join((_SCHEME, str(cost.n), str(cost.r), str(cost.p), _text(salt), _text(digest)))


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
