"""What the offers of services assume of devices, and what devices report: kept, compared, and told as limits and alarms.

Only the newest report of a device counts. What is assumed of a service names every device that backs it, so the sum of
what is assumed and still so is the most that may be offered of it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec
from sqlalchemy import Connection, Engine, delete, func, select

from shoal.domain.alarms import AlarmKind
from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.ids import SiteId, checked_id
from shoal.domain.interval import NS_PER_MINUTE
from shoal.services.drift import (
    AssumedParameters,
    DeviceParameters,
    DriftAlarm,
    alarm_of,
    backed_w,
    compare,
)
from shoal.store.database import insert_into, reading, writing
from shoal.store.parameter_schema import ASSUMED_PARAMETERS, DEVICE_PARAMETERS
from shoal.store.required import require_sites
from shoal.store.schema import REGISTRY_VERSION, RESOURCE
from shoal.twin.alarm_measures import Measure

Assumed: TypeAlias = Mapping[str, AssumedParameters]
"""By site."""
VERSION_NAME: Final = "parameters"
LOOK_AGAIN_NS: Final = NS_PER_MINUTE
"""A report grows too old by itself: without any change, all is compared again after this long."""
_ASSUMED: Final = msgspec.json.Decoder(AssumedParameters)
_REPORTED: Final = msgspec.json.Decoder(DeviceParameters)
_NUMBERS: Final = ("droop_frac", "deadband_hz", "ramp_w_per_s", "response_s")
_LONGEST_FIRMWARE: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceBacking:
    """How far the devices of one resource back one service.

    Attributes:
        resource_id: The resource.
        service: The service, by the market's name of the product.
        assumed_w: What is assumed to back it.
        backed_w: What still does.
        alarm: What a person should know; None when all is as assumed.
    """

    resource_id: str
    service: str
    assumed_w: int
    backed_w: int
    alarm: DriftAlarm | None

    @property
    def withheld_w(self) -> int:
        """What is no longer backed."""
        return self.assumed_w - self.backed_w

    @property
    def measure(self) -> Measure:
        """The value for the alarm: capacity that is not backed, in W; 0 ends it."""
        return Measure(
            kind=AlarmKind.PARAMETER_DRIFT,
            subject=f"{self.resource_id}/{self.service}",
            value=float(self.withheld_w),
            name=f"{self.service} of {self.resource_id}",
        )


class DeviceParameterStore:
    """Parameters in a migrated database. Calls block; an asynchronous caller runs them in a thread.

    Args:
        engine: From `open_database`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._version = -1
        self._compared_ns = 0
        self._backing: tuple[ServiceBacking, ...] = ()

    # -- what is assumed

    def assume(self, resource_id: str, service: str, assumed: Assumed, *, by: str, at_ns: int) -> None:
        """Put what a service assumes of each device that backs it, in place of what it assumed before; empty for nothing.

        Raises:
            UnknownIdError: when there is no such resource or site.
            InvalidInputError: when a number is out of its range, or names another service.
        """
        checked_id("service", service)
        for site, one in assumed.items():
            _check_assumed(site, service, one)
        rows = [
            {
                "resource_id": resource_id,
                "service": service,
                "site_id": site,
                "said": msgspec.json.encode(one).decode(),
                "said_by": by,
                "said_ns": at_ns,
            }
            for site, one in assumed.items()
        ]
        table = ASSUMED_PARAMETERS
        with writing(self._engine, lock=VERSION_NAME) as connection:
            _require_resource(connection, resource_id)
            require_sites(connection, [SiteId(site) for site in assumed])
            connection.execute(
                delete(table).where(table.c.resource_id == resource_id, table.c.service == service)
            )
            if rows:
                connection.execute(insert_into(connection, table), rows)
            _count_change(connection)

    def assumed(self) -> dict[tuple[str, str], dict[str, AssumedParameters]]:
        """Return what is assumed, by resource and service, then by site."""
        with reading(self._engine) as connection:
            return _assumed(connection)

    # -- what devices say

    def report(self, reports: Sequence[DeviceParameters]) -> int:
        """Keep what devices say that they are set to; return how many were newer than what was known.

        Raises:
            UnknownIdError: when there is no such site.
            InvalidInputError: when a number is out of its range.
        """
        for one in reports:
            _check_reported(one)
        newest = {one.site_id: one for one in sorted(reports, key=lambda one: one.t_ns)}
        rows = [
            {"site_id": one.site_id, "t_ns": one.t_ns, "said": msgspec.json.encode(one).decode()}
            for one in newest.values()
        ]
        if not rows:
            return 0
        changed = 0
        table = DEVICE_PARAMETERS
        with writing(self._engine, lock=VERSION_NAME) as connection:
            require_sites(connection, [SiteId(one.site_id) for one in newest.values()])
            for row in rows:
                upsert = insert_into(connection, table).values(row)
                done = connection.execute(
                    upsert.on_conflict_do_update(
                        index_elements=["site_id"],
                        set_={"t_ns": upsert.excluded.t_ns, "said": upsert.excluded.said},
                        where=table.c.t_ns < upsert.excluded.t_ns,
                    )
                )
                changed += done.rowcount
            if changed:
                _count_change(connection)
        return changed

    def reported(self) -> dict[str, DeviceParameters]:
        """Return the newest report of each device that gave one."""
        with reading(self._engine) as connection:
            return _reported(connection)

    # -- compared

    def backing(self, now_ns: int) -> tuple[ServiceBacking, ...]:
        """Return how far each service of which something is assumed is backed at an instant.

        Raises:
            UnavailableError: when the database cannot be reached.
        """
        with self._lock, reading(self._engine) as connection:
            version = _version(connection)
            fresh = 0 <= now_ns - self._compared_ns < LOOK_AGAIN_NS
            if version != self._version or not fresh:
                reported = _reported(connection)
                self._backing = tuple(
                    backing_of(resource_id, service, assumed, reported, now_ns=now_ns)
                    for (resource_id, service), assumed in sorted(_assumed(connection).items())
                )
                self._version, self._compared_ns = version, now_ns
            return self._backing


def backing_of(
    resource_id: str,
    service: str,
    assumed: Assumed,
    reported: Mapping[str, DeviceParameters],
    *,
    now_ns: int,
) -> ServiceBacking:
    """Return how far devices back one service."""
    drifts = compare(assumed, reported, now_ns=now_ns)
    return ServiceBacking(
        resource_id=resource_id,
        service=service,
        assumed_w=sum(one.capacity_w for one in assumed.values()),
        backed_w=backed_w(assumed, drifts, service=service),
        alarm=alarm_of(resource_id, service, assumed, drifts),
    )


def _check_assumed(site: str, service: str, one: AssumedParameters) -> None:
    if one.service != service:
        raise InvalidInputError(field=f"service of {site}", value=one.service, fix=f"give {service}")
    if one.capacity_w < 0:
        raise InvalidInputError(field=f"capacity_w of {site}", value=one.capacity_w, fix="give 0 or more")
    for name in (*_NUMBERS, "tolerance_frac", "tolerance_hz"):
        _check_number(site, name, getattr(one, name))


def _check_reported(one: DeviceParameters) -> None:
    # one that is not a number is what a device says: it counts as a drift
    for name in _NUMBERS:
        value = getattr(one, name)
        if value is None or value == value:
            _check_number(one.site_id, name, value)
    if len(one.firmware) > _LONGEST_FIRMWARE or not 0 <= one.t_ns < 2**63:
        raise InvalidInputError(
            field=f"report of {one.site_id}", value=one.t_ns, fix="give an instant, and a short firmware"
        )


def _check_number(site: str, name: str, value: float | None) -> None:
    if value is not None and not (math.isfinite(value) and value >= 0.0):
        raise InvalidInputError(field=f"{name} of {site}", value=value, fix="give a finite number from 0 on")


def _require_resource(connection: Connection, resource_id: str) -> None:
    query = select(RESOURCE.c.resource_id).where(RESOURCE.c.resource_id == resource_id)
    if connection.execute(query).first() is None:
        raise UnknownIdError("resource", resource_id)


def _assumed(connection: Connection) -> dict[tuple[str, str], dict[str, AssumedParameters]]:
    table = ASSUMED_PARAMETERS
    found: dict[tuple[str, str], dict[str, AssumedParameters]] = {}
    query = select(table.c.resource_id, table.c.service, table.c.site_id, table.c.said)
    for resource_id, service, site, said in connection.execute(query):
        found.setdefault((resource_id, service), {})[site] = _ASSUMED.decode(said)
    return found


def _reported(connection: Connection) -> dict[str, DeviceParameters]:
    query = select(DEVICE_PARAMETERS.c.said)
    decoded = (_REPORTED.decode(said) for said in connection.execute(query).scalars())
    return {one.site_id: one for one in decoded}


def _count_change(connection: Connection) -> None:
    insert = insert_into(connection, REGISTRY_VERSION).values(name=VERSION_NAME, version=1)
    grown = {"version": REGISTRY_VERSION.c.version + 1}
    connection.execute(insert.on_conflict_do_update(index_elements=["name"], set_=grown))


def _version(connection: Connection) -> int:
    query = select(func.coalesce(func.max(REGISTRY_VERSION.c.version), 0))
    return int(connection.execute(query.where(REGISTRY_VERSION.c.name == VERSION_NAME)).scalar_one())
