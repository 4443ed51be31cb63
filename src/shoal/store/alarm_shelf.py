"""Alarms that somebody has put aside for a while: a shelf ends by itself, and an alarm that gets worse leaves it at once.

Nothing is ever overwritten: the steps are the record of who put aside what, until when and why, and the last step of an
alarm says how it stands. Calls block; an asynchronous caller runs them in a thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy import Engine, and_, func, insert, select

from shoal.domain.alarms import Alarm, Severity
from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_MINUTE
from shoal.store.database import reading, writing
from shoal.store.schema import ALARM
from shoal.store.shelf_schema import ALARM_SHELF

LEAST_MINUTES: Final = 1
MOST_MINUTES: Final = 24 * 60
MOST_REASON_CHARACTERS: Final = 500
GROWN_FRAC: Final = 0.1
"""By how much more sites an alarm comes back; the same as an alarm's growth that is news."""

ShelfEnd: TypeAlias = Literal["time", "worse", "returned"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShelfStep:
    """One step: an alarm was put aside until `until_ns` as it stood then, or taken back by somebody."""

    number: int
    at_ns: int
    action: Literal["shelved", "returned"]
    by: str
    reason: str
    until_ns: int
    severity: Severity
    peak_sites: int
    count: int

    def ended(self, alarm: Alarm, now_ns: int) -> ShelfEnd | None:
        """Return why the alarm is not put aside any more; None while it is.

        It is worse when it is more severe than it was, was raised again, or has had more sites than before by a tenth.
        Those three of an alarm never fall while it stands, so what has come back stays.
        """
        if self.action == "returned":
            return "returned"
        grown = alarm.peak_sites - self.peak_sites
        if (
            alarm.severity.order > self.severity.order
            or alarm.count > self.count
            or grown >= max(1.0, GROWN_FRAC * self.peak_sites)
        ):
            return "worse"
        return "time" if now_ns >= self.until_ns else None


class AlarmShelf:
    """The shelf in a migrated database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def shelve(
        self, alarms: Sequence[Alarm], *, minutes: int, reason: str, by: str, now_ns: int
    ) -> list[ShelfStep]:
        """Put alarms aside for some minutes, from now on.

        Raises:
            InvalidInputError: for a time or a reason that cannot be; nothing was put aside then.
            UnavailableError: when the database cannot be reached.
        """
        if not LEAST_MINUTES <= minutes <= MOST_MINUTES:
            raise InvalidInputError(
                field="minutes", value=minutes, fix=f"give {LEAST_MINUTES} to {MOST_MINUTES}"
            )
        if not reason.strip() or len(reason) > MOST_REASON_CHARACTERS:
            raise InvalidInputError(
                field="reason", value=reason[:40], fix=f"say why, in at most {MOST_REASON_CHARACTERS} letters"
            )
        until_ns = now_ns + minutes * NS_PER_MINUTE
        return self._add(alarms, "shelved", by=by, reason=reason.strip(), now_ns=now_ns, until_ns=until_ns)

    def put_back(self, alarms: Sequence[Alarm], *, by: str, now_ns: int) -> list[ShelfStep]:
        """Take alarms back from the shelf; those that are not on it stay as they are.

        Raises:
            UnavailableError: when the database cannot be reached.
        """
        last = self.last(one.number for one in alarms)
        held = [one for one in alarms if one.number in last and last[one.number].ended(one, now_ns) is None]
        return self._add(held, "returned", by=by, reason="", now_ns=now_ns, until_ns=now_ns)

    def standing(self) -> dict[int, ShelfStep]:
        """Return the last step of every alarm that is not cleared and was ever put aside, by number."""
        newest = (
            select(func.max(ALARM_SHELF.c.step_no))
            .join(ALARM, ALARM.c.number == ALARM_SHELF.c.number)
            .where(ALARM.c.cleared_ns.is_(None))
            .group_by(ALARM_SHELF.c.number)
        )
        with reading(self._engine) as connection:
            rows = connection.execute(select(ALARM_SHELF).where(ALARM_SHELF.c.step_no.in_(newest)))
            return {one.number: one for one in map(_step, rows.mappings())}

    def version(self) -> int:
        """Return the number of the latest step; 0 when there is none."""
        with reading(self._engine) as connection:
            newest = connection.execute(select(func.coalesce(func.max(ALARM_SHELF.c.step_no), 0)))
            return int(newest.scalar_one())

    def last(self, numbers: Iterable[int]) -> dict[int, ShelfStep]:
        """Return the last step of each of some alarms that has one, by number."""
        wanted = set(numbers)
        return {number: step for number, step in self.standing().items() if number in wanted}

    def steps(self, number: int) -> list[ShelfStep]:
        """Return every step of one alarm, in order."""
        query = select(ALARM_SHELF).where(ALARM_SHELF.c.number == number).order_by(ALARM_SHELF.c.step_no)
        with reading(self._engine) as connection:
            return [_step(row) for row in connection.execute(query).mappings()]

    def recent(self, limit: int, *, from_ns: int = 0, to_ns: int = 2**62) -> list[ShelfStep]:
        """Return the latest steps of all alarms within ``[from_ns, to_ns)``, the latest first."""
        inside = and_(ALARM_SHELF.c.at_ns >= from_ns, ALARM_SHELF.c.at_ns < to_ns)
        query = select(ALARM_SHELF).where(inside).order_by(ALARM_SHELF.c.step_no.desc()).limit(limit)
        with reading(self._engine) as connection:
            return [_step(row) for row in connection.execute(query).mappings()]

    def _add(
        self,
        alarms: Sequence[Alarm],
        action: Literal["shelved", "returned"],
        *,
        by: str,
        reason: str,
        now_ns: int,
        until_ns: int,
    ) -> list[ShelfStep]:
        steps = [
            ShelfStep(
                number=one.number,
                at_ns=now_ns,
                action=action,
                by=by,
                reason=reason,
                until_ns=until_ns,
                severity=one.severity,
                peak_sites=one.peak_sites,
                count=one.count,
            )
            for one in alarms
        ]
        if steps:
            with writing(self._engine) as connection:
                connection.execute(insert(ALARM_SHELF), [_row(step) for step in steps])
        return steps


def _row(step: ShelfStep) -> dict[str, Any]:
    return {name: getattr(step, name) for name in ShelfStep.__slots__} | {"severity": step.severity.value}


def _step(row: Any) -> ShelfStep:
    facts = {name: row[name] for name in ShelfStep.__slots__}
    return ShelfStep(**facts | {"severity": Severity(row["severity"])})
