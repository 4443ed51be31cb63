"""Events as real devices run them: an emergency delivers its target and leaves no rebound, storms fill up and give back."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from shoal.control.desired_book import Entry, place_of
from shoal.control.emergency import Called, EventPolicy, EventState, Message, OptedOut, step_event
from shoal.control.emergency_plan import EventCall, GroupTarget, SitesNow
from shoal.control.storm import StandingAlert, StormPolicy, StormSites, StormState, step_storm
from shoal.domain.fleet import NAMEPLATE
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, Interval
from shoal.domain.orders import ScheduledEvent, SiteOrders
from shoal.domain.outcome import Accepted
from shoal.edge.agent import AgentColumns, decide
from shoal.edge.agent_orders import receive_orders

T0 = 1_700_000_000 * 1_000_000_000 // NS_PER_HOUR * NS_PER_HOUR
COUNT = 20


class Devices:
    """Twenty homes with real agents and plain batteries, a minute at a time."""

    def __init__(self, stored_kwh: float) -> None:
        plate = NAMEPLATE.empty(COUNT)
        plate["charge_limit_kw"] = plate["discharge_limit_kw"] = 5.0
        plate["energy_capacity_kwh"] = 13.5
        self.columns = AgentColumns(plate, site_ids=[f"home-{row}" for row in range(COUNT)])
        self.stored_kwh = np.full(COUNT, stored_kwh)
        self.metered_wh = np.zeros(COUNT)
        self.load_w = np.linspace(300, 1_500, COUNT).astype(np.int64)
        self.documents = 0
        self._held: dict[int, tuple[ScheduledEvent, ...]] = {}

    def tell(self, entries: tuple[Entry, ...], t_ns: int) -> None:
        """Send each home its document when it changed, the events in the order of their beginnings."""
        for row in range(COUNT):
            events = []
            for entry in entries:
                place = np.flatnonzero(entry.rows == row)
                assert isinstance(entry.item, ScheduledEvent)
                if len(place) and entry.battery_w is not None:
                    events.append(with_power(entry.item, int(entry.battery_w[place[0]])))
                elif len(place):
                    events.append(entry.item)
            document = tuple(sorted(events, key=place_of))
            if document != self._held.get(row, ()):
                self._held[row] = document
                self.documents += 1
                orders = SiteOrders(
                    version=int(self.columns.orders_version[row]) + 1,
                    issued_ns=t_ns,
                    issuer="plant",
                    fence=1,
                    events=document,
                )
                assert receive_orders(self.columns, row, orders, t_ns) == Accepted()

    def run(self, t_ns: int, solar_w: int = 0, plan_w: int | None = None) -> NDArray[np.int64]:
        """Let a minute pass; return what the batteries did."""
        decision = decide(
            self.columns,
            now_ns=t_ns,
            load_w=self.load_w,
            solar_w=np.full(COUNT, -solar_w),
            ev_w=np.zeros(COUNT, dtype=np.int64),
            stored_kwh=self.stored_kwh,
            horizon_s=60.0,
            plan_w=None if plan_w is None else np.full(COUNT, float(plan_w)),
        )
        power_w = np.asarray(decision.battery_w, dtype=np.int64)
        self.metered_wh += power_w / 60
        flow_kwh = np.where(power_w > 0, power_w * 0.95, power_w / 0.95) / 60e3
        self.stored_kwh = self.stored_kwh + flow_kwh
        assert (self.stored_kwh >= 0.2 * 13.5 - 1e-6).all()
        return power_w

    def now(self) -> SitesNow:
        return SitesNow(
            energy_wh=self.stored_kwh * 1e3,
            reserve_wh=np.full(COUNT, 2_700.0),
            capacity_wh=np.full(COUNT, 13_500.0),
            discharge_w=np.full(COUNT, 5_000),
            charge_w=np.full(COUNT, 5_000),
            discharge_efficiency_frac=np.full(COUNT, 0.95),
            metered_wh=np.rint(self.metered_wh).astype(np.int64),
            known=np.ones(COUNT, dtype=np.bool_),
            available=np.ones(COUNT, dtype=np.bool_),
            solar_wh=np.zeros(COUNT),
            solar_low_wh=np.zeros(COUNT),
            most_export_w=np.full(COUNT, 5_000),
        )


def with_power(event: ScheduledEvent, battery_w: int) -> ScheduledEvent:
    values = {name: getattr(event, name) for name in event.__struct_fields__}
    return ScheduledEvent(**{**values, "battery_w": battery_w})


def test_an_emergency_delivers_what_was_asked_and_nobody_rebounds() -> None:
    devices, policy = Devices(stored_kwh=6.0), EventPolicy()
    window = Interval(start_ns=T0 + 4 * NS_PER_HOUR, end_ns=T0 + 6 * NS_PER_HOUR)
    call = EventCall(
        event_id="e-1",
        program="emergency",
        called_ns=T0,
        window=window,
        groups=(GroupTarget(group_id="g", target_w=30_000, rows=tuple(range(COUNT))),),
    )
    state = EventState()
    messages: list[Message] = [Called(call=call)]
    totals: dict[int, int] = {}
    steps_w = [3_000 * COUNT]
    for minute in range(9 * 60):
        t_ns = T0 + minute * NS_PER_MINUTE
        if minute == 5 * 60:
            messages.append(OptedOut(row=3, t_ns=t_ns))
        state, step = step_event(state, messages, t_ns=t_ns, sites=devices.now(), policy=policy)
        messages = []
        devices.tell(step.entries, t_ns)
        sunny = minute < 2 * 60
        # what homes would do by themselves: charge from the grid, as after a storm of prices
        power_w = devices.run(t_ns, solar_w=4_000 if sunny else 0, plan_w=3_000)
        # the home that left charges by itself: that is outside of what the others are asked for
        totals[minute] = int(power_w.sum()) - (int(power_w[3]) if minute >= 5 * 60 else 0)
        if minute < 12:
            steps_w.append(int(power_w.sum()))
        elif minute < 2 * 60:
            surplus_w = 4_000 - devices.load_w
            assert (power_w <= surplus_w).all(), "charged from the sun alone"
        elif minute < 4 * 60 - 4:
            assert (power_w == 0).all(), "holds"
        elif 6 * 60 + 2 <= minute < 8 * 60 - 1:
            assert (np.delete(power_w, 3) <= 0).all(), "nothing is charged from the grid afterwards"
        if minute == 5 * 60 + 5:
            assert power_w[3] > 0, "who left does as it likes"
    assert max(abs(after - before) for before, after in pairwise(steps_w)) < 0.6 * 3_000 * COUNT, (
        "nor at the call"
    )
    seam = [totals[minute] for minute in range(4 * 60 - 6, 4 * 60 + 1)]
    assert all(0 >= after >= before - 30_000 * 0.6 for before, after in pairwise(seam)), (
        "up from nothing, no step"
    )
    during = [totals[minute] for minute in range(4 * 60, 6 * 60)]
    quarters = [sum(during[at : at + 15]) / 15 for at in range(0, 120, 15)]
    for quarter in quarters:
        assert abs(quarter + 30_000) < 900
    assert devices.documents < 8 * COUNT, "a split that still fits is kept"
    assert totals[9 * 60 - 1] > 0, "in the end everybody does as it likes again"


def test_overlapping_storms_fill_to_the_highest_level_and_give_back() -> None:
    policy = StormPolicy(spread_s=120.0)
    for keys in (("a", "b"), ("b", "a")):
        devices = Devices(stored_kwh=6.0)
        state = StormState()
        low, high = keys
        everyone, half = np.arange(COUNT), np.arange(COUNT // 2)
        plain = devices.run(T0).tolist()
        for minute in range(1, 13 * 60):
            t_ns = T0 + minute * NS_PER_MINUTE
            standing = [
                alert
                for alert in (
                    StandingAlert(
                        key=low,
                        hold=Interval(start_ns=T0 + 2 * NS_PER_HOUR, end_ns=T0 + 11 * NS_PER_HOUR),
                        soc_frac=0.6,
                        rows=everyone,
                    ),
                    StandingAlert(
                        key=high,
                        hold=Interval(start_ns=T0 + 4 * NS_PER_HOUR, end_ns=T0 + 8 * NS_PER_HOUR),
                        soc_frac=0.9,
                        rows=half,
                    ),
                )
                if alert.hold.end_ns > t_ns
            ]
            sites = StormSites(
                site_ids=[f"home-{row}" for row in range(COUNT)],
                reserve_frac=np.full(COUNT, 0.2),
                mode=["local"] * COUNT,
                charge_w=np.full(COUNT, 5_000),
                capacity_wh=np.full(COUNT, 13_500.0),
                energy_wh=devices.stored_kwh * 1e3,
            )
            state, step = step_storm(state, [], t_ns=t_ns, standing=standing, sites=sites, policy=policy)
            devices.tell(step.entries, t_ns)
            power_w = devices.run(t_ns)
            if minute == 4 * 60 - 1:
                assert (devices.stored_kwh >= 0.6 * 13.5 - 1e-3).all()
            if minute == 8 * 60 - 1:
                assert (devices.stored_kwh[half] >= 0.9 * 13.5 - 1e-3).all()
            if 4 * 60 < minute < 11 * 60:
                assert (devices.stored_kwh >= 0.6 * 13.5 - 1e-3).all(), "the lower one still holds"
        assert state.prior_of == {}
        assert power_w.tolist() == plain, "every home does exactly what it did before"
