"""Settings: which source wins, what is refused and how, and that no secret is ever shown."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from shoal.domain.errors import SettingsError
from shoal.runtime.keys import mask_url
from shoal.runtime.settings import Settings, all_keys, docs_markdown, load_settings


def write_config(directory: Path, text: str, name: str = "shoal.toml") -> Path:
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return path


def refused(**arguments: object) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load_settings(**{"env": {}, **arguments})  # type: ignore[arg-type]
    return caught.value


def test_sources_win_in_order(tmp_path: Path) -> None:
    write_config(tmp_path, "[telemetry]\nshards = 2\nhttp_port = 9002\nfresh_timeout_s = 50\n")
    env = {"SHOAL_TELEMETRY__SHARDS": "3", "SHOAL_TELEMETRY__HTTP_PORT": "9003"}
    settings = load_settings(flags={"telemetry.shards": 4, "api.port": None}, env=env, directory=tmp_path)
    assert settings.telemetry.shards == 4
    assert settings.telemetry.http_port == 9003
    assert settings.telemetry.fresh_timeout_s == 50.0
    assert settings.telemetry.unknown_timeout_s == Settings().telemetry.unknown_timeout_s
    source = {s.key: s.source for s in settings.show()}
    assert source["telemetry.shards"] == "flag"
    assert source["telemetry.http_port"] == "environment variable SHOAL_TELEMETRY__HTTP_PORT"
    assert source["telemetry.fresh_timeout_s"] == str(tmp_path / "shoal.toml")
    assert source["api.port"] == "default"


def test_file_is_named_by_flag_then_environment_then_directory(tmp_path: Path) -> None:
    write_config(tmp_path, "[api]\nport = 1\n")
    second = write_config(tmp_path, "[api]\nport = 2\n", "second.toml")
    third = write_config(tmp_path, "[api]\nport = 3\n", "third.toml")
    env = {"SHOAL_CONFIG": str(second)}
    assert load_settings(env={}, directory=tmp_path).api.port == 1
    assert load_settings(env=env, directory=tmp_path).api.port == 2
    assert load_settings(file=third, env=env, directory=tmp_path).api.port == 3


@pytest.mark.parametrize("name", [d.name for d in all_keys()])
def test_every_default_is_allowed(name: str) -> None:
    declared = next(d for d in all_keys() if d.name == name)
    assert declared.read(declared.default, "default") == declared.default
    assert Settings().value(name) == declared.default


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("telemetry.shards", "0"),
        ("telemetry.shards", "65"),
        ("telemetry.shards", "two"),
        ("telemetry.shards", 2.0),
        ("telemetry.shards", True),
        ("control.step_s", "nan"),
        ("control.step_s", "inf"),
        ("fabric.sync_always", "maybe"),
        ("fabric.client_port", -1),
        ("log.level", "loud"),
        ("clock.source", "sundial"),
        ("fabric.url", "http://host:1"),
        ("bidding.database_url", "mysql://host/x"),
        ("demo.from_day", "tomorrow"),
        ("data_dir", ""),
        ("api.host", ["a"]),
    ],
)
def test_wrong_value_is_refused_with_key_and_range(key: str, value: object) -> None:
    error = refused(flags={key: value})
    declared = next(d for d in all_keys() if d.name == key)
    assert error.field == key
    assert declared.allowed in str(error)
    assert "flag" in str(error)


def test_wrong_value_names_its_source(tmp_path: Path) -> None:
    path = write_config(tmp_path, "[telemetry]\nshards = 99\n")
    assert str(path) in str(refused(file=path))
    assert "SHOAL_TELEMETRY__SHARDS" in str(refused(env={"SHOAL_TELEMETRY__SHARDS": "x"}))


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("fabric.client_prot", "fabric.client_port"),
        ("fabrik.client_port", "fabric.client_port"),
        ("bids.availability_frac", "bidding.availability_frac"),
        ("datadir", "data_dir"),
    ],
)
def test_unknown_key_suggests_the_nearest(wrong: str, hint: str) -> None:
    error = refused(flags={wrong: "1"})
    assert error.field == wrong
    assert hint in str(error)


def test_unknown_keys_are_refused_in_file_and_environment(tmp_path: Path) -> None:
    assert refused(file=write_config(tmp_path, "[fabric]\nprot = 1\n")).field == "fabric.prot"
    assert refused(file=write_config(tmp_path, "[fabrics]\nport = 1\n")).field == "fabrics"
    assert refused(file=write_config(tmp_path, "fabric = 1\n")).field == "fabric"
    assert refused(env={"SHOAL_FABRIC__PROT": "1"}).field == "fabric.prot"


def test_variables_of_the_platform_are_left_alone() -> None:
    env = {"SHOAL_SERVICE_HOST": "10.0.0.1", "SHOAL_PORT": "tcp://10.0.0.1:80", "SHOAL_DATA_DIR": "plant"}
    assert load_settings(env=env).data_dir == Path("plant")


def test_unreadable_file_is_refused(tmp_path: Path) -> None:
    assert "No such file" in str(refused(file=tmp_path / "none.toml"))
    broken = write_config(tmp_path, "[fabric\n")
    assert "line 1" in str(refused(file=broken))
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    assert "binary.toml" in str(refused(file=tmp_path / "binary.toml"))


@pytest.mark.parametrize(
    ("flags", "field"),
    [
        ({"telemetry.fresh_timeout_s": 900}, "telemetry.unknown_timeout_s"),
        ({"control.step_s": 900}, "control.lease_s"),
        ({"bidding.lead_time_s": 100}, "bidding.lead_time_s"),
        ({"fabric.tls_cert": "cert.pem"}, "fabric.tls_key"),
    ],
)
def test_values_that_contradict_each_other_are_refused(flags: dict[str, object], field: str) -> None:
    assert refused(flags=flags).field == field


SECRETS = {
    "api.token": "hush-1",
    "bidding.market_token": "hush-2",
    "clock.token": "hush-3",
    "registry.database_url": "postgresql://shoal:hush-4@db/fleet",
    "bidding.database_url": "postgresql://db/bids?user=shoal&password=hush-5",
    "fabric.url": "nats://plant:hush-6@one:4222,nats://hush-7@two:4222",
}


def test_secrets_are_never_shown() -> None:
    settings = load_settings(flags=SECRETS, env={})
    shown = " ".join(f"{s.key} {s.value}" for s in settings.show())
    everything = shown + repr(settings) + "".join(repr(getattr(settings, s)) for s in Settings.__slots__)
    assert "hush" not in everything
    assert "postgresql://shoal:***@db/fleet" in shown
    assert settings.api.token == "hush-1"
    assert settings.fabric.url == SECRETS["fabric.url"]


def test_errors_show_no_secret() -> None:
    assert "hush" not in str(refused(flags={"registry.database_url": "mysql://shoal:hush@db/x"}))
    assert "hush" not in str(refused(flags={"api.token": ["hush"]}))
    assert "hush" not in str(refused(flags={"api.tokn": "hush"}))


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("postgresql://u:p@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:p/w@x@h/d", "postgresql://u:***@h/d"),
        ("nats://a:1,nats://u:p,w@h:2", "nats://a:1,nats://u:***@h:2"),
        ("see http://h:80/x?token=p&a=1 now", "see http://h:80/x?token=***&a=1 now"),
        ("http://h:80/a", "http://h:80/a"),
        ("mail a@b.c", "mail a@b.c"),
    ],
)
def test_mask_url_hides_passwords_only(url: str, masked: str) -> None:
    assert mask_url(url) == masked


def test_saved_settings_come_back_whole_and_private(tmp_path: Path) -> None:
    settings = load_settings(flags={**SECRETS, "telemetry.shards": 3, "data_dir": "plant"}, env={})
    path = tmp_path / "run" / "settings.json"
    settings.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = Settings.saved(path)
    assert again.with_values({"data_dir": "plant"}, "flag") == settings
    assert again.data_dir == Path("plant").absolute()
    assert {s.key: s.source for s in again.show()} == {s.key: s.source for s in settings.show()}
    assert [p.name for p in path.parent.iterdir()] == ["settings.json"]


def test_saved_refuses_what_it_did_not_write(tmp_path: Path) -> None:
    for text in ("", "[]", '{"values": {}}', '{"values": {"telemetry.shards": 99}, "sources": {}}'):
        path = tmp_path / "settings.json"
        path.write_text(text)
        with pytest.raises(SettingsError):
            Settings.saved(path)
    with pytest.raises(SettingsError):
        Settings.saved(tmp_path / "none.json")


def test_with_values_keeps_the_rest_and_checks() -> None:
    settings = load_settings(flags={"api.port": 1}, env={}).with_values({"fabric.client_port": 4222}, "demo")
    assert (settings.api.port, settings.fabric.client_port) == (1, 4222)
    assert {s.key: s.source for s in settings.show()}["fabric.client_port"] == "demo"
    with pytest.raises(SettingsError, match="demo must give"):
        settings.with_values({"fabric.client_port": "x"}, "demo")


def test_docs_name_every_key() -> None:
    text = docs_markdown()
    for declared in all_keys():
        assert f"| `{declared.name}` |" in text
        assert declared.rule.about in text
