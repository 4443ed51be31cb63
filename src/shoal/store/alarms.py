"""Alarms on disk: each as it stands, and the log of every step with who was behind it.

Recording the same event twice changes nothing, and events may come in any order: of two states of one alarm the later
one stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Engine, Select, and_, func, or_, select

from shoal.domain.alarms import Alarm, AlarmEvent, urgency
from shoal.domain.errors import InvalidInputError
from shoal.store.database import insert_into, reading, writing
from shoal.store.schema import ALARM, ALARM_EVENT

_ALARM: Final = msgspec.json.Decoder(Alarm)
_FOLD: Final = 1_000_000_000_039


class AlarmLog:
    """Alarms in a migrated database. Calls block; an asynchronous caller runs them in a thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record(self, events: Sequence[AlarmEvent]) -> None:
        """Keep events and the alarms as they stand after them.

        Raises:
            UnavailableError: when the database cannot be reached; nothing was kept then.
        """
        if not events:
            return
        latest: dict[int, Alarm] = {}
        for event in events:
            held = latest.get(event.alarm.number)
            if held is None or event.alarm.updated_ns >= held.updated_ns:
                latest[event.alarm.number] = event.alarm
        with writing(self._engine) as connection:
            upsert = insert_into(connection, ALARM)
            new = upsert.excluded
            changes = {name: new[name] for name in ("updated_ns", "cleared_ns", "subject", "alarm")}
            # At one instant an alarm may be acknowledged and cleared: who is cleared stays so.
            is_later = or_(
                new.updated_ns > ALARM.c.updated_ns,
                and_(new.updated_ns == ALARM.c.updated_ns, ALARM.c.cleared_ns.is_(None)),
            )
            connection.execute(
                upsert.on_conflict_do_update(index_elements=["number"], set_=changes, where=is_later),
                [_row(alarm) for alarm in latest.values()],
            )
            insert = insert_into(connection, ALARM_EVENT).on_conflict_do_nothing()
            connection.execute(insert, [_event_row(event) for event in events])

    def active(self) -> list[Alarm]:
        """Return the alarms that stand, the most urgent first."""
        return sorted(self._alarms(select(ALARM.c.alarm).where(ALARM.c.cleared_ns.is_(None))), key=urgency)

    def version(self) -> tuple[int, int, int]:
        """Return what changes when an alarm that stands does, or which stand: cheap to ask, however many they are."""
        seen = select(
            func.count(),
            # no sum of instants fits an integer
            func.coalesce(func.sum(ALARM.c.updated_ns % _FOLD), 0),
            func.coalesce(func.sum(func.length(ALARM.c.alarm)), 0),
        ).where(ALARM.c.cleared_ns.is_(None))
        with reading(self._engine) as connection:
            count, folded, characters = connection.execute(seen).one()
            return int(count), int(folded), int(characters)

    def cleared(self, limit: int, *, before: str = "") -> tuple[list[Alarm], str]:
        """Return cleared alarms, the latest first, and how to ask for those before them (empty: there are none).

        Args:
            limit: How many at most.
            before: What an earlier call returned; empty begins with the latest.

        Raises:
            InvalidInputError: when `before` is nothing that was returned.
        """
        query = select(ALARM.c.alarm).where(ALARM.c.cleared_ns.is_not(None))
        if before:
            cleared_ns, number = _cursor(before)
            query = query.where(
                or_(
                    ALARM.c.cleared_ns < cleared_ns,
                    and_(ALARM.c.cleared_ns == cleared_ns, ALARM.c.number < number),
                )
            )
        query = query.order_by(ALARM.c.cleared_ns.desc(), ALARM.c.number.desc())
        found = self._alarms(query.limit(limit + 1))
        shown = found[:limit]
        further = f"{shown[-1].cleared_ns}-{shown[-1].number}" if len(found) > limit else ""
        return shown, further

    def alarm(self, number: int) -> tuple[Alarm, list[AlarmEvent]] | None:
        """Return one alarm and its steps in order, None when there is none of that number."""
        steps = select(ALARM_EVENT).where(ALARM_EVENT.c.number == number)
        with reading(self._engine) as connection:
            text = connection.execute(select(ALARM.c.alarm).where(ALARM.c.number == number)).scalar()
            if text is None:
                return None
            rows = connection.execute(steps.order_by(ALARM_EVENT.c.t_ns, ALARM_EVENT.c.action)).mappings()
            return _ALARM.decode(text), [
                AlarmEvent(
                    t_ns=row["t_ns"], action=row["action"], by=row["by"], alarm=_ALARM.decode(row["alarm"])
                )
                for row in rows
            ]

    def next_number(self) -> int:
        """Return a number larger than that of every alarm; 1 when there is none."""
        with reading(self._engine) as connection:
            return (
                int(connection.execute(select(func.coalesce(func.max(ALARM.c.number), 0))).scalar_one()) + 1
            )

    def _alarms(self, query: Select[Any]) -> list[Alarm]:
        with reading(self._engine) as connection:
            return [_ALARM.decode(text) for text in connection.execute(query).scalars()]


def _row(alarm: Alarm) -> dict[str, Any]:
    return {
        "number": alarm.number,
        "kind": alarm.kind.value,
        "subject": alarm.subject,
        "updated_ns": alarm.updated_ns,
        "cleared_ns": alarm.cleared_ns,
        "alarm": msgspec.json.encode(alarm).decode(),
    }


def _event_row(event: AlarmEvent) -> dict[str, Any]:
    return {
        "number": event.alarm.number,
        "t_ns": event.t_ns,
        "action": event.action,
        "by": event.by,
        "alarm": msgspec.json.encode(event.alarm).decode(),
    }


def _cursor(text: str) -> tuple[int, int]:
    cleared_ns, _, number = text.partition("-")
    numbers = cleared_ns.isdecimal() and number.isdecimal() and len(text) <= 40
    if not numbers or max(int(cleared_ns), int(number)) >= 2**63:
        raise InvalidInputError(field="before", value=text, fix="give what the former answer said")
    return int(cleared_ns), int(number)
