"""Drift of parameters for the alarm desk: how many watts of each service devices no longer back, looked up once in a while."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

import structlog

from shoal.cli.roles.host import Host
from shoal.domain.errors import UnavailableError
from shoal.domain.interval import NS_PER_S
from shoal.store.device_parameters import DeviceParameterStore, ServiceBacking
from shoal.twin.alarm_measures import Measure

LOOK_AGAIN_NS: Final = 10 * NS_PER_S
_log = structlog.get_logger(__name__)


class Parameters(Protocol):
    """Where parameters are kept; see `shoal.store.device_parameters.DeviceParameterStore`."""

    def backing(self, now_ns: int) -> tuple[ServiceBacking, ...]: ...


class DriftWatch:
    """Tells the alarm desk of every service of which something is assumed; 0 W ends an alarm.

    Args:
        parameters: Where they are kept.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self._measures: list[Measure] = []
        self._looked_ns: int | None = None

    async def measures(self, t_ns: int) -> list[Measure]:
        """Return one value for each service, in W; the last ones while they cannot be read."""
        if self._looked_ns is None or not 0 <= t_ns - self._looked_ns < LOOK_AGAIN_NS:
            self._looked_ns = t_ns
            try:
                found = await asyncio.to_thread(self._parameters.backing, t_ns)
            except UnavailableError as error:
                _log.warning("parameters cannot be read", why=str(error))
            else:
                self._measures = [one.measure for one in found]
        return self._measures


def drift_watch(host: Host) -> DriftWatch | None:
    """Return what watches the parameters of this machine's registry, None when it is not in reach. Blocks."""
    registry = host.registry()
    return None if registry is None else DriftWatch(DeviceParameterStore(registry))
