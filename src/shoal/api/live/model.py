"""The reducer behind the page: live records and what the ledger says go in, the page's state and its changes come out.

Pure: it is told the time and the news. A part is worked out only when somebody looks, and goes into a delta only
when it differs from what was last handed out, so a burst of news costs one delta.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from shoal.api.groups.commanded import Commanded, commanded_of
from shoal.api.groups.trail import GroupTrail
from shoal.api.groups.trees import GroupQuery, GroupTree
from shoal.api.live.aggregates import fleet_now, group_views, root_numbers, twins_now
from shoal.api.live.quarantine import QuarantineTotals
from shoal.api.live.series import SERIES_POINTS, Trail, point_of
from shoal.api.live.state import (
    Alarm,
    AlertNow,
    Delivery,
    FleetNow,
    FleetSeries,
    Group,
    LiveState,
    Money,
    NextGate,
    Quarantine,
    Resource,
    RoleHealth,
    Run,
    TwinsNow,
    WorkflowRun,
    to_ms,
)
from shoal.api.live.views import Books, alarms_view, delivery_views, quarantine_view, resource_views, run_view
from shoal.control.doing import ControlNow
from shoal.domain import live
from shoal.domain.alarms import LiveAlarms
from shoal.domain.fleet import Fleet
from shoal.domain.interval import Interval
from shoal.market.registry import market_module

RUNS_KEPT: Final = 50
HOURS_KEPT: Final = 96
ROOTS_SHOWN: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """Parts of the state that are new, and points that the series grew by."""

    set: Mapping[str, Any]
    append: Mapping[str, FleetSeries]

    @property
    def empty(self) -> bool:
        """Whether nothing changed."""
        return not self.set and not self.append


class LiveModel:
    """The page's state.

    Args:
        fleet: The fleet; aggregates come in the order of its groups.
        now_ns: The present instant, 0 when it is not known yet.
        speed: Plant seconds a real second, None for as fast as possible.
        run: The span of a run of recorded days, None for a plant that runs on.
        series_points: How many points of the fleet's series are kept of what is older than the recent ones.
    """

    def __init__(
        self,
        *,
        fleet: Fleet,
        now_ns: int = 0,
        speed: float | None = 1.0,
        run: Interval | None = None,
        series_points: int = SERIES_POINTS,
    ) -> None:
        self._fleet = fleet
        self._now_ns = now_ns
        self._speed = speed
        self._run = run
        markets = {resource.market_id: market_module(resource.market_id) for resource in fleet.resources}
        self._markets = tuple(markets.values())
        self._roots = root_numbers(fleet)
        self._aggregates: live.Aggregates | None = None
        self._control: ControlNow | None = None
        self._commanded: Commanded | None = None
        self._resources: dict[str, live.ResourceState] = {}
        self._hours: dict[str, dict[int, live.ResourceState]] = {}
        self._quarantine = QuarantineTotals()
        self._alarms: LiveAlarms | None = None
        self._runs: dict[str, WorkflowRun] = {}
        self._health: list[RoleHealth] = []
        currency = self._markets[0].rules.currency if self._markets else "USD"
        self._books = Books(money=Money(currency=currency, revenue=None, perfect_foresight=None, by_day=[]))
        self._trail = Trail(points=series_points)
        self._series_replaced = False
        self._alerts: list[AlertNow] = []
        self.tree = GroupTree(fleet)
        self.group_trail = GroupTrail(len(fleet.groups))
        self.refreshes = 0
        self._parts: dict[str, Callable[[], Any]] = {
            "now_ms": lambda: to_ms(self._now_ns),
            "run": self._run_view,
            "fleet": self._fleet_view,
            "twins": self._twins_view,
            "resources": self._resource_views,
            "groups": lambda: self.groups(self.tree.roots[:ROOTS_SHOWN]),
            "prices": lambda: list(self._books.prices),
            "next_gate": self._next_gate,
            "bids": lambda: list(self._books.bids),
            "delivery": self._delivery,
            "money": lambda: self._books.money,
            "runs": self._run_views,
            "quarantine": self._quarantine_view,
            "alarms": lambda: alarms_view(self._alarms),
            "alerts": self._alerts_view,
            "health": lambda: self._health,
        }
        self._sent: dict[str, Any] = {name: part() for name, part in self._parts.items()}
        self._dirty: set[str] = set()

    @property
    def now_ns(self) -> int:
        """The present instant; 0 before the first news."""
        return self._now_ns

    # -- news

    def on_time(self, t_ns: int) -> None:
        """Take note of the present instant; an earlier one than the last is ignored."""
        if t_ns > self._now_ns:
            self._now_ns = t_ns
            self._dirty |= {"now_ms", "run", "next_gate", "alerts"}

    def on_aggregates(self, aggregates: live.Aggregates) -> bool:
        """Take the groups' sums; False when they are of another fleet than this one.

        An instant before the last one means that time went back: another run began, and the past is dropped.
        """
        if len(aggregates.sites) != len(self._fleet.groups):
            return False
        last = self._aggregates
        if last is not None and aggregates.t_ns < last.t_ns:
            self._restart(aggregates.t_ns)
        self.on_time(aggregates.t_ns)
        self._aggregates = aggregates
        self.group_trail.take(aggregates)
        self.refreshes += 1
        self._dirty |= {"fleet", "groups", "twins"}
        if self._trail.wants(aggregates.t_ns):
            self._trail.add(point_of(fleet_now(aggregates, self._roots), aggregates.t_ns))
        return True

    def on_control(self, now: ControlNow) -> bool:
        """Take what a cycle of the controller came to; False when it is of another fleet than this one."""
        if any(number >= len(self._fleet.groups) for number in now.groups):
            return False
        self._control, self._commanded = now, commanded_of(now)
        self._dirty.add("groups")
        return True

    @property
    def control(self) -> ControlNow | None:
        """What the controller's last cycle came to; None before it said."""
        return self._control

    def on_resources(self, states: Sequence[live.ResourceState]) -> None:
        """Take what the controllers say; the last word within an interval counts."""
        for state in states:
            self.on_time(state.t_ns)
            self._resources[state.resource_id] = state
            hours = self._hours.setdefault(state.resource_id, {})
            hours.pop(state.start_ns, None)
            hours[state.start_ns] = state
            while len(hours) > HOURS_KEPT:
                del hours[next(iter(hours))]
        self._dirty |= {"resources", "delivery"}

    def on_run(self, run: live.WorkflowRun) -> None:
        """Take how a workflow run stands."""
        self._take_run(run_view(run))

    def on_quarantine(self, quarantine: live.QuarantineState) -> None:
        """Take what one process of the telemetry role has set aside so far."""
        self._quarantine.take(quarantine)
        self._dirty.add("quarantine")

    def on_alarms(self, alarms: LiveAlarms) -> None:
        """Take the alarms that stand."""
        self._alarms = alarms
        self._dirty.add("alarms")

    def on_alerts(self, alerts: Sequence[AlertNow]) -> None:
        """Take the weather alerts that are known, with what of the fleet each one touches."""
        self._alerts = list(alerts)
        self._dirty.add("alerts")

    def on_ledger(self, books: Books) -> None:
        """Take what the ledger says now."""
        self._books = books
        for run in books.runs:
            self._take_run(run)
        self._dirty |= {"prices", "bids", "delivery", "money", "resources", "next_gate"}

    def on_health(self, health: Sequence[RoleHealth]) -> None:
        """Take how the parts of the plant are."""
        self._health = list(health)
        self._dirty.add("health")

    # -- what is shown

    def snapshot(self) -> LiveState:
        """Return the whole state."""
        return LiveState(
            zone=self._markets[0].rules.zone if self._markets else "UTC",
            speed=self._speed,
            fleet_series=self._trail.series(),
            **{name: part() for name, part in self._parts.items()},
        )

    def series(self) -> FleetSeries:
        """Return the fleet over time."""
        return self._trail.series()

    def parts(self) -> dict[str, Any]:
        """Return every part of the state by name, as it was last handed out."""
        return {
            "zone": self._markets[0].rules.zone if self._markets else "UTC",
            "speed": self._speed,
            "fleet_series": self._trail.series(),
            **self._sent,
        }

    def delta(self) -> Delta:
        """Return what changed since the last delta."""
        changed: dict[str, Any] = {}
        for name in sorted(self._dirty):
            value = self._parts[name]()
            if value != self._sent[name]:
                changed[name] = self._sent[name] = value
        self._dirty.clear()
        append: dict[str, FleetSeries] = {}
        new_points = self._trail.take_new()
        if self._series_replaced:
            changed["fleet_series"] = self._trail.series()
        elif new_points is not None:
            append["fleet_series"] = new_points
        self._series_replaced = False
        return Delta(set=changed, append=append)

    def groups(self, numbers: Sequence[int]) -> list[Group]:
        """Return the newest figures of some groups, none before the first ones came."""
        if self._aggregates is None:
            return []
        return group_views(self._aggregates, self._fleet.groups, numbers, self.tree.children, self._commanded)

    def standing_alarms(self) -> list[Alarm]:
        """Return the alarms that stand, as many as the alarm desk lists."""
        return alarms_view(self._alarms).active

    def select_groups(self, query: GroupQuery) -> list[int]:
        """Return the numbers of the groups that are asked for, in the order that is asked for.

        Raises:
            UnknownIdError: when the query names a group or hierarchy that there is not.
        """
        return self.tree.select(query, self._aggregates, self._commanded)

    @property
    def groups_as_of_ms(self) -> int | None:
        """Of which instant the groups' figures are; None before the first ones."""
        return None if self._aggregates is None else to_ms(self._aggregates.t_ns)

    # -- parts

    def _restart(self, t_ns: int) -> None:
        self._now_ns = t_ns
        self._control = self._commanded = None
        self._trail.clear()
        self._hours.clear()
        self._resources.clear()
        self._runs.clear()
        self._quarantine = QuarantineTotals()
        self._alarms = None
        self._series_replaced = True
        self._dirty |= set(self._parts)

    def _take_run(self, run: WorkflowRun) -> None:
        held = self._runs.get(run.workflow_id)
        if held is not None and _progress(held) > _progress(run):
            return  # the ledger was read before the news came
        self._runs[run.workflow_id] = run
        if len(self._runs) > RUNS_KEPT:
            del self._runs[min(self._runs.values(), key=lambda one: one.started_ms).workflow_id]
        self._dirty.add("runs")

    def _run_views(self) -> list[WorkflowRun]:
        return sorted(self._runs.values(), key=lambda run: (-run.started_ms, run.workflow_id))

    def _run_view(self) -> Run | None:
        if self._run is None:
            return None
        done = (self._now_ns - self._run.start_ns) / (self._run.end_ns - self._run.start_ns)
        return Run(
            from_ms=to_ms(self._run.start_ns),
            to_ms=to_ms(self._run.end_ns),
            done_frac=min(max(done, 0.0), 1.0),
        )

    def _fleet_view(self) -> FleetNow | None:
        return None if self._aggregates is None else fleet_now(self._aggregates, self._roots)

    def _twins_view(self) -> TwinsNow | None:
        return None if self._aggregates is None else twins_now(self._aggregates)

    def _alerts_view(self) -> list[AlertNow]:
        now_ms = to_ms(self._now_ns)
        return [alert for alert in self._alerts if alert.until_ms > now_ms]

    def _resource_views(self) -> list[Resource]:
        return resource_views(self._fleet, self._resources, self._books.totals)

    def _delivery(self) -> list[Delivery]:
        return delivery_views(self._fleet, self._hours, self._books.delivery)

    def _next_gate(self) -> NextGate | None:
        if self._now_ns <= 0 or not self._markets:
            return None
        gates: list[tuple[int, date, str]] = []
        for one in self._markets:
            gate = one.next_gate(one.rules.products[0].product_id, self._now_ns)
            gates.append((gate.closes_ns, one.delivery_date(gate.covers.start_ns), one.rules.market_id))
        gate_ns, day, market_id = min(gates)
        inside = {r.resource_id for r in self._fleet.resources if r.market_id == market_id}
        ready = [
            bid.resource_id
            for bid in self._books.bids
            if bid.delivery_date == day.isoformat() and bid.status == "accepted" and bid.resource_id in inside
        ]
        return NextGate(
            market_id=market_id,
            delivery_date=day.isoformat(),
            gate_ms=to_ms(gate_ns),
            resources_ready=sorted(set(ready)),
        )

    def _quarantine_view(self) -> Quarantine:
        held = self._quarantine.total()
        if held is None:
            return Quarantine(total=0, by_reason={}, recent=[])
        return quarantine_view(held)


def _progress(run: WorkflowRun) -> tuple[bool, int]:
    return run.finished_ms is not None, len(run.steps)
