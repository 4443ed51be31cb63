"""Identities of the plant's own parts: one NKEY (an Ed25519 key pair) a role, in files that only the owner can read.

The server's configuration names public keys alone; a role proves itself by signing the server's nonce. Secrets appear
in no representation and in no log.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

import nkeys

from shoal.domain.errors import CorruptStateError

_ACCOUNT_FILE: Final = "auth_account"
_RAW_SEED_BYTES: Final = 32
_SECRET_BITS: Final = 0o077


class Role(StrEnum):
    """A part of the plant with an identity of its own; `JOURNAL` reads for `TELEMETRY` and
    `HISTORY`, `CALLOUT` answers for the devices, `GUARD` watches them, `SIGNAL` brings what markets ask in, `ADDER` alone
    hears what single homes would do at prices and tells `PRICES` the sums."""

    FABRIC = "fabric"
    TELEMETRY = "telemetry"
    JOURNAL = "journal"
    CONTROL = "control"
    REGULATION = "regulation"
    SIGNAL = "signal"
    PRICES = "prices"
    ADDER = "adder"
    BIDDING = "bidding"
    HISTORY = "history"
    API = "api"
    OBSERVER = "observer"
    CALLOUT = "callout"
    GUARD = "guard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A key pair: `public` may be shown, the rest signs and stays hidden."""

    public: str
    _pair: nkeys.KeyPair = field(repr=False, compare=False)

    @classmethod
    def from_seed(cls, seed: str) -> Identity:
        """Return the identity of an encoded seed.

        Raises:
            CorruptStateError: when it is not a seed.
        """
        try:
            pair = nkeys.from_seed(bytearray(seed.strip().encode()))
            return cls(public=pair.public_key.decode(), _pair=pair)
        except (nkeys.NkeysError, ValueError) as error:
            raise CorruptStateError("nkey seed", "it does not decode") from error

    def sign(self, data: bytes) -> bytes:
        """Return the Ed25519 signature of `data`, 64 bytes."""
        return bytes(self._pair.sign(data))

    @property
    def inbox_prefix(self) -> str:
        """Where this identity alone may receive replies."""
        return f"_INBOX.{self.public}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The seeds of every role and of the account key that signs device identities."""

    _seeds: Mapping[str, str] = field(repr=False)

    @classmethod
    def create_or_load(cls, directory: Path) -> Keys:
        """Read the seeds in `directory`, making those that are not there; two processes at once get the same.

        Raises:
            CorruptStateError: when a file is not a seed, or can be read by somebody else than its owner.
        """
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_private(directory)
        seeds = {role.value: _seed(directory / f"{role}.nk", nkeys.PREFIX_BYTE_USER) for role in Role}
        seeds[_ACCOUNT_FILE] = _seed(directory / f"{_ACCOUNT_FILE}.nk", nkeys.PREFIX_BYTE_ACCOUNT)
        return cls(_seeds=seeds)

    def seed(self, role: Role | str) -> str:
        """Return the secret seed of `role`."""
        return self._seeds[Role(role).value]

    def identity(self, role: Role | str) -> Identity:
        """Return the key pair of `role`."""
        return Identity.from_seed(self.seed(role))

    def account_identity(self) -> Identity:
        """Return the key pair that signs the identities of devices."""
        return Identity.from_seed(self._seeds[_ACCOUNT_FILE])

    def publics(self) -> dict[Role, str]:
        """Return the public key of each role."""
        return {role: self.identity(role).public for role in Role}


def _seed(path: Path, prefix: int) -> str:
    if not path.exists():
        create_file(path, nkeys.encode_seed(secrets.token_bytes(_RAW_SEED_BYTES), prefix))
    check_private(path)
    seed = path.read_text("ascii", errors="replace").strip()
    try:
        public = Identity.from_seed(seed).public
    except CorruptStateError as error:
        raise CorruptStateError(
            str(path), "it is not an nkey seed; restore it or delete it to make another"
        ) from error
    if public[0] != ("A" if prefix == nkeys.PREFIX_BYTE_ACCOUNT else "U"):
        raise CorruptStateError(str(path), f"it holds a seed of another kind (public key {public})")
    return seed


def create_file(path: Path, seed: bytes) -> None:
    """Write a secret whole or not at all, and never over a file that another process has made meanwhile."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(seed + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()


def check_private(path: Path) -> None:
    """Raise when somebody else than its owner may read a file or folder.

    Raises:
        CorruptStateError: when that is so.
    """
    mode = path.stat().st_mode
    if mode & _SECRET_BITS:
        raise CorruptStateError(
            str(path),
            f"others may read it (mode {mode & 0o777:o}); `chmod go-rwx` it, and replace the keys if in doubt",
        )
