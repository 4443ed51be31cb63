"""What the plant does now and for whom, as the controller's last cycle said."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from shoal.api.fleet.routes_purpose import ProgramNames, purpose_feed
from shoal.api.live.feeds import FeedSaid
from shoal.api.plant import Plant
from shoal.control.doing import Doing
from shoal.domain.errors import UnknownIdError
from shoal.fabric.subjects import LIVE_AGGREGATES, LIVE_CONTROL
from tests.unit.api.doors import ask, make_plant
from tests.unit.api.plants import T0_NS, aggregates
from tests.unit.api.test_groups import told


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return make_plant(tmp_path)


def doing(**changes: object) -> Doing:
    values: dict[str, object] = {
        "kind": "award",
        "name": "bess",
        "program": "market",
        "what": "power",
        "sites": 1,
        "silent_sites": 0,
        "commanded_w": -50_000,
        "power_w": -48_000,
        "low_w": -48_000,
        "high_w": -48_000,
        "until_ns": T0_NS + 1_000_000_000,
    }
    return msgspec.convert({**values, **changes}, Doing)


async def fed(plant: Plant, key: str) -> FeedSaid:
    return await purpose_feed(plant, ProgramNames(plant)).read(key)


def test_before_the_controller_spoke_nobody_knows(plant: Plant) -> None:
    said = ask(plant, "GET", "/api/now/purpose").json()
    assert (said["as_of_ms"], said["stale"], said["parts"], said["of_sites"]) == (None, True, [], 3)


def test_parts_say_for_whom_and_with_what_range(plant: Plant) -> None:
    storm = doing(kind="event", name="e1", program="storm", what="charge", commanded_w=None, low_w=-60_000)
    now = told(parts=[doing(), storm], part_count=2, serving=2)
    plant.hub.take(LIVE_AGGREGATES, msgspec.json.encode(aggregates()))
    plant.hub.take(LIVE_CONTROL, msgspec.msgpack.encode(now))
    said = ask(plant, "GET", "/api/now/purpose").json()
    assert (said["as_of_ms"], said["stale"], said["sites"]) == (T0_NS // 1_000_000, False, 2)
    award, event = said["parts"]
    assert (award["market_id"], award["power_kw"], award["commanded_kw"]) == ("ercot-da", -48.0, -50.0)
    assert award["until_ms"] == T0_NS // 1_000_000 + 1_000
    assert (event["market_id"], event["program_id"], event["doing"], event["commanded_kw"]) == (
        None,
        "storm",
        "charge",
        None,
    )
    assert event["program"] not in ("", "storm")
    assert (event["low_kw"], event["high_kw"]) == (-60.0, -48.0)
    assert msgspec.to_builtins(asyncio.run(fed(plant, "now")).value) == said


def test_a_silent_controller_is_said_to_be_silent(plant: Plant) -> None:
    plant.hub.take(LIVE_CONTROL, msgspec.msgpack.encode(told(parts=[doing()], part_count=1)))
    plant.hub.take(LIVE_AGGREGATES, msgspec.json.encode(aggregates(T0_NS + 1)))
    assert ask(plant, "GET", "/api/now/purpose").json()["stale"] is True
    with pytest.raises(UnknownIdError):
        asyncio.run(fed(plant, "then"))
