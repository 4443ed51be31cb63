"""A real NATS server with an MQTT listener on free loopback ports, for as long as a test needs it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

SERVER = Path(sys.executable).parent / "nats-server"


def free_port() -> int:
    """Return a loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Broker:
    """The server; `stop` and `start` again keep its ports."""

    def __init__(
        self, folder: Path, *, users: dict[str, str] | None = None, tls: tuple[Path, Path] | None = None
    ) -> None:
        """Write the configuration: everybody may enter unless `users` are given; `tls` is certificate and key."""
        self.port = free_port()
        self.nats_port = free_port()
        config: dict[str, object] = {
            "server_name": "broker",
            "listen": f"127.0.0.1:{self.nats_port}",
            "jetstream": {"store_dir": str(folder / "store")},
            "mqtt": {"listen": f"127.0.0.1:{self.port}"},
        }
        if tls is not None:
            config["mqtt"] = {
                "listen": f"127.0.0.1:{self.port}",
                "tls": {"cert_file": str(tls[0]), "key_file": str(tls[1])},
            }
        if users is not None:
            config["authorization"] = {
                "users": [{"user": user, "password": password} for user, password in users.items()]
            }
        self._log = folder / "broker.log"
        self._config = folder / "broker.conf"
        self._config.write_text(json.dumps(config))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it takes MQTT connections."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([SERVER, "-c", str(self._config)], stdout=log, stderr=log)
        deadline_s = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError as error:
                if self._process.poll() is not None or time.monotonic() > deadline_s:
                    raise AssertionError(self._log.read_text()) from error
                time.sleep(0.02)

    def stop(self) -> None:
        """Kill the server, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
