"""The prices role: every so often it searches for the prices of a fleet and puts what it found among the orders.

It has two identities at the engine: one that searches and may hear sums alone, and one that adds homes up. Of several such roles
the newest searches; the others wait until its sign of life grows old.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np
import structlog
from nats.aio.client import Client
from numpy.typing import NDArray
from sqlalchemy import Engine

from shoal.bidding.awarded import Awarded
from shoal.cli.roles.host import Host
from shoal.cli.roles.signing import signer_of
from shoal.cli.roles.twins import ask_twins
from shoal.control.kill import halted_rows
from shoal.control.price_adder import PriceAdder
from shoal.control.price_columns import AssumedTariff
from shoal.control.price_groups import PriceGroups, price_groups
from shoal.control.price_service import FleetInputs, PriceService
from shoal.control.price_state import PriceOptions, PriceState, PriceStatus
from shoal.control.taking_part import TakingPart
from shoal.domain.clock import Stage
from shoal.domain.errors import FencedOutError, SettingsError, ShoalError, UnavailableError, UnknownIdError
from shoal.domain.fleet import Fleet, Resource
from shoal.domain.ids import ResourceId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.fabric.connection import connect
from shoal.fabric.fleet_feed import FleetFeed
from shoal.fabric.keys import Role
from shoal.fabric.subjects import LIVE_PRICES
from shoal.market.registry import market_module
from shoal.market.series import price_series
from shoal.runtime.clock import ConductedClock
from shoal.runtime.settings import Settings
from shoal.store.database import migrate, open_database
from shoal.store.facts import FactStore
from shoal.store.ledger import Ledger
from shoal.store.orders import Orders
from shoal.store.programs import ProgramStore

PROGRAM: Final = "tariff"
ISSUER: Final = "prices"
LOOK_S: Final = 60.0
"""Between two looks at the twins, of plant time: what is expected is learned from them."""
AFTER_NS: Final = 5 * NS_PER_S
"""So long after its time begins a search does."""
BEATS_MISSED: Final = 3
ASK_PATIENCE_S: Final = 20.0

Floats = NDArray[np.float64]
_log = structlog.get_logger(__name__)


def limits_of(text: str) -> dict[str, tuple[float, float]]:
    """Return by group the most net import and net export in kW of the setting ``prices.limits``."""
    found = {}
    for one in filter(None, text.split(";")):
        group, _, limit = one.partition("=")
        most, _, least = limit.partition("/")
        found[group] = (float(most), float(least) if least else float("inf"))
    return found


def options_of(settings: Settings) -> PriceOptions:
    """Return how to search, by the settings."""
    given = settings.prices
    return PriceOptions(
        fleet=given.fleet,
        program=PROGRAM,
        limits_kw=limits_of(given.limits),
        step_s=given.step_s,
        steps=max(int(given.horizon_h * 3_600 / given.step_s), 1),
        round_timeout_s=given.round_timeout_s,
        within_s=given.deadline_s,
        gap_frac=given.gap_frac,
        excess_per_kwh=given.excess_per_kwh,
        imbalance_per_kwh=given.imbalance_per_kwh,
        tariff=AssumedTariff(
            import_per_kwh=given.import_per_kwh,
            export_per_kwh=given.export_per_kwh,
            wear_per_kwh=given.wear_per_kwh,
        ),
        fresh_s=settings.telemetry.fresh_timeout_s,
    )


class LedgerState:
    """The state of the search in the ledger, kept only by the newest of its roles.

    Args:
        ledger: Where it is.
        fleet: The search's name.
        fence: The token of this role.
        now_ns: The plant's clock.
    """

    def __init__(self, ledger: Ledger, *, fleet: str, fence: int, now_ns: Callable[[], int]) -> None:
        self._ledger, self._fence, self._now_ns = ledger, fence, now_ns
        self._key = state_key(fleet)

    def save(self, state: PriceState) -> None:
        """Keep the state.

        Raises:
            FencedOutError: when somebody else searches now.
        """
        payload = msgspec.json.encode(state)
        self._ledger.save_state(self._key, payload, issuer=ISSUER, fence=self._fence, saved_ns=self._now_ns())

    def beat(self) -> tuple[int, int] | None:
        """Return the token and the instant of the last sign of life."""
        kept = self._ledger.load_state(self._key)
        return None if kept is None else (kept.fence, kept.saved_ns)

    def load(self) -> PriceState | None:
        """Return the state of who searched last; None when there is none that can be read."""
        return load_state(self._ledger, self._key)


def state_key(fleet: str) -> ResourceId:
    """Return under which name the state of a search is kept; no resource's id begins with ``@``."""
    return ResourceId(f"@prices-{fleet}")


def load_state(ledger: Ledger, key: ResourceId) -> PriceState | None:
    """Return the state under a name, None when there is none that can be read. Blocks."""
    kept = ledger.load_state(key)
    if kept is None:
        return None
    try:
        return msgspec.json.decode(kept.state, type=PriceState)
    except msgspec.DecodeError as error:
        _log.warning("state is not taken over", why=str(error))
        return None


class WhoTakesPart:
    """Who is in the search now: enrolled, not left, not halted; what cannot be read leaves it as it was.

    Args:
        host: The role's process.
        fleet: The sites.
        orders: Where kill switches are.
    """

    def __init__(self, host: Host, fleet: Fleet, orders: Orders) -> None:
        self._host, self._fleet, self._orders = host, fleet, orders
        self._limited = tuple(limits_of(host.settings.prices.limits))
        self._terms: TakingPart | None = None
        registry = host.registry()
        if registry is not None:
            self._terms = TakingPart(
                ProgramStore(registry), fleet.nameplate, t_ns=host.clock.now_ns() or time.time_ns()
            )
        else:
            _log.warning("enrolments are not known here; set registry.database_url")
        self.groups = self._look()

    def refresh(self) -> None:
        """Look again. Blocks.

        Raises:
            UnavailableError: when the store of orders cannot be reached.
        """
        if self._terms is not None:
            self._terms.refresh(self._host.clock.now_ns())
        self.groups = self._look()

    def reserve_frac(self) -> Floats:
        """Return the state of charge that each owner keeps."""
        if self._terms is not None:
            return self._terms.reserve_frac()
        plate: Floats = self._fleet.nameplate["reserve_frac"].astype(np.float64)
        return plate

    def _look(self) -> PriceGroups:
        halted = halted_rows(self._orders.stops(), self._fleet)
        enrolled = None if self._terms is None else self._terms.enrolled(PROGRAM)
        rows = np.arange(len(halted), dtype=np.int64) if enrolled is None else enrolled
        return price_groups(self._fleet, self._limited, rows[~halted[rows]])


async def prices(host: Host) -> None:
    """Search until the clock stops.

    Raises:
        SettingsError: when the settings name no search, an unknown group or resource, or the clock is a conductor's.
    """
    settings = host.settings
    given = settings.prices
    if not given.fleet:
        raise SettingsError(field="prices.fleet", value="", fix="name the search")
    if isinstance(host.clock, ConductedClock):
        raise SettingsError(
            field="clock.source", value=settings.clock.source, fix="give a clock that runs by itself"
        )
    client = await host.connect()
    feed = FleetFeed(client)
    published = await host.published_fleet(feed)
    fleet = published.fleet
    await asyncio.to_thread(migrate, host.ledger_url())
    engine = open_database(host.ledger_url())
    ledger, orders = Ledger(engine), Orders(engine)
    resource = _resource(fleet, given.resource)
    fence = await asyncio.to_thread(ledger.next_fence, ISSUER)
    memory = LedgerState(ledger, fleet=given.fleet, fence=fence, now_ns=host.clock.now_ns)
    state = await asyncio.to_thread(memory.load)
    try:
        who = await asyncio.to_thread(WhoTakesPart, host, fleet, orders)
    except UnknownIdError as error:
        raise SettingsError(field="prices.limits", value=given.limits, fix=str(error)) from error
    below = await connect(
        host.fabric_url(),
        seed=host.keys().seed(Role.ADDER),
        name=Role.ADDER,
        tls=host.tls(),
        timeout_s=30.0,
    )
    known = () if state is None else state.known
    adder = PriceAdder(
        below,
        fleet=fleet,
        name=given.fleet,
        groups=lambda: who.groups,
        now_ns=host.clock.now_ns,
        issuer=await asyncio.to_thread(signer_of, host, ISSUER),
        least_homes=given.least_homes,
        known=[row for row, site in enumerate(fleet.site_ids) if str(site) in set(known)],
    )
    service = PriceService(
        client,
        adder,
        fleet=fleet,
        options=options_of(settings),
        orders=orders,
        memory=memory,
        now_ns=host.clock.now_ns,
        state=state,
    )
    host.ops.register("prices", lambda: metrics_of(service.status, host.clock.now_ns()))
    host.ops.register("homes", lambda: {"messages_total": dict(adder.count)})
    ready = asyncio.Event()
    tasks = [
        asyncio.create_task(adder.serve(ready)),
        asyncio.create_task(host.end_on_change(feed, published)),
    ]
    try:
        await _first_of(ready, tasks)
        host.ready(sites=len(fleet.site_ids))

        inputs = _inputs(engine, resource, given.market_prices)
        tasks.append(asyncio.create_task(_keep_searching(host, service, who, inputs, memory, client)))
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            await task
    except FencedOutError as error:
        await _stand_by(host, memory, str(error))
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
        await below.close()
        await client.close()


async def _first_of(ready: asyncio.Event, tasks: list[asyncio.Task[None]]) -> None:
    """Wait until the adder hears its homes, or a task has ended; one that failed before is told, not waited for."""
    waiting = asyncio.create_task(ready.wait())
    try:
        await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    for task in tasks:
        if task.done():
            await task


async def _keep_searching(
    host: Host,
    service: PriceService,
    who: WhoTakesPart,
    inputs: FleetInputs,
    memory: LedgerState,
    client: Client,
) -> None:
    """Look at the twins every minute, and search when it is time; a turn that fails is told, and the next one comes.

    Raises:
        FencedOutError: when a newer role searches.
    """
    settings = host.settings
    every_ns = int(settings.prices.every_s * NS_PER_S)
    searched = -1
    async for tick in host.clock.ticks(Stage.DECIDE, min(LOOK_S, settings.prices.every_s)):
        try:
            view = await ask_twins(
                client,
                shards=settings.telemetry.shards,
                sites=len(service.fleet.site_ids),
                patience_s=ASK_PATIENCE_S,
            )
            service.observe(view)
            await asyncio.to_thread(who.refresh)
            await asyncio.to_thread(memory.save, service.state)
            number = (tick.t_ns - AFTER_NS) // every_ns
            if number == searched:
                continue
            searched = number
            status = await service.turn(view, who.groups, reserve_frac=who.reserve_frac(), inputs=inputs)
            _log.info("prices", **told_of(status, host.clock.now_ns()))
            await client.publish(LIVE_PRICES, msgspec.json.encode(status))
        except FencedOutError:
            raise
        except ShoalError as error:
            searched = -1  # at the next look again
            service.note_failure(error)
        except Exception as error:  # noqa: BLE001 - the supervisor of the turns: the next one must come
            _log.exception("a turn failed")
            service.note_failure(UnavailableError("the search", f"{type(error).__name__}: {error}"))


async def _stand_by(host: Host, memory: LedgerState, why: str) -> None:
    """Search no more until the other's sign of life is old, then begin anew with a newer token."""
    _log.error("stood down: another one searches", why=why)
    host.not_ready = f"another one searches: {why}"
    patience_s = BEATS_MISSED * max(host.settings.prices.every_s, LOOK_S)
    seen: object = None
    since_s = time.monotonic()
    while time.monotonic() - since_s < patience_s:
        await asyncio.sleep(min(LOOK_S, patience_s / 4))
        try:
            beat = await asyncio.to_thread(memory.beat)
        except UnavailableError as error:
            _log.warning("the other's sign of life cannot be read", why=str(error))
            continue
        if beat != seen:
            seen, since_s = beat, time.monotonic()
    _log.warning("the other one gives no sign of life: taking over", patience_s=patience_s)


def told_of(status: PriceStatus, now_ns: int) -> dict[str, object]:
    """Return how the prices stand, for a line of text."""
    return {
        "gap": f"{status.gap_frac:.2e}",
        "rounds": status.rounds,
        "trials": status.trials,
        "homes": status.homes,
        "agents": status.agents,
        "heard": f"{status.heard_frac:.0%}",
        "silent": len(status.silent_sites),
        "excess_kwh": round(status.excess_kwh, 3),
        "kb_down": round(status.down_bytes / 1e3, 1),
        "kb_up": round(status.up_bytes / 1e3, 1),
        "took_s": round(status.took_s, 2),
        "age_s": round((now_ns - status.at_ns) / NS_PER_S) if status.at_ns else None,
        "sites": status.sites,
        "stopped": list(status.stopped),
        "failed": status.failed,
    }


def metrics_of(status: PriceStatus, now_ns: int) -> dict[str, float]:
    """Return the numbers of the status, and how old it is."""
    names = (
        *("gap_frac", "rounds", "trials", "took_s", "homes", "agents", "answered_frac", "heard_frac"),
        *("excess_kwh", "down_bytes", "up_bytes", "orders", "sites", "failures", "cost", "lower_bound"),
    )
    found = {name: float(getattr(status, name)) for name in names}
    found["silent_sites"] = float(len(status.silent_sites))
    found["stopped_orders"] = float(len(status.stopped))
    found["age_s"] = (now_ns - status.at_ns) / NS_PER_S if status.at_ns else -1.0
    found["lasts_s"] = max((status.end_ns - now_ns) / NS_PER_S, 0.0)
    return found


def _resource(fleet: Fleet, name: str) -> Resource | None:
    if not name:
        return None
    for resource in fleet.resources:
        if str(resource.resource_id) == name:
            return resource
    known = ", ".join(str(resource.resource_id) for resource in fleet.resources) or "none"
    raise SettingsError(field="prices.resource", value=name, fix=f"name one of: {known}")


def _inputs(engine: Engine, resource: Resource | None, market_prices: bool) -> FleetInputs:
    """Return what the market of a resource has to say."""
    if resource is None:
        return FleetInputs()
    awarded = Awarded(cycles=Ledger(engine), market=market_module)
    facts = FactStore(engine)

    def award_wh(start_ns: int, step_s: int, steps: int) -> Floats:
        end_ns = start_ns + steps * step_s * NS_PER_S
        spread = np.zeros(steps)
        try:
            awards = awarded.days(resource, start_ns, end_ns)
        except UnknownIdError:
            return spread  # nobody bids in a market that is not known
        for award in awards:
            for one in award.intervals:
                spread += _spread(one.start_ns, one.end_ns, start_ns, step_s, steps) * one.energy_wh
        return spread

    def price_per_mwh(start_ns: int, step_s: int, steps: int) -> Floats:
        rules = market_module(resource.market_id).rules
        product = next(one.product_id for one in rules.products if one.kind == "energy")
        series = price_series(resource.market_id, resource.settlement_point, product)
        end_ns, day_ns = start_ns + steps * step_s * NS_PER_S, 24 * NS_PER_HOUR
        known = facts.as_of([series], start_ns - day_ns - NS_PER_HOUR, end_ns, start_ns)[series]
        starts = start_ns + np.arange(steps, dtype=np.int64) * step_s * NS_PER_S
        found = np.full(steps, np.nan)
        for at_ns in (starts, starts - day_ns):
            place = np.searchsorted(known.start_ns, at_ns, side="right") - 1
            inside = place >= 0
            inside[inside] = known.end_ns[place[inside]] > at_ns[inside]
            use = inside & np.isnan(found)
            found[use] = known.value[place[use], 0]
        mean = float(np.nanmean(found)) if np.isfinite(found).any() else 0.0
        return np.where(np.isnan(found), mean, found)

    return FleetInputs(award_wh=award_wh, price_per_mwh=price_per_mwh if market_prices else None)


def _spread(begin_ns: int, end_ns: int, start_ns: int, step_s: int, steps: int) -> Floats:
    """Return which share of an interval lies in each of many."""
    starts = start_ns + np.arange(steps, dtype=np.int64) * step_s * NS_PER_S
    inside = np.minimum(starts + step_s * NS_PER_S, end_ns) - np.maximum(starts, begin_ns)
    share: Floats = np.maximum(inside, 0) / (end_ns - begin_ns)
    return share
