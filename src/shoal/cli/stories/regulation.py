"""The story of regulation: half of the homes follow a market's signal every two seconds, the rest of the plant goes on.

The score is made of what the signal asked, as its sender noted it, and of what the homes' own meters say of all who were
armed; the plant sees neither. The network loses messages, brings them late and drops homes out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.cli.stories._events import battery_rows
from shoal.cli.stories.doors import programs
from shoal.cli.stories.story import Act, Ending, Scene, Story, Verdict
from shoal.control.regulation_sites import PROGRAM, rows_of_resource
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.services.performance_score import HOUR_STEPS, SAMPLE_S, PerformanceScore, performance_score
from shoal.simulate.fleet import BESS, VPP

LEAST_SCORE_FRAC: Final = 0.95
SIGNAL_EVERY_S: Final = 2
OFFER_FRAC: Final = 0.3
"""Of the rated power of those who follow."""
SETTLE_NS: Final = 300 * NS_PER_S
"""Homes that the evening has emptied can give nothing until the base has filled them a little: by the second arming."""
LEAST_ARMED_FRAC: Final = 0.99
"""Of the time: so long the homes hold as much as is offered."""
LEAST_DELIVERED_FRAC: Final = 0.98


def followers(fleet: Fleet) -> NDArray[np.int64]:
    """Return who follows: every second home with a battery; the owners of the others leave the program."""
    return rows_of_resource(fleet, VPP)[::2]


def offer_w(fleet: Fleet) -> int:
    """Return the capability that the market has assigned, the same up and down."""
    plate = fleet.nameplate[followers(fleet)]
    rated_kw = float(np.minimum(plate["charge_limit_kw"], plate["discharge_limit_kw"]).sum())
    return round(OFFER_FRAC * rated_kw) * 1_000


def followed(ending: Ending) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what was asked and what was done beyond the base in the run, means of 10 s, more output positive, in W."""
    span = ending.scene.span
    steps = int(span.duration_s) // SIGNAL_EVERY_S
    asked_w, done_w = np.zeros(steps), np.zeros(steps)
    capability_w = offer_w(ending.scene.fleet)
    for t_ns, value_frac in ending.accounts["signal"]["said"]:
        asked_w[(t_ns - span.start_ns) // NS_PER_S // SIGNAL_EVERY_S] = value_frac * capability_w
    for t_ns, beyond_w, *_ in ending.accounts["homes"]["regulation"]["steps"]:
        if span.contains(t_ns):
            done_w[(t_ns - span.start_ns) // NS_PER_S // SIGNAL_EVERY_S] = -beyond_w
    each = SAMPLE_S // SIGNAL_EVERY_S
    whole = steps // (HOUR_STEPS * each) * HOUR_STEPS * each
    return tuple(one[:whole].reshape(-1, each).mean(axis=1) for one in (asked_w, done_w))


def score(ending: Ending) -> PerformanceScore:
    """Return PJM's performance score of each whole hour of the run."""
    asked_w, done_w = followed(ending)
    return performance_score(asked_w, done_w, capability_w=offer_w(ending.scene.fleet))


def _acts(scene: Scene) -> Sequence[Act]:
    follow = set(followers(scene.fleet).tolist())
    others = [scene.fleet.site_ids[row] for row in battery_rows(scene).tolist() if row not in follow]

    def leave() -> int:
        return programs(scene).opt_out(PROGRAM, others, at_ns=0, by="owner", said_ns=scene.span.start_ns)

    return [Act(at_ns=0, what=f"the owners of {len(others)} sites keep out of regulation", do=leave)]


def _fits(fleet: Fleet) -> Mapping[str, object]:
    return {"regulation.offer_kw": offer_w(fleet) / 1e3}


def _figures(ending: Ending) -> Mapping[str, Any]:
    found, told = score(ending), ending.accounts["homes"]["regulation"]
    names = ("accuracy_frac", "delay_frac", "precision_frac", "composite_frac")
    return {
        "offer_kw": offer_w(ending.scene.fleet) / 1e3,
        "hours": [
            {name: round(float(getattr(found, name)[hour]), 4) for name in names}
            for hour in range(len(found.composite_frac))
        ],
        "signals": len(ending.accounts["signal"]["said"]),
        "homes": told["counts"],
    }


def _verdicts(ending: Ending) -> Sequence[Verdict]:
    scene, homes = ending.scene, ending.accounts["homes"]
    told, rows, span = homes["regulation"], followers(scene.fleet), scene.span
    hours = score(ending)
    capability_w = offer_w(scene.fleet)
    held = [
        min(up, down) >= capability_w for t, _, _, up, down in told["steps"] if t >= span.start_ns + SETTLE_NS
    ]
    held_frac = sum(held) / max(
        int(span.duration_s) // SIGNAL_EVERY_S - SETTLE_NS // NS_PER_S // SIGNAL_EVERY_S, 1
    )
    followed_by = np.array(told["followed"])
    others = np.delete(followed_by, rows)
    commanded = int(np.array(told["commanded_while_armed"]).sum())
    parts = ", ".join(
        f"{total:.3f} ({accuracy:.3f}, {delay:.3f}, {precision:.3f})"
        for total, accuracy, delay, precision in zip(
            hours.composite_frac, hours.accuracy_frac, hours.delay_frac, hours.precision_frac, strict=True
        )
    )
    return [
        Verdict(
            name="follows_the_signal",
            passed=hours.worst_frac >= LEAST_SCORE_FRAC,
            found=f"by the hour (accuracy, delay, precision): {parts}",
            wanted=f"at least {LEAST_SCORE_FRAC:g} each hour",
        ),
        Verdict(
            name="armed_as_offered",
            passed=held_frac >= LEAST_ARMED_FRAC,
            found=f"the homes hold {capability_w / 1e3:g} kW both ways {held_frac:.2%} of the time",
            wanted=f"at least {LEAST_ARMED_FRAC:.0%}",
        ),
        Verdict(
            name="others_are_kept_out",
            passed=int(others.sum()) == 0 and commanded == 0 and bool((followed_by[rows] > 0).all()),
            found=f"{int((followed_by[rows] > 0).sum())} of {len(rows)} follow, {int((others > 0).sum())} others; "
            f"{commanded} set-points of somebody else to who follows",
            wanted="all, 0; 0",
        ),
        Verdict(
            name="nothing_missed",
            passed=homes["statistics"]["desired_missed"] == 0,
            found=f"{homes['statistics']['desired_missed']} messages that were sent and never came to a device",
            wanted="0: what the network loses is drawn after that",
        ),
        _rest(ending),
    ]


def _rest(ending: Ending) -> Verdict:
    """Return whether the big battery went on delivering what it was awarded, hour by hour, by its own meter."""
    span = ending.scene.span
    reading = {t_ns: net_wh for t_ns, net_wh, _ in ending.accounts["homes"]["meters"][BESS]}
    asked = met = 0
    for award in ending.accounts["market"]["awards"]:
        if award["resource_id"] != BESS:
            continue
        for interval in award["intervals"]:
            start_ns, end_ns = interval["start_ns"], interval["end_ns"]
            if start_ns < span.start_ns or end_ns > span.end_ns or end_ns - start_ns != NS_PER_HOUR:
                continue
            energy_wh, done_wh = interval["energy_wh"], reading[end_ns] - reading[start_ns]
            asked += abs(energy_wh)
            met += min(abs(done_wh), abs(energy_wh)) if done_wh * energy_wh > 0 else 0
    share = met / asked if asked else 1.0
    return Verdict(
        name="the_rest_goes_on",
        passed=share >= LEAST_DELIVERED_FRAC,
        found=f"the big battery delivered {share:.1%} of {asked / 1e6:,.1f} MWh",
        wanted=f"at least {LEAST_DELIVERED_FRAC:.0%}",
    )


REGULATION: Final = Story(
    name="regulation",
    title="Homes follow a regulation signal",
    tells="Every two seconds a market says how much more or less it wants. Half of the homes follow by one broadcast a tick, "
    "over a network that loses one message in twenty and drops homes out; the other half and the big battery go on as before.",
    settings={
        "demo.plants": "all",
        "demo.sites": 200,
        "demo.duration_s": 2 * 3_600,
        "demo.step_s": SIGNAL_EVERY_S,
        "demo.drop_out_frac": 0.02,
        "demo.drop_out_mean_s": 300.0,
        "demo.loss_frac": 0.05,
        "demo.latency_s": 0.2,
        "regulation.resource": str(VPP),
        "regulation.signal_every_s": float(SIGNAL_EVERY_S),
    },
    acts=_acts,
    verdicts=_verdicts,
    fits=_fits,
    figures=_figures,
)
