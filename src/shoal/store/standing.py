"""Services that stand for days, as they are kept: what is held to which limit, by whose batteries, when, and who said so.

A newer revision replaces the one before; every change has its line in the audit of orders, so whoever reads that finds it,
and a controller that looks for new lines takes it up.
"""

from __future__ import annotations

import math
from typing import Final, Literal, TypeAlias
from zoneinfo import ZoneInfo

import msgspec
import structlog
from sqlalchemy import Connection, Engine, func, select

from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.ids import checked_id
from shoal.domain.interval import to_datetime
from shoal.store.database import insert_into, reading, writing
from shoal.store.order_schema import ORDER_AUDIT
from shoal.store.standing_schema import STANDING_SERVICE

ServiceKind: TypeAlias = Literal["peak_shaving", "smoothing"]
ServiceState: TypeAlias = Literal["standing", "stopped"]
FOREVER_NS: Final = 2**63 - 1
MINUTES_A_DAY: Final = 1_440
_LONGEST_ID: Final = 50
_LONGEST_REASON: Final = 200
_MOST_WINDOWS: Final = 50
_MOST_KW: Final = 1e8
_LOCK: Final = "orders"


class Window(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When a limit counts, by the clock on the wall.

    Attributes:
        start_minute: Minutes after local midnight.
        end_minute: Exclusive; at or before `start_minute` it is of the day after.
        days: Days on which it begins, 0 for Monday to 6; empty for all.
    """

    start_minute: int
    end_minute: int
    days: tuple[int, ...] = ()


class StandingService(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One service as it stands.

    Attributes:
        service_id: The same in every revision.
        kind: ``peak_shaving`` holds a feeder's power below `target_kw`; ``smoothing`` lets generation and batteries together
            change by no more than `ramp_kw_per_min`.
        program: For which program: who takes part in it serves, and its place says what it yields to.
        group: Whose batteries serve.
        measured_group: Whose sum is held; empty for `group`.
        meter: The site whose meter is held in place of a sum; empty for the sum.
        target_kw: See `kind`.
        ramp_kw_per_min: See `kind`.
        highest_kw: Most that the generators can give; 0 for what they are rated for.
        windows: When the limit counts; always when empty.
        zone: Of the windows and the days, e.g. ``America/Chicago``.
        start_ns: From when.
        end_ns: Until when, exclusive.
        margin_frac: A peak is held so far below its target.
        keep_frac: Share of the usable energy that peak shaving keeps for what no forecast shows.
        least_coverage_frac: With fewer of the measured sites heard from, what is measured is not known.
        bridge_s: So long it goes on by what it knew.
        tenant: Whose plant; empty for whoever keeps it.
        state: See `ServiceState`.
        revision: From 1 on.
        by: Who said so.
        at_ns: When.
        reason: Why.
    """

    service_id: str
    kind: ServiceKind
    program: str
    group: str
    by: str
    at_ns: int
    measured_group: str = ""
    meter: str = ""
    target_kw: float = 0.0
    ramp_kw_per_min: float = 0.0
    highest_kw: float = 0.0
    windows: tuple[Window, ...] = ()
    zone: str = "UTC"
    start_ns: int = 0
    end_ns: int = FOREVER_NS
    margin_frac: float = 0.02
    keep_frac: float = 0.1
    least_coverage_frac: float = 0.9
    bridge_s: float = 300.0
    tenant: str = ""
    state: ServiceState = "standing"
    revision: int = 1
    reason: str = ""

    def counts_at(self, t_ns: int) -> bool:
        """Whether the limit counts at an instant."""
        if not self.start_ns <= t_ns < self.end_ns:
            return False
        return not self.windows or in_windows(self.windows, t_ns, ZoneInfo(self.zone))


_log = structlog.get_logger(__name__)
_SERVICE: Final = msgspec.json.Decoder(StandingService)


def in_windows(windows: tuple[Window, ...], t_ns: int, zone: ZoneInfo) -> bool:
    """Whether an instant lies in one of some windows, by the clock on the wall."""
    local = to_datetime(t_ns, zone)
    minute, day = local.hour * 60 + local.minute, local.weekday()
    for window in windows:
        today = not window.days or day in window.days
        if window.start_minute < window.end_minute:
            if today and window.start_minute <= minute < window.end_minute:
                return True
            continue
        yesterday = not window.days or (day - 1) % 7 in window.days
        if (today and minute >= window.start_minute) or (yesterday and minute < window.end_minute):
            return True
    return False


class StandingServices:
    """Standing services in a migrated database. Calls block; an asynchronous caller runs them in a thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def put(self, service: StandingService) -> StandingService:
        """Keep a new service, or a newer revision of one; return it.

        Raises:
            InvalidInputError: when a value cannot be used, its id is taken, or somebody else has changed it meanwhile.
        """
        check_service(service)
        with writing(self._engine, lock=_LOCK) as connection:
            held = _held(connection, service.service_id)
            expected = 1 if held is None else held.revision + 1
            if service.revision != expected:
                taken = "its id is taken; choose another"
                fix = taken if service.revision == 1 else "read it again, then change it"
                raise InvalidInputError(field="revision", value=service.revision, fix=fix)
            if held is not None and held.state == "stopped":
                raise InvalidInputError(
                    field="service", value=service.service_id, fix="it is stopped; add another"
                )
            said = msgspec.json.encode(service).decode()
            values = {"revision": service.revision, "state": service.state, "said": said}
            upsert = insert_into(connection, STANDING_SERVICE).values(service_id=service.service_id, **values)
            connection.execute(upsert.on_conflict_do_update(index_elements=["service_id"], set_=values))
            action = "cancel" if service.state == "stopped" else "put" if held is None else "change"
            line = {
                "at_ns": service.at_ns,
                "by": service.by[:_LONGEST_REASON],
                "action": action,
                "subject": service.service_id,
                "outcome": "done",
                "reason": service.reason[:_LONGEST_REASON],
                "detail": f"standing service: {said}",
            }
            connection.execute(insert_into(connection, ORDER_AUDIT).values(line))
        return service

    def stop(self, service_id: str, *, by: str, at_ns: int, reason: str = "") -> StandingService:
        """Stop a service for good; return it.

        Raises:
            UnknownIdError: when there is no such service.
            InvalidInputError: when it was stopped before.
        """
        held = self.service(service_id)
        return self.put(
            msgspec.structs.replace(
                held, state="stopped", revision=held.revision + 1, by=by, at_ns=at_ns, reason=reason
            )
        )

    def service(self, service_id: str) -> StandingService:
        """Return a service by its id.

        Raises:
            UnknownIdError: when there is no such service.
        """
        with reading(self._engine) as connection:
            held = _held(connection, service_id)
        if held is None:
            raise UnknownIdError("service", service_id)
        return held

    def services(self, *, stopped: bool = False) -> list[StandingService]:
        """Return the services that stand, by their ids; with `stopped` those of the past too; none that cannot be read."""
        query = select(STANDING_SERVICE.c.said).order_by(STANDING_SERVICE.c.service_id)
        if not stopped:
            query = query.where(STANDING_SERVICE.c.state == "standing")
        with reading(self._engine) as connection:
            lines = connection.execute(query).scalars().all()
        found = []
        for said in lines:
            try:
                found.append(_SERVICE.decode(said))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                # one that another version of the program wrote must not stop the others
                _log.error("a standing service cannot be read", said=said[:200], why=str(error))
        return found

    def version(self) -> int:
        """Return a number that grows with every change."""
        query = select(func.coalesce(func.sum(STANDING_SERVICE.c.revision), 0))
        with reading(self._engine) as connection:
            return int(connection.execute(query).scalar_one())


def check_service(service: StandingService) -> None:
    """Raise unless a service can be kept.

    Raises:
        InvalidInputError: naming the field that is wrong.
    """
    if len(checked_id("service_id", service.service_id)) > _LONGEST_ID:
        fix = f"at most {_LONGEST_ID} characters"
        raise InvalidInputError(field="service_id", value=service.service_id, fix=fix)
    for name in ("program", "group"):
        checked_id(name, getattr(service, name))
    for name in ("measured_group", "meter"):
        if getattr(service, name):
            checked_id(name, getattr(service, name))
    if service.meter and service.measured_group:
        raise InvalidInputError(
            field="meter", value=service.meter, fix="measure a meter or a group, not both"
        )
    limit = "target_kw" if service.kind == "peak_shaving" else "ramp_kw_per_min"
    other = "ramp_kw_per_min" if service.kind == "peak_shaving" else "target_kw"
    if not 0 < getattr(service, limit) < _MOST_KW:
        raise InvalidInputError(field=limit, value=getattr(service, limit), fix="give more than 0")
    if getattr(service, other) != 0:
        fix = f"leave it out: {service.kind} has none"
        raise InvalidInputError(field=other, value=getattr(service, other), fix=fix)
    if not 0 <= service.highest_kw < _MOST_KW:
        raise InvalidInputError(field="highest_kw", value=service.highest_kw, fix="give 0 or more")
    for name, most in (("margin_frac", 0.5), ("keep_frac", 1.0), ("least_coverage_frac", 1.0)):
        if not 0 <= getattr(service, name) <= most:
            raise InvalidInputError(field=name, value=getattr(service, name), fix=f"from 0 to {most:g}")
    if not (math.isfinite(service.bridge_s) and 0 <= service.bridge_s <= 3_600):
        raise InvalidInputError(field="bridge_s", value=service.bridge_s, fix="from 0 to 3600 s")
    if not 0 <= service.start_ns < service.end_ns <= FOREVER_NS:
        raise InvalidInputError(field="end", value=service.end_ns, fix="it must be after the start")
    try:
        ZoneInfo(service.zone)
    except (ValueError, OSError, KeyError) as error:
        fix = "name one like America/Chicago"
        raise InvalidInputError(field="zone", value=service.zone, fix=fix) from error
    if len(service.windows) > _MOST_WINDOWS:
        raise InvalidInputError(
            field="windows", value=len(service.windows), fix=f"at most {_MOST_WINDOWS} windows"
        )
    for window in service.windows:
        _check_window(window)


def _check_window(window: Window) -> None:
    inside = 0 <= window.start_minute < MINUTES_A_DAY and 0 < window.end_minute <= MINUTES_A_DAY
    if not inside or any(not 0 <= day <= 6 for day in window.days):
        raise InvalidInputError(
            field="window", value=str(window), fix="give minutes of a day, and days from 0 (Monday) to 6"
        )


def _held(connection: Connection, service_id: str) -> StandingService | None:
    query = select(STANDING_SERVICE.c.said).where(STANDING_SERVICE.c.service_id == service_id)
    said = connection.execute(query).scalar()
    return None if said is None else _SERVICE.decode(said)
