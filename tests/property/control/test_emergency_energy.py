"""Events on a plain physics: the owner's reserve is never touched, nothing is asked beyond a limit, and targets are met."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.control.emergency import Called, EventPolicy, EventState, Message, OptedOut, step_event
from shoal.control.emergency_plan import EventCall, GroupTarget, SitesNow
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, Interval
from shoal.domain.orders import ScheduledEvent

COUNT = 8
STEP_NS = NS_PER_MINUTE
START_NS = 10 * NS_PER_HOUR
POLICY = EventPolicy(ramp_s=0.0, spread_s=0.0)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0.1, 1.3))
def test_nobody_falls_below_the_reserve_and_what_is_possible_is_delivered(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    capacity_wh = rng.uniform(5_000, 15_000, COUNT)
    reserve_wh = capacity_wh * rng.uniform(0, 0.5, COUNT)
    energy_wh = capacity_wh * rng.uniform(0.3, 1, COUNT)
    efficiency = rng.uniform(0.85, 1, COUNT)
    limit_w = rng.integers(1_000, 6_000, COUNT)
    metered = np.zeros(COUNT)
    possible_wh = np.maximum(energy_wh - reserve_wh, 0) * efficiency
    hours = 1
    target_w = int(np.minimum(possible_wh / hours, limit_w).sum() * share)
    event = EventCall(
        event_id="e",
        program="emergency",
        called_ns=START_NS,
        window=Interval(start_ns=START_NS, end_ns=START_NS + hours * NS_PER_HOUR),
        groups=(GroupTarget(group_id="g", target_w=target_w, rows=tuple(range(COUNT))),),
    )
    messages: list[Message] = [Called(call=event)]
    state = EventState()
    low_wh = np.minimum(energy_wh, reserve_wh)
    leaving_ns = START_NS + int(rng.integers(0, 60)) * STEP_NS
    left_at_wh: float | None = None
    for t_ns in range(START_NS, event.window.end_ns, STEP_NS):
        if t_ns == leaving_ns:
            messages.append(OptedOut(row=0, t_ns=t_ns))
            left_at_wh = float(metered[0])
        if rng.random() < 0.03:
            reserve_wh = np.maximum(reserve_wh, np.minimum(energy_wh, reserve_wh * 1.1))
            low_wh = np.minimum(energy_wh, reserve_wh)
        now = SitesNow(
            energy_wh=energy_wh,
            reserve_wh=reserve_wh,
            capacity_wh=capacity_wh,
            discharge_w=limit_w,
            charge_w=limit_w,
            discharge_efficiency_frac=efficiency,
            metered_wh=np.rint(metered).astype(np.int64),
            known=rng.random(COUNT) > 0.1,
            available=np.ones(COUNT, dtype=np.bool_),
            solar_wh=np.zeros(COUNT),
            solar_low_wh=np.zeros(COUNT),
            most_export_w=limit_w,
        )
        state, step = step_event(state, messages, t_ns=t_ns, sites=now, policy=POLICY)
        messages = []
        asked_w = np.zeros(COUNT)
        for one in step.entries:
            if isinstance(one.item, ScheduledEvent) and one.item.kind == "power":
                assert one.battery_w is not None
                assert (one.battery_w < 0).all()
                asked_w[one.rows] = -one.battery_w
        assert (asked_w <= limit_w).all()
        # A silent site still follows what it was told: the device itself keeps the reserve.
        heard = now.known
        energy = asked_w * STEP_NS / NS_PER_HOUR
        can = np.maximum(energy_wh - reserve_wh, 0) * efficiency
        assert (energy[heard] <= can[heard] + 1e-6).all()
        energy = np.minimum(energy, can)
        energy_wh = energy_wh - energy / efficiency
        metered = metered - energy
        assert (energy_wh >= np.minimum(low_wh, reserve_wh) - 1e-6).all()
    if left_at_wh is not None:
        assert metered[0] == left_at_wh
