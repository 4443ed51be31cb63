"""What signs the commands of a role, where the settings ask for it: keys from the data directory, certificates renewed."""

from __future__ import annotations

import time

from shoal.cli.roles.host import Host
from shoal.control.issuing import LivingIssuer, issuer_of
from shoal.edge.signed import Issuer
from shoal.fabric.command_keys import CommandKeys
from shoal.runtime.clock import ConductedClock


def signer_of(host: Host, name: str) -> Issuer | None:
    """Return what signs as `name`; None in a plant that does not sign. Blocks.

    Raises:
        CorruptStateError: when the keys cannot be used.
    """
    directory = host.settings.data_dir / "keys"
    # made at the first start in any case, so that devices can be given the root's public key before anything is signed
    keys = CommandKeys.create_or_load(directory)
    if not host.settings.control.sign:
        return None
    tenant = host.settings.control.tenant
    if isinstance(host.clock, ConductedClock):
        return issuer_of(keys, name=name, tenant=tenant, now_ns=None)
    living = LivingIssuer(
        lambda: CommandKeys.load(directory),  # never another root: every device would refuse it
        name=name,
        tenant=tenant,
        now_ns=lambda: host.clock.now_ns() or time.time_ns(),
    )
    host.ops.register("issuer", living.statistics)
    return living
