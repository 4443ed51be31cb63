"""Who may command this plant: the controller's signing key with its certificate, from the plant's keys."""

from __future__ import annotations

from typing import Final

from shoal.domain.errors import CorruptStateError
from shoal.domain.interval import NS_PER_HOUR
from shoal.edge.signed import Issuer, make_certificate
from shoal.fabric.command_keys import CommandKeys

KINDS: Final = ("desired", "orders", "regulation", "broadcast")
TENANT: Final = "plant"
CERTIFIED_NS: Final = 30 * 24 * NS_PER_HOUR
"""A certificate that the plant makes for itself ends after so long; it is made anew at every start."""
BEFORE_NS: Final = NS_PER_HOUR
"""Clocks of devices may be so much behind."""
EVER_NS: Final = 2**62


def issuer_of(keys: CommandKeys, *, name: str, tenant: str = TENANT, now_ns: int | None) -> Issuer:
    """Return what signs the controller's messages.

    Args:
        keys: The plant's keys of commands.
        name: The controller's name.
        tenant: Whose sites it commands.
        now_ns: From when the certificate holds, if one is made; None for one that always holds, for plants whose time is
            not the machine's.

    Raises:
        CorruptStateError: when there is neither a certificate nor the root's seed to make one.
    """
    if keys.certificate is not None:
        return Issuer(keys.issuer_seed, keys.certificate)
    if keys.root_seed is None:
        raise CorruptStateError("the keys of commands", "there is neither a certificate nor the root's seed")
    certificate = make_certificate(
        keys.root_seed,
        issuer=name,
        tenant=tenant,
        public_key=keys.issuer_public,
        not_before_ns=0 if now_ns is None else max(now_ns - BEFORE_NS, 0),
        not_after_ns=EVER_NS if now_ns is None else now_ns + CERTIFIED_NS,
        kinds=KINDS,
    )
    return Issuer(keys.issuer_seed, certificate)
