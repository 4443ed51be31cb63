"""A site's word of what it is set to: looked up now and then, said when it changes and whenever a session begins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from shoal import __version__
from shoal.edge.drivers.protocol import Driver, Parameters
from shoal.edge.parameters_report import SAY_AGAIN_S, ParametersReport, configured, encode_parameters
from shoal.edge.site import Site

_ROW: Final = 0
LOOK_S: Final = 600.0
"""An update of a device's firmware is seen within so long."""
_DRIVER_S: Final = 2.0
_log = structlog.get_logger(__name__)


class SiteParameters:
    """Parameters of one site.

    Args:
        site: The agent.
        driver: Its devices.
        said: What they said of themselves at the start.
        say: Sends a report; returns whether it left.
    """

    def __init__(self, site: Site, driver: Driver, said: Parameters, *, say: Callable[[bytes], bool]) -> None:
        self._site, self._driver, self._device, self._say = site, driver, said, say
        self._looked_s = site.monotonic_s()
        self._told: ParametersReport | None = None
        self._told_s = 0.0
        self._was_up = False

    async def look(self) -> None:
        """Ask the devices again when it is time; what they do not answer stays as it was."""
        now_s = self._site.monotonic_s()
        if now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        try:
            async with asyncio.timeout(_DRIVER_S):
                self._device = await self._driver.parameters()
        except Exception as error:  # noqa: BLE001 - a driver is foreign code: it must not end the agent
            _log.warning("the device does not say what it is", why=f"{type(error).__name__}: {error}")

    def tell(self, *, up: bool) -> None:
        """Say what is set when it has changed, when a session has begun, and now and then; call it after each step."""
        begun, self._was_up = up and not self._was_up, up
        if not up:
            return
        now = self.now()
        now_s = self._site.monotonic_s()
        if not begun and now.says_same(self._told) and now_s - self._told_s < SAY_AGAIN_S:
            return
        if self._say(encode_parameters(now)):
            self._told, self._told_s = now, now_s
        else:
            self._told = None

    def now(self) -> ParametersReport:
        """Return what the site is set to."""
        site, device = self._site, self._device
        discharge_w = int(site.mind.columns.discharge_limit_w[_ROW])
        if device.discharge_limit_w is not None and device.discharge_limit_w > 0:
            discharge_w = min(discharge_w, device.discharge_limit_w)
        named = " ".join(part for part in (device.maker, device.model, device.firmware) if part)
        return configured(
            site.mind.columns.droop[_ROW],
            now_ns=site.now_ns(),
            discharge_w=discharge_w,
            response_s=site.checked.config.times.tick_s,
            firmware=named or f"shoal {__version__}",
        )
