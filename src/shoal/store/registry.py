"""The registry: what is installed where, which group each site hangs from and when, and who a device is.

A site keeps its number (`site_no`) for ever, and numbers have no holes: the number is the row in every
`Fleet` that is read back. Memberships have effective dates; a change cuts the old one at the instant of the
new one, so a site is never in two groups of a hierarchy, nor in none in between.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Engine, bindparam, delete, func, select, update

from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.fleet import Fleet
from shoal.domain.ids import GroupId, HierarchyId, SiteId
from shoal.store import fleet_read, fleet_rows, program_rows
from shoal.store.credentials import Credential, new_secret, seal
from shoal.store.database import bulk_insert, reading, writing
from shoal.store.devices import note_enrolled
from shoal.store.effective import ENROLMENTS, MEMBERSHIPS, any_value, put
from shoal.store.records import Asset, Program
from shoal.store.required import require_devices, require_sites
from shoal.store.schema import (
    DEVICE_CREDENTIAL,
    GROUP_NODE,
    MEMBERSHIP,
    PROGRAM,
    REGISTRY_VERSION,
)
from shoal.twin.membership import Spans

BATCH_ROWS: Final = 20_000
_LOCK: Final = "registry"
NOT_RECORDED: Final = ("", None, "")
"""By whose consent, when and to which terms a site of a fleet's file takes part: the file does not say."""
_CREDENTIAL_COLUMNS: Final = ("device_id", "salt", "digest", "created_ns", "revoked_ns")


class Registry:
    """The registry in a migrated database. Calls block; an asynchronous caller runs them in a thread.

    Args:
        engine: From `open_database`.
        random_bytes: Source of secrets and salts.
    """

    def __init__(self, engine: Engine, *, random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._engine = engine
        self._random_bytes = random_bytes

    # -- fleet

    def load_fleet(
        self, fleet: Fleet, *, valid_from_ns: int, programs: Sequence[Program] = (), batch: int = BATCH_ROWS
    ) -> int:
        """Make the registry say what the fleet says, from an instant on; doing so twice changes nothing.

        Sites that the fleet does not name stay as they are. A later move that is already on record stays.

        Args:
            fleet: Sites, groups, memberships and resources.
            valid_from_ns: When memberships and enrolments begin to hold.
            programs: What every site of this fleet takes part in.
            batch: Rows a statement; bounds the memory used.

        Returns:
            How many sites, groups, resources and memberships were new or changed.

        Raises:
            InvalidInputError: when an id is malformed or repeated, or a nameplate is out of range.
            UnavailableError: when the database cannot be reached.
        """
        fleet_rows.check_fleet(fleet)
        with writing(self._engine, lock=_LOCK) as connection, fleet_rows.room_for_bulk(connection):
            changed = fleet_rows.save_groups(connection, fleet)
            changed += fleet_rows.save_sites(connection, fleet, batch=batch)
            changed += fleet_rows.save_memberships(connection, fleet, valid_from_ns, batch=batch)
            fleet_rows.save_programs(connection, programs)
            if changed:
                fleet_rows.count_change(connection)
            enrolled = 0
            for program in programs:
                everyone = dict.fromkeys(fleet.site_ids, NOT_RECORDED)
                enrolled += put(
                    connection,
                    ENROLMENTS,
                    program.program_id,
                    everyone,
                    valid_from_ns,
                    batch=batch,
                    same=any_value,
                )
            if enrolled:
                program_rows.count_change(connection)
        return changed

    def fleet_at(self, t_ns: int) -> Fleet:
        """Return every site, by `site_no`, with the memberships valid at the instant.

        Raises:
            UnavailableError: when the database cannot be reached.
        """
        with reading(self._engine) as connection:
            return fleet_read.read_fleet(connection, t_ns)

    def assets(self, site_id: SiteId) -> tuple[Asset, ...]:
        """Return the assets of a site, as its nameplate has them, in the order of their ids.

        Raises:
            UnknownIdError: when there is no such site.
        """
        with reading(self._engine) as connection:
            require_sites(connection, [site_id])
            return fleet_read.read_assets(connection, site_id)

    def move_site(self, site_id: SiteId, hierarchy_id: HierarchyId, group_id: GroupId, at_ns: int) -> None:
        """Hang a site from another group of a hierarchy, from an instant to its next change on record.

        Raises:
            UnknownIdError: when there is no such site, or no such group in the hierarchy.
        """
        with writing(self._engine, lock=_LOCK) as connection:
            require_sites(connection, [site_id])
            node = select(GROUP_NODE.c.group_id).where(
                GROUP_NODE.c.group_id == group_id, GROUP_NODE.c.hierarchy_id == hierarchy_id
            )
            if connection.execute(node).first() is None:
                raise UnknownIdError(f"group of hierarchy {hierarchy_id}", group_id)
            wanted = {site_id: (group_id,)}
            if put(connection, MEMBERSHIPS, hierarchy_id, wanted, at_ns, batch=BATCH_ROWS):
                fleet_rows.count_change(connection)

    def version(self) -> int:
        """Return a number that grows with every change of sites, groups, resources and memberships, asked at any time.

        A membership that takes effect later counts when it is recorded; for when it does, see `next_change_ns`.
        """
        table = REGISTRY_VERSION
        query = select(table.c.version).where(table.c.name == fleet_rows.VERSION_NAME)
        with reading(self._engine) as connection:
            return int(connection.execute(query).scalar_one())

    def next_change_ns(self, after_ns: int) -> int | None:
        """Return the first instant after `after_ns` at which a membership on record begins or ends, None for never."""
        starts, ends = MEMBERSHIP.c.valid_from_ns, MEMBERSHIP.c.valid_until_ns
        with reading(self._engine) as connection:
            found = [
                connection.execute(select(func.min(column)).where(column > after_ns)).scalar_one()
                for column in (starts, ends)
            ]
        return min((int(t_ns) for t_ns in found if t_ns is not None), default=None)

    def memberships(self, hierarchy_id: HierarchyId, start_ns: int, end_ns: int) -> Spans:
        """Return who hung from which group of a hierarchy over `[start_ns, end_ns)`, every site from end to end.

        Sites are given by `site_no`, groups by their position in `Fleet.groups`.

        Raises:
            InvalidInputError: when the interval is empty.
            UnknownIdError: when there is no such hierarchy.
        """
        with reading(self._engine) as connection:
            return fleet_read.read_spans(connection, hierarchy_id, start_ns, end_ns)

    # -- programs

    def programs(self) -> tuple[Program, ...]:
        """Return the programs, the highest priority first; for their terms see `shoal.store.programs`."""
        columns = (PROGRAM.c.program_id, PROGRAM.c.name, PROGRAM.c.priority)
        query = select(*columns).order_by(PROGRAM.c.priority.desc(), PROGRAM.c.program_id)
        with reading(self._engine) as connection:
            return tuple(Program(**row) for row in connection.execute(query).mappings())

    # -- devices

    def issue_credential(self, site_id: SiteId, *, at_ns: int) -> str:
        """Return a new secret for the device of a site, or for a gateway; the former one is good no more.

        It is shown once.

        Raises:
            UnknownIdError: when there is no such site or gateway.
        """
        return self.issue_credentials([site_id], at_ns=at_ns)[site_id]

    def issue_credentials(
        self, site_ids: Sequence[SiteId], *, at_ns: int, by: str | None = None
    ) -> dict[SiteId, str]:
        """Return new secrets for many sites at once; see `issue_credential`.

        Args:
            site_ids: Sites or gateways.
            at_ns: When.
            by: Who says so: each is noted among the steps of administration, by which open connections end. None: no
                word of it, where a plant is only being set up.

        Raises:
            UnknownIdError: when one of them is not registered.
        """
        issued = {site: new_secret(self._random_bytes) for site in site_ids}
        sealed = [seal(item, created_ns=at_ns, random_bytes=self._random_bytes) for item in issued.values()]
        self.set_credential(list(issued), sealed, by=by, at_ns=at_ns)
        return issued

    def set_credential(
        self,
        site_ids: Sequence[SiteId],
        digests: Sequence[Credential],
        *,
        by: str | None = None,
        at_ns: int = 0,
    ) -> None:
        """Store the sealed secrets of many sites or gateways, in place of any that they had.

        Args:
            site_ids: Sites or gateways.
            digests: A secret for each.
            by: Who says so; None for no word of it among the steps of administration.
            at_ns: When that is noted.

        Raises:
            InvalidInputError: when the two differ in length or a site is named twice.
            UnknownIdError: when one of them is not registered.
        """
        if len(site_ids) != len(digests) or len(set(site_ids)) != len(site_ids):
            raise InvalidInputError(
                field="site_ids", value=len(site_ids), fix=f"name {len(digests)} different sites"
            )
        table = DEVICE_CREDENTIAL
        with writing(self._engine, lock=_LOCK) as connection:
            require_devices(connection, site_ids)
            known = set(connection.execute(select(table.c.device_id)).scalars())
            replaced = [{"key": site} for site in site_ids if site in known]
            if replaced:
                connection.execute(delete(table).where(table.c.device_id == bindparam("key")), replaced)
            rows = [
                (site, item.salt, item.digest, item.created_ns, item.revoked_ns)
                for site, item in zip(site_ids, digests, strict=True)
            ]
            bulk_insert(connection, table, _CREDENTIAL_COLUMNS, rows, batch=BATCH_ROWS)
            if by is not None:
                note_enrolled(connection, site_ids, known, by=by, at_ns=at_ns)

    def credentials(self, site_ids: Collection[SiteId] | None = None) -> Mapping[SiteId, Credential]:
        """Return what is stored of every device's secret, or of a few devices', revoked ones included."""
        query = select(*(DEVICE_CREDENTIAL.c[name] for name in _CREDENTIAL_COLUMNS))
        if site_ids is not None:
            query = query.where(DEVICE_CREDENTIAL.c.device_id.in_(site_ids))
        with reading(self._engine) as connection:
            return {SiteId(row.device_id): _credential(row) for row in connection.execute(query)}

    def verify(self, site_id: SiteId, secret: str) -> bool:
        """Whether the secret is the one that the site's device was given, and not revoked."""
        query = select(DEVICE_CREDENTIAL).where(DEVICE_CREDENTIAL.c.device_id == site_id)
        with reading(self._engine) as connection:
            row = connection.execute(query).first()
        return row is not None and _credential(row).matches(secret)

    def revoke(self, site_id: SiteId, at_ns: int) -> None:
        """Refuse the site's secret from now on; the first revocation counts.

        Raises:
            UnknownIdError: when the site has no credential.
        """
        table = DEVICE_CREDENTIAL
        mine = table.c.device_id == site_id
        with writing(self._engine, lock=_LOCK) as connection:
            if connection.execute(select(table.c.device_id).where(mine)).first() is None:
                raise UnknownIdError("credential of site", site_id)
            connection.execute(
                update(table).where(mine, table.c.revoked_ns.is_(None)).values(revoked_ns=at_ns)
            )


def _credential(row: Any) -> Credential:
    return Credential(
        salt=bytes(row.salt),
        digest=bytes(row.digest),
        created_ns=row.created_ns,
        revoked_ns=row.revoked_ns,
    )
