"""Orders, kill switches, canary trials and their audit in the database.

Every change and its line in the audit are one transaction; the newest line's number tells a reader whether anything has
changed since it last looked. A change names the revision that it replaces, so two people cannot overwrite each other.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from hashlib import sha256
from math import inf
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Engine, func, or_, select

from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.ids import checked_id
from shoal.store.database import insert_into, reading, writing
from shoal.store.order_records import (
    AuditEntry,
    CallSpec,
    EnvelopeSpec,
    EventSpec,
    Order,
    OrderState,
    PriceSpec,
    Scope,
    Stop,
    Trial,
)
from shoal.store.order_schema import FLEET_ORDER, FLEET_STOP, ORDER_AUDIT, ORDER_TRIAL
from shoal.store.schema import FENCE

STANDING: Final[tuple[OrderState, ...]] = ("standing",)
EVERY_STATE: Final[tuple[OrderState, ...]] = ("standing", "cancelled", "aborted")
_LOCK: Final = "orders"
_ORDER: Final = msgspec.json.Decoder(Order)
_STOP: Final = msgspec.json.Decoder(Stop)
_TRIAL: Final = msgspec.json.Decoder(Trial)
_LONGEST_ID: Final = 60
_LONGEST_WORDS: Final = 1_000
_REASON_CHARACTERS: Final = 200
_MOST_SPREAD_S: Final = 3_600.0


class Orders:
    """Orders in a migrated database. Calls block; an asynchronous caller runs them in a thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # -- orders

    def put(self, order: Order) -> Order:
        """Keep a new order, or a newer revision of one; return it.

        Raises:
            InvalidInputError: when it cannot be carried out, its id is taken, or somebody else has changed it meanwhile.
        """
        check_order(order)
        with writing(self._engine, lock=_LOCK) as connection:
            held = _held(connection, order.order_id)
            expected = 1 if held is None else held.revision + 1
            if order.revision != expected:
                fix = (
                    "its id is taken; choose another"
                    if order.revision == 1
                    else "read it again, then change it"
                )
                raise InvalidInputError(field="revision", value=order.revision, fix=fix)
            if held is not None and held.state != "standing":
                raise InvalidInputError(
                    field="order", value=order.order_id, fix=f"it is {held.state}; make another"
                )
            _keep(connection, order)
            action = {"cancelled": "cancel", "aborted": "abort"}.get(order.state, "change" if held else "put")
            _note(
                connection, _line(order.at_ns, order.by, action, order.order_id, order.reason, _words(order))
            )
        return order

    def end(self, order_id: str, state: OrderState, *, by: str, at_ns: int, reason: str) -> Order:
        """Cancel or abort an order that stands; return it.

        Raises:
            UnknownIdError: when there is no such order.
            InvalidInputError: when it has been ended before.
        """
        held = self.order(order_id)
        return self.put(
            msgspec.structs.replace(
                held, revision=held.revision + 1, state=state, by=by, at_ns=at_ns, reason=reason
            )
        )

    def order(self, order_id: str) -> Order:
        """Return an order by its id.

        Raises:
            UnknownIdError: when there is no such order.
        """
        with reading(self._engine) as connection:
            held = _held(connection, order_id)
        if held is None:
            raise UnknownIdError("order", order_id)
        return held

    def orders(self, *, after_ns: int, states: Collection[OrderState] = STANDING) -> list[Order]:
        """Return the orders in some states that end after an instant, the earliest start first."""
        query = (
            select(FLEET_ORDER.c.said)
            .where(FLEET_ORDER.c.end_ns > after_ns, FLEET_ORDER.c.state.in_(list(states)))
            .order_by(FLEET_ORDER.c.start_ns, FLEET_ORDER.c.order_id)
        )
        with reading(self._engine) as connection:
            return [_ORDER.decode(said) for said in connection.execute(query).scalars()]

    # -- kill switches

    def stop(self, stop: Stop) -> Stop:
        """Throw a kill switch; one that holds for the same target already is returned instead.

        Raises:
            InvalidInputError: when it names nothing, or its id is taken.
        """
        checked_id("stop_id", stop.stop_id)
        if (stop.kind == "fleet") != (not stop.target):
            raise InvalidInputError(
                field="target", value=stop.target, fix="name the site or group, none for the fleet"
            )
        with writing(self._engine, lock=_LOCK) as connection:
            for held in _stops(connection):
                if (held.kind, held.target) == (stop.kind, stop.target):
                    return held
            values = {"stop_id": stop.stop_id, "released_ns": None, "said": _text(stop)}
            connection.execute(insert_into(connection, FLEET_STOP).values(values))
            what = f"{stop.kind} {stop.target}".strip()
            _note(connection, _line(stop.since_ns, stop.by, "kill", stop.stop_id, stop.reason, what))
        return stop

    def release(
        self, stop_id: str, *, by: str, at_ns: int, reason: str, authorised: Collection[str] = ()
    ) -> Stop:
        """Release a kill switch; return it.

        Args:
            stop_id: Which.
            by: Who releases it.
            at_ns: When.
            reason: Why it is safe again; never empty.
            authorised: Who may; empty for everybody who can act at all.

        Raises:
            UnknownIdError: when there is no such switch.
            InvalidInputError: when it was released before, no reason is given, or the person may not; the last is kept in
                the audit.
        """
        if not reason.strip():
            raise InvalidInputError(field="reason", value=reason, fix="say why it is safe again")
        if authorised and by not in authorised:
            self.note(
                [
                    AuditEntry(
                        at_ns=at_ns,
                        by=by,
                        action="release",
                        subject=stop_id,
                        outcome="refused",
                        reason="not_authorised",
                    )
                ]
            )
            raise InvalidInputError(
                field="by", value=by, fix="only those who are named for it may release a stop"
            )
        with writing(self._engine, lock=_LOCK) as connection:
            query = select(FLEET_STOP.c.said).where(FLEET_STOP.c.stop_id == stop_id)
            said = connection.execute(query).scalar()
            if said is None:
                raise UnknownIdError("stop", stop_id)
            held = _STOP.decode(said)
            if held.released_ns is not None:
                raise InvalidInputError(
                    field="stop", value=stop_id, fix=f"{held.released_by} released it before"
                )
            held = msgspec.structs.replace(held, released_ns=at_ns, released_by=by, release_reason=reason)
            change = FLEET_STOP.update().where(FLEET_STOP.c.stop_id == stop_id)
            connection.execute(change.values(released_ns=at_ns, said=_text(held)))
            _note(
                connection, _line(at_ns, by, "release", stop_id, reason, f"{held.kind} {held.target}".strip())
            )
        return held

    def stops(self, *, released: bool = False) -> list[Stop]:
        """Return the kill switches that hold, the earliest first; with `released` those of the past too."""
        with reading(self._engine) as connection:
            return _stops(connection, released=released)

    # -- canary trials

    def keep_trial(self, trial: Trial) -> None:
        """Keep a trial as it stands; one that was decided stays so."""
        with writing(self._engine, lock=_LOCK) as connection:
            values = {"order_id": trial.order_id, "state": trial.state, "said": _text(trial)}
            upsert = insert_into(connection, ORDER_TRIAL).values(values)
            changed = connection.execute(
                upsert.on_conflict_do_update(
                    index_elements=["order_id"],
                    set_={"state": trial.state, "said": _text(trial)},
                    where=ORDER_TRIAL.c.state == "watching",
                )
            )
            if changed.rowcount:
                at_ns = trial.began_ns if trial.decided_ns is None else trial.decided_ns
                what = f"{trial.state}, {len(trial.sites)} sites"
                _note(connection, _line(at_ns, "control", "trial", trial.order_id, trial.reason, what))

    def trials(self) -> dict[str, Trial]:
        """Return the trials by order."""
        with reading(self._engine) as connection:
            found = [_TRIAL.decode(said) for said in connection.execute(select(ORDER_TRIAL.c.said)).scalars()]
        return {trial.order_id: trial for trial in found}

    # -- audit

    def newest(self) -> int:
        """Return the number of the newest line that changed an order, stop or trial; 0 before the first."""
        # from the end on: the audit grows for ever, and this is asked every second
        changing = select(ORDER_AUDIT.c.number).where(ORDER_AUDIT.c.action.not_in(("report", "result")))
        with reading(self._engine) as connection:
            newest = connection.execute(changing.order_by(ORDER_AUDIT.c.number.desc()).limit(1)).scalar()
        return int(newest or 0)

    def fence(self, issuer: str) -> int:
        """Return the newest token that an issuer has drawn; 0 for none."""
        query = select(func.coalesce(func.max(FENCE.c.token), 0)).where(FENCE.c.issuer == issuer)
        with reading(self._engine) as connection:
            return int(connection.execute(query).scalar_one())

    def note(self, entries: Sequence[AuditEntry]) -> None:
        """Add lines to the audit."""
        if entries:
            with writing(self._engine) as connection:
                _note(connection, *entries)

    def audit(
        self, limit: int, *, subject: str = "", before: int = 0, refused_only: bool = False
    ) -> list[AuditEntry]:
        """Return lines of the audit, the newest first.

        Args:
            limit: How many at most.
            subject: Only of this order, stop or site, or said by this person or device.
            before: Only lines with smaller numbers; 0 for all.
            refused_only: Only refusals.
        """
        query = select(ORDER_AUDIT).order_by(ORDER_AUDIT.c.number.desc()).limit(limit)
        if subject:
            query = query.where(or_(ORDER_AUDIT.c.subject == subject, ORDER_AUDIT.c.by == subject))
        if before:
            query = query.where(ORDER_AUDIT.c.number < before)
        if refused_only:
            query = query.where(ORDER_AUDIT.c.outcome == "refused")
        with reading(self._engine) as connection:
            return [AuditEntry(**row) for row in connection.execute(query).mappings()]


def check_order(order: Order) -> None:
    """Raise unless an order can be carried out.

    Raises:
        InvalidInputError: naming the field that is wrong.
    """
    if len(checked_id("order_id", order.order_id)) > _LONGEST_ID:
        raise InvalidInputError(
            field="order_id", value=order.order_id, fix=f"at most {_LONGEST_ID} characters"
        )
    checked_id("program", order.program)
    if not 0 <= order.start_ns < order.end_ns < 2**63:
        raise InvalidInputError(field="end", value=order.end_ns, fix="it must be after the start")
    check_scope(order.scope)
    canary, spec = order.canary, order.spec
    if canary is not None and not (0 < canary.share_frac < 1 and 0 < canary.watch_s < inf):
        raise InvalidInputError(
            field="canary", value=canary.share_frac, fix="give a share between 0 and 1 and a time"
        )
    # kept as null, what is infinite could never be read again, nor could any order beside it
    if canary is not None and not (0 <= canary.responding_frac <= 1 and 0 <= canary.error_frac < inf):
        fix = "give a share from 0 to 1, and an error from 0"
        raise InvalidInputError(field="canary", value=canary.error_frac, fix=fix)
    if isinstance(spec, EventSpec):
        if not 0 <= spec.soc_frac <= 1:
            raise InvalidInputError(field="soc_frac", value=spec.soc_frac, fix="from 0 to 1")
        for name in ("ramp_s", "spread_s"):
            if not 0 <= getattr(spec, name) <= _MOST_SPREAD_S:
                fix = f"from 0 to {_MOST_SPREAD_S:g} s"
                raise InvalidInputError(field=name, value=getattr(spec, name), fix=fix)
    elif isinstance(spec, CallSpec):
        if canary is not None:
            raise InvalidInputError(field="canary", value=canary.share_frac, fix="an event has no trial")
        if spec.called_ns > order.start_ns:
            fix = "begin it after it is called"
            raise InvalidInputError(field="start", value=order.start_ns, fix=fix)
        if not spec.targets or min(one.target_w for one in spec.targets) < 0:
            raise InvalidInputError(
                field="targets", value=str(spec.targets), fix="give groups, and watts from 0"
            )
        if not 0 <= spec.owner_share_permille <= 1_000 or spec.price_cents_per_mwh < 0:
            fix = "a share of 0 to 1000, a price from 0"
            raise InvalidInputError(field="pay", value=str(spec), fix=fix)
    elif isinstance(spec, EnvelopeSpec) and min(spec.import_limit_w, spec.export_limit_w) < 0:
        raise InvalidInputError(field="envelope", value=str(spec), fix="a limit is never negative")


def check_scope(scope: Scope) -> None:
    """Raise unless a scope means somebody.

    Raises:
        InvalidInputError: when it names nobody, or the fleet and others too.
    """
    if scope.fleet == bool(scope.sites or scope.groups):
        raise InvalidInputError(
            field="scope", value=str(scope), fix="name sites or groups, or the fleet alone"
        )


def _held(connection: Connection, order_id: str) -> Order | None:
    said = connection.execute(select(FLEET_ORDER.c.said).where(FLEET_ORDER.c.order_id == order_id)).scalar()
    return None if said is None else _ORDER.decode(said)


def _keep(connection: Connection, order: Order) -> None:
    values: dict[str, Any] = {
        name: getattr(order, name) for name in ("revision", "state", "start_ns", "end_ns")
    }
    values["said"] = _text(order)
    upsert = insert_into(connection, FLEET_ORDER).values(order_id=order.order_id, **values)
    connection.execute(upsert.on_conflict_do_update(index_elements=["order_id"], set_=values))


def _stops(connection: Connection, *, released: bool = False) -> list[Stop]:
    query = select(FLEET_STOP.c.said)
    if not released:
        query = query.where(FLEET_STOP.c.released_ns.is_(None))
    found = [_STOP.decode(said) for said in connection.execute(query).scalars()]
    return sorted(found, key=lambda stop: (stop.since_ns, stop.stop_id))


def _line(at_ns: int, by: str, action: str, subject: str, reason: str, detail: str) -> AuditEntry:
    return AuditEntry(at_ns=at_ns, by=by, action=action, subject=subject, reason=reason, detail=detail)


def _note(connection: Connection, *entries: AuditEntry) -> None:
    rows = [msgspec.structs.asdict(entry) for entry in entries]
    for row in rows:
        row.pop("number")
        row["reason"] = row["reason"][:_REASON_CHARACTERS]
        row["by"] = row["by"][:_REASON_CHARACTERS]
    connection.execute(insert_into(connection, ORDER_AUDIT), rows)


def _words(order: Order) -> str:
    said = _text(order.spec)
    if isinstance(order.spec, PriceSpec) and len(said) > _LONGEST_WORDS:
        # new ones come every few minutes, and the audit is kept for ever
        prices, digest = order.spec.prices, sha256(said.encode()).hexdigest()
        said = f"{len(prices.import_per_kwh)} prices from {prices.start_ns}, {len(prices.rows)} rows, sha256 {digest}"
    return f"revision {order.revision} of {order.program}: {said}"


def _text(record: msgspec.Struct) -> str:
    return msgspec.json.encode(record).decode()
