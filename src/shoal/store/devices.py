"""Devices that sign in: sites with a connection of their own, and gateways; enrolled, revoked, and listed a page at a time.

A page goes on after the last device of the one before it, so it takes as long at a million devices as at ten. Each change
and its line among the steps of administration are one transaction.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

import msgspec
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Select,
    and_,
    delete,
    func,
    insert,
    null,
    or_,
    select,
    update,
)

from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.ids import SiteId
from shoal.services.drift import DeviceParameters
from shoal.store.credentials import new_secret, seal
from shoal.store.database import bulk_insert, reading, writing
from shoal.store.parameter_schema import DEVICE_PARAMETERS
from shoal.store.required import require_devices
from shoal.store.schema import DEVICE_CREDENTIAL, GATEWAY, SITE
from shoal.store.user_schema import USER_STEP

DeviceKind: TypeAlias = Literal["gateway", "site"]
DeviceState: TypeAlias = Literal["enrolled", "revoked", "missing"]
"""``missing``: it never was given a secret."""
KINDS: Final[tuple[DeviceKind, ...]] = get_args(DeviceKind)
STATES: Final[tuple[DeviceState, ...]] = get_args(DeviceState)
MOST_REASON_CHARACTERS: Final = 500
_BATCH_ROWS: Final = 20_000
ENROLLED: Final = "device enrolled"
REVOKED: Final = "device revoked"
"""The actions of these among the steps of administration."""
FIRST: Final = "first secret"
REPLACED: Final = "new secret; the former one is refused"
"""What is noted with an enrolment."""
_REPORTED: Final = msgspec.json.Decoder(DeviceParameters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Something that signs in.

    Attributes:
        device_id: Its name.
        kind: Whether it is a site, or a gateway that speaks for several.
        device_type: Number of `shoal.domain.telemetry.DeviceType`; None for a gateway.
        sites: For how many sites it speaks.
        enrolled_ns: When it was given its secret; None for never.
        revoked_ns: Since when that is refused; None while it is good.
        firmware: As its device reported last; empty for not at all.
    """

    device_id: str
    kind: DeviceKind
    device_type: int | None
    sites: int
    enrolled_ns: int | None
    revoked_ns: int | None
    firmware: str = ""

    @property
    def state(self) -> DeviceState:
        """Whether it can sign in."""
        if self.enrolled_ns is None:
            return "missing"
        return "enrolled" if self.revoked_ns is None else "revoked"

    @property
    def cursor(self) -> str:
        """Name its place, to go on from there."""
        return f"{self.kind}:{self.device_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCounts:
    """How many devices there are, and how many of them can sign in."""

    devices: int
    enrolled: int
    revoked: int

    @property
    def missing(self) -> int:
        """How many never were given a secret."""
        return max(self.devices - self.enrolled - self.revoked, 0)


class Devices:
    """Devices in a migrated database. Calls block; an asynchronous caller runs them in a thread.

    Args:
        engine: The registry.
        random_bytes: Source of secrets and salts.
    """

    def __init__(self, engine: Engine, *, random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._engine = engine
        self._random_bytes = random_bytes

    def counts(self) -> DeviceCounts:
        """Return how many devices there are."""
        own = select(func.count()).select_from(SITE).where(SITE.c.gateway_id.is_(None))
        # a site that a gateway speaks for now may have had a secret of its own
        behind = select(SITE.c.site_id).where(SITE.c.gateway_id.is_not(None))
        secret = DEVICE_CREDENTIAL.c
        signs_in = select(func.count(), func.count(secret.revoked_ns)).where(secret.device_id.not_in(behind))
        with reading(self._engine) as connection:
            devices = [
                int(connection.execute(query).scalar_one())
                for query in (own, select(func.count()).select_from(GATEWAY))
            ]
            secrets_held, revoked = (int(count) for count in connection.execute(signs_in).one())
        return DeviceCounts(devices=sum(devices), enrolled=secrets_held - revoked, revoked=revoked)

    def page(
        self, limit: int, *, text: str = "", state: DeviceState | None = None, after: str = ""
    ) -> list[Device]:
        """Return some devices, gateways first, each kind by name.

        Args:
            limit: How many at most.
            text: Only those whose name contains it, in any case.
            state: Only those in this state.
            after: The cursor of the last device of the page before.

        Raises:
            InvalidInputError: when `after` is no such cursor.
        """
        kind, _, last = after.partition(":")
        if after and (kind not in KINDS or not last):
            raise InvalidInputError(field="after", value=after[:80], fix="give `next` of the page before")
        found: list[Device] = []
        with reading(self._engine) as connection:
            for one in KINDS:
                if after and KINDS.index(one) < KINDS.index(kind):
                    continue
                query = _narrowed(_devices(one), _name(one), text, state, last if one == kind else "")
                rows = connection.execute(query.limit(limit - len(found))).mappings().all()
                found += [_device(one, dict(row)) for row in rows]
                if len(found) == limit:
                    break
            return _with_details(connection, found)

    def device(self, device_id: str) -> Device:
        """Return one device.

        Raises:
            UnknownIdError: when there is none of that name, or a gateway speaks for it.
        """
        with reading(self._engine) as connection:
            for kind in KINDS:
                query = _devices(kind).where(_name(kind) == device_id)
                row = connection.execute(query).mappings().first()
                if row is not None:
                    return _with_details(connection, [_device(kind, dict(row))])[0]
        raise UnknownIdError("device", device_id)

    def changed_since(self, step: int | None, *, from_ns: int) -> tuple[int, dict[str, int]]:
        """Return the number of the newest step of administration, and whose secret was taken or replaced since, and when.

        A device's first secret is none: there was no other that could have been used.

        Args:
            step: The last step that is known; None for none.
            from_ns: Where none is known, since when.
        """
        steps = USER_STEP.c
        with reading(self._engine) as connection:
            newest = int(connection.execute(select(func.coalesce(func.max(steps.step_no), 0))).scalar_one())
            since = steps.at_ns >= from_ns if step is None else steps.step_no > step
            taken = or_(steps.action == REVOKED, and_(steps.action == ENROLLED, steps.detail != FIRST))
            query = select(steps.subject, func.max(steps.at_ns)).where(since, steps.step_no <= newest, taken)
            changed = connection.execute(query.group_by(steps.subject))
            return newest, {device: int(at_ns) for device, at_ns in changed}

    def enrol(self, device_id: str, *, by: str, at_ns: int) -> str:
        """Return a new secret for a device, to be shown once; a former one is good no more.

        Raises:
            UnknownIdError: when there is none of that name, or a gateway speaks for it.
        """
        self.device(device_id)
        secret = new_secret(self._random_bytes)
        sealed = seal(secret, created_ns=at_ns, random_bytes=self._random_bytes)
        table = DEVICE_CREDENTIAL
        values = {"salt": sealed.salt, "digest": sealed.digest, "created_ns": at_ns, "revoked_ns": None}
        with writing(self._engine, lock="registry") as connection:
            require_devices(connection, [SiteId(device_id)])
            former = connection.execute(delete(table).where(table.c.device_id == device_id)).rowcount
            connection.execute(insert(table).values(device_id=device_id, **values))
            detail = REPLACED if former else FIRST
            _note(connection, at_ns=at_ns, by=by, action=ENROLLED, subject=device_id, detail=detail)
        return secret

    def revoke(self, device_id: str, *, by: str, at_ns: int, reason: str) -> None:
        """Refuse a device's secret from now on.

        Raises:
            UnknownIdError: when there is no such device.
            InvalidInputError: when no reason is given, it has no secret, or that is refused already.
        """
        reason = reason.strip()
        if not reason or len(reason) > MOST_REASON_CHARACTERS:
            fix = f"say why, in 1 to {MOST_REASON_CHARACTERS} characters"
            raise InvalidInputError(field="reason", value=reason[:80], fix=fix)
        held = self.device(device_id)
        if held.state != "enrolled":
            fix = "it has no secret" if held.state == "missing" else "its secret is refused already"
            raise InvalidInputError(field="device", value=device_id, fix=fix)
        table = DEVICE_CREDENTIAL
        mine = (table.c.device_id == device_id) & table.c.revoked_ns.is_(None)
        with writing(self._engine, lock="registry") as connection:
            changed = connection.execute(update(table).where(mine).values(revoked_ns=at_ns))
            if changed.rowcount:
                _note(connection, at_ns=at_ns, by=by, action=REVOKED, subject=device_id, detail=reason)


def note_enrolled(
    connection: Connection, device_ids: Sequence[str], had_one: Collection[str], *, by: str, at_ns: int
) -> None:
    """Note new secrets of many devices, inside the transaction that writes them.

    Args:
        connection: Inside `writing`.
        device_ids: Who has a new one.
        had_one: Who had one before.
        by: Who says so.
        at_ns: When, on the machine's clock.
    """
    columns = ("at_ns", "by", "action", "subject", "detail")
    rows = [(at_ns, by, ENROLLED, one, REPLACED if one in had_one else FIRST) for one in device_ids]
    bulk_insert(connection, USER_STEP, columns, rows, batch=_BATCH_ROWS)


def _name(kind: DeviceKind) -> Column[Any]:
    return SITE.c.site_id if kind == "site" else GATEWAY.c.gateway_id


def _devices(kind: DeviceKind) -> Select[Any]:
    """Return every device of a kind with what is stored of its secret, by name."""
    name, secret = _name(kind), DEVICE_CREDENTIAL.c
    of_site = SITE.c.device_type if kind == "site" else null()
    columns = (name.label("device_id"), of_site.label("device_type"), secret.created_ns, secret.revoked_ns)
    query = select(*columns).join_from(name.table, DEVICE_CREDENTIAL, secret.device_id == name, isouter=True)
    # written so that the order of names is used, and not the index of gateways: else a million would be sorted
    alone = func.coalesce(SITE.c.gateway_id, "") == ""
    return (query.where(alone) if kind == "site" else query).order_by(name)


def _narrowed(
    query: Select[Any], name: Column[Any], text: str, state: DeviceState | None, after: str
) -> Select[Any]:
    secret = DEVICE_CREDENTIAL.c
    if text:
        query = query.where(name.icontains(text, autoescape=True))
    if after:
        query = query.where(name > after)
    if state == "missing":
        return query.where(secret.device_id.is_(None))
    if state == "revoked":
        return query.where(secret.revoked_ns.is_not(None))
    return query.where(secret.device_id.is_not(None), secret.revoked_ns.is_(None)) if state else query


def _device(kind: DeviceKind, row: dict[str, Any]) -> Device:
    return Device(
        device_id=row["device_id"],
        kind=kind,
        device_type=row["device_type"],
        sites=1,
        enrolled_ns=row["created_ns"],
        revoked_ns=row["revoked_ns"],
    )


def _with_details(connection: Connection, devices: Collection[Device]) -> list[Device]:
    """Return devices with for how many sites they speak, and with their firmware."""
    gateways = [one.device_id for one in devices if one.kind == "gateway"]
    behind = (
        select(SITE.c.gateway_id, func.count())
        .where(SITE.c.gateway_id.in_(gateways))
        .group_by(SITE.c.gateway_id)
    )
    table = DEVICE_PARAMETERS
    own = [one.device_id for one in devices if one.kind == "site"]
    said = select(table.c.site_id, table.c.said).where(table.c.site_id.in_(own))
    sites = {name: int(count) for name, count in connection.execute(behind)} if gateways else {}
    firmware = (
        {name: _REPORTED.decode(text).firmware for name, text in connection.execute(said)} if own else {}
    )
    return [
        Device(
            device_id=one.device_id,
            kind=one.kind,
            device_type=one.device_type,
            sites=sites.get(one.device_id, 0) if one.kind == "gateway" else 1,
            enrolled_ns=one.enrolled_ns,
            revoked_ns=one.revoked_ns,
            firmware=firmware.get(one.device_id) or "",
        )
        for one in devices
    ]


def _note(connection: Connection, *, at_ns: int, by: str, action: str, subject: str, detail: str) -> None:
    values = {"at_ns": at_ns, "by": by, "action": action, "subject": subject, "detail": detail}
    connection.execute(insert(USER_STEP).values(values))
