"""The story of an island: a hamlet loses the grid for a day and a half, keeps its lights on, and comes back unnoticed.

What it lived through is the hamlet's own account; what the plant made of it is read from its audit, its decisions and the
others' meters in history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from shoal.cli.stories._events import MOST_STEP_FRAC, battery_rows
from shoal.cli.stories.doors import ledger, orders
from shoal.cli.stories.seen import Seen, reserve_kept, seen
from shoal.cli.stories.story import Ending, Story, Verdict
from shoal.control.event_desk import GRID_BACK, GRID_LOST
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, Interval
from shoal.simulate.fleet import VPP
from shoal.simulate.hamlet import HAMLET

LOST_AFTER_H: Final = 1
LASTS_H: Final = 36
MOST_STEPS: Final = 2
"""Steps of a minute until the plant counts on an island no more: its word comes with the first, or a little after it."""
LEAST_DELIVERED_FRAC: Final = 0.98
AROUND_NS: Final = 30 * NS_PER_MINUTE
RETURN_NS: Final = 2 * NS_PER_HOUR


def _island(ending: Ending) -> Mapping[str, Any]:
    told: Mapping[str, Any] = ending.accounts["homes"]["island"]
    return told


def _span(ending: Ending) -> Interval:
    told = _island(ending)
    return Interval(start_ns=told["start_ns"], end_ns=told["end_ns"])


def _verdicts(ending: Ending) -> Sequence[Verdict]:
    scene, told, island = ending.scene, _island(ending), _span(ending)
    shown = seen(scene, scene.span)
    rules = told["rules_litres_even"]
    best = min(rules, key=rules.get)
    floor_kwh = min(told["floor_kwh"], told["start_kwh"])
    return [
        Verdict(
            name="lights_stay_on",
            passed=told["unserved_kwh"] == 0,
            found=f"{told['unserved_kwh']:g} kWh not served",
            wanted="0 kWh",
        ),
        Verdict(
            name="battery_within_its_reserve",
            passed=told["lowest_kwh"] >= floor_kwh - 0.1,
            found=f"at least {told['lowest_kwh']:.1f} kWh stored, {told['starts']} starts of the generator",
            wanted=f"{floor_kwh:.1f} kWh",
        ),
        Verdict(
            name="less_fuel_than_by_rule",
            passed=told["fuel_litres_even"] < rules[best],
            found=f"{told['fuel_litres_even']:.2f} litres, with the energy that is left counted as fuel",
            wanted=f"less than {rules[best]:.2f} by {best}",
        ),
        _noticed(ending, GRID_LOST, island.start_ns, "out_of_the_plant_at_once"),
        _noticed(ending, GRID_BACK, island.end_ns, "back_at_once"),
        _not_offered(ending, island),
        _carried(ending, shown, island),
        *_returned(ending, shown, island),
        reserve_kept(scene, shown),
    ]


def _noticed(ending: Ending, action: str, at_ns: int, name: str) -> Verdict:
    """Return whether the plant took note of what became of the grid within its steps."""
    said = [line.at_ns for line in orders(ending.scene).audit(100, subject=HAMLET) if line.action == action]
    steps = (min(said) - at_ns) / NS_PER_MINUTE if said else np.inf
    return Verdict(
        name=name,
        passed=0 <= steps <= MOST_STEPS and len(said) == 1,
        found=f"after {steps:g} steps, {len(said)} times",
        wanted=f"within {MOST_STEPS} steps, once",
    )


def _not_offered(ending: Ending, island: Interval) -> Verdict:
    """Return whether what was decided in the island for the gates that close in it left the site out."""
    found = ledger(ending.scene).decisions(str(VPP), from_ns=island.start_ns, to_ns=island.end_ns)
    reasons = []
    for one in found:
        if not island.contains(one.as_of_ns):
            continue
        offered = msgspec.json.decode(one.situation).get("offered") or {}
        reasons.append({line["reason"]: line["energy_kwh"] for line in offered.get("withheld", ())})
    left = [each.get("islanded", 0.0) for each in reasons]
    return Verdict(
        name="not_offered_at_the_next_gate",
        passed=bool(left) and min(left) > 0,
        found=f"{len(left)} decisions, {min(left, default=0.0):.0f} kWh left out as islanded",
        wanted="all of it, of every decision made meanwhile",
    )


def _carried(ending: Ending, shown: Seen, island: Interval) -> Verdict:
    """Return whether the others delivered all that was awarded, hour by hour, by their meters."""
    row = _island(ending)["row"]
    others = np.delete(np.arange(len(shown.there)), row)
    asked = met = 0.0
    for award in ending.accounts["market"]["awards"]:
        if award["resource_id"] != VPP:
            continue
        for interval in award["intervals"]:
            hour = Interval(start_ns=interval["start_ns"], end_ns=interval["end_ns"])
            if hour.start_ns < island.start_ns or hour.end_ns > island.end_ns:
                continue
            first, last = np.searchsorted(shown.t_ns, [hour.start_ns, hour.end_ns])
            ends = shown.net_wh[others, min(last, len(shown.t_ns) - 1)]
            done_wh = float((ends - shown.net_wh[others, first]).sum())
            asked += abs(interval["energy_wh"])
            met += min(abs(done_wh), abs(interval["energy_wh"])) if done_wh * interval["energy_wh"] > 0 else 0
    share = met / asked if asked else 0.0
    return Verdict(
        name="others_carry_its_part",
        passed=share >= LEAST_DELIVERED_FRAC,
        found=f"{share:.1%} of {asked / 1e3:,.0f} kWh that were awarded for these hours",
        wanted=f"at least {LEAST_DELIVERED_FRAC:.0%}",
    )


def _returned(ending: Ending, shown: Seen, island: Interval) -> list[Verdict]:
    """Return whether it obeyed nobody meanwhile, went back to what it did before, and nothing leapt."""
    told, plate = _island(ending), ending.scene.fleet.nameplate
    row, rows = told["row"], battery_rows(ending.scene)
    rated_w = 1e3 * float(np.maximum(plate["charge_limit_kw"], plate["discharge_limit_kw"])[rows].sum())
    steps = []
    for at_ns in (island.start_ns, island.end_ns):
        around = shown.within(Interval(start_ns=at_ns - AROUND_NS, end_ns=at_ns + AROUND_NS))
        # what the hamlet's battery does for its own lights in the island is no concern of the grid's
        grid_w = around["battery_w"][rows].sum(axis=0) - np.where(
            (around.t_ns > island.start_ns) & (around.t_ns <= island.end_ns), around["battery_w"][row], 0
        )
        steps.append(float(np.abs(np.diff(grid_w)).max(initial=0)) / rated_w)
    under = shown["command_version"] > 0
    inside = (shown.t_ns > island.start_ns) & (shown.t_ns <= island.end_ns)
    before = (shown.t_ns > island.start_ns - NS_PER_HOUR) & (shown.t_ns <= island.start_ns)
    after = (shown.t_ns > island.end_ns) & (shown.t_ns <= island.end_ns + RETURN_NS)
    was, again = bool(under[row, before].any()), bool(under[row, after].any())
    commanded = int(under[row, inside].sum())
    return [
        Verdict(
            name="obeys_nobody_meanwhile",
            passed=commanded == 0,
            found=f"{commanded} samples under a set-point",
            wanted="0",
        ),
        Verdict(
            name="prior_mode_restored",
            passed=was == again,
            found=f"{'under' if was else 'under no'} set-points before, {'under' if again else 'under no'} set-points after",
            wanted="the same",
        ),
        Verdict(
            name="no_step",
            passed=max(steps) <= MOST_STEP_FRAC,
            found=f"{steps[0]:.1%} of the rated power within a minute when the grid is lost, {steps[1]:.1%} when it is back",
            wanted=f"at most {MOST_STEP_FRAC:.0%}",
        ),
    ]


ISLANDED: Final = Story(
    name="islanded",
    title="A hamlet loses the grid, and its lights stay on",
    tells="A few homes behind one meter, with a roof, a battery and a generator, lose the grid for a day and a half. The "
    "plant counts on them no more from the first word of it, the others carry their part; afterwards they go on as before.",
    settings={
        "demo.plants": "homes",
        "demo.sites": 100,
        "demo.from_day": "2021-10-20",
        "demo.duration_s": 39 * 3_600,
        "demo.island_after_s": LOST_AFTER_H * 3_600,
        "demo.island_s": LASTS_H * 3_600,
    },
    verdicts=_verdicts,
    figures=_island,
)
