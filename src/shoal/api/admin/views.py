"""What stands behind the answers of administration: devices with when they were heard, programs, markets, feeds, the system."""

from __future__ import annotations

import platform
import shutil
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import psutil  # type: ignore[import-untyped]
from numpy.typing import NDArray
from sqlalchemy import Engine, func, select, text

from shoal import __version__
from shoal.api.admin.answers import (
    DeviceView,
    FactSetAside,
    FallbackNow,
    FeedsAdmin,
    FeedSeries,
    GateView,
    HostNow,
    Lease,
    LimitsFrom,
    MarketView,
    ProductView,
    ProgramAdmin,
    ProgramsAdmin,
    ServiceHours,
    SystemAdmin,
)
from shoal.api.answers import OwnedUnit
from shoal.api.fleet.twins import GRADES, behind_of, grades
from shoal.api.live.state import WorkflowRun, to_ms
from shoal.api.plant import Plant
from shoal.control.standing_asking import window_words
from shoal.domain.contracts import SeriesContract
from shoal.domain.facts import SeriesId
from shoal.domain.ids import SiteId
from shoal.domain.interval import NS_PER_S
from shoal.domain.telemetry import TELEMETRY, DeviceType
from shoal.domain.twins import ShardAnswer
from shoal.market.contract import LengthFrom, Market, Product
from shoal.market.registry import MODULES
from shoal.market.rules import PriceLimits
from shoal.programs.ability import SiteTerms
from shoal.store.database import reading
from shoal.store.devices import Device
from shoal.store.facts import FactStore
from shoal.store.facts_records import Freshness
from shoal.store.order_records import Order
from shoal.store.orders import Orders
from shoal.store.programs import NOT_AVAILABLE
from shoal.store.schema import OWNER_HOURS
from shoal.store.slots import Slots
from shoal.store.standing import StandingService, StandingServices

MOST_SET_ASIDE: Final = 50
MOST_ROWS_ASKED: Final = 2_000
"""Sites of which is asked when they were heard, for one page of devices."""
_UNKNOWN: Final = GRADES.index("unknown")
FromDay = TypeVar("FromDay", LengthFrom, PriceLimits)


# -- devices


def rows_of(plant: Plant, device: Device, most: int) -> NDArray[np.int64]:
    """Return the fleet's rows for which a device speaks, at most so many."""
    fleet = plant.fleet
    if device.kind == "site":
        row = fleet.row_of.get(SiteId(device.device_id))
        return np.array([] if row is None else [row], dtype=np.int64)
    if device.device_id not in fleet.gateway_ids:
        return np.empty(0, dtype=np.int64)
    number = fleet.gateway_ids.index(device.device_id)
    return np.flatnonzero(fleet.gateway_of == number)[:most].astype(np.int64)


def heard_of(plant: Plant, answers: Sequence[ShardAnswer]) -> tuple[int, dict[int, int], dict[int, int]]:
    """Return of the rows in answers: the instant of the figures, when each was heard, and its grade's number."""
    heard: dict[int, int] = {}
    grade: dict[int, int] = {}
    for answer in answers:
        rows = np.frombuffer(answer.rows, dtype=np.int64).tolist()
        records = np.frombuffer(answer.latest, dtype=TELEMETRY.dtype)
        found = grades(records, behind_of(answer), answer.t_ns, plant.timeouts)
        heard |= dict(zip(rows, records["ts_ns"].tolist(), strict=True))
        grade |= dict(zip(rows, found.tolist(), strict=True))
    return min((answer.t_ns for answer in answers), default=0), heard, grade


def device_view(
    device: Device, rows: Sequence[int], told: tuple[int, dict[int, int], dict[int, int]] | None
) -> DeviceView:
    """Return a device as it is shown.

    Args:
        device: Which.
        rows: The fleet's rows for which it speaks.
        told: From `heard_of`; None when the shards did not answer.
    """
    now_ns, heard, grade = told or (0, {}, {})
    known = [row for row in rows if row in heard]
    heard_ns = max((heard[row] for row in known), default=0)
    best = min((grade[row] for row in known), default=_UNKNOWN)
    return DeviceView(
        device_id=device.device_id,
        kind=device.kind,
        device_type=None if device.device_type is None else DeviceType(device.device_type).name.lower(),
        sites=device.sites,
        state=device.state,
        enrolled_ms=None if device.enrolled_ns is None else to_ms(device.enrolled_ns),
        revoked_ms=None if device.revoked_ns is None else to_ms(device.revoked_ns),
        firmware=device.firmware or None,
        asked=told is not None and len(known) > 0,
        heard_ms=to_ms(heard_ns) if heard_ns else None,
        age_s=max(now_ns - heard_ns, 0) / NS_PER_S if heard_ns else None,
        grade=GRADES[best] if known else None,
    )


# -- programs


def programs_admin(plant: Plant, terms: SiteTerms, now_ns: int) -> ProgramsAdmin:
    """Return the book with who takes part and what stands; blocks.

    Raises:
        UnavailableError: when a database cannot be reached.
    """
    orders = Orders(plant.database).orders(after_ns=now_ns)
    services = StandingServices(plant.database).services()
    keeps = OWNER_HOURS.c
    holding = (
        (keeps.kind == NOT_AVAILABLE)
        & (keeps.valid_from_ns <= now_ns)
        & (keeps.valid_until_ns.is_(None) | (keeps.valid_until_ns > now_ns))
    )
    with reading(plant.registry) as connection:
        query = select(func.count(keeps.site_id.distinct())).where(holding)
        with_hours = int(connection.execute(query).scalar_one())
    places = range(len(terms.book.programs))
    return ProgramsAdmin(
        as_of_ms=to_ms(now_ns),
        sites=len(plant.fleet.site_ids),
        sites_with_hours=with_hours,
        programs=[_program(terms, place, orders, services, now_ns) for place in places],
    )


def _program(
    terms: SiteTerms,
    place: int,
    orders: Sequence[Order],
    services: Sequence[StandingService],
    now_ns: int,
) -> ProgramAdmin:
    program = terms.book.programs[place]
    sites, opted_out_sites = terms.enrolled_counts(place)
    mine = [one for one in orders if one.program == program.id]
    return ProgramAdmin(
        place=place + 1,
        program_id=program.id,
        name=program.name,
        kind=program.kind,
        exclusive=program.exclusive,
        may_opt_out=program.may_opt_out,
        minimum_notice_s=program.minimum_notice_s,
        pays=program.pays,
        terms=program.terms,
        sites=sites,
        opted_out_sites=opted_out_sites,
        asks_everybody=terms.asks_everybody(place),
        standing_orders=len(mine),
        next_order_ms=min((to_ms(one.start_ns) for one in mine if one.start_ns > now_ns), default=None),
        services=[
            ServiceHours(
                service_id=one.service_id,
                kind=one.kind,
                group=one.group,
                windows=tuple(window_words(window) for window in one.windows),
                zone=one.zone,
            )
            for one in services
            if one.program == program.id
        ],
    )


# -- markets


def markets_admin(plant: Plant, now_ns: int) -> list[MarketView]:
    """Return every market's rules as of an instant, those in which the plant bids first."""
    views = [_market(plant, module, now_ns) for module in MODULES]
    return sorted(views, key=lambda one: not one.resources)


def _market(plant: Plant, market: Market, now_ns: int) -> MarketView:
    rules, day = market.rules, market.delivery_date(now_ns)
    return MarketView(
        market_id=rules.market_id,
        name=rules.name,
        zone=rules.zone,
        currency=rules.currency,
        day=day.isoformat(),
        resources=[one.resource_id for one in plant.fleet.resources if one.market_id == rules.market_id],
        settlement_s=rules.settlement_ns / NS_PER_S,
        products=[_product(market, one, day, now_ns) for one in rules.products],
    )


def _in_force(dated: Sequence[FromDay], day: date) -> FromDay | None:
    held = [one for one in dated if one.effective_from <= day]
    return held[-1] if held else None


def _product(market: Market, product: Product, day: date, now_ns: int) -> ProductView:
    length, limits = _in_force(product.lengths, day), _in_force(product.limits, day)
    traded = product.first_day <= day and (product.last_day is None or day <= product.last_day)
    return ProductView(
        product_id=product.product_id,
        name=product.name,
        kind=product.kind,
        first_day=product.first_day.isoformat(),
        last_day=None if product.last_day is None else product.last_day.isoformat(),
        traded=traded,
        interval_s=None if length is None else length.interval_ns / NS_PER_S,
        interval_from=None if length is None else length.effective_from.isoformat(),
        floor_per_mwh=None if limits is None else limits.floor_per_mwh,
        cap_per_mwh=None if limits is None else limits.cap_per_mwh,
        limits=[
            LimitsFrom(
                effective_from=one.effective_from.isoformat(),
                floor_per_mwh=one.floor_per_mwh,
                cap_per_mwh=one.cap_per_mwh,
                in_force=one is limits,
            )
            for one in product.limits
        ],
        gates=[
            GateView(
                kind=one.kind,
                closes_at=None if one.at is None else one.at.isoformat("minutes"),
                lead_s=one.lead_ns / NS_PER_S,
                publishes_at=None if one.publication is None else one.publication.isoformat("minutes"),
            )
            for one in product.gates
        ],
        next_gate_ms=to_ms(market.next_gate(product.product_id, now_ns).closes_ns) if traded else None,
        quantity_minimum_mw=product.quantity_minimum_mw,
        quantity_step_mw=product.quantity_step_mw,
        price_tick_per_mwh=product.price_tick_per_mwh,
    )


# -- feeds


def feeds_admin(plant: Plant, now_ns: int, *, containing: str, stale_only: bool, limit: int) -> FeedsAdmin:
    """Return how fresh the knowledge from outside is; blocks.

    Raises:
        UnavailableError: when the database cannot be reached.
    """
    store = FactStore(plant.database)
    known, contracts, broken = store.freshness(now_ns), store.contracts(), store.quarantined()
    wanted = [
        one for one in known if containing.lower() in one.series_id.lower() and (one.stale or not stale_only)
    ]
    wanted.sort(key=lambda one: (not one.stale, one.series_id))
    return FeedsAdmin(
        as_of_ms=to_ms(now_ns),
        series=len(known),
        stale=sum(one.stale for one in known),
        set_aside=sum(broken.values()),
        total=len(wanted),
        limit=limit,
        rows=[
            _series(one, contracts.get(one.series_id), broken.get(one.series_id, 0), now_ns)
            for one in wanted[:limit]
        ],
        latest_set_aside=[
            FactSetAside(
                series_id=one.series_id,
                source=one.source,
                start_ms=to_ms(one.start_ns),
                known_ms=to_ms(one.known_ns),
                reason=one.reason,
                detail=one.detail,
            )
            for one in store.quarantine(limit=MOST_SET_ASIDE)
        ],
        fallbacks=fallbacks_of(plant.hub.state().runs),
    )


def fallbacks_of(runs: Sequence[WorkflowRun]) -> list[FallbackNow]:
    """Return of each resource its newest run that was decided, where that took another rung than the first it tried."""
    newest: dict[str, WorkflowRun] = {}
    for run in sorted(runs, key=lambda one: one.started_ms):
        if run.kind == "bid" and run.rung and run.finished_ms is not None:
            newest[run.resource_id] = run
    return [
        FallbackNow(
            resource_id=run.resource_id,
            delivery_date=run.delivery_date,
            rung=run.rung,
            reason=run.rung_reason,
            at_ms=run.started_ms,
        )
        for run in newest.values()
        if run.steps and run.steps[0].name != run.rung
    ]


def _series(one: Freshness, contract: SeriesContract | None, set_aside: int, now_ns: int) -> FeedSeries:
    allowed_ns = None if contract is None else contract.stale_after_ns
    known_ns, end_ns = one.latest_known_ns, one.latest_end_ns
    return FeedSeries(
        series_id=SeriesId(one.series_id),
        unit="" if contract is None else contract.unit,
        facts=one.facts,
        latest_end_ms=None if end_ns is None else to_ms(end_ns),
        known_ms=None if known_ns is None else to_ms(known_ns),
        age_s=None if known_ns is None else max(now_ns - known_ns, 0) / NS_PER_S,
        expected_s=None if allowed_ns is None else allowed_ns / NS_PER_S,
        state="unjudged" if allowed_ns is None else "stale" if one.stale else "fresh",
        set_aside=set_aside,
    )


# -- the system


def system_admin(plant: Plant, owners: list[OwnedUnit], owners_fault: str) -> SystemAdmin:
    """Return how the software stands; blocks.

    Raises:
        UnavailableError: when the database cannot be reached.
    """
    live = plant.hub.statistics()
    held = Slots(plant.database).held()
    with reading(plant.database) as connection:
        revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return SystemAdmin(
        as_of_ms=to_ms(plant.now_ns()),
        wall_ms=to_ms(time.time_ns()),
        version=__version__,
        python=platform.python_version(),
        database=plant.database.dialect.name,
        schema_revision=str(revision or ""),
        roles=plant.hub.state().health,
        owners=owners,
        owners_fault=owners_fault,
        leases=[Lease(slot=slot, holder=one.holder, beat=one.beat) for slot, one in sorted(held.items())],
        clients=live.clients,
        slow_clients=live.slow,
        message_age_s=live.last_message_age_s,
        host=host_now(plant.database),
    )


def host_now(engine: Engine) -> HostNow:
    """Return how much room the machine has; a database elsewhere has no disk here."""
    memory = psutil.virtual_memory()
    disk = None
    if engine.dialect.name == "sqlite":
        try:
            disk = shutil.disk_usage(Path(str(engine.url.database)).parent)
        except OSError:
            disk = None
    return HostNow(
        processors=psutil.cpu_count() or 1,
        load_1min=psutil.getloadavg()[0],
        memory_bytes=int(memory.total),
        memory_free_bytes=int(memory.available),
        disk_bytes=None if disk is None else disk.total,
        disk_free_bytes=None if disk is None else disk.free,
    )
