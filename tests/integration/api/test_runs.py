"""`/api/runs/{id}` over real stores: a decision with its bid, what it knew, and the same decision made again in a process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from shoal.api.plant import Plant
from shoal.api.runs.routes import replay_view
from shoal.bidding.cycle.replay import Replayed
from shoal.bidding.replaying import Replays
from shoal.bidding.runs import RunBook
from shoal.domain.contracts import SeriesContract, ValueColumn
from shoal.domain.errors import UnavailableError, UnknownIdError
from shoal.domain.facts import SeriesId
from shoal.domain.interval import NS_PER_HOUR
from shoal.domain.live import WorkflowRun
from shoal.store.facts import FactStore
from tests.integration.api.test_settlement import OWN_WORLD, _opened
from tests.integration.cli.test_desk_money import Plant as Desk
from tests.unit.api.doors import ask

WAIT_S: Final = 90.0


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[Plant, Desk]]:
    plant, desk = _opened(tmp_path, OWN_WORLD)
    RunBook(plant.ledger, record=plant.ledger.record_run, publish=lambda _run: None).note(desk.key)
    yield plant, desk
    plant.database.dispose()


def told(plant: Plant, path: str) -> Any:
    answered = ask(plant, "GET", path)
    assert answered.status_code == 200, answered.text
    return answered.json()


def ended(replays: Replays, name: str) -> Any:
    """Wait until a replay is over."""
    until_s = time.monotonic() + WAIT_S
    while time.monotonic() < until_s:
        held = replays.of(name)
        assert held is not None
        if held.state != "running":
            return held
        time.sleep(0.02)
    raise AssertionError("the replay did not end")


def test_a_run_tells_its_steps_against_the_gate_and_what_it_knew(opened: tuple[Plant, Desk]) -> None:
    plant, desk = opened
    found = told(plant, f"/api/runs/{desk.key}")
    decision = plant.ledger.decision(desk.key)
    assert found["gate"]["closes_ms"] == decision.closes_ns // 1_000_000
    assert found["decision"]["as_of_ms"] == decision.as_of_ns // 1_000_000 < found["gate"]["closes_ms"]
    assert (found["decision"]["rung"], found["decision"]["better_rungs"]) == ("fresh", 0)
    first = found["steps"][0]
    assert (first["phase"], first["name"], first["outcome"], first["held"]) == ("decide", "fresh", "ok", True)
    assert first["start_ms"] == found["decision"]["as_of_ms"]
    # the tests' ladder gives every rung a minute, and that was kept with what it took
    assert first["took_s"] < first["budget_s"] <= 60.0
    assert found["bid"]["bid_key"] == desk.key
    assert found["no_replay"] == ""


def test_inputs_are_as_old_as_they_were_then(opened: tuple[Plant, Desk]) -> None:
    plant, desk = opened
    series = str(OWN_WORLD.series_id)
    before = {one["series_id"]: one for one in told(plant, f"/api/runs/{desk.key}")["decision"]["inputs"]}
    prices = before[series]
    assert prices["state"] == "not judged"
    assert prices["source"] == OWN_WORLD.market_id
    assert prices["age_s"] > 0
    missing = [one for one in before.values() if one["state"] == "missing"]
    assert [one["intervals"] for one in missing] == [0] * len(missing) != []
    facts = FactStore(plant.database)
    # what is learned later changes nothing, a limit to its age judges it
    facts.load(OWN_WORLD.prices(seed=6))
    facts.declare(
        SeriesContract(
            series_id=SeriesId(series),
            unit="USD/MWh",
            columns=(ValueColumn(name="price_per_mwh"),),
            stale_after_ns=NS_PER_HOUR,
        )
    )
    after = {one["series_id"]: one for one in told(plant, f"/api/runs/{desk.key}")["decision"]["inputs"]}
    judged = after[series]
    assert judged["state"] == ("stale" if prices["age_s"] > 3_600 else "fresh")
    changed = {"state", "stale_after_s"}
    assert {k: v for k, v in judged.items() if k not in changed} == {
        k: v for k, v in prices.items() if k not in changed
    }


def test_a_decision_is_made_again_byte_for_byte_in_a_process(opened: tuple[Plant, Desk]) -> None:
    plant, desk = opened
    replays = Replays(plant.database.url.render_as_string(hide_password=False))
    assert replay_view(desk.key, replays.of(desk.key)).state == "none"
    assert replays.begin(desk.key, by="ada").state == "running"
    with pytest.raises(UnavailableError, match="another decision"):
        replays.begin("something else", by="bob")
    view = replay_view(desk.key, ended(replays, desk.key))
    assert (view.state, view.verdict, view.same, view.by) == ("done", "same", True, "ada"), view
    assert view.differs == []
    assert view.took_s is not None


def test_a_replay_is_asked_for_over_the_door_and_refused_where_nothing_was_decided(
    opened: tuple[Plant, Desk],
) -> None:
    plant, desk = opened
    path = f"/api/runs/{desk.key}/replay"
    assert told(plant, path)["state"] == "none"
    begun = ask(plant, "POST", path)
    assert begun.status_code == 202
    assert begun.json()["state"] == "running"
    plant.ledger.record_run(
        WorkflowRun(
            workflow_id="settle-big-1",
            kind="settle",
            resource_id="big",
            delivery_date="2024-12-05",
            gate_ns=1,
            started_ns=2,
            finished_ns=3,
            status="settled",
            rung="final",
            rung_reason="",
            steps=[],
        )
    )
    refused = ask(plant, "POST", "/api/runs/settle-big-1/replay")
    assert refused.status_code == 422
    assert "nothing was decided" in refused.json()["fix"]
    assert told(plant, "/api/runs/settle-big-1")["decision"] is None
    assert ask(plant, "GET", "/api/runs/nothing").status_code == 404
    assert ask(plant, "POST", "/api/runs/nothing/replay").status_code == 404


def hangs(_url: str, _name: str) -> Replayed:
    time.sleep(60.0)
    raise AssertionError("it should have been cut off")


def dies(_url: str, _name: str) -> Replayed:
    raise SystemExit(1)


def refuses(_url: str, name: str) -> Replayed:
    raise UnknownIdError("decision", name)


@pytest.mark.parametrize(
    ("decide", "limit_s", "said"),
    [(hangs, 0.2, "cut off"), (dies, 60.0, "died"), (refuses, 60.0, "decision")],
)
def test_a_process_that_fails_says_so(decide: Any, limit_s: float, said: str) -> None:
    replays = Replays("sqlite://", limit_s=limit_s, decide=decide)
    replays.begin("one", by="ada")
    over = ended(replays, "one")
    assert over.state == "failed"
    assert said in over.reason
    assert replays.begin("two", by="ada").state == "running"  # the way is free again
