"""The desk of standing services on bad days: one service that cannot be run must not stop the others, or the cycle."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from shoal.control.standing import StandingDesk, key_of
from shoal.domain.interval import NS_PER_MINUTE
from shoal.domain.telemetry import TELEMETRY
from shoal.store.standing import StandingService
from tests.integration.store.fleets import make_fleet
from tests.unit.control.plants import START_NS
from tests.unit.control.test_owners_hours import Memory

FLEET = make_fleet(6)
GROUP = str(FLEET.groups[0].group_id)


def service(name: str, **values: Any) -> StandingService:
    plain: dict[str, Any] = {"kind": "peak_shaving", "program": "peak", "group": GROUP, "target_kw": 1.0}
    return StandingService(service_id=name, by="ann", at_ns=0, **{**plain, **values})


class Store:
    """Services as they stand."""

    def __init__(self, *services: StandingService) -> None:
        self.found = list(services)

    def version(self) -> int:
        return 1

    def services(self, *, stopped: bool = False) -> list[StandingService]:
        return self.found


def desk(memory: Memory, *services: StandingService) -> StandingDesk:
    return StandingDesk(FLEET, Store(*services), memory, tenant="plant", fresh_s=300.0, step_s=60.0)


def look(made: StandingDesk, minute: int, soc_frac: float = 0.6) -> None:
    latest = TELEMETRY.empty(6)
    latest["ts_ns"] = START_NS + minute * NS_PER_MINUTE
    latest["soc_frac"], latest["load_w"] = soc_frac, 3_000
    halted = np.zeros(6, dtype=np.bool_)
    asyncio.run(made.look(START_NS + minute * NS_PER_MINUTE, latest, halted=halted))


def test_service_of_a_zone_that_this_machine_lacks_leaves_the_others_alone() -> None:
    made = desk(Memory(), service("a", zone="Atlantis/Capital"), service("b"))
    look(made, 0)
    look(made, 1)
    assert [one.order.order_id for one in made.setpoints(START_NS)] == ["service:b"]


def test_service_that_breaks_while_it_runs_lets_its_batteries_go_and_says_so() -> None:
    memory = Memory()
    made = desk(memory, service("a"), service("b"))
    look(made, 0)
    assert len(made.setpoints(START_NS)) == 2

    class Broken:
        def step(self, now: object) -> object:
            raise ZeroDivisionError("nothing serves")

        def state(self) -> dict[str, Any]:
            return {}

    made._running["a"].runner = Broken()  # type: ignore[assignment]
    look(made, 2)
    assert [one.order.order_id for one in made.setpoints(START_NS)] == ["service:b"]
    kept = memory.load_state(key_of("a"))
    assert kept is not None
    assert kept["now"]["fault"] == "ZeroDivisionError: nothing serves"


def test_first_look_counts_no_time_that_nobody_saw() -> None:
    memory = Memory()
    look(desk(memory, service("a")), 0)
    kept = memory.load_state(key_of("a"))
    assert kept is not None
    assert kept["tally"]["days"][0]["counted_s"] == 60.0
    assert kept["tally"]["days"][0]["peak_with_kw"] is None
