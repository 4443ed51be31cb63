"""Who may command this plant: the controller's signing key with its certificate, from the plant's keys.

A certificate that the plant makes for itself is replaced every day, long before it ends, while the process runs; one that was
made elsewhere is read anew every hour, so whoever keeps the root puts the next one in its place in time. The old one and the
new hold together for weeks, so a device need not know which came first, and its clock may be wrong by a day.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from shoal.domain.errors import CorruptStateError, InvalidInputError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.edge.signed import ForgedError, Issuer, make_certificate, read_certificate
from shoal.fabric.command_keys import CommandKeys

KINDS: Final = ("desired", "orders", "regulation", "broadcast", "prices")
TENANT: Final = "plant"
CERTIFIED_NS: Final = 30 * 24 * NS_PER_HOUR
"""A certificate that the plant makes for itself ends after so long."""
RENEW_NS: Final = 24 * NS_PER_HOUR
"""It is made anew after so long: who cannot make another goes on for weeks, and so does a device whose clock is ahead."""
LOOK_NS: Final = NS_PER_HOUR
"""So often it is looked whether one that was made elsewhere was replaced, and again after a look that failed."""
ENDS_SOON_NS: Final = 7 * 24 * NS_PER_HOUR
BEFORE_NS: Final = 24 * NS_PER_HOUR
"""Clocks of devices may be so much behind."""
EVER_NS: Final = 2**62


_log = structlog.get_logger(__name__)


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
    return Issuer(keys.issuer_seed, _certificate(keys, name=name, tenant=tenant, now_ns=now_ns))


def _certificate(keys: CommandKeys, *, name: str, tenant: str, now_ns: int | None) -> bytes:
    """Return the certificate that was put there, or one made now."""
    if keys.certificate is not None:
        return keys.certificate
    if keys.root_seed is None:
        raise CorruptStateError("the keys of commands", "there is neither a certificate nor the root's seed")
    return make_certificate(
        keys.root_seed,
        issuer=name,
        tenant=tenant,
        public_key=keys.issuer_public,
        not_before_ns=0 if now_ns is None else max(now_ns - BEFORE_NS, 0),
        not_after_ns=EVER_NS if now_ns is None else now_ns + CERTIFIED_NS,
        kinds=KINDS,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerStatistics:
    """How the certificate stands.

    Attributes:
        certificate_left_s: How long it still holds; negative when it has ended.
        renewals: How often it was replaced.
        failed_renewals: How often that could not be done.
        signatures: Batches signed.
    """

    certificate_left_s: float
    renewals: int
    failed_renewals: int
    signatures: int


class LivingIssuer(Issuer):
    """Signs for as long as the process runs; its certificate is replaced before it ends.

    What cannot be read or does not fit leaves the certificate as it is, is logged, and is tried again after `LOOK_NS`.

    Args:
        load: Reads the plant's keys of commands.
        name: The controller's name.
        tenant: Whose sites it commands.
        now_ns: The plant's clock.
    """

    def __init__(
        self,
        load: Callable[[], CommandKeys],
        *,
        name: str,
        tenant: str = TENANT,
        now_ns: Callable[[], int],
    ) -> None:
        """Take the first certificate.

        Raises:
            CorruptStateError: when there is neither a certificate nor the root's seed to make one.
            InvalidInputError: when the certificate that was put there is about another key.
            ForgedError: when it cannot be read.
        """
        keys, made_ns = load(), now_ns()
        super().__init__(keys.issuer_seed, _certificate(keys, name=name, tenant=tenant, now_ns=made_ns))
        self._load, self._name, self._tenant, self._now_ns = load, name, tenant, now_ns
        self._elsewhere = keys.certificate is not None
        self._looked_ns = made_ns
        self._renewals = self._failed = self._signatures = 0

    def sign_batch(self, messages: Sequence[tuple[str, str, bytes]]) -> list[bytes]:
        """Return the frames of messages, see `Issuer.sign_batch`, under a certificate that holds."""
        now_ns = self._now_ns()
        wait_ns = LOOK_NS if self._elsewhere else RENEW_NS
        # a clock that was set back has made the certificate one of the future
        if not 0 <= now_ns - self._looked_ns < wait_ns:
            self._renew(now_ns)
        self._signatures += 1
        return super().sign_batch(messages)

    def statistics(self) -> IssuerStatistics:
        """Return how the certificate stands."""
        return IssuerStatistics(
            certificate_left_s=(self.certificate.not_after_ns - self._now_ns()) / NS_PER_S,
            renewals=self._renewals,
            failed_renewals=self._failed,
            signatures=self._signatures,
        )

    def _renew(self, now_ns: int) -> None:
        try:
            keys = self._load()
            made = _certificate(keys, name=self._name, tenant=self._tenant, now_ns=now_ns)
            found = read_certificate(made)
            if found.public_key != self.certificate.public_key:
                raise InvalidInputError(
                    field="certificate", value=found.issuer, fix="take the one made for this key"
                )
        except (OSError, CorruptStateError, ForgedError, InvalidInputError) as error:
            self._failed += 1
            self._looked_ns = now_ns - (0 if self._elsewhere else RENEW_NS - LOOK_NS)
            _log.error(
                "the certificate of commands cannot be renewed", why=str(error), left_s=self._left_s(now_ns)
            )
            return
        self._looked_ns, self._elsewhere = now_ns, keys.certificate is not None
        if made != self._signed:
            self.certificate, self._signed = found, made
            self._renewals += 1
            _log.info("the certificate of commands was replaced", left_s=self._left_s(now_ns))
        if self.certificate.not_after_ns - now_ns < ENDS_SOON_NS:
            _log.warning(
                "the certificate of commands ends soon: put another there", left_s=self._left_s(now_ns)
            )

    def _left_s(self, now_ns: int) -> int:
        return (self.certificate.not_after_ns - now_ns) // NS_PER_S
