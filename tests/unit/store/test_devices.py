"""Devices in a real database: pages without gaps, one secret at a time, and a step for each change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine

from shoal.domain.errors import InvalidInputError, UnavailableError, UnknownIdError
from shoal.domain.ids import SiteId
from shoal.store.database import open_database
from shoal.store.devices import ENROLLED, FIRST, REPLACED, REVOKED, Devices
from shoal.store.registry import Registry
from shoal.store.secret_changes import SecretChanges
from shoal.store.users import Users
from tests.unit.api.doors import CHEAP, database
from tests.unit.api.plants import make_fleet

T_NS = 1_700_000_000_000_000_000


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    (tmp_path / "registry.db").write_bytes(database())
    return open_database(f"sqlite:///{tmp_path / 'registry.db'}")


def with_gateway(engine: Engine) -> None:
    """Put the two homes behind a gateway."""
    fleet = replace(
        make_fleet(),
        gateway_ids=("gw-1",),
        gateway_of=np.array([0, 0, -1], dtype=np.int32),
        gateway_unit=np.array([1, 2, 0], dtype=np.int32),
    )
    Registry(engine).load_fleet(fleet, valid_from_ns=0)


def test_secret_is_good_until_it_is_replaced_or_revoked(engine: Engine) -> None:
    devices, registry = Devices(engine), Registry(engine)
    first = devices.enrol("home-0", by="ada", at_ns=T_NS)
    assert registry.verify(SiteId("home-0"), first)
    second = devices.enrol("home-0", by="ada", at_ns=T_NS + 1)
    assert not registry.verify(SiteId("home-0"), first)
    assert registry.verify(SiteId("home-0"), second)
    devices.revoke("home-0", by="bob", at_ns=T_NS + 2, reason=" stolen ")
    assert not registry.verify(SiteId("home-0"), second)
    held = devices.device("home-0")
    assert (held.state, held.enrolled_ns, held.revoked_ns) == ("revoked", T_NS + 1, T_NS + 2)
    steps = [(one.by, one.action, one.subject, one.detail) for one in Users(engine, cost=CHEAP).steps(10)]
    assert steps == [
        ("bob", REVOKED, "home-0", "stolen"),
        ("ada", ENROLLED, "home-0", "new secret; the former one is refused"),
        ("ada", ENROLLED, "home-0", "first secret"),
    ]
    assert not any(secret in str(steps) for secret in (first, second))


def test_revoked_device_is_enrolled_again(engine: Engine) -> None:
    devices = Devices(engine)
    devices.enrol("home-0", by="ada", at_ns=T_NS)
    devices.revoke("home-0", by="ada", at_ns=T_NS, reason="lost")
    secret = devices.enrol("home-0", by="ada", at_ns=T_NS + 1)
    assert Registry(engine).verify(SiteId("home-0"), secret)
    assert devices.device("home-0").state == "enrolled"


@pytest.mark.parametrize(
    ("device", "reason", "field"),
    [("home-0", "", "reason"), ("home-0", "x" * 501, "reason"), ("home-1", "lost", "device")],
)
def test_revocation_names_what_is_wrong(engine: Engine, device: str, reason: str, field: str) -> None:
    devices = Devices(engine)
    devices.enrol("home-0", by="ada", at_ns=T_NS)
    with pytest.raises(InvalidInputError) as caught:
        devices.revoke(device, by="ada", at_ns=T_NS, reason=reason)
    assert caught.value.field == field
    assert devices.device("home-0").state == "enrolled"


def test_revoking_twice_is_refused_and_keeps_the_first_instant(engine: Engine) -> None:
    devices = Devices(engine)
    devices.enrol("home-0", by="ada", at_ns=T_NS)
    devices.revoke("home-0", by="ada", at_ns=T_NS + 1, reason="lost")
    with pytest.raises(InvalidInputError, match="refused already"):
        devices.revoke("home-0", by="bob", at_ns=T_NS + 2, reason="again")
    assert devices.device("home-0").revoked_ns == T_NS + 1


HOUR_NS = 3_600_000_000_000


def changes_of(engine: Engine, *, began_ns: int) -> SecretChanges:
    return SecretChanges(Devices(engine), began_ns=began_ns, look_back_ns=HOUR_NS, believed_ns=31)


def test_changes_are_told_once_and_a_first_secret_is_none(engine: Engine) -> None:
    devices, changes = Devices(engine), changes_of(engine, began_ns=T_NS)
    assert changes.read() == {}
    devices.enrol("home-0", by="ada", at_ns=T_NS)
    devices.enrol("home-1", by="ada", at_ns=T_NS)
    assert changes.read() == {}
    devices.enrol("home-0", by="ada", at_ns=T_NS + 1)
    devices.revoke("home-0", by="ada", at_ns=T_NS + 2, reason="lost")
    Users(engine, cost=CHEAP).put("bob", roles=["viewer"], password="x" * 12, by="ada", at_ns=T_NS)
    assert changes.read() == {"home-0": None}
    assert changes.read() == {}


def test_changes_of_the_last_hour_are_made_up_for_when_asked_first(engine: Engine) -> None:
    devices = Devices(engine)
    for device, at_ns in (("home-0", T_NS - HOUR_NS - 1), ("home-1", T_NS - 100), ("bess-0", T_NS - 30)):
        devices.enrol(device, by="ada", at_ns=0)
        devices.enrol(device, by="ada", at_ns=at_ns)
    changes = changes_of(engine, began_ns=T_NS)
    # the last one's former secret may be believed until after the beginning: any connection may be by it
    assert changes.read() == {"home-1": T_NS - 100 + 31, "bess-0": None}
    assert changes.read() == {}


def test_changes_are_not_lost_with_a_reading_that_fails(engine: Engine, tmp_path: Path) -> None:
    devices, changes = Devices(engine), changes_of(engine, began_ns=T_NS)
    devices.enrol("home-0", by="ada", at_ns=T_NS)
    devices.enrol("home-0", by="ada", at_ns=T_NS + 1)
    engine.dispose()
    (tmp_path / "registry.db").rename(tmp_path / "away.db")
    with pytest.raises(UnavailableError):
        changes.read()
    engine.dispose()
    (tmp_path / "away.db").rename(tmp_path / "registry.db")
    assert changes.reached is None
    assert changes.read() == {"home-0": None}


def test_many_secrets_are_noted_as_one_is(engine: Engine) -> None:
    registry, changes = Registry(engine), changes_of(engine, began_ns=T_NS)
    assert changes.read() == {}
    homes = [SiteId("home-0"), SiteId("home-1")]
    registry.issue_credentials(homes[:1], at_ns=T_NS)
    issued = registry.issue_credentials(homes, at_ns=T_NS + 1, by="ada")
    steps = Users(engine, cost=CHEAP).steps(10)
    assert [(one.by, one.action, one.subject, one.detail, one.at_ns) for one in reversed(steps)] == [
        ("ada", ENROLLED, "home-0", REPLACED, T_NS + 1),
        ("ada", ENROLLED, "home-1", FIRST, T_NS + 1),
    ]
    assert changes.read() == {"home-0": None}
    assert all(registry.verify(home, issued[home]) for home in homes)


def test_site_behind_a_gateway_is_no_device(engine: Engine) -> None:
    devices = Devices(engine)
    devices.enrol("home-0", by="ada", at_ns=T_NS)
    with_gateway(engine)
    assert [(one.device_id, one.sites) for one in devices.page(10)] == [("gw-1", 2), ("bess-0", 1)]
    with pytest.raises(UnknownIdError):
        devices.enrol("home-0", by="ada", at_ns=T_NS)
    counts = devices.counts()
    assert (counts.devices, counts.enrolled, counts.revoked, counts.missing) == (2, 0, 0, 2)


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_pages_together_are_every_device_once(engine: Engine, limit: int) -> None:
    with_gateway(engine)
    Registry(engine).load_fleet(
        make_fleet(), valid_from_ns=0
    )  # the homes have connections of their own again
    devices, found, after = Devices(engine), [], ""
    while page := devices.page(limit, after=after):
        found += [one.device_id for one in page]
        after = page[-1].cursor
    assert found == [one.device_id for one in devices.page(100)]
    assert {"gw-1", "bess-0"} <= set(found)
    assert found[0] == "gw-1"


def test_search_and_state_narrow_the_list(engine: Engine) -> None:
    devices = Devices(engine)
    devices.enrol("home-1", by="ada", at_ns=T_NS)
    devices.enrol("bess-0", by="ada", at_ns=T_NS)
    devices.revoke("bess-0", by="ada", at_ns=T_NS, reason="lost")
    assert [one.device_id for one in devices.page(10, text="HOME")] == ["home-0", "home-1"]
    assert [one.device_id for one in devices.page(10, text="%")] == []
    assert [one.device_id for one in devices.page(10, state="enrolled")] == ["home-1"]
    assert [one.device_id for one in devices.page(10, state="revoked")] == ["bess-0"]
    assert [one.device_id for one in devices.page(10, state="missing")] == ["home-0"]
    with pytest.raises(InvalidInputError, match="after"):
        devices.page(10, after="nonsense")
