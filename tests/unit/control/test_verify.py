"""Sites that say yes and do nothing are found by their meters, let go, and tried again."""

from __future__ import annotations

import numpy as np

from shoal.control.verify import MISSES, REST_NS, Responders
from shoal.domain.interval import NS_PER_MINUTE
from shoal.domain.telemetry import TELEMETRY
from tests.unit.control.plants import START_NS, Plant, award, make_dispatcher, step
from tests.unit.edge.sites import nameplates


def run(
    responders: Responders, minutes: range, *, share: list[float], following: bool = True
) -> list[list[int]]:
    """Let three sites be asked for -3 kW and deliver a share of it; return who was found, by minute."""
    found = []
    for minute in minutes:
        latest = TELEMETRY.empty(3)
        latest["ts_ns"] = START_NS + minute * NS_PER_MINUTE
        latest["discharge_wh"] = [10_000 + round(minute * 50 * part) for part in share]
        found.append(
            responders.observe(
                t_ns=START_NS + minute * NS_PER_MINUTE,
                latest=latest,
                asked_w=np.full(3, -3_000),
                asked_since_ns=np.full(3, START_NS),
                following=np.full(3, following),
            ).tolist()
        )
    return found


def test_site_that_says_yes_and_does_nothing_is_found() -> None:
    responders = Responders(3)
    found = run(responders, range(1, 8), share=[1.0, 0.0, 0.6])
    assert [site for minute in found for site in minute] == [1, 1]
    assert found.index([1]) == MISSES
    now_ns = START_NS + 8 * NS_PER_MINUTE
    assert responders.counted_on(now_ns).tolist() == [True, False, True]
    assert responders.measured_w.round(-2).tolist() == [-3_000, 0, -1_800]


def test_site_that_does_not_say_that_it_follows_is_not_judged() -> None:
    assert not any(run(Responders(3), range(1, 12), share=[0.0] * 3, following=False))


def test_site_is_tried_again_after_a_rest_that_grows_and_counted_on_once_it_delivers() -> None:
    responders = Responders(3)
    run(responders, range(1, 5), share=[1.0, 0.0, 1.0])
    first_ns = int(responders.rested_until_ns[1])
    assert first_ns == START_NS + 4 * NS_PER_MINUTE + REST_NS
    assert responders.counted_on(first_ns)[1]
    run(responders, range(5, 8), share=[1.0, 0.0, 1.0])
    assert responders.rested_until_ns[1] == START_NS + 7 * NS_PER_MINUTE + 2 * REST_NS
    run(responders, range(8, 10), share=[1.0, 1.0, 1.0])
    assert responders.counted_on(START_NS)[1]
    assert responders.times[1] == 0


def test_share_of_a_site_that_does_not_respond_goes_to_the_others_within_the_interval() -> None:
    plant = Plant(nameplates(4))
    dispatcher = make_dispatcher(plant.plate)
    everyone = np.ones(4, dtype=np.bool_)
    for _ in range(60):
        decision = step(dispatcher, plant, award(-6_000))
        plant.obey(decision, everyone)
        before = plant.stored_kwh[2], plant.discharge_wh[2]
        plant.advance(everyone)
        # it says that it follows, and does nothing
        plant.stored_kwh[2], plant.discharge_wh[2] = before
        plant.heard["discharge_wh"][2] = before[1]
    assert plant.delivered_wh() == -6_000 or abs(plant.delivered_wh() + 6_000) < 60
    assert not dispatcher.responders.counted_on(plant.t_ns)[2] or dispatcher.responders.times[2] > 0
    lease = plant.lease[2]
    assert plant.heard["command_version"][2] == lease.version
