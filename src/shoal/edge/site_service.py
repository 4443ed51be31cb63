"""The agent of a site as a process: the steps, the session with the plant and the page, each supervised, none needing another.

A part that fails is told, counted and begun again. The steps go on at their own pace on the device's clock; when one is
late the next begins at once and none is made up for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import structlog

from shoal.domain.errors import SettingsError, UnavailableError
from shoal.domain.outcome import Outcome, Rejected
from shoal.edge.drivers.protocol import Driver, Parameters
from shoal.edge.link import LinkSettings
from shoal.edge.modes import Mode
from shoal.edge.page import Page, Wish
from shoal.edge.page_view import Status
from shoal.edge.site import Site
from shoal.edge.site_config import Checked, read_private
from shoal.edge.site_link import SiteLink
from shoal.edge.site_parameters import SiteParameters
from shoal.edge.site_prices import SitePrices
from shoal.edge.site_regulation import SiteRegulation
from shoal.edge.site_state import StateFile
from shoal.edge.store_forward import StoreForward
from shoal.flow.retry import Backoff

STATE_FILE: Final = "agent.state"
SAMPLES_FILE: Final = "samples.ring"
_PARAMETERS_S: Final = 2.0
_COUNTED_SINCE_S: Final = 1_704_067_200
"""A site without a memory numbers its samples from the time, so that a lost disk does not repeat numbers (2024-01-01)."""

_log = structlog.get_logger(__name__)


class SiteService:
    """All parts of one site's agent.

    Args:
        checked: Its configuration.
        driver: Its devices.
        secret: Its password at the plant; empty for a site without a plant.
        now_ns: The device's clock.
        monotonic_s: A clock that is never set.
        link_settings: Limits of the session with the plant; the usual ones when None.
    """

    def __init__(
        self,
        checked: Checked,
        driver: Driver,
        *,
        secret: str,
        now_ns: Callable[[], int] = time.time_ns,
        monotonic_s: Callable[[], float] = time.monotonic,
        link_settings: LinkSettings | None = None,
    ) -> None:
        self._checked = checked
        self._driver = driver
        self._secret = secret
        self._now_ns = now_ns
        self._monotonic_s = monotonic_s
        self._link_settings = link_settings
        self._stopping = asyncio.Event()
        self._wake = asyncio.Event()
        self.regulation: SiteRegulation | None = None
        self.prices: SitePrices | None = None
        self.parameters: SiteParameters | None = None
        self.site: Site | None = None
        self.link: SiteLink | None = None
        self.page: Page | None = None
        self.restarts = 0

    async def start(self) -> Site:
        """Open what is on the disk, ask the device what it is, and make the first decision.

        Raises:
            SettingsError: when the configuration names a file that is no use.
        """
        checked, config = self._checked, self._checked.config
        folder = Path(config.state_dir)
        times = config.times
        capacity = times.keep_samples or int(86_400 / times.sample_s * 1.25)
        store = StoreForward(
            folder / SAMPLES_FILE, capacity=capacity, first_seq=_first_seq(self._now_ns(), times.sample_s)
        )
        said = await self._parameters()
        site = Site(
            checked,
            self._driver,
            store=store,
            state=StateFile(folder / STATE_FILE),
            now_ns=self._now_ns,
            monotonic_s=self._monotonic_s,
            parameters=said,
        )
        self.site = site
        if config.plant.host:
            self.regulation = SiteRegulation(site, wake=self._wake.set)
            self.prices = SitePrices(site, sharing=config.plant.prices)
            self.link = SiteLink(
                site=checked.site,
                secret=self._secret,
                host=config.plant.host,
                port=checked.mqtt_port,
                tls=_tls(checked),
                store=store,
                hear=site.hear,
                regulate=self.regulation.hear,
                price=self.prices.hear,
                rng_seed=random.SystemRandom().getrandbits(32),
                monotonic_s=self._monotonic_s,
                settings=self._link_settings,
            )
            site.on_report = self.link.report
            self.regulation.on_reading = self.link.reading
            self.prices.on_answer = self.link.answer
            self.parameters = SiteParameters(site, self._driver, said, say=self.link.parameters)
        if config.page.listen:
            self.page = Page(
                listen=config.page.listen,
                port=config.page.port,
                pin=read_private(config.page.pin_file, "page.pin_file") if config.page.pin_file else "",
                status=self.status,
                grant=self.grant,
                monotonic_s=self._monotonic_s,
            )
            await self._open_page()
        decision = await site.step()
        site.on_report(site.mind.mode_report(self._now_ns()))
        tell_service_manager("READY=1")
        _log.info(
            "started",
            site=str(checked.site),
            mode=decision.mode.mode.value,
            battery_w=decision.battery_w,
            waiting=len(store),
            page=None if self.page is None else f"http://{config.page.listen}:{self.page.port}",
        )
        return site

    async def run(self) -> None:
        """Keep everything going until `stop`, then give the battery back."""
        site = await self.start() if self.site is None else self.site
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._supervised("steps", self._keep_stepping))]
                if self.link is not None:
                    link = self.link
                    tasks.append(group.create_task(self._supervised("link", lambda: link.keep(self._now_ns))))
                await self._stopping.wait()
                for task in tasks:
                    task.cancel()
        finally:
            if self.prices is not None:
                self.prices.close()
            if self.link is not None:
                self.link.close()
            if self.page is not None:
                await self.page.close()
            await site.close()

    def stop(self) -> None:
        """Let `run` end."""
        self._stopping.set()

    def status(self) -> Status:
        """Return what the page shows."""
        site = self.site
        assert site is not None, "the service has started"
        now_s = self._monotonic_s()
        decision, link = site.decision, self.link
        contact_s = None if link is None or link.last_contact_s is None else now_s - link.last_contact_s
        mind = site.mind
        return Status(
            site=str(self._checked.site),
            zone=self._checked.zone,
            now_ns=self._now_ns(),
            mode=Mode.LOCAL if decision is None else decision.mode.mode,
            reason="no_orders" if decision is None else decision.mode.reason,
            seen=site.seen,
            age_s=0.0 if site.seen_at_s is None else now_s - site.seen_at_s,
            fresh=site.fresh(now_s) is not None,
            capacity_kwh=site.battery.capacity_kwh,
            reserve_frac=mind.reserve_frac,
            least_reserve_frac=self._checked.config.battery.reserve_frac,
            switched_off=bool(mind.columns.off[0]),
            independent=bool(mind.columns.independent[0]),
            plan=site.plan,
            events=mind.events(self._now_ns()),
            plant=self._checked.config.plant.host,
            connected=link is not None and link.up,
            contact_age_s=0.0 if link is not None and link.up and contact_s is None else contact_s,
            why_down="" if link is None else link.why_down,
            store=site.store.statistics(),
            driver_fault=site.driver_fault,
            currency=self._checked.tariff.currency,
        )

    def grant(self, wish: Wish) -> str:
        """Do what the owner asks; return why not, empty when it was done."""
        site = self.site
        assert site is not None, "the service has started"
        now_ns = self._now_ns()
        _log.info("owner", does=wish.do)
        outcome: Outcome | None
        if wish.do == "reserve":
            outcome = site.owner(lambda mind: mind.set_reserve(wish.reserve_frac))
        elif wish.do == "leave":
            outcome = site.owner(lambda mind: mind.opt_out(wish.event_id, now_ns))
        elif wish.do == "come-back":
            outcome = site.owner(lambda mind: mind.opt_in(wish.event_id, now_ns))
        elif wish.do in ("alone", "join"):
            outcome = site.owner(lambda mind: mind.set_independent(wish.do == "alone"))
        else:
            outcome = site.owner(lambda mind: mind.set_off(wish.do == "off"))
        return outcome.detail if isinstance(outcome, Rejected) else ""

    async def _keep_stepping(self) -> None:
        site = self.site
        assert site is not None, "the service has started"
        tick_s = self._checked.config.times.tick_s
        next_s = self._monotonic_s()
        while True:
            next_s = max(next_s + tick_s, self._monotonic_s())
            if await self._woken(next_s - self._monotonic_s()):
                next_s = self._monotonic_s()
            await site.step()
            if self.regulation is not None:
                self.regulation.say()
            if self.parameters is not None and self.link is not None:
                await self.parameters.look()
                self.parameters.tell(up=self.link.up)
            tell_service_manager("WATCHDOG=1")

    async def _woken(self, wait_s: float) -> bool:
        """Wait for the next tick; return whether a broadcast came before it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        woken = self._wake.is_set()
        self._wake.clear()
        return woken

    async def _open_page(self) -> None:
        assert self.page is not None, "there is to be one"
        try:
            await self.page.start()
        except UnavailableError as error:
            # without its page the site is still supplied
            _log.error("no page", why=error.why)
            self.page = None

    async def _supervised(self, name: str, part: Callable[[], Awaitable[None]]) -> None:
        """Begin a part again whenever it fails."""
        backoff = Backoff(first_s=0.5, cap_s=30.0)
        failures = 0
        while True:
            began_s = self._monotonic_s()
            try:
                await part()
            except Exception as error:  # noqa: BLE001 - the supervisor: one part must not end the others
                _log.error("part failed", part=name, why=f"{type(error).__name__}: {error}", exc_info=True)
            failures = failures + 1 if self._monotonic_s() - began_s < 60.0 else 1
            self.restarts += 1
            await asyncio.sleep(min(backoff.ceiling_s(failures), self._checked.config.times.stale_s / 2))

    async def _parameters(self) -> Parameters:
        """Return what the device says of itself; one that does not answer is asked nothing more than that."""
        try:
            async with asyncio.timeout(_PARAMETERS_S):
                said = await self._driver.parameters()
        except Exception as error:  # noqa: BLE001 - a driver is foreign code: it must not keep the agent from starting
            _log.warning("the device does not say what it is", why=f"{type(error).__name__}: {error}")
            return Parameters()
        if said.maker or said.model:
            _log.info("device", maker=said.maker, model=said.model)
        return said


def tell_service_manager(said: str) -> None:
    """Tell the service manager how the agent is, where there is one that asks (the protocol of sd_notify)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.connect("\0" + address[1:] if address.startswith("@") else address)
        channel.sendall(said.encode())


def _first_seq(now_ns: int, sample_s: float) -> int:
    return max(int((now_ns / 1e9 - _COUNTED_SINCE_S) / sample_s), 1)


def _tls(checked: Checked) -> ssl.SSLContext | None:
    plant = checked.config.plant
    if not plant.tls:
        return None
    try:
        return ssl.create_default_context(cafile=plant.ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(field="plant.ca_file", value=plant.ca_file, fix=str(error)) from error
