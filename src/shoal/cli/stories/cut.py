"""The story of a cloud that is gone for hours: what the sites do meanwhile, and how they come back.

What each site did comes from history, which holds it although nobody could hear it at the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.cli.history_store import open_history
from shoal.cli.roles.homes import cut_of
from shoal.cli.stories.story import Ending, Story, Verdict
from shoal.domain.interval import NS_PER_MINUTE, NS_PER_S, Interval

CUT_AFTER_H: Final = 9
CUT_H: Final = 6
RESTING_LEASES: Final = 3
"""Standing still is asked for so many leases at a time."""
RETURN_MINUTES: Final = 30
MOST_STEP_FRAC: Final = 0.25
"""Most that all batteries together may change within a minute after the return, of their rated power."""


def _verdicts(ending: Ending) -> Sequence[Verdict]:
    scene = ending.scene
    cut = cut_of(scene.settings)
    if cut is None:
        return [Verdict(name="cut", passed=False, found="none", wanted="a cut: see demo.cut_s")]
    lease_ns = int(RESTING_LEASES * scene.settings.control.lease_s * NS_PER_S)
    alone = Interval(start_ns=cut.start_ns + lease_ns, end_ns=cut.end_ns)
    minutes, sites = cut.duration_s / 60, len(scene.fleet.site_ids)
    with closing(open_history(scene.settings)) as history:
        between = "FROM telemetry WHERE ts_ns > ? AND ts_ns <= ?"
        table = history.query(
            f"SELECT count(*) AS n, count(DISTINCT (site_no, ts_ns)) AS once {between}",
            [cut.start_ns, cut.end_ns],
            span_ns=(cut.start_ns, cut.end_ns + NS_PER_MINUTE),
        )
        found, once = int(table["n"][0].as_py()), int(table["once"][0].as_py())
        table = history.query(
            f"SELECT count(*) AS n {between} AND command_version > 0",
            [alone.start_ns, alone.end_ns],
            span_ns=(alone.start_ns, alone.end_ns + NS_PER_MINUTE),
        )
        commanded = int(table["n"][0].as_py())
        after_ns = cut.end_ns + RETURN_MINUTES * NS_PER_MINUTE
        table = history.query(
            f"SELECT ts_ns, sum(battery_w) AS w {between} GROUP BY ts_ns ORDER BY ts_ns",
            [cut.end_ns - NS_PER_MINUTE, after_ns],
            span_ns=(cut.end_ns - NS_PER_MINUTE, after_ns + NS_PER_MINUTE),
        )
        power_w = np.array(table["w"].to_pylist(), dtype=np.float64)
    plate = scene.fleet.nameplate
    rated_w = 1e3 * float(np.maximum(plate["charge_limit_kw"], plate["discharge_limit_kw"]).sum())
    wanted = round(minutes) * sites
    step = _largest_step(power_w) / rated_w
    return [
        Verdict(
            name="backfill",
            passed=found == once == wanted,
            found=f"{once:,} samples of the cut, {found - once} of them twice",
            wanted=f"{wanted:,}, each once",
        ),
        Verdict(
            name="alone_when_leases_end",
            passed=commanded == 0,
            found=f"{commanded} samples under a command",
            wanted="0 when every lease had ended",
        ),
        Verdict(
            name="no_step_at_the_return",
            passed=step <= MOST_STEP_FRAC,
            found=f"{step:.1%} of the rated power within a minute",
            wanted=f"at most {MOST_STEP_FRAC:.0%}",
        ),
    ]


def _largest_step(power_w: NDArray[np.float64]) -> float:
    return float(np.abs(np.diff(power_w)).max(initial=0.0))


CUT: Final = Story(
    name="cut",
    title="The cloud is gone for six hours",
    tells="Every site loses the plant in the middle of the day. Leases end, each goes on by itself within its owner's "
    "reserve and keeps what it measures; when the plant is back, all of it is told and nobody leaps.",
    settings={
        "demo.plants": "homes",
        "demo.duration_s": 86_400,
        "demo.cut_after_s": CUT_AFTER_H * 3_600,
        "demo.cut_s": CUT_H * 3_600,
    },
    verdicts=_verdicts,
)
