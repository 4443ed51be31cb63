"""The story of regulation: its offer fits the fleet, its score is the market's, and each of its verdicts can fail."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from shoal.cli.demo import _instants, _on_its_way
from shoal.cli.stories.regulation import REGULATION, SIGNAL_EVERY_S, followers, offer_w, score
from shoal.cli.stories.story import Ending, Scene
from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S, Interval
from shoal.runtime.settings import load_settings
from shoal.simulate.fleet import BESS, plan_fleet
from shoal.simulate.signal import synthetic_signal

FLEET = plan_fleet(10, 1)
SPAN = Interval(start_ns=1_612_936_800_000_000_000, end_ns=1_612_936_800_000_000_000 + NS_PER_HOUR)
STEPS = int(SPAN.duration_s) // SIGNAL_EVERY_S
ROWS = followers(FLEET)


def accounts() -> dict[str, Any]:
    """Return what a run leaves in which all is well: the homes do what was asked, a tick late."""
    values = [value for value, _ in zip(synthetic_signal(1), range(STEPS), strict=False)]
    t_ns = [SPAN.start_ns + step * SIGNAL_EVERY_S * NS_PER_S for step in range(STEPS)]
    offered_w = offer_w(FLEET)
    done_w = [0, *(round(-value * offered_w) for value in values[:-1])]
    followed = np.zeros(len(FLEET.site_ids), dtype=np.int64)
    followed[ROWS] = STEPS
    award = {
        "resource_id": BESS,
        "intervals": [{"start_ns": SPAN.start_ns, "end_ns": SPAN.end_ns, "energy_wh": -5_000}],
    }
    return {
        "signal": {"said": list(zip(t_ns, values, strict=True))},
        "homes": {
            "regulation": {
                "steps": [[t, w, len(ROWS), offered_w, offered_w] for t, w in zip(t_ns, done_w, strict=True)],
                "followed": followed.tolist(),
                "commanded_while_armed": [0] * len(followed),
                "counts": {},
            },
            "statistics": {"desired_missed": 0},
            "meters": {BESS: [(SPAN.start_ns, 0, 0), (SPAN.end_ns, -5_000, 0)]},
        },
        "market": {"awards": [award]},
    }


def ending(changed: dict[str, Any]) -> Ending:
    settings = load_settings(file=None, env={}, flags={})
    return Ending(scene=Scene(settings=settings, fleet=FLEET, span=SPAN), report={}, accounts=changed)


def failed(changed: dict[str, Any]) -> list[str]:
    return [verdict.name for verdict in REGULATION.verdicts(ending(changed)) if not verdict.passed]


def test_run_in_which_all_is_well_passes_and_tells_the_parts_of_its_score() -> None:
    good = accounts()
    assert failed(good) == []
    assert score(ending(good)).worst_frac > 0.95
    (hour,) = REGULATION.figures(ending(good))["hours"]
    parts = (hour["accuracy_frac"], hour["delay_frac"], hour["precision_frac"])
    assert hour["composite_frac"] == pytest.approx(sum(parts) / 3, abs=1e-4)


def test_each_verdict_can_fail() -> None:
    still = accounts()
    for step in still["homes"]["regulation"]["steps"]:
        step[1] = 0
    assert failed(still) == ["follows_the_signal"]
    turned = accounts()
    for step in turned["homes"]["regulation"]["steps"]:
        step[1] = -step[1]
    assert failed(turned) == ["follows_the_signal"], "more output is asked by a value above 0"
    short = accounts()
    for step in short["homes"]["regulation"]["steps"][300:]:
        step[3] -= 1
    assert failed(short) == ["armed_as_offered"]
    outsider = int(np.setdiff1d(np.arange(len(FLEET.site_ids)), ROWS)[0])
    for key, row in (("followed", outsider), ("commanded_while_armed", int(ROWS[0]))):
        other = copy.deepcopy(accounts())
        other["homes"]["regulation"][key][row] = 1
        assert failed(other) == ["others_are_kept_out"]
    missed = accounts()
    missed["homes"]["statistics"]["desired_missed"] = 1
    assert failed(missed) == ["nothing_missed"]
    idle = accounts()
    idle["homes"]["meters"][BESS][1] = (SPAN.end_ns, 0, 0)
    assert failed(idle) == ["the_rest_goes_on"]


def test_offer_is_what_half_of_the_homes_can_move() -> None:
    plate = FLEET.nameplate[ROWS]
    assert 0.2 < offer_w(FLEET) / 1e3 / plate["discharge_limit_kw"].sum() < 0.4
    assert REGULATION.fits(FLEET) == {"regulation.offer_kw": offer_w(FLEET) / 1e3}
    assert (np.diff(ROWS) >= 1).all()
    assert (plate["energy_capacity_kwh"] > 0).all()


def test_a_run_steps_as_finely_as_it_is_told_and_counts_what_is_on_its_way() -> None:
    minute = 60 * NS_PER_S
    start_ns = 10_000 * minute
    fine = [t for t in _instants(0, 15 * minute, start_ns, start_ns + 2 * minute, step_s=2) if t >= start_ns]
    assert fine == list(range(start_ns, start_ns + 2 * minute + 1, 2 * NS_PER_S))
    with pytest.raises(InvalidInputError, match="part of a minute"):
        _instants(0, 0, 0, minute, step_s=7)
    counted = {"desired_sent": 3, "durable_sent": 4, "armings_sent": 5, "broadcasts_sent": 1, "other": 9}
    assert _on_its_way(counted) == {"downlink_sent": 12, "broadcasts_sent": 1}
