"""The story of a utility's peak: homes shave it with what they have, softly, and nobody pays for it afterwards.

Here the utility's program goes before the market, which is a change of data: the book of programs in another order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from shoal.cli.stories._events import (
    battery_rows,
    calling,
    delivered_verdict,
    delivered_wh,
    hours,
    no_step_verdict,
    payment_verdict,
    settled,
    sun_only_verdict,
)
from shoal.cli.stories.doors import programs
from shoal.cli.stories.seen import reserve_kept, seen
from shoal.cli.stories.story import Act, Ending, Scene, Story, Verdict
from shoal.control.peak import PEAK_POLICY, PROGRAM
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S, Interval
from shoal.programs.program import ProgramBook

EVENT: Final = "evening-peak"
CALLED_AFTER_H: Final = 12
BEGINS_AFTER_H: Final = 18
LASTS_H: Final = 2
HOME_KW: Final = 0.8
"""What each home with a battery takes off the peak, on average."""
PRICE_PER_MWH: Final = 1_000.0
MOST_FED_IN_FRAC: Final = 0.05
"""Of the energy delivered: loads fall faster than a home is told anew."""


def _window(span: Interval) -> Interval:
    return hours(span, BEGINS_AFTER_H, LASTS_H)


def _target_kw(scene: Scene) -> float:
    return round(HOME_KW * len(battery_rows(scene)), 1)


def _acts(scene: Scene) -> Sequence[Act]:
    called_ns = scene.span.start_ns + CALLED_AFTER_H * NS_PER_HOUR

    def peak_first() -> list[str]:
        store = programs(scene)
        book = store.book().programs
        before = [one for one in book if one.id != PROGRAM]
        place = [one.id for one in before].index("market")
        before.insert(place, next(one for one in book if one.id == PROGRAM))
        store.save_book(ProgramBook(programs=tuple(before)))
        return [one.id for one in before]

    call = calling(
        scene,
        event_id=EVENT,
        program=PROGRAM,
        target_kw=_target_kw(scene),
        window=_window(scene.span),
        at_ns=called_ns,
        price_per_mwh=PRICE_PER_MWH,
        feeds_in=False,
    )
    return [
        Act(at_ns=scene.span.start_ns, what="the utility's peaks go before the market", do=peak_first),
        Act(at_ns=called_ns, what=f"a peak is called: {_target_kw(scene):g} kW off this evening", do=call),
    ]


def _verdicts(ending: Ending) -> Sequence[Verdict]:
    scene = ending.scene
    window, rows = _window(scene.span), battery_rows(scene)
    shown = seen(scene, scene.span)
    given_wh = delivered_wh(shown, rows, window, {})
    during = shown.within(window)
    net_w = during["battery_w"] + during["load_w"] + during["solar_w"] + during["ev_w"]
    fed_in_w = np.minimum(np.maximum(-net_w, 0), np.maximum(-during["battery_w"], 0))
    fed_in_frac = float(fed_in_w[rows].sum()) / 60.0 / max(float(given_wh.sum()), 1.0)
    called_ns = scene.span.start_ns + CALLED_AFTER_H * NS_PER_HOUR
    return_ns = int(PEAK_POLICY.return_s * NS_PER_S)
    return [
        delivered_verdict(shown, rows, window, _target_kw(scene), {}),
        Verdict(
            name="own_load_and_no_more",
            passed=fed_in_frac <= MOST_FED_IN_FRAC,
            found=f"{fed_in_frac:.1%} of the energy went into the grid",
            wanted=f"at most {MOST_FED_IN_FRAC:.0%}",
        ),
        no_step_verdict(scene, shown, rows, Interval(start_ns=called_ns, end_ns=window.end_ns + return_ns)),
        sun_only_verdict(
            shown, rows, "no_rebound", Interval(start_ns=window.end_ns, end_ns=window.end_ns + return_ns)
        ),
        payment_verdict(settled(scene, EVENT), float(given_wh.sum())),
        reserve_kept(scene, shown),
    ]


PEAK: Final = Story(
    name="peak",
    title="Homes shave a utility's peak",
    tells="The utility calls for the evening at noon. Homes take part of their own load off the grid and none feeds in; they "
    "begin and end softly, and afterwards nobody charges from the grid.",
    settings={"demo.plants": "homes", "demo.duration_s": 86_400},
    acts=_acts,
    verdicts=_verdicts,
)
