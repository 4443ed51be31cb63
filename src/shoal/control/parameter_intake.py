"""What devices say that they are set to, on its way to the store: the newest of each, written together every few seconds.

A report that makes no sense is counted and left out; the others are kept. While the store cannot be reached they wait, one a
site.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from shoal.domain.errors import (
    InvalidInputError,
    UnavailableError,
    UnknownIdError,
    WireFormatError,
)
from shoal.edge.parameters_report import decode_parameters
from shoal.services.drift import DeviceParameters

EVERY_S: Final = 5.0
LONGEST_BYTES: Final = 2_048

_log = structlog.get_logger(__name__)


class ParameterStore(Protocol):
    """Where they are kept; see `shoal.store.device_parameters.DeviceParameterStore`."""

    def report(self, reports: Sequence[DeviceParameters]) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterStatistics:
    """Counters since the process started.

    Attributes:
        heard: Reports.
        kept: Of these, written.
        refused: Reports that make no sense, by their reason.
        waiting: Reports that are not written yet.
    """

    heard: int
    kept: int
    refused: Mapping[str, int]
    waiting: int


class ParameterIntake:
    """Takes the reports of devices.

    Args:
        store: Where they are kept.
    """

    def __init__(self, store: ParameterStore) -> None:
        self._store = store
        self._waiting: dict[str, DeviceParameters] = {}
        self._heard = self._kept = 0
        self._refused: Counter[str] = Counter()

    def take(self, site_id: str, payload: bytes, t_ns: int) -> None:
        """Take what a site says; it is written at the next round."""
        self._heard += 1
        if len(payload) > LONGEST_BYTES:
            self._refused["too_long"] += 1
            return
        try:
            self._waiting[site_id] = decode_parameters(payload).of(site_id, heard_ns=t_ns)
        except WireFormatError:
            self._refused["malformed"] += 1

    async def write(self) -> None:
        """Write what waits; what cannot be written now waits on."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, {}
        try:
            await asyncio.to_thread(self._write, list(waiting.values()))
        except UnavailableError as error:
            _log.warning("parameters cannot be kept", why=str(error))
            self._waiting = waiting | self._waiting

    def _write(self, reports: list[DeviceParameters]) -> None:
        try:
            self._store.report(reports)
            self._kept += len(reports)
        except (InvalidInputError, UnknownIdError) as error:
            if len(reports) == 1:
                _log.warning("a device's parameters make no sense", site=reports[0].site_id, why=str(error))
                self._refused["unknown" if isinstance(error, UnknownIdError) else "out_of_range"] += 1
                return
            middle = len(reports) // 2
            self._write(reports[:middle])
            self._write(reports[middle:])

    async def run(self) -> None:
        """Write every few seconds until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.write()
            except Exception:  # noqa: BLE001 - the supervisor of the writing: what comes next must be kept
                _log.exception("parameters were not written")

    def statistics(self) -> ParameterStatistics:
        """Return the counters."""
        return ParameterStatistics(
            heard=self._heard, kept=self._kept, refused=dict(self._refused), waiting=len(self._waiting)
        )
