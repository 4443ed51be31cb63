"""A trader overrides a bid through the interface before its gate: the market takes it, and all else is planned around it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from shoal.api.plant import Plant
from shoal.bidding.cycle.known import Situation
from shoal.domain.fleet import Resource
from shoal.domain.ids import GroupId, ResourceId
from shoal.domain.interval import NS_PER_S
from shoal.store.ledger import Ledger
from tests.integration.bidding.cycle_world import DAY, FIVE_NS, NEM, POINT, RESOURCE, Desk, tape
from tests.integration.bidding.test_cycle import GATES, bid_through, world
from tests.integration.simulate.clocks import HandClock
from tests.unit.api.doors import make_plant
from tests.unit.api.market_desk import as_trader

MS = 1_000_000
FIRST = 3


def doors(folder: Path, clock: HandClock, desk: Desk) -> Plant:
    """Return the interface over the very database that the bidder uses."""
    (folder / "api").mkdir()
    kept = make_plant(folder / "api")
    battery = Resource(
        resource_id=ResourceId(RESOURCE),
        market_id="nem",
        settlement_point=POINT,
        group_id=GroupId("bess"),
        throughput_cost_per_mwh=10.0,
        owner_share_frac=0.8,
    )
    engine = desk.cycles.engine
    return replace(
        kept,
        fleet=replace(kept.fleet, resources=(battery,)),
        ledger=Ledger(engine),
        database=engine,
        now_ns=clock.now_ns,
    )


def say(plant: Plant, method: str, path: str, **request: Any) -> Any:
    answer = as_trader(plant, method, f"/api/market{path}", **request)
    assert answer.status_code == 200, answer.text
    return answer.json()


def taken(standing: Any) -> tuple[int, float, dict[str, list[float]]]:
    """Return an interval to come, and bands of 50 MW in it that its price is sure to take; power charging positive."""
    prices = tape(days_before=12, days_after=2)
    by_start = dict(zip(prices.start_ns.tolist(), prices.price_per_mwh.tolist(), strict=True))
    bands = {one["side"]: one["band_prices_per_mwh"] for one in standing}
    for gate in GATES[FIRST + 5 : FIRST + 12]:
        start_ns = gate.covers.start_ns
        price = by_start[start_ns]
        sold, bought = [0.0] * 10, [0.0] * 10
        if price >= bands["gen"][0]:
            sold[0] = 50.0
            return start_ns, -50.0, {"gen": sold, "load": bought}
        if price <= bands["load"][-1]:
            bought[-1] = 50.0
            return start_ns, 50.0, {"gen": sold, "load": bought}
    raise AssertionError("no price of the tape is beyond the bands")


def test_an_override_before_the_gate_is_awarded_and_planned_around(tmp_path: Path) -> None:
    with world(tmp_path) as (clock, desk, book):
        bid_through(clock, desk, intervals=FIRST)
        plant = doors(tmp_path, clock, desk)
        rules = say(plant, "GET", f"/rules?resource={RESOURCE}&day={DAY}")
        start_ns, power_mw, bands = taken(rules["standing"])
        span = {"start_ms": start_ns // MS, "end_ms": (start_ns + FIVE_NS) // MS}
        body = {
            "resource_id": RESOURCE,
            "delivery_date": DAY.isoformat(),
            "reason": "a test of the meter",
            "category": "physical",
            "offers": [
                {
                    "product": "energy",
                    "shape": "bands",
                    "side": one["side"],
                    "band_prices_per_mwh": one["band_prices_per_mwh"],
                    "intervals": [span | {"band_mw": bands[one["side"]]}],
                }
                for one in rules["standing"]
            ],
            "power": [span | {"power_kw": power_mw * 1e3}],
        }
        made = say(plant, "POST", "/manual", json=body)
        assert made["state"] == "draft", made["problems"]
        name = made["manual_id"]
        desk.turn(clock.t_ns)
        assert desk.cycles.bid(name) is None  # a draft is nobody's bid
        say(plant, "POST", f"/manual/{name}/submit", json={})
        for _ in range(2):  # drafted at one turn, sent at the latest at the next
            desk.turn(clock.t_ns)
        (shown,) = say(plant, "GET", f"/manual?resource={RESOURCE}")["manual"]
        assert (shown["bid"]["state"], shown["bid"]["author"], shown["bid"]["stands"]) == (
            "accepted",
            "ann",
            True,
        )
        assert book.receipt(name, participant="shoal") is not None
        gate = next(one for one in GATES if one.covers.start_ns == start_ns)
        for close in GATES[FIRST + 1 :]:
            if close.closes_ns > gate.closes_ns:
                break
            clock.t_ns = close.closes_ns - 20 * NS_PER_S
            desk.turn(clock.t_ns)
        clock.t_ns = start_ns + 2 * FIVE_NS + NS_PER_S
        closed = as_trader(plant, "POST", "/api/market/manual", json=body)
        assert closed.status_code == 409 and closed.json()["value"] == str(gate.closes_ns // MS)
        desk.turn(clock.t_ns)
        award = desk.cycles.awards(RESOURCE, "nem", DAY.isoformat())[-1]
        (quantity,) = [
            one for one in award.quantities if one.start_ns == start_ns and one.product == "energy"
        ]
        assert quantity.power_w == round(power_mw * 1e6)
        planned = [
            msgspec.json.decode(desk.cycles.decision(name_).situation, type=Situation)
            for name_ in desk.cycles.decision_ids(RESOURCE, from_ns=gate.closes_ns, to_ns=gate.closes_ns + 1)
        ]
        assert planned and all(any(one.start_ns == start_ns for one in about.fixed) for about in planned)
        told = say(plant, "GET", f"/bids/{name}")
        assert told["receipt"]["state"] == "accepted"
        assert [one["power_mw"] for one in told["award"]["quantities"]] == [power_mw]
        assert NEM.rules.currency == told["currency"]
