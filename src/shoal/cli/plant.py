"""Running chosen roles of a plant under one supervisor, on the machine's own clock, until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

if TYPE_CHECKING:
    from pathlib import Path

    from shoal.runtime.settings import Settings
    from shoal.runtime.supervisor import Supervisor

ONE_THREAD: Final = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
}
EXTRA_ENV: Final[dict[str, dict[str, str]]] = {"fabric": {"GOGC": "400"}}
"""The engine's memory is small: collecting garbage less often costs some MB and saves a fifth of its time."""
TIERS: Final = {
    "fabric": 0,
    "market": 0,
    "signal": 1,
    "telemetry": 1,
    "history": 1,
    "control": 1,
    "regulation": 1,
    "prices": 1,
    "bidding": 1,
    "feeds": 1,
    "api": 1,
    "homes": 2,
}
START_TIMEOUT_S: Final = 120.0
FOREVER_S: Final = 10.0 * 365 * 86_400
"""A plant waits for its sites to be registered however long that takes."""

_log = structlog.get_logger(__name__)


def start_role(
    supervisor: Supervisor, role: str, *, data_dir: Path, settings_file: Path, processes: int = 1
) -> None:
    """Start a role's process, or several that share its work."""
    for number in range(1, processes + 1):
        name = role if number == 1 else f"{role}-{number}"
        start_process(supervisor, role, name, data_dir=data_dir, settings_file=settings_file)


def start_process(
    supervisor: Supervisor, role: str, name: str, *, data_dir: Path, settings_file: Path
) -> None:
    """Start one process of a role under a name of its own."""
    from shoal.runtime.children import ChildSpec

    supervisor.start(
        ChildSpec(
            role=name,
            argv=(sys.executable, "-m", "shoal.cli.role", role, "--settings", str(settings_file)),
            log_file=data_dir / "logs" / f"{name}.log",
            env={**ONE_THREAD, **EXTRA_ENV.get(role, {})},
            tier=TIERS[role],
        )
    )


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that nobody uses now."""
    with ExitStack() as stack:
        free = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in free:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in free]


def write_roles(data_dir: Path, supervisor: Supervisor, now_ms: int) -> None:
    """Leave the states of the processes where the API finds them, beside those of other supervisors of the plant.

    A disk that refuses is logged; it must not stop the processes.
    """
    path = data_dir / "run" / "roles.json"
    known: dict[str, dict[str, Any]] = {}
    with contextlib.suppress(OSError, msgspec.DecodeError):
        known = {entry["role"]: entry for entry in msgspec.json.decode(path.read_bytes())}
    for s in supervisor.states():
        before = known.get(s.role, {})
        same = before.get("status") == s.status and before.get("pid") == s.pid
        known[s.role] = {
            "role": s.role,
            "status": s.status,
            "restarts": s.restarts,
            "pid": s.pid,
            "since_ms": before.get("since_ms", now_ms) if same else now_ms,
        }
    temporary = path.with_name(f".roles.{os.getpid()}")
    try:
        temporary.write_bytes(msgspec.json.encode(list(known.values())))
        temporary.replace(path)
    except OSError as error:
        _log.warning("roles_not_written", path=str(path), why=str(error))


async def run_roles(settings: Settings, roles: list[str]) -> None:
    """Run the roles until SIGINT or SIGTERM.

    Raises:
        UnavailableError: when another plant holds the data directory, or a role does not come up.
    """
    import time

    from shoal.fabric.keys import Keys
    from shoal.runtime.lock import InstanceLock
    from shoal.runtime.supervisor import Supervisor

    data_dir = settings.data_dir.absolute()
    settings = settings.with_values({"data_dir": data_dir}, "this run")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with ExitStack() as stack:
        if "fabric" in roles:
            stack.enter_context(InstanceLock(data_dir))
        Keys.create_or_load(data_dir / "keys")
        # several supervisors of one plant may share a data directory: each has a corner of its own
        corner = data_dir / "run" / f"up-{os.getpid()}"
        stack.callback(shutil.rmtree, corner, ignore_errors=True)
        settings_file = corner / "settings.json"
        settings.save(settings_file)

        def changed(_: object) -> None:
            write_roles(data_dir, supervisor, time.time_ns() // 1_000_000)

        async with Supervisor(run_dir=corner, on_change=changed) as supervisor:
            for role in roles:
                start_role(
                    supervisor,
                    role,
                    data_dir=data_dir,
                    settings_file=settings_file,
                    processes=settings.telemetry.processes if role == "telemetry" else 1,
                )
            ready = asyncio.ensure_future(supervisor.wait_ready(timeout_s=FOREVER_S))
            stopping = asyncio.ensure_future(stop.wait())
            await asyncio.wait({ready, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not stop.is_set():
                await ready
                _log.info("running", roles=roles)
                await stopping
            ready.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ready
