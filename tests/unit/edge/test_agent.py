"""The agent's decision: leases in time, one waiting slot, the owner's limits last."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.domain.desired import DurableUpTo
from shoal.domain.errors import CorruptStateError, InvalidInputError, WireFormatError
from shoal.domain.outcome import Accepted, Curtailed, Outcome, Rejected
from shoal.edge.agent import (
    NEVER_NS,
    AgentColumns,
    Decision,
    Mode,
    decide,
    decode_desired,
    decode_durable,
    next_change_ns,
    receive,
)
from tests.unit.edge.sites import T0, S, desired, kwh, nameplates, watts, wire


def at(
    columns: AgentColumns,
    s: float,
    *,
    load_w: int = 500,
    solar_w: int = 0,
    ev_w: int = 0,
    stored_kwh: float = 8.0,
) -> Decision:
    return decide(
        columns,
        now_ns=T0 + round(s * S),
        load_w=watts(load_w),
        solar_w=watts(solar_w),
        ev_w=watts(ev_w),
        stored_kwh=kwh(stored_kwh),
        horizon_s=60.0,
    )


def seen(decision: Decision) -> tuple[int, int, int]:
    return int(decision.battery_w[0]), int(decision.mode[0]), int(decision.following_version[0])


def reason(outcome: Outcome) -> str:
    assert isinstance(outcome, Rejected), outcome
    return outcome.reason


def test_lease_is_followed_from_its_start_until_its_end() -> None:
    columns = AgentColumns(nameplates())
    assert receive(columns, 0, desired(7, 3_000, 10, 20), T0) == Accepted()
    assert seen(at(columns, 9.999_999_999)) == (-500, Mode.LOCAL, 0)
    assert seen(at(columns, 10)) == (3_000, Mode.LEASE, 7)
    assert seen(at(columns, 19.999_999_999)) == (3_000, Mode.LEASE, 7)
    assert seen(at(columns, 20)) == (-500, Mode.LOCAL, 0)


def test_refusals_name_their_reason() -> None:
    columns = AgentColumns(nameplates())
    assert receive(columns, 0, desired(5, 1_000, 0, 100, fence=3), T0) == Accepted()
    assert reason(receive(columns, 0, desired(5, 2_000, 0, 100, fence=3), T0)) == "stale_version"
    assert reason(receive(columns, 0, desired(4, 2_000, 0, 100, fence=3), T0)) == "stale_version"
    assert reason(receive(columns, 0, desired(6, 2_000, 0, 100, fence=2), T0)) == "fenced_out"
    assert reason(receive(columns, 0, desired(6, 2_000, 0, 50, fence=3), T0 + 50 * S)) == "expired"
    assert reason(receive(columns, 0, desired(6, 2_000, 50, 50, fence=3), T0)) == "out_of_range"
    assert reason(receive(columns, 0, desired(0, 2_000, 0, 50, fence=3), T0)) == "out_of_range"
    assert reason(receive(columns, 0, desired(2**32, 2_000, 0, 50, fence=3), T0)) == "out_of_range"
    assert reason(receive(columns, 0, desired(6, 2_000, 0, 50, fence=2**63), T0)) == "out_of_range"
    assert seen(at(columns, 1)) == (1_000, Mode.LEASE, 5)


@pytest.mark.parametrize("power", [float("nan"), float("inf"), float("-inf")])
def test_power_that_is_not_finite_is_refused(power: float) -> None:
    columns = AgentColumns(nameplates())
    assert reason(receive(columns, 0, desired(1, power, 0, 100), T0)) == "not_finite"  # type: ignore[arg-type]


@pytest.mark.parametrize(("asked_w", "granted_w"), [(5_001, 5_000), (-(10**400), -5_000), (10**400, 5_000)])
def test_power_over_the_nameplate_is_curtailed(asked_w: int, granted_w: int) -> None:
    columns = AgentColumns(nameplates())
    outcome = receive(columns, 0, desired(1, asked_w, 0, 100), T0)
    assert isinstance(outcome, Curtailed)
    assert (outcome.granted, outcome.reason) == (granted_w, "over_nameplate")
    assert seen(at(columns, 1))[0] == granted_w


def test_refused_command_of_a_newer_issuer_fences_out_the_older() -> None:
    columns = AgentColumns(nameplates())
    assert reason(receive(columns, 0, desired(1, 0, 0, 1, fence=9), T0 + 5 * S)) == "expired"
    assert reason(receive(columns, 0, desired(2, 0, 0, 100, fence=8), T0 + 5 * S)) == "fenced_out"
    assert receive(columns, 0, desired(2, 0, 0, 100, fence=9), T0 + 5 * S) == Accepted()


def test_waiting_lease_lets_the_present_one_go_on_until_it_begins() -> None:
    columns = AgentColumns(nameplates())
    receive(columns, 0, desired(1, 1_000, 0, 100), T0)
    receive(columns, 0, desired(2, 2_000, 50, 60), T0)
    assert [seen(at(columns, s))[2] for s in (0, 49, 50, 59)] == [1, 1, 2, 2]
    assert seen(at(columns, 60)) == (-500, Mode.LOCAL, 0), "the lease that was replaced does not come back"


def test_waiting_lease_is_replaced_by_a_newer_one() -> None:
    columns = AgentColumns(nameplates())
    receive(columns, 0, desired(1, 1_000, 0, 100), T0)
    receive(columns, 0, desired(2, 2_000, 50, 60), T0)
    receive(columns, 0, desired(3, 3_000, 70, 80), T0)
    assert [seen(at(columns, s))[2] for s in (55, 69, 70, 80)] == [1, 1, 3, 0]
    receive(columns, 0, desired(4, 4_000, 0, 60), T0 + S)
    assert [seen(at(columns, s))[2] for s in (1, 59, 60, 70)] == [4, 4, 0, 0]


def test_waiting_lease_that_has_begun_is_the_present_one_when_the_next_comes() -> None:
    columns = AgentColumns(nameplates())
    receive(columns, 0, desired(1, 1_000, 0, 100), T0)
    receive(columns, 0, desired(2, 2_000, 10, 90), T0)
    receive(columns, 0, desired(3, 3_000, 50, 60), T0 + 20 * S)
    assert [seen(at(columns, s))[2] for s in (20, 49, 50, 60)] == [2, 2, 3, 0]


@pytest.mark.parametrize(
    ("load_w", "solar_w", "ev_w", "battery_w"),
    [
        (1_000, -3_000, 0, 2_000),  # surplus is stored
        (1_000, 0, 500, -1_500),  # consumption is covered, never more
        (1_000, -1_000, 0, 0),
        (9_000, 0, 0, -5_000),  # the rated power is the limit
        (0, -9_000, 0, 5_000),
        (-400, 0, 0, 0),  # a negative load is no solar power
        (-400, -300, 0, 300),
    ],
)
def test_local_mode_uses_its_own_solar_power(load_w: int, solar_w: int, ev_w: int, battery_w: int) -> None:
    decision = at(AgentColumns(nameplates()), 0, load_w=load_w, solar_w=solar_w, ev_w=ev_w)
    assert seen(decision) == (battery_w, Mode.LOCAL, 0)


def test_reserve_scales_a_discharge_down_with_the_efficiency() -> None:
    columns = AgentColumns(nameplates(discharge_efficiency_frac=0.9, reserve_frac=0.2))
    receive(columns, 0, desired(1, -5_000, 0, 100), T0)
    power_w = seen(at(columns, 0, stored_kwh=2.7 + 0.05))[0]
    assert power_w == -2_699, "0.05 kWh x 0.9 in 60 s are 2,700 W, and a hair less is allowed"
    assert 2.75 + power_w / 60_000 / 0.9 > 2.7
    assert seen(at(columns, 0, stored_kwh=2.7))[0] == 0
    assert seen(at(columns, 0, stored_kwh=1.0))[0] == 0
    assert seen(at(AgentColumns(nameplates()), 0, stored_kwh=2.7))[0] == 0, "the local mode keeps it as well"


def test_full_battery_scales_a_charge_down_with_the_efficiency() -> None:
    columns = AgentColumns(nameplates(charge_efficiency_frac=0.9))
    receive(columns, 0, desired(1, 5_000, 0, 100), T0)
    assert seen(at(columns, 0, stored_kwh=13.5 - 0.045))[0] == 2_999
    assert seen(at(columns, 0, stored_kwh=13.5))[0] == 0
    assert seen(at(columns, 0, stored_kwh=14.0))[0] == 0


def test_unknown_stored_energy_means_no_power() -> None:
    columns = AgentColumns(nameplates())
    for power_w in (5_000, -5_000):
        receive(columns, 0, desired(2 + power_w // 5_000, power_w, 0, 100), T0)
        assert seen(at(columns, 0, stored_kwh=float("nan")))[0] == 0


def test_rating_is_held_in_whole_watts_without_losing_one() -> None:
    columns = AgentColumns(nameplates(charge_limit_kw=1.001, discharge_limit_kw=2.000_9))
    assert (columns.charge_limit_w[0], columns.discharge_limit_w[0]) == (1_001, 2_000)


def test_horizon_must_be_positive() -> None:
    for horizon_s in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidInputError):
            decide(
                AgentColumns(nameplates()),
                now_ns=T0,
                load_w=watts(0),
                solar_w=watts(0),
                ev_w=watts(0),
                stored_kwh=kwh(5.0),
                horizon_s=horizon_s,
            )


def test_next_change_is_the_earliest_boundary_after_now() -> None:
    columns = AgentColumns(nameplates(3))
    assert next_change_ns(columns, T0) == NEVER_NS
    receive(columns, 1, desired(1, 1_000, 0, 100), T0)
    receive(columns, 1, desired(2, 1_000, 40, 200), T0)
    receive(columns, 2, desired(1, 1_000, 0, 70), T0)
    seconds = [0]
    while (change_ns := next_change_ns(columns, T0 + seconds[-1] * S)) != NEVER_NS:
        seconds.append((change_ns - T0) // S)
    assert seconds == [0, 40, 70, 100, 200]


def test_state_survives_a_restart() -> None:
    columns = AgentColumns(nameplates(2))
    receive(columns, 0, desired(3, 1_000, 0, 100, fence=4), T0)
    receive(columns, 0, desired(5, -1_000, 50, 100, fence=4), T0)
    state = columns.state()
    again = AgentColumns(nameplates(2))
    again.restore(state)
    receive(columns, 0, desired(6, 0, 0, 100, fence=5), T0)
    assert again.latest_version[0] == 5, "the state is a copy"
    assert reason(receive(again, 0, desired(5, 0, 0, 100, fence=4), T0)) == "stale_version"
    assert reason(receive(again, 0, desired(6, 0, 0, 100, fence=3), T0)) == "fenced_out"
    assert again.battery_w[:, 0].tolist() == [1_000, -1_000]


def test_state_that_does_not_fit_is_refused_and_changes_nothing() -> None:
    columns = AgentColumns(nameplates(2))
    receive(columns, 0, desired(3, 1_000, 0, 100), T0)
    good = columns.state()
    for bad in (
        {},
        AgentColumns(nameplates(3)).state(),
        {**good, "version": good["version"] * 2, "end_ns": good["end_ns"].astype(np.float64)},
    ):
        with pytest.raises(CorruptStateError):
            columns.restore(bad)
    assert columns.version[0, 0] == 3


def test_messages_are_decoded_or_refused() -> None:
    assert decode_desired(wire(desired(1, 5, 0, 1))) == desired(1, 5, 0, 1)
    assert decode_durable(b'{"seq": 12}') == DurableUpTo(seq=12)
    assert decode_durable(b'{"seq": 12, "resend": true, "later": 1}') == DurableUpTo(seq=12, resend=True)
    wrong = [b"", b"{}", b"\xff", b'{"\xff": 1}', b'{"seq": 1, "a": ' + b"[" * 100_000]
    for payload in (*wrong, wire(desired(1, 5, 0, 1)).replace(b":5,", b":NaN,")):
        with pytest.raises(WireFormatError):
            decode_desired(payload)
        with pytest.raises(WireFormatError):
            decode_durable(payload)
