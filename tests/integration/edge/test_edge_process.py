"""`shoal edge` as a process: starts quickly and light, answers its page, remembers, and ends when it is told to."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shoal.cli.edge import main
from tests.integration.edge.broker import free_port

CONFIG = """
site = "home-1"
zone = "Europe/Berlin"
state_dir = "{folder}/state"
log = "json"
[battery]
capacity_kwh = 13.5
charge_limit_kw = 5.0
discharge_limit_kw = 5.0
[driver]
kind = "mqtt"
broker = {{ host = "127.0.0.1", port = {broker_port} }}
measured = {{ battery_w = {{ topic = "b" }} }}
[page]
port = {port}
{page}
[times]
tick_s = 0.2
stale_s = 5.0
"""


def write_config(folder: Path, page: str = "") -> tuple[Path, int]:
    port = free_port()
    file = folder / "edge.toml"
    file.write_text(CONFIG.format(folder=folder, port=port, broker_port=free_port(), page=page))
    return file, port


@contextmanager
def running(file: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "shoal.cli.edge", "--config", str(file)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def wait_started(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if json.loads(line)["event"] == "started":
            return
    raise AssertionError("it ended instead")


def ask(port: int, path: str = "/", **form: str) -> str:
    data = urllib.parse.urlencode(form).encode() if form else None
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", data, timeout=10) as answer:
        return str(answer.read().decode())


def test_process_starts_answers_remembers_and_ends(tmp_path: Path) -> None:
    file, port = write_config(tmp_path)
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.settimeout(10)
    with manager, running(file, NOTIFY_SOCKET=str(tmp_path / "notify")) as process:
        wait_started(process)
        assert [manager.recv(100), manager.recv(100)] == [b"READY=1", b"WATCHDOG=1"]
        page = ask(port)
        assert "the devices do not answer" in page.lower()
        token = re.search(r'name="token" value="([^"]+)"', page)
        assert token is not None
        page = ask(port, "/owner", do="reserve", reserve_pct="60", token=token[1])
        assert '<option value="60" selected>' in page
        modules = Path(f"/proc/{process.pid}/maps")
        if modules.exists():
            loaded = modules.read_text()
            assert "llvmlite" not in loaded
            assert "libarrow" not in loaded
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
    with running(file) as process:
        wait_started(process)
        assert '<option value="60" selected>' in ask(port)
        second = subprocess.run(
            [sys.executable, "-m", "shoal.cli.edge", "--config", str(file), "--page-port", str(free_port())],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert second.returncode == 2
        assert "another agent uses it" in second.stderr


def test_secret_is_in_no_file_and_no_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, _ = write_config(tmp_path)
    secret = tmp_path / "secret"
    secret.write_text("very-secret-word\n")
    secret.chmod(0o644)
    flags = ["--config", str(file), "--plant-host", "127.0.0.1", "--secret-file", str(secret)]
    assert main(flags) == 2
    said = capsys.readouterr().err
    assert "chmod 600" in said
    secret.chmod(0o600)
    environment = {**os.environ, "SHOAL_EDGE_SECRET": "other-secret-word"}
    with subprocess.Popen(
        [sys.executable, "-m", "shoal.cli.edge", *flags, "--log-level", "debug"],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        wait_started(process)
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=10)
    written = b"".join(path.read_bytes() for path in (tmp_path / "state").iterdir())
    for word in ("very-secret-word", "other-secret-word"):
        assert word not in rest
        assert word.encode() not in written


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--reserve", "1.5"], "battery.reserve_frac"),
        (["--site", "no/such"], "site_id"),
        (["--zone", "Mars/Base"], "zone"),
        (["--root-key", "abc"], "root_public_key"),
        (["--config", "/no/such/file"], "--config"),
    ],
)
def test_wrong_settings_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    file, _ = write_config(tmp_path)
    assert main(["--config", str(file), "--check"]) == 0
    assert main(["--config", str(file), "--check", "--json", *flags]) == 2
    told = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert told["error"] == "SettingsError"
    assert said in told["field"]


def test_page_on_a_network_needs_a_pin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, _ = write_config(tmp_path, page='listen = "0.0.0.0"')
    assert main(["--config", str(file)]) == 2
    assert "PIN" in capsys.readouterr().err
