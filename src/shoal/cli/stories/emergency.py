"""The story of a grid emergency: called in the morning for the evening, prepared from the sun, kept in spite of who leaves.

What came of it is read from the batteries' meters in history, and settled as the plant settles it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from shoal.cli.stories._events import (
    SETTLE_NS,
    battery_rows,
    beyond_own_use,
    calling,
    delivered_verdict,
    delivered_wh,
    hours,
    no_step_verdict,
    payment_verdict,
    settled,
    sun_only_verdict,
    usable_kwh,
)
from shoal.cli.stories.doors import programs
from shoal.cli.stories.seen import reserve_kept, seen
from shoal.cli.stories.story import Act, Ending, Scene, Story, Verdict
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, Interval

EVENT: Final = "grid-emergency"
CALLED_AFTER_H: Final = 8
BEGINS_AFTER_H: Final = 17
LASTS_H: Final = 2
LEAVES_NS: Final = 30 * NS_PER_MINUTE
KEEPS_MORE_NS: Final = 60 * NS_PER_MINUTE
KEEPS_FRAC: Final = 0.9
TARGET_FRAC: Final = 0.3
"""Of what full batteries give."""
PRICE_PER_MWH: Final = 2_000.0


def _window(span: Interval) -> Interval:
    return hours(span, BEGINS_AFTER_H, LASTS_H)


def _target_kw(scene: Scene) -> float:
    return round(TARGET_FRAC * usable_kwh(scene) / LASTS_H, 1)


def _two_homes(scene: Scene) -> tuple[int, int]:
    """Return who leaves and who keeps more: the two largest."""
    order = np.argsort(-scene.fleet.nameplate["energy_capacity_kwh"], kind="stable")
    return int(order[0]), int(order[1])


def _acts(scene: Scene) -> Sequence[Act]:
    window, fleet = _window(scene.span), scene.fleet
    called_ns = scene.span.start_ns + CALLED_AFTER_H * NS_PER_HOUR
    leaves_ns, keeps_ns = window.start_ns + LEAVES_NS, window.start_ns + KEEPS_MORE_NS
    leaver, keeper = (fleet.site_ids[row] for row in _two_homes(scene))

    def leave() -> int:
        return programs(scene).opt_out("emergency", [leaver], at_ns=leaves_ns, by="owner", said_ns=leaves_ns)

    def keep_more() -> int:
        return programs(scene).promise(
            "reserve_frac", [keeper], KEEPS_FRAC, at_ns=keeps_ns, by="owner", said_ns=keeps_ns
        )

    call = calling(
        scene,
        event_id=EVENT,
        program="emergency",
        target_kw=_target_kw(scene),
        window=window,
        at_ns=called_ns,
        price_per_mwh=PRICE_PER_MWH,
    )
    return [
        Act(at_ns=called_ns, what=f"an emergency is called: {_target_kw(scene):g} kW this evening", do=call),
        Act(at_ns=leaves_ns, what=f"the owner of {leaver} leaves the event", do=leave),
        Act(at_ns=keeps_ns, what=f"the owner of {keeper} keeps {KEEPS_FRAC:.0%} from now on", do=keep_more),
    ]


def _verdicts(ending: Ending) -> Sequence[Verdict]:
    scene = ending.scene
    window, rows = _window(scene.span), battery_rows(scene)
    called_ns = scene.span.start_ns + CALLED_AFTER_H * NS_PER_HOUR
    leaver, keeper = _two_homes(scene)
    left_ns = {leaver: window.start_ns + LEAVES_NS}
    shown = seen(scene, scene.span)
    capacity_kwh = scene.fleet.nameplate["energy_capacity_kwh"]
    called, begins = np.searchsorted(shown.t_ns, [called_ns, window.start_ns - SETTLE_NS])
    stored_kwh = [float((shown["soc_frac"][:, at] * capacity_kwh).sum()) for at in (called, begins)]
    after_leaving = Interval(start_ns=left_ns[leaver] + SETTLE_NS, end_ns=window.end_ns)
    after_raise = Interval(start_ns=window.start_ns + KEEPS_MORE_NS + SETTLE_NS, end_ns=window.end_ns)
    stayed = rows[rows != leaver]
    own = [beyond_own_use(shown, leaver, after_leaving), beyond_own_use(shown, keeper, after_raise)]
    found, moved = settled(scene, EVENT), settled(scene, EVENT, "pjm-hour-before")
    line = next(one for one in found.lines if one.site_id == scene.fleet.site_ids[leaver])
    reasons = sorted({one.detail for one in moved.lines})
    return [
        sun_only_verdict(
            shown,
            rows,
            "prepared_from_the_sun",
            Interval(start_ns=called_ns + 2 * SETTLE_NS, end_ns=window.start_ns),
        ),
        Verdict(
            name="energy_gained",
            passed=stored_kwh[1] > stored_kwh[0],
            found=f"{stored_kwh[0]:,.1f} kWh at the call, {stored_kwh[1]:,.1f} kWh before it begins",
            wanted="more than before",
        ),
        delivered_verdict(shown, rows, window, _target_kw(scene), left_ns),
        Verdict(
            name="owners_have_the_last_word",
            passed=own == [0, 0],
            found=f"{own[0]} samples of who left, {own[1]} of who keeps more, beyond what their own homes use",
            wanted="0 of either",
        ),
        sun_only_verdict(
            shown,
            stayed,
            "no_rebound",
            Interval(start_ns=window.end_ns, end_ns=window.end_ns + 2 * NS_PER_HOUR),
        ),
        no_step_verdict(
            scene, shown, rows, Interval(start_ns=called_ns, end_ns=window.end_ns + 2 * NS_PER_HOUR)
        ),
        payment_verdict(found, float(delivered_wh(shown, rows, window, left_ns).sum())),
        Verdict(
            name="who_left_is_paid_until_then",
            passed=line.reason == "left_early" and line.amount > 0,
            found=f"{line.reason}, {line.amount / 1e8:,.4f} {found.currency}",
            wanted="left_early, and what was done until then",
        ),
        Verdict(
            name="no_baseline_from_hours_it_moved",
            passed=moved.amount == 0 and reasons == ["window disturbed"],
            found=f"{moved.rule_name}: {', '.join(reasons)}",
            wanted="no baseline from hours in which the plant itself charged the homes",
        ),
        reserve_kept(scene, shown),
    ]


EMERGENCY: Final = Story(
    name="emergency",
    title="A grid emergency, called hours ahead",
    tells="In the morning an emergency is called for the evening. Homes fill up from surplus sun, hold, and deliver what was "
    "called; one owner leaves and another keeps more in the middle of it, and the others carry their part.",
    settings={"demo.plants": "homes", "demo.duration_s": 86_400},
    acts=_acts,
    verdicts=_verdicts,
)
