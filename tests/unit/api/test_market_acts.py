"""A trader has a say at the door: modes, approvals and bids by hand, with the market's own words when something is wrong."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shoal.api.plant import Plant
from shoal.bidding.desk_views import EVER_NS, manual_word
from shoal.domain.interval import NS_PER_HOUR
from shoal.market.registry import market_module
from tests.unit.api.doors import ask
from tests.unit.api.market_bidder import bidding
from tests.unit.api.market_desk import DAY, GATE, accept, as_trader, consents, decide, draft, market_plant
from tests.unit.api.plants import BESS

MS = 1_000_000


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return market_plant(tmp_path)


def say(
    plant: Plant, method: str, path: str, body: Any = None, *, name: str = "ann", status: int = 200
) -> Any:
    answer = as_trader(plant, method, f"/api/market{path}", name=name, json={} if body is None else body)
    assert answer.status_code == status, answer.text
    return answer.json()


def hour(number: int, *orders: tuple[str, float, float]) -> dict[str, Any]:
    start_ms = (GATE.covers.start_ns + number * NS_PER_HOUR) // MS
    return {
        "start_ms": start_ms,
        "end_ms": start_ms + 3_600_000,
        "orders": [{"side": side, "quantity_mw": mw, "price_per_mwh": price} for side, mw, price in orders],
    }


def by_hand(*intervals: dict[str, Any], **changes: Any) -> dict[str, Any]:
    offers = [{"product": "day-ahead", "shape": "orders", "intervals": list(intervals)}]
    body = {
        "resource_id": BESS,
        "delivery_date": DAY.isoformat(),
        "reason": "a maintenance",
        "offers": offers,
    }
    return body | changes


def test_a_mode_is_kept_under_the_callers_name(plant: Plant) -> None:
    said = say(plant, "PUT", f"/{BESS}/mode", {"mode": "advisory", "four_eyes": True, "reason": "new"})
    assert (said["mode"], said["four_eyes"], said["by"], said["reason"]) == ("advisory", True, "ann", "new")
    said = say(plant, "PUT", f"/{BESS}/mode", {"mode": "off"}, name="bob")
    assert (said["mode"], said["four_eyes"], said["by"]) == ("off", True, "bob")
    assert len(consents(plant).said("mode", subject=BESS, as_of_ns=EVER_NS)) == 2
    say(plant, "PUT", "/moon/mode", {"mode": "off"}, status=404)
    say(plant, "PUT", f"/{BESS}/mode", {"mode": "maybe"}, status=422)


def test_no_trader_ends_four_eyes_alone(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal.api.door.access.EVERY_RIGHT", frozenset({"see", "trade"}))
    say(plant, "PUT", f"/{BESS}/mode", {"mode": "advisory", "four_eyes": True})
    for body in ({"four_eyes": False}, {"mode": "automatic"}, {"mode": "off", "four_eyes": False}):
        said = say(plant, "PUT", f"/{BESS}/mode", body, status=403)
        assert "two persons are wanted" in said["detail"]
    say(plant, "PUT", f"/{BESS}/mode", {"mode": "off", "reason": "smoke"})  # stopping never waits for anybody
    say(plant, "PUT", f"/{BESS}/mode", {"mode": "automatic"}, status=403)
    assert say(plant, "PUT", f"/{BESS}/mode", {"mode": "advisory"})["four_eyes"]
    monkeypatch.undo()
    assert say(replace(plant), "PUT", f"/{BESS}/mode", {"mode": "automatic"})["mode"] == "automatic"


def test_two_people_let_a_bid_go(plant: Plant) -> None:
    say(plant, "PUT", f"/{BESS}/mode", {"mode": "advisory", "four_eyes": True})
    key = draft(plant, decide(plant).decision.offers)
    bids = say(plant, "GET", f"/bids?resource={BESS}")["bids"]
    assert [(one["key"], one["approval"]) for one in bids] == [(key, "wanted")]
    digest = bids[0]["content_digest"]
    first = say(plant, "POST", f"/bids/{key}/approve", {"content_digest": digest})
    assert (first["may_go"], first["bid"]["approval"]) == (False, "second wanted") and "four eyes" in first[
        "words"
    ]
    again = say(plant, "POST", f"/bids/{key}/approve", {"content_digest": digest})
    assert not again["may_go"]  # the same person twice is one person
    second = say(plant, "POST", f"/bids/{key}/approve", {"content_digest": digest}, name="bob")
    assert (second["may_go"], second["bid"]["approval"]) == (True, "approved")
    words = [one for one in say(plant, "GET", f"/bids/{key}")["audit"] if one["kind"] == "word"]
    assert [one["by"] for one in words] == ["ann", "ann", "ann", "bob"]
    say(plant, "POST", f"/bids/{key}/refuse", {"reason": ""}, status=422)
    refused = say(plant, "POST", f"/bids/{key}/refuse", {"reason": "too much"}, name="bob")
    assert (refused["may_go"], refused["bid"]["approval"]) == (False, "refused")
    assert "bob: too much" in refused["words"]


def test_a_word_comes_too_late_and_of_another_content(plant: Plant) -> None:
    key = draft(plant, decide(plant).decision.offers)
    changed = say(plant, "POST", f"/bids/{key}/approve", {"content_digest": "other"}, status=409)
    assert "read it again" in changed["detail"]
    late = replace(plant, now_ns=lambda: GATE.closes_ns)
    closed = say(late, "POST", f"/bids/{key}/approve", status=409)
    assert (closed["field"], closed["value"]) == ("gate_ms", str(GATE.closes_ns // MS))
    accept(plant, key)
    assert "accepted" in say(plant, "POST", f"/bids/{key}/approve", status=409)["detail"]
    say(plant, "POST", "/bids/never/approve", status=404)
    assert consents(plant).subjects("approval") == []


def test_a_bid_by_hand_is_a_draft_until_it_is_submitted(plant: Plant) -> None:
    base = draft(plant, decide(plant).decision.offers)
    accept(plant, base)
    body = by_hand(hour(3, ("sell", 2.0, 55.0)), hour(4))
    made = say(plant, "POST", "/manual", body)
    assert (made["state"], made["by"], made["problems"], made["bid"]) == ("draft", "ann", [], None)
    assert made["gate_ms"] == GATE.closes_ns // MS and made["open"]
    assert [one["power_kw"] for one in made["power"]] == [-2_000.0, 0.0]
    after = {one["start_ms"]: one for one in made["changes"]}
    assert after[body["offers"][0]["intervals"][0]["start_ms"]]["after"][0]["price_per_mwh"] == 55.0
    name = made["manual_id"]
    assert manual_word(consents(plant), name).drafted
    listed = say(plant, "GET", f"/manual?resource={BESS}")["manual"]
    assert [one["manual_id"] for one in listed] == [name]
    sent = say(plant, "POST", f"/manual/{name}/submit", name="bob")
    assert (sent["state"], sent["manual_id"], sent["by"]) == ("submitted", name, "bob")
    say(plant, "POST", f"/manual/{name}/submit", status=409)
    said = consents(plant).said("manual", subject=BESS, as_of_ns=EVER_NS)
    assert [one.by for one in said] == ["ann", "bob"]
    taken = say(plant, "POST", f"/manual/{name}/withdraw", {"reason": "no more"})
    assert (taken["state"], taken["reason"]) == ("withdrawn", "no more")
    say(plant, "POST", f"/manual/{name}/withdraw", status=409)
    say(plant, "POST", "/manual/never/withdraw", status=404)


def test_nothing_is_bid_by_a_draft(plant: Plant) -> None:
    made = say(plant, "POST", "/manual", by_hand(hour(3, ("sell", 2.0, 55.0))))
    assert bidding(plant) == []
    say(plant, "POST", f"/manual/{made['manual_id']}/submit")
    assert bidding(plant) == [made["manual_id"]]
    (row,) = say(plant, "GET", f"/bids?resource={BESS}")["bids"]
    assert (row["key"], row["author"], row["rung"]) == (made["manual_id"], "ann", "manual")
    (shown,) = say(plant, "GET", f"/manual?resource={BESS}")["manual"]
    assert shown["bid"]["state"] == "draft"


@pytest.mark.parametrize(
    ("body", "field", "fix"),
    [
        (by_hand(hour(3, ("sell", 2.03, 55.0))), "offers[0].intervals[0].orders[0].quantity_mw", ""),
        (
            by_hand(hour(2, ("buy", 1.0, 5.0)), hour(3, ("sell", 2.0, 5e6))),
            "offers[0].intervals[1].orders[0].price_per_mwh",
            "",
        ),
        (by_hand(hour(3, ("sell", 2.0, 55.0)), reason="  "), "reason", "say why"),
        (by_hand(), "offers", "offer something in"),
        (by_hand(hour(3, ("sell", 2.0, 55.0), ("buy", 2.0, 5.0))), "power", "expect"),
        (by_hand(hour(3) | {"end_ms": 1}), "offers[0].intervals[0].end_ms", "after its start"),
        (by_hand(offers=[{"product": "moon", "shape": "orders"}]), "product", "no such"),
        (by_hand(hour(3, ("sell", 2.0, 55.0)), delivery_date="2021-02-30"), "delivery_date", ""),
    ],
)
def test_what_the_market_would_refuse_is_named_and_not_kept(
    plant: Plant, body: dict[str, Any], field: str, fix: str
) -> None:
    told = say(plant, "POST", "/manual", body)
    assert (told["state"], told["manual_id"]) == ("invalid", None)
    (problem,) = told["problems"]
    assert problem["field"] == field and problem["fix"] and fix in problem["fix"]
    assert consents(plant).subjects("manual") == []


def test_after_the_gate_nothing_is_drafted_submitted_or_taken_back(plant: Plant) -> None:
    body = by_hand(hour(3, ("sell", 2.0, 55.0)))
    made, other = (
        say(plant, "POST", "/manual", body),
        say(plant, "POST", "/manual", body | {"reason": "b"}, name="bob"),
    )
    say(plant, "POST", f"/manual/{made['manual_id']}/submit")
    late = replace(plant, now_ns=lambda: GATE.closes_ns)
    for path, content in (
        ("/manual", body),
        (f"/manual/{other['manual_id']}/submit", {}),
        (f"/manual/{made['manual_id']}/withdraw", {}),
    ):
        told = say(late, "POST", path, content, status=409)
        assert told["value"] == str(GATE.closes_ns // MS) and "closed" in told["detail"]
    # a draft that never went may be thrown away at any time
    assert say(late, "POST", f"/manual/{other['manual_id']}/withdraw")["state"] == "withdrawn"


def test_a_resource_that_is_off_sends_nothing_by_hand(plant: Plant) -> None:
    made = say(plant, "POST", "/manual", by_hand(hour(3, ("sell", 2.0, 55.0))))
    say(plant, "PUT", f"/{BESS}/mode", {"mode": "off"}, name="bob")
    told = say(plant, "POST", f"/manual/{made['manual_id']}/submit", status=422)
    assert told["field"] == "mode" and "bob" in told["fix"]


@pytest.mark.parametrize(
    ("market_id", "offer"),
    [
        (
            "nem",
            {
                "product": "energy",
                "shape": "bands",
                "side": "gen",
                "band_prices_per_mwh": [float(10 * k) for k in range(1, 11)],
                "intervals": [{"band_mw": [1.0, *[0.0] * 9]}],
            },
        ),
        (
            "ercot",
            {
                "product": "day-ahead",
                "shape": "storage_curves",
                "intervals": [
                    {
                        "points": [
                            {"power_mw": -1.0, "price_per_mwh": 50.0},
                            {"power_mw": 1.0, "price_per_mwh": 20.0},
                        ]
                    }
                ],
            },
        ),
        ("gb", {"product": "imbalance", "shape": "load_target", "intervals": [{"power_mw": -2.0}]}),
        (
            "sdac",
            {
                "product": "day-ahead",
                "shape": "orders",
                "intervals": [{"orders": [{"side": "sell", "quantity_mw": 1.0, "price_per_mwh": 50.0}]}],
            },
        ),
    ],
)
def test_every_market_takes_bids_by_hand_in_its_own_shape(
    tmp_path: Path, market_id: str, offer: dict[str, Any]
) -> None:
    market = market_module(market_id)
    product = (
        offer["product"]
        if any(one.product_id == offer["product"] for one in market.rules.products)
        else market.rules.products[0].product_id
    )
    kept = market_plant(tmp_path)
    fleet = replace(
        kept.fleet,
        resources=tuple(replace(one, market_id=market_id) for one in kept.fleet.resources),
    )
    now_ns = 1_735_000_000_000_000_000
    plant = replace(kept, fleet=fleet, now_ns=lambda: now_ns)
    day = market.delivery_date(now_ns) + timedelta(days=2)
    first = market.delivery_intervals(product, day)[0]
    span = {"start_ms": first.start_ns // MS, "end_ms": first.end_ns // MS}
    content = offer | {"product": product, "intervals": [one | span for one in offer["intervals"]]}
    body = {
        "resource_id": BESS,
        "delivery_date": day.isoformat(),
        "reason": "a test of the meter",
        "offers": [content],
        "power": [span | {"power_kw": -500.0}],
    }
    if market_id == "nem":  # prices have to stand before quantities change: the whole day is bid for
        every = market.delivery_intervals(product, day)
        content["intervals"] = [
            offer["intervals"][0] | {"start_ms": one.start_ns // MS, "end_ms": one.end_ns // MS}
            for one in every
        ]
    told = say(plant, "POST", "/manual", body)
    assert told["state"] == "draft", told["problems"]
    (view,) = told["offers"]
    assert view["shape"] == offer["shape"] and told["changes"]
    rules = say(plant, "GET", f"/rules?resource={BESS}&day={day}")
    assert offer["shape"] in next(one for one in rules["products"] if one["product_id"] == product)["shapes"]
    products = say(plant, "GET", f"/products?resource={BESS}")["products"]
    assert {one["state"] for one in products} >= {"open"}
    assert ask(plant, "GET", f"/api/market/plan?resource={BESS}").status_code == 422
