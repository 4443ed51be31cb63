"""How the simulated sites are put together: whose commands they open."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoal.cli.roles.homes import verifier_of
from shoal.control.issuing import issuer_of
from shoal.edge.signed import ForgedError
from shoal.fabric.command_keys import ROOT_PUBLIC, ROOT_SEED, CommandKeys
from shoal.runtime.settings import Settings, load_settings

NOW_NS = 1_700_000_000_000_000_000
PLAIN = b'{"version": 1}'


def settings(directory: Path, *, tenant: str = "plant", sign: bool = True) -> Settings:
    flags = {"data_dir": str(directory), "control.sign": sign, "control.tenant": tenant}
    return load_settings(env={}, flags=flags)


def frame(directory: Path, *, tenant: str = "plant") -> bytes:
    keys = CommandKeys.create_or_load(directory / "keys")
    issuer = issuer_of(keys, name="control", tenant=tenant, now_ns=None)
    return issuer.sign_batch([("home-1", "desired", PLAIN)])[0]


@pytest.mark.parametrize("sites_first", [True, False])
def test_sites_open_what_the_plant_signs_whoever_makes_the_keys(tmp_path: Path, sites_first: bool) -> None:
    signed = b"" if sites_first else frame(tmp_path)
    verifier = verifier_of(settings(tmp_path))
    assert verifier is not None
    signed = signed or frame(tmp_path)
    assert verifier.open("home-1", "desired", signed, NOW_NS) == PLAIN
    with pytest.raises(ForgedError, match="unsigned"):
        verifier.open("home-1", "desired", PLAIN, NOW_NS)


def test_sites_refuse_another_tenants_plant(tmp_path: Path) -> None:
    verifier = verifier_of(settings(tmp_path, tenant="mine"))
    assert verifier is not None
    with pytest.raises(ForgedError, match="other_tenant"):
        verifier.open("home-1", "desired", frame(tmp_path), NOW_NS)


def test_sites_need_no_more_than_the_public_half_of_the_root(tmp_path: Path) -> None:
    signed = frame(tmp_path / "plant")
    keys = tmp_path / "sites" / "keys"
    keys.mkdir(mode=0o700, parents=True)
    (keys / ROOT_PUBLIC).write_bytes((tmp_path / "plant" / "keys" / ROOT_PUBLIC).read_bytes())
    verifier = verifier_of(settings(tmp_path / "sites"))
    assert verifier is not None
    assert verifier.open("home-1", "desired", signed, NOW_NS) == PLAIN
    assert not (keys / ROOT_SEED).exists()


def test_plant_that_does_not_sign_makes_no_keys(tmp_path: Path) -> None:
    assert verifier_of(settings(tmp_path, sign=False)) is None
    assert not (tmp_path / "keys").exists()
