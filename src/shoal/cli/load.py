"""`shoal sim load`: registers a synthetic fleet with a plant and sends its telemetry at a fixed pace.

Numbers of samples go on from one run to the next, so that a later run brings new samples and no repetitions.
"""

from __future__ import annotations

import os
import secrets
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from shoal.domain.errors import CorruptStateError
from shoal.domain.ids import SiteId
from shoal.fabric.keys import Keys
from shoal.simulate.fleet import site_secret
from shoal.simulate.load import Load, LoadStatistics
from shoal.simulate.load_fleet import LoadPlan, Transport, plan_load_fleet
from shoal.store.credentials import seal
from shoal.store.database import migrate, open_database
from shoal.store.registry import Registry

if TYPE_CHECKING:
    from shoal.domain.fleet import Fleet
    from shoal.runtime.settings import Settings

_MASTER_SECRET: Final = "load.secret"
_STATE: Final = "load.json"


class _State(msgspec.Struct, frozen=True, kw_only=True):
    """What the last run left: the number that each site's next sample must exceed."""

    last_seq: int


def register_load(settings: Settings, plan: LoadPlan, master_secret: bytes) -> Fleet:
    """Register the fleet of a plan and the credentials of its devices; return the fleet."""
    from shoal.cli.roles.host import sqlite_url

    Keys.create_or_load(settings.data_dir / "keys")
    url = settings.registry.database_url or sqlite_url(settings, "registry.db")
    migrate(url)
    registry = Registry(open_database(url))
    fleet = plan_load_fleet(plan)
    registry.load_fleet(fleet, valid_from_ns=0)
    sealed = [
        seal(site_secret(master_secret, device), created_ns=0, random_bytes=secrets.token_bytes)
        for device in plan.devices
    ]
    registry.set_credential([SiteId(device) for device in plan.devices], sealed)
    return fleet


def open_load(settings: Settings, plan: LoadPlan, master_secret: bytes) -> Load:
    """Return the load generator, connected to the plant's fabric.

    Raises:
        UnavailableError: when it cannot be reached, or refuses a device.
    """
    fabric = settings.fabric
    return Load(
        plan,
        host=fabric.host,
        port=fabric.client_port if plan.transport is Transport.NATS else fabric.mqtt_port,
        secret_of=lambda device: site_secret(master_secret, device),
        tls=ssl.create_default_context(cafile=fabric.tls_cert) if fabric.tls_cert else None,
    )


def run_load(
    settings: Settings, shape: dict[str, Any], *, rate_per_s: float, duration_s: float
) -> LoadStatistics:
    """Register a fleet of a shape (arguments of `LoadPlan`) and send its telemetry for a while.

    Every site is to send equally often, so that the next run leaves no hole: the time is rounded to whole turns.

    Raises:
        InvalidInputError: when the shape or the rate is out of range.
        UnavailableError: when the plant cannot be reached.
        CorruptStateError: when what an earlier run left cannot be read.
    """
    state_file = settings.data_dir / "run" / _STATE
    plan = LoadPlan(**shape, first_seq=_last_seq(state_file) + 1)
    master = _master_secret(settings.data_dir / "keys")
    register_load(settings, plan, master)
    with open_load(settings, plan, master) as load:
        try:
            load.send(rate_per_s, _whole_turns_s(plan, rate_per_s, duration_s))
            load.wait_read()
        finally:
            _save(state_file, _State(last_seq=int(load.last_seq().max())))
        return load.statistics()


def _whole_turns_s(plan: LoadPlan, rate_per_s: float, duration_s: float) -> float:
    """Return the time of as many whole turns of all sites as fit, one at least."""
    samples = plan.round_messages * plan.samples_per_message
    turns = max(1, int(duration_s * rate_per_s / samples))
    return (turns * samples + 0.5) / rate_per_s


def _master_secret(directory: Path) -> bytes:
    Keys.create_or_load(directory)
    path = directory / _MASTER_SECRET
    if not path.exists():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
    return path.read_bytes()


def _last_seq(path: Path) -> int:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_State).last_seq
    except FileNotFoundError:
        return 0
    except msgspec.DecodeError as error:
        raise CorruptStateError(str(path), str(error)) from error


def _save(path: Path, state: _State) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(msgspec.json.encode(state))
    temporary.replace(path)
