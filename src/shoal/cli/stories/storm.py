"""The story of a storm: homes in its way fill up and hold, whatever the market pays, and get back exactly what they had.

What each home did comes from history; where it stands is compared with the storm's edge by plain arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.cli.stories.doors import ledger, weather_alerts
from shoal.cli.stories.seen import reserve_kept, seen
from shoal.cli.stories.story import Act, Ending, Scene, Story, Verdict
from shoal.control.event_calls import STATE
from shoal.domain.alert import Area, WeatherAlert
from shoal.domain.ids import ResourceId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, Interval
from shoal.store.weather_alerts import KeptAlert

ISSUED_AFTER_H: Final = 10
BEGINS_AFTER_H: Final = 18
HOLDS_H: Final = 10
LEAST_SOC_FRAC: Final = 0.99
"""Full, but for the standing loss between two samples."""
SETTLE_NS: Final = 30 * NS_PER_MINUTE
"""Sites begin and end at places of their own within a quarter of an hour; one that is cut off hears of it later."""
LEAST_SHARE: Final = 0.95
"""Of homes: the network loses some for a while."""


def storm_times(span: Interval) -> tuple[int, Interval]:
    """Return when the alert is issued, and when it is in force."""
    begin_ns = span.start_ns + BEGINS_AFTER_H * NS_PER_HOUR
    return span.start_ns + ISSUED_AFTER_H * NS_PER_HOUR, Interval(
        start_ns=begin_ns, end_ns=begin_ns + HOLDS_H * NS_PER_HOUR
    )


def edge_deg(scene: Scene) -> float:
    """Return the longitude to whose west the storm is: half of the homes."""
    longitudes = np.sort(scene.fleet.longitude_deg)
    middle = len(longitudes) // 2
    return round(float(longitudes[middle - 1] + longitudes[middle]) / 2.0, 5)


def _in_its_way(scene: Scene) -> NDArray[np.bool_]:
    has_battery = scene.fleet.nameplate["energy_capacity_kwh"] > 0
    west: NDArray[np.bool_] = (scene.fleet.longitude_deg < edge_deg(scene)) & has_battery
    return west


def _acts(scene: Scene) -> Sequence[Act]:
    issued_ns, effective = storm_times(scene.span)
    fleet = scene.fleet
    west, south = float(fleet.longitude_deg.min()) - 0.5, float(fleet.latitude_deg.min()) - 0.5
    east, north = edge_deg(scene), float(fleet.latitude_deg.max()) + 0.5
    ring = ((west, south), (east, south), (east, north), (west, north), (west, south))

    def issue() -> int:
        alert = WeatherAlert(
            alert_id="ice-storm",
            event="Ice Storm Warning",
            severity="severe",
            area=Area(polygons=((ring,),)),
            effective=effective,
        )
        kept = KeptAlert.of(alert, taken_ns=issued_ns, taken_by="weather service")
        weather_alerts(scene).record([kept], now_ns=issued_ns)
        return int(_in_its_way(scene).sum())

    return [Act(at_ns=issued_ns, what="an ice storm is coming from the west", do=issue)]


def _verdicts(ending: Ending) -> Sequence[Verdict]:
    scene = ending.scene
    issued_ns, force = storm_times(scene.span)
    inside = _in_its_way(scene)
    outside = ~inside & (scene.fleet.nameplate["energy_capacity_kwh"] > 0)
    shown = seen(scene, scene.span)
    before = shown.within(Interval(start_ns=issued_ns - NS_PER_HOUR, end_ns=issued_ns))
    storm = shown.within(Interval(start_ns=issued_ns + SETTLE_NS, end_ns=force.end_ns))
    during = shown.within(force)
    after = shown.within(Interval(start_ns=force.end_ns + SETTLE_NS, end_ns=force.end_ns + 3 * NS_PER_HOUR))
    full = np.where(during.there, during["soc_frac"], np.inf).min(axis=1) >= LEAST_SOC_FRAC
    reached = float(full[inside].mean())
    commanded = storm["command_version"] > 0
    ruled_in = float(commanded[inside][storm.there[inside]].mean())
    ruled_out = float(commanded[outside][storm.there[outside]].mean())
    strange = storm.from_grid & ~commanded
    was = (before["command_version"] > 0).any(axis=1)
    again = (after["command_version"] > 0).any(axis=1)
    kept = ledger(scene).load_state(ResourceId(STATE))
    return [
        Verdict(
            name="full_when_it_comes",
            passed=reached >= LEAST_SHARE,
            found=f"{reached:.1%} of {int(inside.sum())} homes full from beginning to end",
            wanted=f"at least {LEAST_SHARE:.0%}",
        ),
        Verdict(
            name="outranks_the_market",
            passed=ruled_in <= 1.0 - LEAST_SHARE < ruled_out,
            found=f"{ruled_in:.1%} of the samples inside under the market's set-points, {ruled_out:.1%} outside",
            wanted=f"at most {1.0 - LEAST_SHARE:.0%} inside",
        ),
        Verdict(
            name="nobody_else_is_touched",
            passed=not strange[outside].any(),
            found=f"{int(strange[outside].sum())} samples outside that charge from the grid by no set-point",
            wanted="0",
        ),
        Verdict(
            name="prior_mode_restored",
            passed=bool(np.array_equal(was & inside, was & again & inside)),
            found=f"{int((was & again & inside).sum())} of {int((was & inside).sum())} follow the market again",
            wanted="all who did before",
        ),
        Verdict(
            name="nothing_is_left_of_it",
            passed=kept is not None and b'"storm":{}' in kept.state,
            found="nothing is kept back" if kept is not None else "no storm was ever kept",
            wanted="no home is the storm's any more",
        ),
        reserve_kept(scene, shown),
    ]


STORM: Final = Story(
    name="storm",
    title="A storm comes, and the homes in its way fill up",
    tells="A severe weather alert covers the western half of the homes. They charge to the brim and hold while the market goes "
    "on with the others; when it has passed each goes back to exactly what it did before.",
    settings={"demo.plants": "homes", "demo.duration_s": 36 * 3_600},
    acts=_acts,
    verdicts=_verdicts,
)
