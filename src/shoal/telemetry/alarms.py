"""The alarm desk: watches what the telemetry role knows, publishes what stands, keeps every step, takes people's notes.

One desk a plant. Shards tell it the conditions of their sites whenever they look; once a tick the book decides. What
has happened goes through a bounded stream into the database, so a database that is away holds up nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from shoal.domain.alarms import AcknowledgeAlarm, AcknowledgeAnswer, Alarm, AlarmEvent, LiveAlarms
from shoal.domain.errors import UnavailableError
from shoal.domain.fleet import Fleet
from shoal.flow.batch import batch
from shoal.flow.channel import Channel, Policy
from shoal.flow.retry import Backoff, Retry
from shoal.flow.stream import for_each
from shoal.store.alarms import AlarmLog
from shoal.twin.alarm_measures import Measure
from shoal.twin.alarm_rules import AlarmRules
from shoal.twin.alarms import AlarmBook, Observation

SHOWN: Final = 100
UNSAVED: Final = 20_000
SAVE_TOGETHER: Final = 500
SAVE_WITHIN_S: Final = 0.2
SAVE_BACKOFF: Final = Backoff(first_s=0.5, cap_s=15.0)
MOST_NOTE_CHARACTERS: Final = 500

Publish = Callable[[str, bytes], Awaitable[None]]
_ASKED: Final = msgspec.json.Decoder(AcknowledgeAlarm)
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmStatistics:
    """What the desk has done.

    Attributes:
        active: Alarms that stand.
        unacknowledged: Those that nobody has taken note of.
        active_by_severity: Those that stand, by severity.
        events_total: Steps of alarms, by action.
        unsaved: Steps that wait for the database.
        unsaved_dropped_total: Steps let go because the database was away for too long; the oldest go first.
        refused_total: Notes that could not be taken.
    """

    active: int
    unacknowledged: int
    active_by_severity: Mapping[str, int]
    events_total: Mapping[str, int]
    unsaved: int
    unsaved_dropped_total: int
    refused_total: int


class AlarmDesk:
    """Keeps the book of alarms of one plant. Run `keep()` in a task group.

    Args:
        fleet: The fleet as registered.
        log: Where alarms are kept.
        publish: Sends a message on a subject.
        live_subject: Subject of the active alarms.
        now_ns: The plant's clock.
        rules: How things are alarmed; the defaults when None.

    Attributes:
        fleet: The fleet with its present groups.
    """

    def __init__(
        self,
        *,
        fleet: Fleet,
        log: AlarmLog,
        publish: Publish,
        live_subject: str,
        now_ns: Callable[[], int],
        rules: AlarmRules | None = None,
    ) -> None:
        self.fleet = fleet
        self._store = log
        self._publish = publish
        self._live_subject = live_subject
        self._now_ns = now_ns
        self._rules = rules
        self._book = AlarmBook(fleet, rules)
        self._booked = len(fleet.site_ids)
        self._conditions = np.zeros(self._booked, dtype=np.uint16)
        self._lost = np.zeros(self._booked, dtype=np.uint32)
        self._seen = False
        self._latest_ns = 0
        self._unsaved: Channel[AlarmEvent] = Channel(
            UNSAVED, policy=Policy.DROP_OLDEST, name="unsaved alarms"
        )
        self._saving = Retry(backoff=SAVE_BACKOFF)
        self._count: Counter[str] = Counter()
        self._saved = 0
        self._refused = 0

    async def restore(self) -> None:
        """Go on with the alarms that are kept: those that stood when a desk was last there.

        Raises:
            UnavailableError: when the database cannot be reached, or lacks something that happened here.
        """
        if not await self._restored():
            raise UnavailableError("the alarms", "some of this process are not kept yet")

    def see(
        self,
        rows: NDArray[np.int64],
        conditions: NDArray[np.uint16],
        lost: NDArray[np.uint32] | None = None,
    ) -> None:
        """Take the `Condition` bits of some sites, and how many samples each has lost of late (none when None).

        Those of the others stay as they were. A shard that is still catching up with the journal must not call this:
        its sites only seem silent.
        """
        self._conditions[rows] = conditions
        self._lost[rows] = 0 if lost is None else lost
        self._seen = True

    async def follow_fleet(self, fleet: Fleet) -> None:
        """Take other groups and memberships of the sites, and sites that were added.

        Raises:
            UnavailableError: when sites were added and the database cannot be reached.
        """
        added = len(fleet.site_ids) - len(self._conditions)
        self.fleet = fleet
        if not added:
            self._book.regroup(fleet)
            return
        self._conditions = np.concatenate([self._conditions, np.zeros(added, dtype=np.uint16)])
        self._lost = np.concatenate([self._lost, np.zeros(added, dtype=np.uint32)])
        # a book for more sites goes on from what is kept; until that is everything the former one decides
        while not await self._restored():  # noqa: ASYNC110 - the database has no event for it
            await asyncio.sleep(SAVE_WITHIN_S)

    async def tick(self, t_ns: int, measures: Sequence[Measure] = ()) -> list[AlarmEvent]:
        """Let the book decide, keep what it decided, publish what stands; return the events."""
        t_ns = self._advanced(t_ns)
        seen = self._conditions[: self._booked] if self._seen else None
        observed = Observation(
            t_ns=t_ns, condition_flags=seen, lost=self._lost[: self._booked], measures=measures
        )
        events = self._book.step(observed)
        self._keep(events)
        await self._tell(t_ns)
        return events

    async def keep(self) -> None:
        """Write what has happened to the database, as long as it takes, until `close` or cancelled."""
        await for_each(self._unsaved | batch(SAVE_TOGETHER, SAVE_WITHIN_S), self._save)

    def close(self) -> None:
        """Let `keep` write what is left and end."""
        self._unsaved.close()

    async def answer(self, payload: bytes) -> bytes:
        """Return the answer to an `AcknowledgeAlarm`; once it says yes the note is in the database."""
        try:
            asked = _ASKED.decode(payload)
        except msgspec.DecodeError as error:
            return self._refuse("malformed", str(error))
        if not asked.by or len(asked.note) > MOST_NOTE_CHARACTERS:
            return self._refuse(
                "malformed", f"say who, in a note of at most {MOST_NOTE_CHARACTERS} characters"
            )
        t_ns = self._advanced(self._now_ns())
        found, events = self._book.acknowledge(asked.number, by=asked.by, t_ns=t_ns, note=asked.note)
        if not isinstance(found, Alarm):
            return self._refuse(found.reason, found.detail)
        self._note(events)
        await self._tell(t_ns)
        try:
            await asyncio.to_thread(self._store.record, events)
        except UnavailableError as error:
            self._queue(events)
            return self._refuse("unavailable", f"it is noted, but not kept yet: {error}")
        self._saved += len(events)
        return msgspec.json.encode(AcknowledgeAnswer(alarm=found))

    def statistics(self) -> AlarmStatistics:
        """Return the counters."""
        active = self._book.active()
        return AlarmStatistics(
            active=len(active),
            unacknowledged=sum(alarm.acknowledged_ns is None for alarm in active),
            active_by_severity=dict(Counter(alarm.severity.value for alarm in active)),
            events_total=dict(self._count),
            unsaved=self._waiting(),
            unsaved_dropped_total=self._dropped(),
            refused_total=self._refused,
        )

    async def _restored(self) -> bool:
        """Make the book anew from what is kept; return False when that lacks something that happened here."""
        happened = self._count.total()
        if self._waiting():
            return False
        active, number = await asyncio.to_thread(lambda: (self._store.active(), self._store.next_number()))
        if self._count.total() != happened:  # while it was read
            return False
        self._book = AlarmBook(self.fleet, self._rules, active=active, next_number=number)
        self._booked = len(self.fleet.site_ids)
        return True

    def _waiting(self) -> int:
        """Return how many steps are not in the database yet, those included that are on their way to it."""
        return self._count.total() - self._saved - self._dropped()

    def _dropped(self) -> int:
        return sum(self._unsaved.statistics().dropped_total.values())

    def _advanced(self, t_ns: int) -> int:
        """Return the instant, or the latest one heard of: a tick may come after a note that was taken after it."""
        self._latest_ns = max(self._latest_ns, t_ns)
        return self._latest_ns

    def _keep(self, events: Sequence[AlarmEvent]) -> None:
        self._note(events)
        self._queue(events)

    def _queue(self, events: Sequence[AlarmEvent]) -> None:
        for event in events:
            if not self._unsaved.closed:
                self._unsaved.send_nowait(event)

    def _note(self, events: Sequence[AlarmEvent]) -> None:
        for event in events:
            self._count[event.action] += 1
            alarm = event.alarm
            say = _log.warning if event.action == "raised" else _log.info
            say(
                "alarm",
                action=event.action,
                number=alarm.number,
                kind=alarm.kind.value,
                severity=alarm.severity.value,
                subject=alarm.subject,
                sites=alarm.sites,
                by=event.by,
            )

    async def _tell(self, t_ns: int) -> None:
        active = self._book.active()
        live = LiveAlarms(t_ns=t_ns, active_count=len(active), active=active[:SHOWN])
        await self._publish(self._live_subject, msgspec.json.encode(live))

    async def _save(self, events: list[AlarmEvent]) -> None:
        await self._saving.call(lambda: asyncio.to_thread(self._store.record, events))
        self._saved += len(events)

    def _refuse(self, reason: str, detail: str) -> bytes:
        self._refused += 1
        return msgspec.json.encode(AcknowledgeAnswer(reason=reason, detail=detail))
