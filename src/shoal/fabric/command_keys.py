"""The keys of commands: the plant's root, which certifies who may command, and the controller's own.

They are Ed25519 seeds beside the other keys, in files that only the owner can read. A plant whose root is kept elsewhere has
its public half (``command_root.pub``), the controller's seed, and the certificate that was made for it
(``command_issuer.cert``); then no process of the plant can make another issuer.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from nacl.signing import SigningKey

from shoal.domain.errors import CorruptStateError
from shoal.fabric.keys import check_private, create_file

ROOT_SEED: Final = "command_root.key"
ROOT_PUBLIC: Final = "command_root.pub"
ISSUER_SEED: Final = "command_issuer.key"
ISSUER_CERTIFICATE: Final = "command_issuer.cert"
_SEED_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandKeys:
    """The keys of commands.

    Attributes:
        root_public: Devices trust whom this key has certified.
        root_seed: Its secret half; None when it is kept elsewhere.
        issuer_seed: The controller's own.
        certificate: What the root has signed for it; None when it is to be made from `root_seed`.
    """

    root_public: bytes
    root_seed: bytes | None = field(repr=False)
    issuer_seed: bytes = field(repr=False)
    certificate: bytes | None

    @property
    def issuer_public(self) -> bytes:
        """The public half of the controller's key."""
        return SigningKey(self.issuer_seed).verify_key.encode()

    @classmethod
    def load(cls, directory: Path) -> CommandKeys:
        """Read the keys in `directory`, making none: devices trust the root that was there before.

        Raises:
            CorruptStateError: when the root's public half or the controller's seed is missing, and as `create_or_load`.
        """
        for name in (ROOT_PUBLIC, ISSUER_SEED):
            if not (directory / name).exists():
                raise CorruptStateError(
                    str(directory / name), "it is missing; restore it, devices trust no other"
                )
        return cls.create_or_load(directory)

    @classmethod
    def create_or_load(cls, directory: Path) -> CommandKeys:
        """Read the keys in `directory`, making those that are not there; two processes at once get the same.

        Raises:
            CorruptStateError: when a file is no key, can be read by somebody else than its owner, or the root's halves do
                not belong together.
        """
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_private(directory)
        public_file = directory / ROOT_PUBLIC
        root_seed = None
        if (directory / ROOT_SEED).exists() or not public_file.exists():
            root_seed = _secret(directory / ROOT_SEED)
            own = SigningKey(root_seed).verify_key.encode()
            if not public_file.exists():
                create_file(public_file, own.hex().encode())
            if _bytes_of(public_file) != own:
                raise CorruptStateError(str(public_file), f"it is not the public half of {ROOT_SEED}")
        file = directory / ISSUER_CERTIFICATE
        return cls(
            root_public=_bytes_of(public_file),
            root_seed=root_seed,
            issuer_seed=_secret(directory / ISSUER_SEED),
            certificate=file.read_bytes() if file.exists() else None,
        )


def _secret(path: Path) -> bytes:
    if not path.exists():
        create_file(path, secrets.token_hex(_SEED_BYTES).encode())
    check_private(path)
    return _bytes_of(path)


def _bytes_of(path: Path) -> bytes:
    try:
        found = bytes.fromhex(path.read_text("ascii").strip())
    except ValueError as error:
        raise CorruptStateError(str(path), "it is no key; restore it") from error
    if len(found) != _SEED_BYTES:
        raise CorruptStateError(
            str(path), f"it holds {len(found)} bytes, a key has {_SEED_BYTES}; restore it"
        )
    return found
