"""Whatever is sent and whenever, no battery acts past a lease, below the reserve or beyond its limits.

The agent decides, a few lines of physics integrate, and the referee, which shares no code with the agent, judges.
A second test breaks the agent on purpose and demands that the referee notices.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
from hypothesis import event, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shoal.domain.desired import DesiredState
from shoal.domain.errors import WireFormatError
from shoal.domain.outcome import Rejected
from shoal.edge.agent import AgentColumns, Decision, Mode, decide, decode_desired, next_change_ns, receive
from shoal.edge.audit import Referee
from tests.unit.edge.sites import T0, S, nameplates

SITES = 3
MAX_STEP_S = 900

Command = tuple[int, int, int, int, int, int]
"""Row, version, watts, start and end relative to now in seconds, fence."""

SANE: st.SearchStrategy[Command] = st.tuples(
    st.integers(0, SITES - 1),
    st.integers(1, 40),
    st.integers(-8_000, 8_000),
    st.integers(-300, 300) | st.just(0),
    st.integers(1, 1_500),
    st.integers(1, 2),
)
WILD: st.SearchStrategy[Command] = st.tuples(
    st.integers(0, SITES - 1),
    st.integers(1, 40) | st.sampled_from([0, -3, 2**32 - 1, 2**32, 2**70]),
    st.sampled_from([2**40, -(2**40), 10**25, 0]),
    st.integers(-600, 600) | st.sampled_from([-(10**10), 10**10]),
    st.integers(-600, 1_800) | st.sampled_from([10**8, 10**11]),
    st.integers(0, 4) | st.sampled_from([-1, 2**63 - 1, 2**64]),
)
# Mostly commands that can be taken: a fuzz of refusals alone would say little about leases.
COMMAND = st.integers(0, 4).flatmap(lambda pick: WILD if pick == 4 else SANE)
POWER = st.integers(-200, 9_000)
STEP = st.tuples(
    st.lists(COMMAND, max_size=4),
    st.booleans(),
    st.integers(1, MAX_STEP_S * S)
    | st.integers(1, MAX_STEP_S).map(lambda s: s * S)
    | st.sampled_from([S, 60 * S, 300 * S]),
    st.lists(POWER, min_size=SITES, max_size=SITES),
    st.lists(st.integers(-9_000, 100), min_size=SITES, max_size=SITES),
    st.lists(POWER, min_size=SITES, max_size=SITES),
)
Step = tuple[list[Command], bool, int, list[int], list[int], list[int]]
PLATE = st.fixed_dictionaries(
    {
        "charge_limit_kw": st.sampled_from([5.0, 1.001, 11.5, 0.0]),
        "discharge_limit_kw": st.sampled_from([5.0, 2.5, 11.5, 0.0]),
        "energy_capacity_kwh": st.sampled_from([2.0, 5.0, 13.5, 0.0]),
        "charge_efficiency_frac": st.floats(0.5, 1.0),
        "discharge_efficiency_frac": st.floats(0.5, 1.0),
        "reserve_frac": st.sampled_from([0.0, 0.1, 0.2, 1.0]) | st.floats(0.0, 1.0),
    }
)


def message(command: Command, now_ns: int) -> bytes:
    _, version, battery_w, start_s, end_s, fence = command
    return msgspec.json.encode(
        DesiredState(
            version=version,
            battery_w=battery_w,
            start_ns=now_ns + start_s * S,
            end_ns=now_ns + end_s * S,
            issuer="plant",
            fence=fence,
        )
    )


def drive(
    plate: dict[str, float],
    stored_frac: list[float],
    steps: list[Step],
    act: Callable[[Decision, NDArray[np.int64]], NDArray[np.int64]] = lambda decision, _: decision.battery_w,
) -> Referee:
    """Run agents, physics and referee; `act` says what the batteries make of the decision."""
    nameplate = nameplates(SITES, **plate)
    columns, referee = AgentColumns(nameplate), Referee(nameplate)
    capacity_kwh = nameplate["energy_capacity_kwh"]
    stored_kwh = capacity_kwh * np.array(stored_frac)
    now_ns = T0
    last_w = np.zeros(SITES, dtype=np.int64)
    past: list[tuple[int, bytes]] = []
    for commands, repeat, step_ns, load, solar, ev in steps:
        batch = [(command[0], message(command, now_ns)) for command in commands]
        # What was sent before arrives again, late and in the wrong order.
        for row, payload in batch + (past[::-1] if repeat else []):
            granted = referee.heard(row, payload, received_ns=now_ns)
            try:
                taken = not isinstance(receive(columns, row, decode_desired(payload), now_ns), Rejected)
            except WireFormatError:
                taken = False
            assert taken == granted
        past = (past + batch)[-6:]
        until_ns = now_ns + step_ns
        load_w, solar_w, ev_w = (np.array(values, dtype=np.int64) for values in (load, solar, ev))
        while now_ns < until_ns:
            end_ns = min(until_ns, next_change_ns(columns, now_ns))
            span_h = (end_ns - now_ns) / S / 3_600
            decision = decide(
                columns,
                now_ns=now_ns,
                load_w=load_w,
                solar_w=solar_w,
                ev_w=ev_w,
                stored_kwh=stored_kwh,
                horizon_s=(end_ns - now_ns) / S,
            )
            power_w = last_w = act(decision, last_w)
            into_kwh = np.maximum(power_w, 0) / 1_000 * span_h * nameplate["charge_efficiency_frac"]
            out_kwh = np.maximum(-power_w, 0) / 1_000 * span_h / nameplate["discharge_efficiency_frac"]
            ended_kwh = stored_kwh + into_kwh - out_kwh
            referee.observe(
                start_ns=now_ns,
                end_ns=end_ns,
                battery_w=power_w,
                load_w=load_w,
                solar_w=solar_w,
                ev_w=ev_w,
                stored_start_kwh=stored_kwh,
                stored_end_kwh=ended_kwh,
            )
            stored_kwh, now_ns = ended_kwh, end_ns
    return referee


@settings(max_examples=300, deadline=None)
@given(
    PLATE,
    st.lists(st.floats(0.0, 1.0) | st.sampled_from([0.3, 0.6, 0.97, 1.0]), min_size=SITES, max_size=SITES),
    st.lists(STEP, min_size=1, max_size=12),
)
def test_agent_keeps_to_lease_reserve_and_limits(
    plate: dict[str, float], stored_frac: list[float], steps: list[Step]
) -> None:
    referee = drive(plate, stored_frac, steps)
    statistics = referee.statistics()
    event("leased" if statistics.leased else "never leased")
    violations = (statistics.lease_violations, statistics.reserve_violations, statistics.limit_violations)
    assert violations == (0, 0, 0), list(referee.examples)
    assert statistics.unfollowed == 0


LEASED_THEN_NOT: list[Step] = [
    ([(row, 1, -4_000, 0, 120, 1) for row in range(SITES)], False, 300 * S, [500] * 3, [0] * 3, [0] * 3),
    ([], False, 3_600 * S, [500] * 3, [0] * 3, [0] * 3),
]
PLAIN = {"charge_limit_kw": 5.0, "discharge_limit_kw": 5.0, "energy_capacity_kwh": 5.0, "reserve_frac": 0.2}


def test_agent_that_holds_on_to_an_ended_lease_is_noticed() -> None:
    def hold(decision: Decision, last_w: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.where((decision.mode == Mode.LOCAL) & (last_w != 0), last_w, decision.battery_w)

    assert drive(PLAIN, [0.9] * 3, LEASED_THEN_NOT).statistics().lease_violations == 0
    statistics = drive(PLAIN, [0.9] * 3, LEASED_THEN_NOT, hold).statistics()
    assert statistics.lease_violations == 2 * SITES
    assert statistics.reserve_violations == SITES


def test_agent_that_ignores_the_reserve_is_noticed() -> None:
    def careless(decision: Decision, last_w: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.where(decision.mode == Mode.LEASE, -4_000, -500)

    statistics = drive(PLAIN, [0.21] * 3, LEASED_THEN_NOT, careless).statistics()
    assert statistics.reserve_violations == 3 * SITES
    assert statistics.lease_violations == 0


def test_agent_beyond_its_rating_is_noticed() -> None:
    def strong(decision: Decision, last_w: NDArray[np.int64]) -> NDArray[np.int64]:
        return decision.battery_w * 3

    assert drive(PLAIN, [0.9] * 3, LEASED_THEN_NOT, strong).statistics().limit_violations == SITES
