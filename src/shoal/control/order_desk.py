"""Orders as they stand, turned into what each site is to have: read from the store, resolved, tried, told, and heard of.

The store is looked at whenever its newest line has a new number, and enrolment once in a while. Everything else is worked
out anew from what stands, so a restart, a cancelled event and a site that joins late are the same case.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from shoal.control.arbiter import EventNow
from shoal.control.desired_book import DesiredBook, Entry
from shoal.control.kill import halted_rows
from shoal.control.leases import LeaseBook
from shoal.control.schedule import (
    AHEAD_NS,
    Enrolled,
    changes,
    entry_of,
    everybody,
    rows_of_order,
    split_by_rating_w,
)
from shoal.control.trials import Watch, begin_trial, rows_of_trial
from shoal.domain.errors import InvalidInputError
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_MINUTE
from shoal.domain.orders import OrderReport, ScheduledEvent
from shoal.store.order_records import AuditEntry, EventSpec, Order, OrderState, SetPointSpec, Stop, Trial

BY: Final = "control"
RESULT: Final = "result"
LOOK_AGAIN_NS: Final = 5 * NS_PER_MINUTE
"""Enrolment may have changed: who is meant is worked out again at least so often."""
MOST_LINES_A_MINUTE: Final = 300
"""Of refusals in the audit; the others are counted, and told in one line."""
MOST_VERSION: Final = 2**63
FENCED_OUT: Final = "fenced_out"
REPLAYED: Final = "replayed"
HARMLESS: Final = frozenset({"stale_version", "expired", "halted", "opted_out"})
"""Refusals that are no attack: a message that came twice or late, a site that is stopped or that its owner keeps."""

Source: TypeAlias = Callable[[int], Iterable[Entry]]
"""Returns what stands in documents at an instant; its keys are its own."""

_REPORT: Final = msgspec.json.Decoder(OrderReport)
_log = structlog.get_logger(__name__)


class OrderStore(Protocol):
    """Where orders are kept; see `shoal.store.orders.Orders`."""

    def newest(self) -> int: ...
    def orders(self, *, after_ns: int, states: Sequence[OrderState] = ...) -> list[Order]: ...
    def stops(self) -> list[Stop]: ...
    def trials(self) -> dict[str, Trial]: ...
    def keep_trial(self, trial: Trial) -> None: ...
    def end(self, order_id: str, state: OrderState, *, by: str, at_ns: int, reason: str) -> Order: ...
    def note(self, entries: Sequence[AuditEntry]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskStatistics:
    """Counters since the process started, and how things stand.

    Attributes:
        orders: Orders that stand.
        stops: Kill switches that hold.
        halted_sites: Sites that nobody commands.
        unheard_documents: Sites that have not said that they took their document.
        reports: What devices said.
        refused: Of these, refusals.
        refused_by_reason: By their reason.
    """

    orders: int
    stops: int
    halted_sites: int
    unheard_documents: int
    reports: int
    refused: int
    refused_by_reason: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SetPointNow:
    """A set-point under way.

    Attributes:
        order: What was asked.
        rows: Who follows it now.
        power_w: What these do together.
        since_ns: Since when it is just that.
        steers: Whether it is a power of this cycle alone, of a standing service, and no energy that is owed.
    """

    order: Order
    rows: NDArray[np.int64]
    power_w: int
    since_ns: int
    steers: bool = False


class OrderDesk:
    """The orders of a plant, as the controller sees them.

    Args:
        fleet: The fleet.
        store: Where orders are kept.
        book: The documents.
        leases: The set-points.
        enrolled: Who takes part in a program.
        sources: Others who put entries into documents, asked each time: what they do not name any more is taken out.
        steering: Others who ask for set-points, likewise; None for nobody.
        within: Takes out of what is to stand what owners or the grid do not allow; nothing when None.
        sit_out: Return the rows of those whose owners sit an order out, for others make up for them; nobody when None.
    """

    def __init__(
        self,
        fleet: Fleet,
        store: OrderStore,
        *,
        book: DesiredBook,
        leases: LeaseBook,
        enrolled: Enrolled = everybody,
        sources: Sequence[Source] = (),
        steering: Callable[[int], Iterable[SetPointNow]] | None = None,
        within: Callable[[int, dict[str, Entry]], dict[str, Entry]] | None = None,
        sit_out: Callable[[str], NDArray[np.int64]] | None = None,
    ) -> None:
        self._fleet = fleet
        self._store = store
        self._enrolled = enrolled
        self._sources = tuple(sources)
        self._steering = steering
        self._within = within
        self._sit_out = sit_out
        self.book = book
        self._leases = leases
        self._orders: list[Order] = []
        self._aborted: set[str] = set()
        self._stops: list[Stop] = []
        self._trials: dict[str, Trial] = {}
        self._watches: dict[str, Watch] = {}
        self._newest = -1
        self._looked_ns = 0
        self._reports = 0
        self._refused: Counter[str] = Counter()
        self._lines: list[AuditEntry] = []
        self._untold = 0
        self._minute = -1
        self._minute_lines = 0
        self.fenced_out = False

    # -- what stands

    def look_again(self) -> None:
        """Work out anew at the next look who is meant: who takes part has changed."""
        self._looked_ns = 0

    async def refresh(self, t_ns: int) -> bool:
        """Take in what has changed; return whether anything had. What cannot be read leaves everything as it was.

        Raises:
            UnavailableError: when the store cannot be reached.
        """
        await self._write_lines()
        newest = await asyncio.to_thread(self._store.newest)
        if newest == self._newest and t_ns - self._looked_ns < LOOK_AGAIN_NS:
            self.book.forget_ended(t_ns)
            if self._sources:
                self._resolve(t_ns)
            return False
        changed = newest != self._newest
        await asyncio.to_thread(self._read, t_ns)
        self._newest, self._looked_ns = newest, t_ns
        self._resolve(t_ns)
        return changed

    def _read(self, t_ns: int) -> None:
        orders = self._store.orders(after_ns=t_ns, states=("standing", "aborted"))
        self._stops = self._store.stops()
        self._trials = self._store.trials()
        self._orders = [order for order in orders if order.state == "standing"]
        self._aborted = {order.order_id for order in orders if order.state == "aborted"}
        for order in self._orders:
            if order.canary is not None and order.order_id not in self._trials and self._is_near(order, t_ns):
                rows = rows_of_order(order, self._fleet, self._enrolled)
                if len(rows):
                    trial = begin_trial(order, rows, self._fleet, max(t_ns, order.start_ns))
                    self._store.keep_trial(trial)
                    self._trials[order.order_id] = trial

    def _resolve(self, t_ns: int) -> None:
        self.book.forget_ended(t_ns)
        wanted: dict[str, Entry] = {}
        for order in self._orders:
            if not self._is_near(order, t_ns):
                continue
            entry = entry_of(order, self._fleet, enrolled=self._enrolled_in(order), only=self._only(order))
            if entry is not None:
                wanted[order.order_id] = entry
        for source in self._sources:
            wanted |= {entry.key: entry for entry in source(t_ns) if entry.end_ns > t_ns}
        if self._within is not None:
            wanted = self._within(t_ns, wanted)
        put, dropped = changes(wanted, self.book.entries())
        for key in dropped:
            self.book.drop(key)
        for entry in put:
            self.book.put(entry)
        self.book.halt(halted_rows(self._stops, self._fleet))
        live = {order.order_id for order in self._orders}
        self._watches = {key: watch for key, watch in self._watches.items() if key in live}

    def _enrolled_in(self, order: Order) -> Enrolled:
        """Return who takes part in an order's program, without those who sit the order out."""
        out = np.empty(0, dtype=np.int64) if self._sit_out is None else self._sit_out(order.order_id)
        if not len(out) or not isinstance(order.spec, EventSpec):
            return self._enrolled

        def enrolled(program: str) -> NDArray[np.int64] | None:
            rows = self._enrolled(program)
            every = np.arange(len(self._fleet.site_ids), dtype=np.int64) if rows is None else rows
            return np.setdiff1d(every, out, assume_unique=True)

        return enrolled

    @staticmethod
    def _is_near(order: Order, t_ns: int) -> bool:
        return order.start_ns - t_ns <= AHEAD_NS and order.end_ns > t_ns

    def _only(self, order: Order) -> tuple[str, ...] | None:
        """Return who alone is told of an order, None for all of those meant."""
        if order.canary is None:
            return None
        trial = self._trials.get(order.order_id)
        if trial is None:
            return ()
        return None if trial.state == "passed" else trial.sites

    def setpoints(self, t_ns: int) -> list[SetPointNow]:
        """Return the set-points under way, each with who follows it now."""
        found = [] if self._steering is None else list(self._steering(t_ns))
        for order in self._orders:
            if not isinstance(order.spec, SetPointSpec) or not order.start_ns <= t_ns < order.end_ns:
                continue
            rows = rows_of_order(order, self._fleet, self._enrolled)
            power_w = order.spec.power_w
            since_ns = order.start_ns if order.revision == 1 else max(order.start_ns, order.at_ns)
            trial = self._trials.get(order.order_id)
            if order.canary is not None and (trial is None or trial.state != "passed"):
                tried = np.empty(0, dtype=np.int64) if trial is None else rows_of_trial(trial, self._fleet)
                inside = np.isin(rows, tried)
                power_w = int(split_by_rating_w(power_w, rows, self._fleet)[inside].sum())
                rows = rows[inside]
            elif trial is not None and trial.decided_ns is not None:
                since_ns = max(since_ns, trial.decided_ns)
            if len(rows):
                found.append(SetPointNow(order=order, rows=rows, power_w=power_w, since_ns=since_ns))
        return found

    def is_aborted(self, order_id: str) -> bool:
        """Whether an order was called off at once, so that what it asked for must not even run out."""
        return order_id in self._aborted

    def events(self, t_ns: int) -> list[EventNow]:
        """Return the events under way and ahead, each with the sites whose owners have not left it."""
        left: dict[str, list[int]] = {}
        for row, names in self.book.opted_out.items():
            for name in names:
                left.setdefault(name, []).append(row)
        found = []
        for entry in self.book.entries().values():
            event = entry.item
            if not isinstance(event, ScheduledEvent) or entry.end_ns <= t_ns:
                continue
            stays = ~np.isin(entry.rows, np.array(left.get(event.event_id, []), dtype=np.int64))
            found.append(
                EventNow(
                    event_id=event.event_id,
                    program=event.program,
                    kind=event.kind,
                    start_ns=event.start_ns,
                    end_ns=event.end_ns,
                    rows=entry.rows[stays],
                    each_w=_each_w(entry)[stays],
                    soc_frac=event.soc_frac,
                )
            )
        return found

    # -- trials

    async def judge_trials(self, t_ns: int, latest: NDArray[Any]) -> bool:
        """Decide the trials that can be decided; return whether any was."""
        decided = False
        for order in list(self._orders):
            trial = self._trials.get(order.order_id)
            if order.canary is None or trial is None or trial.state != "watching" or t_ns < order.start_ns:
                continue
            watch = self._watches.get(order.order_id)
            if watch is None:
                rows = rows_of_trial(trial, self._fleet)
                watch = Watch(trial, order.canary, begins_ns=order.start_ns, rows=rows)
                self._watches[order.order_id] = watch
            verdict = watch.look(t_ns, latest, self._asked_w(order, watch.rows))
            if verdict.verdict == "wait":
                continue
            state = "passed" if verdict.verdict == "go" else "failed"
            _log.info("trial decided", order=order.order_id, state=state, why=verdict.reason)
            done = Trial(
                order_id=order.order_id,
                sites=trial.sites,
                began_ns=trial.began_ns,
                state="passed" if state == "passed" else "failed",
                decided_ns=t_ns,
                reason=verdict.reason,
            )
            await asyncio.to_thread(self._keep_verdict, done, t_ns)
            decided = True
        if decided:
            self._looked_ns = 0
            await self.refresh(t_ns)
        return decided

    def _keep_verdict(self, trial: Trial, t_ns: int) -> None:
        self._store.keep_trial(trial)
        if trial.state == "failed":
            try:
                why = f"canary: {trial.reason}"
                self._store.end(trial.order_id, "aborted", by=BY, at_ns=t_ns, reason=why)
            except InvalidInputError:
                _log.info("order was ended by somebody else meanwhile", order=trial.order_id)

    def _asked_w(self, order: Order, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        if isinstance(order.spec, SetPointSpec):
            return self._leases.asked_w[rows]
        entry = self.book.entries().get(order.order_id)
        asked_w = np.zeros(len(rows), dtype=np.int64)
        if entry is None or not isinstance(order.spec, EventSpec) or order.spec.kind != "power":
            return asked_w
        inside = np.isin(rows, entry.rows)
        asked_w[inside] = _each_w(entry)[np.searchsorted(entry.rows, rows[inside])]
        return asked_w

    def note_result(self, order_id: str, told: str, t_ns: int) -> None:
        """Keep what came of an order; it is written at the next look."""
        self._lines.append(
            AuditEntry(
                at_ns=t_ns, by=BY, action=RESULT, subject=order_id, reason="by the meters", detail=told
            )
        )

    # -- what devices say

    def take_reports(
        self, rows: Sequence[int], payloads: Sequence[bytes], t_ns: int
    ) -> list[tuple[int, OrderReport]]:
        """Take what devices say, in its order; return rows and reports of those that can be read.

        Most say that a set-point was taken; these are noted together.
        """
        found: list[tuple[int, OrderReport]] = []
        taken_rows: list[int] = []
        versions: list[int] = []
        decode, left = _REPORT.decode, self.book.opted_out
        for row, payload in zip(rows, payloads, strict=True):
            try:
                report = decode(payload)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                self._refused["malformed_report"] += 1
                continue
            found.append((row, report))
            plain = report.kind == "desired" and report.outcome != "refused" and not report.opted_out
            if plain and row not in left and 0 < report.version < MOST_VERSION:
                taken_rows.append(row)
                versions.append(report.version)
            else:
                self._take(row, report, t_ns)
        self._reports += len(taken_rows)
        if taken_rows:
            self._leases.note_taken(np.array(taken_rows), np.array(versions))
        return found

    def take_report(self, row: int, payload: bytes, t_ns: int) -> OrderReport | None:
        """Take what a device says of what it was sent; return it, None when it cannot be read."""
        try:
            report = _REPORT.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._refused["malformed_report"] += 1
            return None
        self._take(row, report, t_ns)
        return report

    def _take(self, row: int, report: OrderReport, t_ns: int) -> None:
        self._reports += 1
        self.book.note_left(row, report.opted_out)
        self._leases.speaks[row] = True
        if report.kind == "orders":
            self.book.report(row, report)
        else:
            self._leases.report(row, report)
        if report.outcome == "refused":
            self._take_refusal(row, report, t_ns)

    def _take_refusal(self, row: int, report: OrderReport, t_ns: int) -> None:
        reason = report.reason or "unknown"
        taken = self.book.doc_taken if report.kind == "orders" else self._leases.taken
        sent = taken.item(row)
        if reason == "stale_version" and 0 < report.version < sent:
            reason = REPLAYED
        self._refused[reason] += 1
        if reason == FENCED_OUT:
            self.fenced_out = True
        if reason in HARMLESS:
            return
        minute = t_ns // NS_PER_MINUTE
        if minute != self._minute:
            self._minute, self._minute_lines = minute, 0
        if self._minute_lines >= MOST_LINES_A_MINUTE:
            self._untold += 1
            return
        self._minute_lines += 1
        site = str(self._fleet.site_ids[row])
        detail = f"{report.kind} version {report.version}"
        self._lines.append(
            AuditEntry(
                at_ns=t_ns,
                by=site,
                action="report",
                subject=site,
                outcome="refused",
                reason=reason,
                detail=detail,
            )
        )

    async def _write_lines(self) -> None:
        lines, self._lines = self._lines, []
        if lines and self._untold:
            told = f"{self._untold} further refusals"
            last = lines[-1]
            lines.append(
                AuditEntry(
                    at_ns=last.at_ns,
                    by=BY,
                    action="report",
                    subject="fleet",
                    outcome="refused",
                    reason="many",
                    detail=told,
                )
            )
            self._untold = 0
        if lines:
            await asyncio.to_thread(self._store.note, lines)

    def statistics(self) -> DeskStatistics:
        """Return the counters."""
        return DeskStatistics(
            orders=len(self._orders),
            stops=len(self._stops),
            halted_sites=int(self.book.halted.sum()),
            unheard_documents=len(self.book.unheard()),
            reports=self._reports,
            refused=sum(self._refused.values()),
            refused_by_reason=dict(self._refused),
        )


def _each_w(entry: Entry) -> NDArray[np.int64]:
    """Return the power that an event asks of each of its sites."""
    if entry.battery_w is not None:
        return entry.battery_w
    battery_w = entry.item.battery_w if isinstance(entry.item, ScheduledEvent) else 0
    return np.full(len(entry.rows), battery_w, dtype=np.int64)
