"""What is kept of one site across tables: its shares of settled days, what its device reported, what is assumed of it.

Each is looked up by keys, so the answer takes as long in a fleet of a million sites as in one of ten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from sqlalchemy import Engine, and_, or_, select

from shoal.domain.ids import SiteId
from shoal.services.drift import AssumedParameters, DeviceParameters
from shoal.store.database import reading
from shoal.store.order_records import AuditEntry
from shoal.store.order_schema import ORDER_AUDIT
from shoal.store.parameter_schema import ASSUMED_PARAMETERS, DEVICE_PARAMETERS
from shoal.store.schema import SITE_SHARE

OWNER_ACTIONS: Final = ("leave", "return")
"""Lines of the audit whose subject is an event, and whose detail names the site."""
_ASSUMED: Final = msgspec.json.Decoder(AssumedParameters)
_REPORTED: Final = msgspec.json.Decoder(DeviceParameters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumption:
    """What the offers of one resource assume of a device for one service."""

    resource_id: str
    service: str
    assumed: AssumedParameters


class SiteRecords:
    """Records of single sites in migrated databases. Calls block; an asynchronous caller runs them in a thread.

    Args:
        database: With the ledger and the orders.
        registry: With the sites and their devices' parameters.
    """

    def __init__(self, database: Engine, registry: Engine) -> None:
        self._database = database
        self._registry = registry

    def share(self, site_id: SiteId, resource_id: str, delivery_date: str, version: int) -> int | None:
        """Return what a site's owner receives of a statement, in 1e-8 currency units; None for no share."""
        query = select(SITE_SHARE.c.amount).where(
            SITE_SHARE.c.resource_id == resource_id,
            SITE_SHARE.c.delivery_date == delivery_date,
            SITE_SHARE.c.version == version,
            SITE_SHARE.c.site_id == site_id,
        )
        with reading(self._database) as connection:
            amount = connection.execute(query).scalar()
        return None if amount is None else int(amount)

    def lines(self, site_id: SiteId, events: Sequence[str], limit: int) -> list[AuditEntry]:
        """Return lines of the audit about a site, or about its owner in some events, the newest first."""
        audit = ORDER_AUDIT.c
        about = [audit.subject == site_id]
        if events:
            left = audit.action.in_(OWNER_ACTIONS)
            about.append(and_(audit.subject.in_(list(events)), left, audit.detail == site_id))
        query = select(ORDER_AUDIT).where(or_(*about)).order_by(audit.number.desc()).limit(limit)
        with reading(self._database) as connection:
            return [AuditEntry(**row) for row in connection.execute(query).mappings()]

    def reported(self, site_id: SiteId) -> DeviceParameters | None:
        """Return the newest report of what a site's device is set to; None when it gave none."""
        query = select(DEVICE_PARAMETERS.c.said).where(DEVICE_PARAMETERS.c.site_id == site_id)
        with reading(self._registry) as connection:
            said = connection.execute(query).scalar()
        return None if said is None else _REPORTED.decode(said)

    def assumed(self, site_id: SiteId) -> list[Assumption]:
        """Return what offers assume of a site's device, by resource and service."""
        table = ASSUMED_PARAMETERS
        query = (
            select(table.c.resource_id, table.c.service, table.c.said)
            .where(table.c.site_id == site_id)
            .order_by(table.c.resource_id, table.c.service)
        )
        with reading(self._registry) as connection:
            return [
                Assumption(resource_id=resource, service=service, assumed=_ASSUMED.decode(said))
                for resource, service, said in connection.execute(query)
            ]
