"""The stories of plants that earn in a market: one big battery, then many homes through the very same code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from shoal.cli.stories.story import Ending, Story, Verdict, at_least

LEAST_DELIVERED_FRAC: Final = 0.98


def _earning(ending: Ending) -> Sequence[Verdict]:
    report = ending.report
    return [
        at_least("awarded", float(report["award_mwh"]), 1e-6, "MWh"),
        at_least("delivered_share", report["delivered_share"], LEAST_DELIVERED_FRAC),
        at_least("revenue", float(report["revenue"]), 0.0, str(report["currency"])),
        Verdict(
            name="never_above_foresight",
            passed=report["revenue"] <= report["revenue_perfect_foresight"],
            found=f"{report['revenue']:,.2f}",
            wanted=f"at most {report['revenue_perfect_foresight']:,.2f}",
        ),
    ]


BATTERY: Final = Story(
    name="battery",
    title="One big battery in a market",
    tells="A 10 MW, 20 MWh battery bids a day ahead on real prices, is dispatched minute by minute and paid by its meter. "
    "This is how such plants begin: one resource, all of the loop.",
    settings={"demo.plants": "battery", "demo.duration_s": 2 * 86_400},
    verdicts=_earning,
)

MARKET: Final = Story(
    name="market",
    title="Homes in a market",
    tells="Hundreds of homes bid as one battery. Each keeps its owner's reserve; those that fall silent leave the "
    "capacity that is offered, and the others carry what they cannot.",
    settings={"demo.plants": "homes", "demo.duration_s": 2 * 86_400},
    verdicts=_earning,
)
