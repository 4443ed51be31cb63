"""`shoal edge`: the agent of one site as a process, light enough for a small box.

It parses its own few flags, so that it starts without the rest of the command line: ``python -m shoal.cli.edge`` and
``shoal edge`` are the same.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from shoal.domain.errors import InvalidInputError, SettingsError, ShoalError, UnavailableError
from shoal.edge.drivers.factory import make_driver
from shoal.edge.drivers.protocol import Driver
from shoal.edge.site import REVERT_S
from shoal.edge.site_config import Checked, read_config, read_secret
from shoal.edge.site_service import SiteService
from shoal.runtime.log import configure_logging
from shoal.runtime.sections import Log

DRIVER_PASSWORD_VARIABLE: Final = "SHOAL_EDGE_DRIVER_PASSWORD"
_FLAGS: Final = (
    ("--site", "site", str, "the site's id"),
    ("--state-dir", "state_dir", str, "where it keeps what must survive a restart"),
    ("--zone", "zone", str, "local time, as Europe/Berlin"),
    ("--plant-host", "plant.host", str, "the plant's broker"),
    ("--plant-port", "plant.port", int, "its MQTT port"),
    ("--secret-file", "plant.secret_file", str, "where the site's secret is"),
    (
        "--root-key",
        "plant.root_public_key",
        str,
        "64 hexadecimal digits; then only signed commands are taken",
    ),
    ("--reserve", "battery.reserve_frac", float, "share of the battery that the owner keeps"),
    ("--page-port", "page.port", int, "port of the status page"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the agent until it is told to end; return the exit code: 0 well, 2 a fault that somebody can mend.

    Args:
        arguments: What follows the command; the process's own when None.
    """
    given = _parser().parse_args(arguments)
    try:
        checked = read_config(
            given.config, {key: getattr(given, key.replace(".", "__")) for _, key, *_ in _FLAGS}
        )
        configure_logging(Log(level=given.log_level, format=checked.config.log), role="edge")
        if given.check:
            make_driver_of(checked, time.time_ns)
            sys.stdout.write(f"{checked.site}: the configuration is sound\n")
            return 0
        asyncio.run(_run(checked))
    except ShoalError as error:
        _tell(error, as_json=given.json)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def make_driver_of(checked: Checked, now_ns: Callable[[], int]) -> Driver:
    """Return the driver of a configuration; a simulated home too, which only the command line may use.

    Raises:
        SettingsError: naming the key that is wrong, and how to mend it.
    """
    section = checked.config.driver
    if section.get("kind") == "simulated":
        return _simulated(checked, section, now_ns)
    return make_driver(
        section,
        revert_s=REVERT_S,
        stale_s=checked.config.times.stale_s,
        password=os.environ.get(DRIVER_PASSWORD_VARIABLE, ""),
    )


class _Simulated(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    kind: str
    load_kw: float = 0.8
    solar_kw: float = 5.0
    ev_kw: float = 0.0
    soc_frac: float = 0.5


def _simulated(checked: Checked, section: dict[str, Any], now_ns: Callable[[], int]) -> Driver:
    from shoal.simulate.site_driver import SimulatedSite, SmoothHousehold

    try:
        home = msgspec.convert(section, _Simulated)
    except msgspec.ValidationError as error:
        raise SettingsError(field="driver", value="as given", fix=str(error)) from error
    battery = checked.config.battery
    return SimulatedSite(
        now_ns=now_ns,
        capacity_kwh=battery.capacity_kwh,
        power_kw=max(battery.charge_limit_kw, battery.discharge_limit_kw),
        household=SmoothHousehold(load_kw=home.load_kw, solar_kw=home.solar_kw, ev_kw=home.ev_kw),
        efficiency_frac=battery.charge_efficiency_frac,
        soc_frac=home.soc_frac,
        revert_s=REVERT_S,
    )


async def _run(checked: Checked) -> None:
    secret = read_secret(checked.config) if checked.config.plant.host else ""
    service = SiteService(checked, make_driver_of(checked, time.time_ns), secret=secret)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, service.stop)
    with _OnlyOne(checked):
        await service.run()


class _OnlyOne:
    """Holds the state directory: two agents of one site would command its battery against each other."""

    def __init__(self, checked: Checked) -> None:
        self._path = Path(checked.config.state_dir) / "agent.lock"
        self._handle: int | None = None

    def __enter__(self) -> None:
        import fcntl

        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            # a box with a broken disk still keeps its home supplied
            structlog.get_logger(__name__).warning("no lock", why=f"{error.strerror}: {self._path}")
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise UnavailableError(f"state directory {self._path.parent}", "another agent uses it") from error
        self._handle = handle

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="shoal edge", description="Run the agent of one site.")
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file")
    for flag, key, kind, about in _FLAGS:
        parser.add_argument(flag, dest=key.replace(".", "__"), type=kind, help=about)
    parser.add_argument(
        "--log-level",
        default="info",
        choices=("debug", "info", "warning", "error"),
        help="least that is logged",
    )
    parser.add_argument("--check", action="store_true", help="check the configuration and end")
    parser.add_argument("--json", action="store_true", help="tell faults as JSON")
    return parser


def _tell(error: ShoalError, *, as_json: bool) -> None:
    if not as_json:
        sys.stderr.write(f"shoal: {error}\n")
        return
    content: dict[str, object] = {"error": type(error).__name__, "detail": str(error)}
    if isinstance(error, InvalidInputError):
        content |= {"field": error.field, "value": str(error.value), "fix": error.fix}
    sys.stderr.write(msgspec.json.encode(content).decode() + "\n")


if __name__ == "__main__":
    sys.exit(main())
