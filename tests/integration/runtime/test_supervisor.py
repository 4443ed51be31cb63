"""The supervisor with real processes: killed ones come back, and none is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from shoal.domain.errors import InvalidInputError, UnavailableError
from shoal.runtime.children import ChildSpec, ChildState, RestartPolicy
from shoal.runtime.readiness import Asker, at_once, http_ready, log_says, port_open
from shoal.runtime.supervisor import Supervisor

QUICK = RestartPolicy(first_pause_s=0.02, longest_pause_s=0.1, loop_deaths=3)

ANNOUNCE = """
import os, signal, sys
from shoal.runtime.child import announce_ready, watch_parent
watch_parent()
announce_ready({"pid": os.getpid(), "argument": sys.argv[1] if len(sys.argv) > 1 else ""})
signal.pause()
"""


def python(source: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-c", source, *arguments)


def run(
    directory: Path,
    scenario: Callable[[Supervisor], Awaitable[None]],
    on_change: Callable[[ChildState], None] | None = None,
) -> None:
    async def main() -> None:
        async with Supervisor(run_dir=directory / "run", policy=QUICK, on_change=on_change) as supervisor:
            await scenario(supervisor)

    asyncio.run(main())


def child(directory: Path, role: str, source: str, *arguments: str, **options: object) -> ChildSpec:
    return ChildSpec(
        role=role,
        argv=python(source, *arguments),
        log_file=directory / f"{role}.log",
        **options,  # type: ignore[arg-type]
    )


def gone(*pids: int, timeout_s: float = 5.0) -> bool:
    waited = []
    for pid in pids:
        try:
            waited.append(psutil.Process(pid))
        except psutil.NoSuchProcess:
            continue
    _, alive = psutil.wait_procs(waited, timeout=timeout_s)
    return all(process.status() == psutil.STATUS_ZOMBIE for process in alive)


def test_killed_child_is_started_again(tmp_path: Path) -> None:
    changes: list[tuple[str, str]] = []
    pids: list[int] = []

    async def scenario(supervisor: Supervisor) -> None:
        supervisor.start(child(tmp_path, "shard-0", ANNOUNCE, "x"))
        supervisor.start(child(tmp_path, "shard-1", ANNOUNCE))
        await supervisor.wait_ready()
        other = supervisor.state("shard-1").pid
        for death in range(2):
            pid = supervisor.facts("shard-0")["pid"]
            assert pid == supervisor.state("shard-0").pid
            pids.append(pid)
            os.kill(pid, signal.SIGKILL)
            assert await supervisor.wait_for(
                lambda: supervisor.state("shard-0").status != "ready", timeout_s=10
            )
            await supervisor.wait_ready("shard-0")
            state = supervisor.state("shard-0")
            assert state.restarts == death + 1
            assert state.last_ending == "killed by SIGKILL"
            assert state.pid not in pids
        pids.extend(state.pid for state in supervisor.states() if state.pid)
        assert supervisor.state("shard-1").pid == other
        assert supervisor.facts("shard-0")["argument"] == "x"
        assert supervisor.statistics().restarts_total == 2

    run(tmp_path, scenario, lambda state: changes.append((state.role, state.status)))
    mine = [status for role, status in changes if role == "shard-0"]
    born = ["starting", "ready", "backoff"]
    assert mine == [*born, *born, "starting", "ready", "stopping", "stopped"]
    assert gone(*pids)


def test_stop_ends_the_stubborn_and_their_children_in_time(tmp_path: Path) -> None:
    stubborn = """
import os, signal, subprocess, sys
from shoal.runtime.child import announce_ready
signal.signal(signal.SIGTERM, signal.SIG_IGN)
inner = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
announce_ready({"inner": inner.pid})
while True:
    signal.pause()
"""
    pids: list[int] = []

    async def scenario(supervisor: Supervisor) -> None:
        for number in range(2):
            supervisor.start(child(tmp_path, f"stubborn-{number}", stubborn, tier=number))
        supervisor.start(child(tmp_path, "polite", ANNOUNCE))
        await supervisor.wait_ready()
        pids.extend(state.pid for state in supervisor.states() if state.pid)
        pids.extend(supervisor.facts(f"stubborn-{number}")["inner"] for number in range(2))
        assert len(pids) == 5
        began = time.monotonic()
        await supervisor.stop(grace_s=2.0)
        assert time.monotonic() - began < 2.0
        assert not any(state.pid for state in supervisor.states())

    run(tmp_path, scenario)
    assert gone(*pids, timeout_s=0.5)


def test_tiers_stop_highest_first(tmp_path: Path) -> None:
    recorder = """
import signal, sys
from shoal.runtime.child import announce_ready
def end(number, frame):
    with open(sys.argv[2], "a") as file:
        file.write(sys.argv[1])
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
announce_ready()
while True:
    signal.pause()
"""
    order = tmp_path / "order"

    async def scenario(supervisor: Supervisor) -> None:
        for role, tier in (("b", 1), ("a", 0), ("c", 2)):
            supervisor.start(child(tmp_path, role, recorder, role, str(order), tier=tier))
        await supervisor.wait_ready()

    run(tmp_path, scenario)
    assert order.read_text() == "cba"


def test_children_die_with_a_killed_parent(tmp_path: Path) -> None:
    parent_source = f"""
import asyncio, sys
from pathlib import Path
from shoal.runtime.children import ChildSpec
from shoal.runtime.readiness import at_once
from shoal.runtime.supervisor import Supervisor
async def main():
    async with Supervisor(run_dir=Path(sys.argv[1])) as supervisor:
        log = Path(sys.argv[1]) / "child.log"
        announcing = (sys.executable, "-c", {ANNOUNCE!r})
        supervisor.start(ChildSpec(role="announcing", argv=announcing, log_file=log))
        supervisor.start(ChildSpec(role="plain", argv=("sleep", "600"), log_file=log, ready=at_once))
        await supervisor.wait_ready()
        sys.stdout.write(" ".join(str(state.pid) for state in supervisor.states()) + "\\n")
        sys.stdout.flush()
        await asyncio.Event().wait()
asyncio.run(main())
"""
    with subprocess.Popen(python(parent_source, str(tmp_path)), stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(psutil.pid_exists(pid) for pid in pids)
        parent.kill()
    assert gone(*pids)


def test_watched_child_ends_when_its_input_ends(tmp_path: Path) -> None:
    env = {**os.environ, "SHOAL_SUPERVISED": "1", "SHOAL_READY_FILE": str(tmp_path / "ready")}
    with subprocess.Popen(python(ANNOUNCE), stdin=subprocess.PIPE, env=env) as watched:
        assert watched.stdin is not None
        watched.stdin.close()
        assert watched.wait(timeout=10) == -signal.SIGTERM


def test_crash_loop_is_reported_with_the_last_lines(tmp_path: Path) -> None:
    async def scenario(supervisor: Supervisor) -> None:
        broken = "import sys; sys.exit('no room at postgresql://u:hush@h/d')"
        supervisor.start(child(tmp_path, "broken", broken))
        with pytest.raises(UnavailableError) as caught:
            await supervisor.wait_ready("broken")
        text = str(caught.value)
        assert "broken" in text
        assert "exit code 1" in text
        assert "no room at postgresql://u:***@h/d" in text
        assert str(tmp_path / "broken.log") in text
        assert supervisor.state("broken").status == "crash_loop"
        assert supervisor.state("broken").restarts >= 2

    run(tmp_path, scenario)


def test_program_that_is_not_there_is_said_clearly(tmp_path: Path) -> None:
    async def scenario(supervisor: Supervisor) -> None:
        supervisor.start(ChildSpec(role="ghost", argv=("no-such-program",), log_file=tmp_path / "ghost.log"))
        with pytest.raises(UnavailableError, match="no-such-program cannot be run: No such file"):
            await supervisor.wait_ready()

    run(tmp_path, scenario)


def test_child_that_is_never_ready_is_said_clearly(tmp_path: Path) -> None:
    async def scenario(supervisor: Supervisor) -> None:
        supervisor.start(
            child(tmp_path, "slow", "import signal; print('thinking', flush=True); signal.pause()")
        )
        with pytest.raises(UnavailableError, match=r"(?s)not ready within 0.5 s.*thinking"):
            await supervisor.wait_ready(timeout_s=0.5)

    run(tmp_path, scenario)


def test_expected_exit_is_no_death(tmp_path: Path) -> None:
    async def scenario(supervisor: Supervisor) -> None:
        supervisor.start(child(tmp_path, "world", ANNOUNCE))
        await supervisor.wait_ready()
        supervisor.expect_exit("world")
        os.kill(supervisor.facts("world")["pid"], signal.SIGTERM)
        assert await supervisor.wait_exited(timeout_s=5)
        assert supervisor.state("world").restarts == 0
        assert supervisor.state("world").status == "stopped"

    run(tmp_path, scenario)


SERVE = """
import http.server, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/readyz" else 503)
        self.end_headers()
print("serving soon", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.mark.parametrize("asker", ["log", "port", "http"])
def test_readiness_by_log_port_and_http(asker: str, tmp_path: Path, free_port: int) -> None:
    askers: dict[str, Asker] = {
        "log": log_says("serving soon"),
        "port": port_open("127.0.0.1", free_port),
        "http": http_ready("127.0.0.1", free_port),
    }

    async def scenario(supervisor: Supervisor) -> None:
        supervisor.start(child(tmp_path, "server", SERVE, str(free_port), ready=askers[asker]))
        await supervisor.wait_ready(timeout_s=10)

    run(tmp_path, scenario)


def test_peak_memory_counts_the_dead(tmp_path: Path) -> None:
    hungry = """
import os, signal, sys
from shoal.runtime.child import announce_ready
if not os.path.exists(sys.argv[1]):
    open(sys.argv[1], "w").close()
    ballast = b"x" * (80 << 20)
announce_ready({"pid": os.getpid()})
signal.pause()
"""

    async def scenario(supervisor: Supervisor) -> None:
        supervisor.start(child(tmp_path, "hungry", hungry, str(tmp_path / "fed")))
        await supervisor.wait_ready()
        assert supervisor.peak_rss_bytes() > 80 << 20
        os.kill(supervisor.facts("hungry")["pid"], signal.SIGKILL)
        assert await supervisor.wait_for(lambda: supervisor.state("hungry").restarts == 1, timeout_s=10)
        await supervisor.wait_ready()
        assert 80 << 20 < supervisor.peak_rss_bytes() < 200 << 20

    run(tmp_path, scenario)


def test_error_of_the_body_stays_what_it_is_and_stops_the_children(tmp_path: Path) -> None:
    pids: list[int] = []

    async def scenario(supervisor: Supervisor) -> None:
        supervisor.start(
            ChildSpec(role="plain", argv=("sleep", "600"), log_file=tmp_path / "log", ready=at_once)
        )
        await supervisor.wait_ready()
        pids.extend(state.pid for state in supervisor.states() if state.pid)
        with pytest.raises(InvalidInputError):
            supervisor.start(ChildSpec(role="plain", argv=("sleep", "600"), log_file=tmp_path / "log"))
        raise UnavailableError("body", "of its own")

    with pytest.raises(UnavailableError, match="of its own"):
        run(tmp_path, scenario)
    assert pids
    assert gone(*pids, timeout_s=0.5)
