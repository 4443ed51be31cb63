"""Regulation on devices: who follows a broadcast, for how long, and who says why not."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from nacl.signing import SigningKey

from shoal.domain.desired import DesiredState
from shoal.domain.fleet import NAMEPLATE
from shoal.domain.interval import NS_PER_MINUTE, NS_PER_S
from shoal.domain.orders import ScheduledEvent, SiteOrders
from shoal.domain.outcome import Accepted
from shoal.edge import agent
from shoal.edge.agent_columns import AgentColumns
from shoal.edge.agent_orders import receive_orders
from shoal.edge.regulated import MOST_ARMED_NS, Regulated
from shoal.edge.signed import Issuer, Verifier, make_certificate
from shoal.services.regulation import RegulationSignal
from shoal.services.regulation_device import RegulationArming, RegulationReading

NOW_NS = 1_700_000_000 * NS_PER_S
ROOT, PLANT = SigningKey(bytes(range(32))), SigningKey(bytes(range(1, 33)))
SITES = ("home-0", "home-1")


def nameplate(sites: int = 2) -> Any:
    plate = NAMEPLATE.empty(sites)
    for name, value in (
        ("charge_limit_kw", 5.0),
        ("discharge_limit_kw", 5.0),
        ("energy_capacity_kwh", 10.0),
        ("reserve_frac", 0.2),
        ("charge_efficiency_frac", 1.0),
        ("discharge_efficiency_frac", 1.0),
    ):
        plate[name] = value
    return plate


def arming(**changed: Any) -> bytes:
    given: dict[str, Any] = {
        "resource_id": "vpp-1",
        "version": 7,
        "start_ns": NOW_NS,
        "end_ns": NOW_NS + 5 * NS_PER_MINUTE,
        "base_w": 500,
        "up_w": 3_000,
        "down_w": 2_000,
    }
    return msgspec.json.encode(RegulationArming(**given | changed))


def signal(seq: int, value_frac: float, *, t_ns: int = NOW_NS, hold_s: float = 10.0) -> bytes:
    return msgspec.json.encode(
        RegulationSignal(
            seq=seq, t_ns=t_ns, end_ns=t_ns + int(hold_s * NS_PER_S), value_frac=value_frac, version=7
        )
    )


def power_w(columns: AgentColumns, now_ns: int, stored_kwh: float = 6.0) -> list[int]:
    none = np.zeros(len(columns), dtype=np.int64)
    found = agent.decide(
        columns,
        now_ns=now_ns,
        load_w=none,
        solar_w=none,
        ev_w=none,
        stored_kwh=np.full(len(columns), stored_kwh),
        horizon_s=2.0,
    )
    return [int(watts) for watts in found.battery_w]


@pytest.fixture
def columns() -> AgentColumns:
    return AgentColumns(nameplate(), site_ids=SITES)


@pytest.fixture
def regulated(columns: AgentColumns) -> Regulated:
    return Regulated(columns, SITES)


def test_armed_site_follows_a_broadcast_and_nobody_else_does(
    columns: AgentColumns, regulated: Regulated
) -> None:
    assert regulated.take_arming(0, arming(), NOW_NS)
    for row in (0, 1):
        regulated.take_signal(row, "vpp-1", signal(1, 1.0), NOW_NS)
    assert power_w(columns, NOW_NS) == [-2_500, 0]
    assert regulated.take_signal(0, "vpp-2", signal(2, -1.0), NOW_NS) is None
    regulated.take_signal(0, "vpp-1", signal(3, -0.5), NOW_NS)
    assert power_w(columns, NOW_NS) == [1_500, 0]
    assert power_w(columns, NOW_NS + 11 * NS_PER_S) == [0, 0]


def test_reserve_and_set_points_of_the_plant_hold_beside_regulation(
    columns: AgentColumns, regulated: Regulated
) -> None:
    desired = DesiredState(
        version=1_000,
        battery_w=4_000,
        start_ns=NOW_NS,
        end_ns=NOW_NS + NS_PER_MINUTE,
        issuer="control",
        fence=3,
    )
    agent.receive(columns, 0, desired, NOW_NS)
    regulated.take_arming(0, arming(), NOW_NS)
    regulated.take_signal(0, "vpp-1", signal(1, 1.0), NOW_NS)
    assert power_w(columns, NOW_NS)[0] == -2_500
    assert power_w(columns, NOW_NS, stored_kwh=2.0)[0] == 0
    # a newer set-point of the plant is taken, and does not find itself fenced out
    newer = msgspec.structs.replace(desired, version=1_002)
    assert agent.receive(columns, 0, newer, NOW_NS) == Accepted()
    assert power_w(columns, NOW_NS)[0] == 4_000


def test_old_broadcasts_and_those_of_another_time_change_nothing(
    columns: AgentColumns, regulated: Regulated
) -> None:
    regulated.take_arming(0, arming(), NOW_NS)
    regulated.take_signal(0, "vpp-1", signal(5, 1.0), NOW_NS)
    for late in (
        signal(5, -1.0),
        signal(4, -1.0),
        signal(6, -1.0, t_ns=NOW_NS - NS_PER_MINUTE),
        b"{",
        b"\xff",
    ):
        assert regulated.take_signal(0, "vpp-1", late, NOW_NS) is None
    assert power_w(columns, NOW_NS)[0] == -2_500


def test_home_whose_clock_is_ahead_of_every_broadcast_does_not_claim_to_follow(regulated: Regulated) -> None:
    def version(now_ns: int) -> int:
        told = regulated.reading(0, start_ns=now_ns - 1, end_ns=now_ns, mean_w=0.0, stored_kwh=6.0)
        assert told is not None
        return msgspec.json.decode(told, type=RegulationReading).version

    regulated.take_arming(0, arming(), NOW_NS)
    ahead_ns = NOW_NS + 20 * NS_PER_S
    assert regulated.take_signal(0, "vpp-1", signal(1, 1.0), ahead_ns) is None
    assert version(ahead_ns) == 0
    assert regulated.take_signal(0, "vpp-1", signal(2, 1.0, t_ns=ahead_ns), ahead_ns) is not None
    assert version(ahead_ns + 2 * NS_PER_S) == 7


def test_no_broadcast_is_followed_for_long(columns: AgentColumns, regulated: Regulated) -> None:
    regulated.take_arming(0, arming(), NOW_NS)
    regulated.take_signal(0, "vpp-1", signal(1, 1.0, hold_s=1e6), NOW_NS)
    assert power_w(columns, NOW_NS + 59 * NS_PER_S)[0] == -2_500
    assert power_w(columns, NOW_NS + 61 * NS_PER_S)[0] == 0


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"up_w": 10**12}, "out_of_range"),
        ({"end_ns": 2**80}, "malformed"),
        ({"end_ns": NOW_NS + MOST_ARMED_NS + 1}, "too_long"),
        ({"up_w": -1}, "stale_version"),
        ({"end_ns": NOW_NS}, "stale_version"),
    ],
)
def test_arming_that_is_not_sound_is_refused(
    regulated: Regulated, changed: dict[str, Any], reason: str
) -> None:
    payload = arming(**{key: value for key, value in changed.items() if value != 2**80})
    if reason == "malformed":
        payload = payload.replace(b'"end_ns":', b'"end_ns":"x')
    assert not regulated.take_arming(0, payload, NOW_NS)
    assert regulated.count == {reason: 1}
    assert regulated.arming(0, NOW_NS) is None


def test_arming_for_nothing_takes_a_site_out_at_once(columns: AgentColumns, regulated: Regulated) -> None:
    regulated.take_arming(0, arming(), NOW_NS)
    out = arming(version=8, start_ns=NOW_NS + NS_PER_S, base_w=0, up_w=0, down_w=0)
    assert regulated.take_arming(0, out, NOW_NS + NS_PER_S)
    assert regulated.take_signal(0, "vpp-1", signal(1, 1.0), NOW_NS + NS_PER_S) is None
    assert regulated.reading(0, start_ns=NOW_NS, end_ns=NOW_NS + 2 * NS_PER_S, mean_w=0, stored_kwh=6) is None


@pytest.mark.parametrize("how", ["halted", "independent", "off", "storm", "emergency"])
def test_site_that_is_kept_does_not_follow_and_says_why(
    columns: AgentColumns, regulated: Regulated, how: str
) -> None:
    regulated.take_arming(0, arming(), NOW_NS)
    if how in ("storm", "emergency"):
        event = ScheduledEvent(
            event_id="e",
            program=how,
            kind="hold",
            start_ns=NOW_NS,
            end_ns=NOW_NS + NS_PER_MINUTE,
            soc_frac=0.9,
        )
        orders = SiteOrders(version=1, issued_ns=NOW_NS, issuer="control", fence=1, events=(event,))
        receive_orders(columns, 0, orders, NOW_NS)
    else:
        getattr(columns, how)[0] = True
    assert regulated.take_signal(0, "vpp-1", signal(1, 1.0), NOW_NS) is None
    assert power_w(columns, NOW_NS)[0] == 0
    told = regulated.reading(0, start_ns=NOW_NS - 1, end_ns=NOW_NS, mean_w=1.0, stored_kwh=6.0)
    assert told is not None
    reading = msgspec.json.decode(told, type=RegulationReading)
    assert (reading.version, reading.barred) == (0, how)


def test_site_with_a_root_key_follows_signed_regulation_only(columns: AgentColumns) -> None:
    def issuer(*kinds: str) -> Issuer:
        certificate = make_certificate(
            bytes(ROOT),
            issuer="control",
            tenant="reef",
            public_key=bytes(PLANT.verify_key),
            not_before_ns=0,
            not_after_ns=2**62,
            kinds=kinds,
        )
        return Issuer(bytes(PLANT), certificate)

    regulated = Regulated(columns, SITES, Verifier(bytes(ROOT.verify_key), "reef"))
    plant = issuer("regulation", "broadcast")
    for row, frame in (
        (0, arming()),
        (0, plant.sign_batch([("home-1", "regulation", arming())])[0]),
        (0, plant.sign_batch([("home-0", "broadcast", arming())])[0]),
        (0, issuer("desired").sign_batch([("home-0", "regulation", arming())])[0]),
    ):
        assert not regulated.take_arming(row, frame, NOW_NS)
    assert regulated.count == {"unsigned": 1, "forged": 2, "not_authorised": 1}
    assert regulated.take_arming(0, plant.sign_batch([("home-0", "regulation", arming())])[0], NOW_NS)
    other = plant.sign_batch([("vpp-2", "broadcast", signal(1, 1.0))])[0]
    assert regulated.take_signal(0, "vpp-1", other, NOW_NS) is None
    assert regulated.take_signal(0, "vpp-1", signal(1, 1.0), NOW_NS) is None
    mine = plant.sign_batch([("vpp-1", "broadcast", signal(1, 1.0))])[0]
    assert regulated.take_signal(0, "vpp-1", mine, NOW_NS) is not None
    assert power_w(columns, NOW_NS)[0] == -2_500
