"""The server's configuration: complete, without secrets, and never in plain text by accident."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from shoal.domain.errors import SettingsError
from shoal.fabric.config import RIGHTS, FabricOptions, TlsFiles, render
from shoal.fabric.keys import Keys, Role


def rendered(options: FabricOptions, keys: Keys) -> str:
    return render(options, publics=keys.publics(), issuer=keys.account_identity().public)


def test_config_names_every_public_key_and_no_secret(tmp_path: Path) -> None:
    keys = Keys.create_or_load(tmp_path / "keys")
    text = rendered(FabricOptions(store_dir=tmp_path), keys)
    for role in Role:
        assert keys.identity(role).public in text
    assert keys.account_identity().public in text
    for path in (tmp_path / "keys").iterdir():
        assert path.read_text().strip() not in text


def test_config_denies_everything_where_a_role_has_no_right(tmp_path: Path) -> None:
    keys = Keys.create_or_load(tmp_path / "keys")
    line = next(
        line
        for line in rendered(FabricOptions(store_dir=tmp_path), keys).splitlines()
        if keys.identity(Role.OBSERVER).public in line
    )
    assert 'publish: { deny: [">"] }' in line
    assert "allow: []" not in rendered(FabricOptions(store_dir=tmp_path), keys)


def test_config_gives_every_role_but_the_callout_and_the_guard_rights_in_the_plant() -> None:
    assert set(RIGHTS) == set(Role) - {Role.CALLOUT, Role.GUARD}


def test_config_refuses_plain_text_beyond_loopback(tmp_path: Path) -> None:
    keys = Keys.create_or_load(tmp_path / "keys")
    files = TlsFiles(cert=Path("c.pem"), key=Path("k.pem"), ca=Path("ca.pem"))
    options = FabricOptions(store_dir=tmp_path, host="0.0.0.0", client_tls=files, mqtt_tls=files)
    with pytest.raises(SettingsError) as caught:
        rendered(options, keys)
    assert caught.value.field == "fabric.websocket_tls"
    text = rendered(dataclasses.replace(options, websocket_tls=files), keys)
    assert text.count('cert_file: "c.pem"') == 3
    assert text.count("verify: true") == 3
    assert "no_tls" not in text
    assert "no_tls: true" in rendered(dataclasses.replace(options, plain_text_beyond_loopback=True), keys)


def test_config_of_a_cluster_has_routes_and_else_none(tmp_path: Path) -> None:
    keys = Keys.create_or_load(tmp_path / "keys")
    alone = FabricOptions(store_dir=tmp_path)
    assert "cluster {" not in rendered(alone, keys)
    files = TlsFiles(cert=Path("c.pem"), key=Path("k.pem"), ca=Path("ca.pem"))
    member = dataclasses.replace(
        alone,
        server_name="n1",
        cluster_name="C",
        cluster_port=6333,
        routes=("nats://a:1", "nats://b:2"),
        cluster_tls=files,
    )
    text = rendered(member, keys)
    section = text[text.index("cluster {") : text.index("accounts {")]
    assert 'listen: "127.0.0.1:6333"' in section
    assert 'routes: ["nats://a:1", "nats://b:2"]' in section
    assert "verify: true" in section
    other = dataclasses.replace(member, server_name="n2", store_dir=tmp_path / "other", client_port=4333)
    others = rendered(other, keys)
    assert text[text.index("accounts {") :] == others[others.index("accounts {") :]


def test_config_lets_no_stranger_into_a_cluster(tmp_path: Path) -> None:
    keys = Keys.create_or_load(tmp_path / "keys")
    files = TlsFiles(cert=Path("c.pem"), key=Path("k.pem"))
    options = FabricOptions(
        store_dir=tmp_path,
        host="0.0.0.0",
        client_tls=files,
        mqtt_tls=files,
        websocket_tls=files,
        cluster_name="C",
    )
    for unchecked in (None, files):
        with pytest.raises(SettingsError) as caught:
            rendered(dataclasses.replace(options, cluster_tls=unchecked), keys)
        assert caught.value.field == "fabric.cluster_tls"
    checked = dataclasses.replace(files, ca=Path("ca.pem"))
    assert "ca_file" in rendered(dataclasses.replace(options, cluster_tls=checked), keys)


def test_config_quotes_paths(tmp_path: Path) -> None:
    keys = Keys.create_or_load(tmp_path / "keys")
    text = rendered(FabricOptions(store_dir=Path('/a "b" $c')), keys)
    assert r'store_dir: "/a \"b\" $c"' in text


@pytest.mark.parametrize(("interval_s", "written"), [(0.0, "always"), (2.5, '"2.5s"'), (120.0, '"120s"')])
def test_config_writes_the_sync_interval(tmp_path: Path, interval_s: float, written: str) -> None:
    keys = Keys.create_or_load(tmp_path / "keys")
    assert f"sync_interval: {written}" in rendered(
        FabricOptions(store_dir=tmp_path, sync_interval_s=interval_s), keys
    )
