"""Cars that are asked to wait: within the limit while they can, full by when it was promised, and not a watt-hour is lost."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.control.schedule import entry_of, rows_of_order
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
from shoal.domain.orders import Envelope, SiteOrders
from shoal.domain.telemetry import DeviceType
from shoal.edge.agent_columns import AgentColumns
from shoal.edge.agent_orders import decode_orders, receive_orders
from shoal.edge.charger import FOR_MISSED_FRAC, most_charge_w
from shoal.simulate.chargers import PROMISED_NS, WaitingCars
from shoal.store.order_records import EnvelopeSpec, Order, Scope
from tests.integration.store.fleets import make_fleet
from tests.unit.edge.sites import nameplates

LIMIT_W = np.array([7_000, 11_000, 0])
NONE_W = np.zeros(3, dtype=np.int64)


def run(cars: WaitingCars, wanted_w: list[list[int]], most_w: list[int | None]) -> list[list[int]]:
    """Live a minute for each row, from 0 on; return what was drawn."""
    drawn = []
    for minute, (wanted, most) in enumerate(zip(wanted_w, most_w, strict=True)):
        limit = None if most is None else np.full(3, most)
        got = cars.drawn_w(
            np.array(wanted), limit, now_ns=minute * NS_PER_MINUTE, until_ns=(minute + 1) * NS_PER_MINUTE
        )
        drawn.append(got.tolist())
    return drawn


def test_cars_wait_for_an_hour_and_make_up_for_it_afterwards() -> None:
    cars = WaitingCars(LIMIT_W)
    wanted = [[3_500, 11_000, 0]] * 60 + [[0, 0, 0]] * 300
    drawn = np.array(run(cars, wanted, [1_000] * 60 + [None] * 300))
    assert drawn[:60].max() == 1_000
    assert drawn[60, 0] == 2_500 + 200, "over an hour or so: nobody returns with a step"
    assert (np.diff(drawn[60:, :2], axis=0) <= 0).all()
    assert np.allclose(drawn.sum(axis=0), np.array(wanted).sum(axis=0), atol=60 * 60)
    assert (cars.late_wh, cars.forced_wh) == (0.0, 0.0)
    assert cars.account()["ev_deferred_kwh"] > 12.0


def test_car_that_cannot_wait_any_longer_charges_whatever_was_asked() -> None:
    cars = WaitingCars(LIMIT_W)
    minutes = PROMISED_NS // NS_PER_MINUTE + 60
    wanted = [[7_000, 0, 0]] * 120 + [[0, 0, 0]] * (minutes - 120)
    drawn = np.array(run(cars, wanted, [0] * minutes))
    waits = int((PROMISED_NS - 2 / FOR_MISSED_FRAC * NS_PER_HOUR) // NS_PER_MINUTE)
    assert not drawn[: waits - 3].any()
    assert drawn[waits + 3, 0] == 7_000
    assert np.isclose(drawn[:, 0].sum(), 120 * 7_000, rtol=0.01)
    assert cars.late_wh == 0.0
    assert cars.forced_wh > 13_000


@settings(max_examples=12, deadline=None)
@given(
    most=st.lists(st.sampled_from([None, 0, 1_500, 4_000]), min_size=3, max_size=12),
    wanted=st.lists(st.integers(0, 2_800), min_size=12, max_size=12),
)
def test_nothing_is_lost_and_no_promise_broken(most: list[int | None], wanted: list[int]) -> None:
    """Cars that go on drawing at most a fifth of what their charger can, so that all promises fit."""
    cars = WaitingCars(np.array([14_000, 14_000, 14_000]))
    hours = [[one, 0, one // 2] for one in wanted for _ in range(60)] + [[0, 0, 0]] * 480
    limits = [most[place % len(most)] for place in range(12) for _ in range(60)] + [None] * 480
    drawn = np.array(run(cars, hours, limits))
    assert np.allclose(drawn.sum(axis=0), np.array(hours).sum(axis=0), atol=60 * 61)
    assert (drawn <= 14_000).all()
    assert cars.late_wh == 0.0


def test_chargers_alone_are_told_and_their_agent_says_what_they_may_draw() -> None:
    fleet = make_fleet(3)
    kinds = fleet.device_type.copy()
    kinds[[0, 2]] = DeviceType.EV_CHARGER
    fleet = replace(fleet, device_type=kinds)
    order = Order(
        order_id="wait-1",
        program="peak",
        scope=Scope(fleet=True),
        start_ns=0,
        end_ns=NS_PER_HOUR,
        spec=EnvelopeSpec(import_limit_w=2_000, export_limit_w=10**9, chargers_only=True),
        by="ann",
        at_ns=0,
    )
    assert rows_of_order(order, fleet).tolist() == [0, 2]
    entry = entry_of(order, fleet)
    assert entry is not None
    assert isinstance(entry.item, Envelope)
    columns = AgentColumns(nameplates(3, energy_capacity_kwh=0.0))
    assert most_charge_w(columns, 5, others_w=NONE_W, battery_w=NONE_W) is None
    document = SiteOrders(version=1, issued_ns=0, issuer="plant", fence=1, envelopes=(entry.item,))
    receive_orders(columns, 0, decode_orders(msgspec.json.encode(document)), 5)
    most_w = most_charge_w(columns, 5, others_w=np.array([500, 0, 0]), battery_w=NONE_W)
    assert most_w is not None
    assert most_w[0] == 1_500, "what else is drawn there counts"
    assert (most_w[1:] > 10**8).all()
    after_w = most_charge_w(columns, NS_PER_HOUR, others_w=NONE_W, battery_w=NONE_W)
    assert after_w is None or (after_w > 10**8).all(), "it ends by itself"
