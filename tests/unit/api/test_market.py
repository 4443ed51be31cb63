"""The market at the door: products and gates, prices with their forecast, bids with their reasons, and the plan's flips."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from shoal.api.plant import Plant
from shoal.domain.facts import Facts, SeriesId
from shoal.domain.interval import NS_PER_HOUR
from shoal.market.bids import Orders
from shoal.market.series import price_series
from shoal.market.types import Order
from shoal.optimise.storage import plan_storage
from shoal.store.facts import FactStore
from tests.unit.api.doors import ask
from tests.unit.api.market_desk import (
    DAY,
    GATE,
    MARKET,
    NOW_NS,
    STORAGE,
    TOKENS,
    accept,
    as_trader,
    decide,
    draft,
    market_plant,
)
from tests.unit.api.plants import BESS

MS = 1_000_000
PRICES = price_series("ercot-da", "HB_NORTH", "day-ahead")


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return market_plant(tmp_path)


def get(plant: Plant, path: str) -> Any:
    answer = ask(plant, "GET", path)
    assert answer.status_code == 200, answer.text
    return answer.json()


def row_of(answer: Any, state: str) -> Any:
    (row,) = [one for one in answer["products"] if one["resource_id"] == BESS and one["state"] == state]
    return row


def test_products_show_the_gate_that_comes_and_the_one_that_closed(plant: Plant) -> None:
    told = get(plant, f"/api/market/products?resource={BESS}")
    coming, closed = row_of(told, "open"), row_of(told, "closed")
    assert (coming["gate_ms"], coming["delivery_date"]) == (GATE.closes_ns // MS, DAY.isoformat())
    assert coming["bid_key"] is None and coming["status"] is None
    assert closed["gate_ms"] == coming["gate_ms"] - 24 * 3_600_000
    assert told["resources"][0]["mode"]["mode"] == "automatic"
    key = draft(plant, decide(plant).decision.offers)
    accept(plant, key)
    coming = row_of(get(plant, f"/api/market/products?resource={BESS}"), "open")
    assert (coming["bid_key"], coming["status"], coming["rung"]) == (key, "accepted", "quick")
    assert coming["rung_reason"] == "fresh: no time was left for it"
    assert len(get(plant, "/api/market/products")["resources"]) == 2
    assert ask(plant, "GET", "/api/market/products?resource=moon").status_code == 404


def test_prices_come_with_the_newest_forecast_before_each_interval(plant: Plant) -> None:
    facts, hour_ns = FactStore(plant.database), GATE.covers.start_ns - 24 * NS_PER_HOUR
    series = SeriesId(f"forecast/{PRICES}")
    for known_ns, level in (
        (hour_ns - 5 * NS_PER_HOUR, 10.0),
        (hour_ns - NS_PER_HOUR, 20.0),
        (hour_ns, 30.0),
    ):
        facts.record(
            Facts(
                series_id=series,
                source="m/1",
                known_ns=known_ns,
                start_ns=np.array([hour_ns, hour_ns + NS_PER_HOUR]),
                end_ns=np.array([hour_ns, hour_ns + NS_PER_HOUR]) + NS_PER_HOUR,
                value=level + np.array([[0.5, -1.0, 0.0, 1.0]] * 2),
            )
        )
    told = get(plant, "/api/market/prices?point=HB_NORTH")
    at = told["start_ms"].index(hour_ns // MS)
    # what is said once the hour has begun was no forecast of it, but is of the next
    assert (told["mean"][at], told["q05"][at], told["q50"][at], told["q95"][at]) == (20.5, 19.0, 20.0, 21.0)
    assert told["issued_ms"][at] == (hour_ns - NS_PER_HOUR) // MS
    assert told["mean"][at + 1] == 30.5 and told["q25"][at] is None
    assert (
        told["actual"][at] is not None and told["actual"][at + 30] is None
        if len(told["mean"]) > at + 30
        else True
    )
    assert len(told["start_ms"]) == len(told["end_ms"]) == len(told["actual_known_ms"])
    assert ask(plant, "GET", "/api/market/prices?point=moon").status_code == 404
    assert ask(plant, "GET", "/api/market/prices?point=HB_NORTH&from_ms=0").status_code == 422


def test_nothing_is_told_of_prices_before_it_was_known(plant: Plant) -> None:
    # prices are known 36 hours before their hour, so those of tomorrow are not out an hour before the gate
    last = max(get(plant, "/api/market/prices?point=HB_NORTH")["start_ms"])
    assert last < NOW_NS // MS + 36 * 3_600_000
    early = replace(plant, now_ns=lambda: NOW_NS - 48 * NS_PER_HOUR)
    to_ms = NOW_NS // MS
    told = get(early, f"/api/market/prices?point=HB_NORTH&from_ms={to_ms - 86_400_000}&to_ms={to_ms}")
    assert told["actual"].count(None) == 0 and max(told["actual_known_ms"]) <= told["as_of_ms"]


def test_a_bid_says_why_each_price_is_so(plant: Plant) -> None:
    climbed = decide(plant)
    key = draft(plant, climbed.decision.offers)
    accept(plant, key)
    told = get(plant, f"/api/market/bids/{key}")
    assert told["decision"]["rung"] == "quick" and told["decision"]["reasons"]
    assert [one["rung"] for one in told["decision"]["tried"]] == ["fresh", "quick"]
    assert told["decision"]["inputs"][0]["intervals"] > 900
    assert told["receipt"]["bid_id"] == "m-1" and told["award"] is None
    assert [(one["what"], one["kind"]) for one in told["audit"]] == [
        ("draft", "step"),
        ("submitted", "step"),
        ("accepted", "step"),
    ]
    (offer,) = told["offers"]
    assert (offer["shape"], offer["kind"]) == ("orders", "energy") and offer["intervals"]
    for interval in offer["intervals"]:
        (step,) = interval["steps"]
        assert step["why"] and step["quantity_mw"] > 0
        why = interval["why"]
        assert why["action"] == {"buy": "charge", "sell": "discharge"}[step["side"]]
        assert why["flips_at_per_mwh"] is not None
    assert ask(plant, "GET", "/api/market/bids/never").status_code == 404


def test_a_flip_is_where_the_optimum_changes_its_mind(plant: Plant) -> None:
    climbed = decide(plant)
    plan = climbed.decision.plan
    assert plan is not None and not isinstance(plan.after_per_mwh, msgspec.UnsetType)
    told = get(plant, f"/api/market/plan?resource={BESS}")
    assert (told["basis"], told["why_none"]) == ("optimum", "")
    assert told["soc_kwh"] == list(plan.energy_kwh) and len(told["soc_kwh"]) == len(told["start_ms"]) + 1
    price = np.array((*plan.price_per_mwh, *plan.after_per_mwh))
    checked = 0
    for flip in told["flips_at"]:
        row = told["start_ms"].index(flip["start_ms"])
        up = flip["price_per_mwh"] > price[row]
        for beyond, action in ((0.01, flip["would"]), (-0.01, flip["action"])):
            tried = price.copy()
            tried[row] = flip["price_per_mwh"] + (beyond if up else -beyond)
            again = plan_storage(STORAGE, tried, 1.0)
            net_kw = float(again.charge_kw[row] - again.discharge_kw[row])
            does = "charge" if net_kw > 0.01 else "discharge" if net_kw < -0.01 else "rest"
            assert does == action, (row, flip, does)
            checked += 1
        assert flip["words"] == f"would flip at {flip['price_per_mwh']:.2f}"
    assert checked >= 20
    assert any("full at the end" in one for one in told["binding"])


def test_a_plan_that_keeps_no_prices_says_so_and_invents_nothing(plant: Plant) -> None:
    empty = ask(plant, "GET", f"/api/market/plan?resource={BESS}")
    assert empty.status_code == 422 and "nothing is planned" in empty.json()["detail"]
    climbed = decide(plant)
    record = plant.ledger.decision(plant.ledger.decision_ids(BESS, from_ns=0, to_ns=2**62)[0])
    held = climbed.decision.plan
    assert held is not None
    older = msgspec.structs.replace(
        climbed.decision, plan=msgspec.structs.replace(held, after_per_mwh=msgspec.UNSET)
    )
    newer = replace(
        record,
        decision_id=f"{record.decision_id}x",
        as_of_ns=record.as_of_ns + 1,
        decision=older.content().decode(),
    )
    plant.ledger.record_decision(newer)
    told = get(plant, f"/api/market/plan?resource={BESS}")
    assert (told["decision_id"], told["basis"], told["flips_at"]) == (newer.decision_id, "none", [])
    assert "keeps no prices" in told["why_none"]
    day = (DAY.replace(day=DAY.day + 1)).isoformat()
    assert ask(plant, "GET", f"/api/market/plan?resource={BESS}&day={day}").status_code == 422


def order(hour: int, side: str, mw: float, price: float) -> Order:
    start_ns = GATE.covers.start_ns + hour * NS_PER_HOUR
    return Order(
        start_ns=start_ns,
        end_ns=start_ns + NS_PER_HOUR,
        side=side,  # type: ignore[arg-type]
        quantity_mw=mw,
        limit_price_per_mwh=price,
    )


def test_revisions_are_compared_by_what_stands_with_them(plant: Plant) -> None:
    first = draft(
        plant, (Orders(product="day-ahead", orders=(order(1, "buy", 2, 30), order(2, "buy", 2, 30))),)
    )
    accept(plant, first)
    second = draft(
        plant,
        (Orders(product="day-ahead", orders=(order(2, "sell", 1, 90), order(3, "sell", 1, 80))),),
        key="b",
        author="ann",
    )
    accept(plant, second)
    told = get(plant, f"/api/market/bids?resource={BESS}&day={DAY}")
    assert [(one["key"], one["state"], one["author"], one["stands"]) for one in told["bids"]] == [
        ("b", "accepted", "ann", True),
        (first, "superseded", "", True),
    ]
    assert told["total"] == 2 and told["bids"][0]["open"]
    diff = get(plant, "/api/market/bids/b/diff")
    assert (diff["against"], diff["same_intervals"]) == (first, 1)
    changed, added = diff["changes"]
    assert (changed["kind"], changed["before"][0]["side"], changed["after"][0]["side"]) == (
        "changed",
        "buy",
        "sell",
    )
    assert (added["kind"], added["before"]) == ("added", [])
    back = get(plant, f"/api/market/bids/{first}/diff?against=b")
    assert [one["kind"] for one in back["changes"]] == ["changed", "removed"]
    alone = get(plant, f"/api/market/bids/{first}/diff")
    assert (alone["against"], [one["kind"] for one in alone["changes"]]) == ("", ["added", "added"])
    assert ask(plant, "GET", "/api/market/bids/b/diff?against=never").status_code == 404
    detail = get(plant, "/api/market/bids/b")
    assert (detail["manual_id"], detail["decision"]) == ("b", None)
    assert detail["offers"][0]["intervals"][0]["steps"][0]["why"] == "set by ann"


def test_rules_have_what_an_editor_needs(plant: Plant) -> None:
    decide(plant)
    told = get(plant, f"/api/market/rules?resource={BESS}")
    (product,) = told["products"]
    assert told["delivery_date"] == DAY.isoformat() and told["standing"] == []
    assert (product["shapes"], len(product["start_ms"]), all(product["open"])) == (["orders"], 24, True)
    assert (product["floor_per_mwh"], product["cap_per_mwh"]) == MARKET.price_limits("day-ahead", DAY)
    assert (told["charge_limit_mw"], told["capacity_kwh"]) == (10.0, 20_000.0)
    assert ask(plant, "GET", f"/api/market/rules?resource={BESS}&day=2021-02-31").status_code == 422


def test_who_may_not_trade_may_look(plant: Plant) -> None:
    headers = {"Authorization": "Bearer see"}
    shown = ask(plant, "GET", "/api/market/products", token="see", operators=TOKENS, headers=headers)
    assert shown.status_code == 200
    for method, path in (
        ("PUT", f"/api/market/{BESS}/mode"),
        ("POST", "/api/market/manual"),
        ("POST", "/api/market/bids/x/approve"),
        ("POST", "/api/market/manual/x/submit"),
    ):
        refused = ask(plant, method, path, token="see", operators=TOKENS, headers=headers, json={})
        assert refused.status_code == 403, path
    assert as_trader(plant, "PUT", f"/api/market/{BESS}/mode", json={}).status_code == 200
