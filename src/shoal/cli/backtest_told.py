"""The figures of a back-test, as an object for ``--json`` and as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import typer

from shoal.cli.options import print_columns
from shoal.settle.attribution import STEPS

if TYPE_CHECKING:
    from pathlib import Path

    from shoal.cli.backtest_runs import Tested

KW_PER_MW: Final = 1_000.0
KWH_PER_MWH: Final = 1_000.0
AMOUNTS_PER_UNIT: Final = 100_000_000


def as_object(tested: Tested) -> dict[str, Any]:
    """Return the figures for ``--json``."""
    score, storage = tested.score, tested.setting.storage
    told: dict[str, Any] = {
        "market": tested.setting.market.market_id,
        "product": tested.product,
        "point": tested.point,
        "currency": tested.setting.market.currency,
        "strategy": tested.strategy,
        "power_mw": storage.discharge_limit_kw / KW_PER_MW,
        "duration_h": storage.energy_capacity_kwh / storage.discharge_limit_kw,
        "round_trip": storage.charge_efficiency_frac * storage.discharge_efficiency_frac,
        "degradation_per_mwh": storage.throughput_cost_per_mwh,
        "from": tested.days.day[0].isoformat(),
        "last_day": tested.days.day[-1].isoformat(),
        "days": len(tested.days.day),
        "revenue": score.revenue,
        "revenue_perfect_foresight": score.revenue_perfect_foresight,
        "share_of_perfect_foresight": score.share_of_perfect_foresight,
        "share_without_richest_days": score.share_without_richest_days,
        "perfect_share_in_richest_days": score.perfect_share_in_richest_days,
        "richest_days": [tested.days.day[at].isoformat() for at in tested.days.richest().tolist()],
    }
    if tested.daily is not None:
        told |= _daily(tested)
    for name, other in tested.baselines.items():
        told[f"revenue_{name}"] = other.revenue
        told[f"share_{name}"] = other.share_of_perfect_foresight
        told[f"share_without_richest_days_{name}"] = other.share_without_richest_days
    told["attribution"] = _attribution(tested)
    if tested.rungs:
        settled = {kind: amount / AMOUNTS_PER_UNIT for kind, amount in tested.kind_amount.items()}
        told |= {"settled": settled, "rungs": tested.rungs, "reasons": tested.reasons}
    return told | {
        "cycles": score.cycles,
        "decisions": score.decisions,
        "decisions_per_s": score.decisions / tested.wall_s if tested.wall_s > 0 else None,
        "wall_s": tested.wall_s,
    }


def _daily(tested: Tested) -> dict[str, Any]:
    """Return hindsight day by day, see `shoal.bidding.backtest_bounds`."""
    daily = tested.daily
    assert daily is not None
    rest = np.ones(len(tested.days.day), np.bool_)
    rest[tested.days.richest()] = False
    empty, best = float(daily.from_empty.sum()), float(daily.best_gain[rest].sum())
    return {
        "gain": float(daily.gain.sum()),
        "gain_daily_perfect_foresight": float(daily.best_gain.sum()),
        "share_of_daily_perfect_foresight": daily.share,
        "share_of_daily_without_richest_days": float(daily.gain[rest].sum()) / best if best > 0 else None,
        "revenue_daily_from_empty": empty,
        "share_of_daily_from_empty": tested.score.revenue / empty if empty > 0 else None,
        "daily_columns": ["gain", "gain_daily_perfect_foresight", "revenue_daily_from_empty"],
        "daily": {
            day.isoformat(): [round(one, 2) for one in row]
            for day, *row in zip(
                tested.days.day,
                daily.gain.tolist(),
                daily.best_gain.tolist(),
                daily.from_empty.tolist(),
                strict=True,
            )
        },
    }


def _attribution(tested: Tested) -> dict[str, Any]:
    """Return the stages by total and by day in whole 1e-8 of the unit of currency: they add up to the last one."""
    whole = tested.attribution
    by_day = days_of(tested)
    return {
        "product": tested.product,
        "stages": list(whole.stages),
        "steps": list(STEPS),
        "amount_1e8": whole.stage_amount.tolist(),
        "step_amount_1e8": whole.step_total.tolist(),
        "amount": (whole.stage_amount / AMOUNTS_PER_UNIT).tolist(),
        "step_amount": (whole.step_total / AMOUNTS_PER_UNIT).tolist(),
        "days": {
            day.isoformat(): amounts for day, amounts in zip(tested.days.day, by_day.tolist(), strict=True)
        },
    }


def days_of(tested: Tested) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return D x S amounts of the stages by day."""
    counts = np.diff(tested.days.first_index)
    return tested.attribution.by(np.repeat(np.arange(len(counts)), counts), len(counts))


def tell(tested: Tested, report: Path | None) -> None:
    """Print the figures."""
    score, currency = tested.score, tested.setting.market.currency
    rows = [("", f"revenue {currency}", "of hindsight", "without the richest four", "cycles")]
    everyone = {tested.strategy: score, **tested.baselines}
    rows += [
        (
            name,
            f"{one.revenue:,.2f}",
            percent(one.share_of_perfect_foresight),
            percent(one.share_without_richest_days),
            f"{one.cycles:,.1f}",
        )
        for name, one in everyone.items()
    ]
    rows.append(("hindsight", f"{score.revenue_perfect_foresight:,.2f}", "100.0 %", "100.0 %", ""))
    storage = tested.setting.storage
    typer.echo(
        f"{title(tested)}, {tested.days.day[0]} to {tested.days.day[-1]}: "
        f"{storage.discharge_limit_kw / KW_PER_MW:g} MW, "
        f"{storage.energy_capacity_kwh / KWH_PER_MWH:g} MWh, wear {storage.throughput_cost_per_mwh:g} {currency}/MWh"
    )
    print_columns(rows)
    rich = ", ".join(tested.days.day[at].isoformat() for at in tested.days.richest().tolist())
    typer.echo(f"{percent(score.perfect_share_in_richest_days)} of hindsight's value lies in {rich}")
    steps = (tested.attribution.step_total / AMOUNTS_PER_UNIT).tolist()
    typer.echo(
        f"lost by the forecast {0.0 - steps[0]:,.2f}, won by the bid {steps[1]:,.2f}, by execution {steps[2]:,.2f} {currency}"
    )
    if tested.daily is not None:
        found = _daily(tested)
        typer.echo(
            f"day by day from its own state {percent(found['share_of_daily_perfect_foresight'])} of hindsight, "
            f"{percent(found['share_of_daily_without_richest_days'])} without the richest four; "
            f"{percent(found['share_of_daily_from_empty'])} of days from empty to empty"
        )
    if tested.rungs:
        held = ", ".join(f"{name} {count:,}" for name, count in tested.rungs.items())
        typer.echo(f"rungs that held: {held}")
    speed = f", {score.decisions / tested.wall_s:,.0f} a second" if tested.wall_s > 0 else ""
    typer.echo(f"{score.decisions:,} decisions in {tested.wall_s:.1f} s{speed}")
    if report is not None:
        typer.echo(f"report: {report}")


def title(tested: Tested) -> str:
    """Return what was traded where."""
    product = "" if tested.product == "energy" else tested.product
    return " ".join(one for one in (tested.setting.market.market_id, tested.point, product) if one)


def percent(share: float | None) -> str:
    """Return a share for people."""
    return "-" if share is None else f"{100.0 * share:.1f} %"
