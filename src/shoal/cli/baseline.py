"""`shoal baseline`: what baselines there are, and how far each is from the meters of real homes on days without an event."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from shoal.cli.options import AsJson, print_columns, print_json

if TYPE_CHECKING:
    from shoal.settle.baseline_calendar import MeterData
    from shoal.settle.baseline_score import BaselineScore

app = typer.Typer(help="Baselines of events.", no_args_is_help=True, rich_markup_mode=None)

_WARM_UP_DAYS: Final = 80
"""Before the first trial day there are as many: more than any rule looks back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HomesFile:
    """A file of metered homes: which columns mean what.

    Attributes:
        name: How the set is called.
        file: The Parquet file.
        site: Column of the home; empty for one home.
        time: Column of the time on the wall, without clock changes.
        load: Column of the load.
        solar: Column of solar generation; empty for none.
        wh_per_unit: What one of both columns is.
        step_s: Length of an interval.
        stamp_s: How long after an interval's start its time is.
    """

    name: str
    file: str
    site: str
    time: str
    load: str
    solar: str
    wh_per_unit: float
    step_s: int
    stamp_s: int = 0


HOMES: Final = {
    "citylearn": HomesFile(
        name="citylearn",
        file="citylearn2022_17homes_hourly.parquet",
        site="building",
        time="ts_local",
        load="load_kwh",
        solar="pv_kwh",
        wh_per_unit=1_000.0,
        step_s=3_600,
        stamp_s=3_600,
    ),
    "sgsc": HomesFile(
        name="sgsc",
        file="sgsc_10homes_30min_2012_2014.parquet",
        site="customer_id",
        time="ts",
        load="load_kwh",
        solar="",
        wh_per_unit=1_000.0,
        step_s=1_800,
    ),
    "ausgrid": HomesFile(
        name="ausgrid",
        file="ausgrid_customer12_30min_2011_2012.parquet",
        site="",
        time="ts_local",
        load="load_kw",
        solar="pv_kw",
        wh_per_unit=500.0,
        step_s=1_800,
    ),
}
"""Sets of homes that `score` knows; the files are no part of the package."""


@app.callback()
def root() -> None:
    """Baselines of events."""


@app.command(name="list")
def list_(as_json: AsJson = False) -> None:
    """Say which baselines there are and where each is written."""
    from shoal.settle.baseline_rules import RULES

    if as_json:
        print_json([{"rule": rule.name, "source": rule.source} for rule in RULES.values()])
        return
    print_columns([(rule.name, rule.source) for rule in RULES.values()])


@app.command()
def score(
    homes: Annotated[
        str, typer.Option("--homes", metavar="SET", help=f"Which homes: {', '.join(HOMES)}.")
    ] = "citylearn",
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder", metavar="FOLDER", help="Where the files are; else $SHOAL_DATA, else ../shared/data."
        ),
    ] = None,
    net: Annotated[
        bool, typer.Option("--net", help="The meter behind which the solar power is, too.")
    ] = False,
    from_h: Annotated[int, typer.Option("--from-hour", min=5, max=22, help="Trial events begin then.")] = 17,
    to_h: Annotated[int, typer.Option("--to-hour", min=6, max=23, help="And end then.")] = 20,
    every_days: Annotated[int, typer.Option("--every", min=1, help="Every how many days one is tried.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Compare baselines with what was metered on business days without an event."""
    from shoal.domain.errors import InvalidInputError

    if homes not in HOMES:
        raise InvalidInputError(field="--homes", value=homes, fix=f"one of {', '.join(HOMES)}")
    if to_h <= from_h:
        raise InvalidInputError(field="--to-hour", value=to_h, fix=f"give an hour after {from_h}")
    found = score_homes(
        HOMES[homes], _folder(folder), net=net, from_h=from_h, to_h=to_h, every_days=every_days
    )
    if as_json:
        print_json([_told(one) for one in found])
        return
    rows = [
        ("rule", "days", "bias", "error a home", "error of all", "spread of homes", "without a baseline"),
        *(
            (
                one.rule_name,
                f"{one.event_count}",
                f"{one.bias_frac:+.1%}",
                f"{one.rmse_frac:.1%}",
                f"{one.together_rmse_frac:.1%}",
                f"{one.site_bias_spread_wh:,.0f} Wh",
                ", ".join(f"{count} {why}" for why, count in one.unscored_count.items()) or "none",
            )
            for one in found
        ),
    ]
    print_columns(rows)


def score_homes(
    homes: HomesFile, folder: Path, *, net: bool, from_h: int, to_h: int, every_days: int
) -> list[BaselineScore]:
    """Return the score of every rule on a set of homes.

    Raises:
        InvalidInputError: when the file is not there.
    """
    from shoal.settle.baseline_calendar import nerc_holidays
    from shoal.settle.baseline_rules import RULES
    from shoal.settle.baseline_score import score_baseline, trial_events

    meter = read_homes(homes, folder, net=net)
    first = int(meter.calendar.day_number[0])
    years = {date.fromordinal(int(number)).year for number in meter.calendar.day_number[[0, -1]]}
    # The homes of these sets that are not American keep other holidays: for them a holiday is tried like any day.
    holidays = nerc_holidays(range(min(years), max(years) + 1)) if homes.name == "citylearn" else frozenset()
    events = trial_events(
        meter,
        from_h=from_h,
        to_h=to_h,
        first_day_number=first + _WARM_UP_DAYS,
        every_days=every_days,
        holidays=holidays,
    )
    return [score_baseline(rule, meter, events, holidays=holidays) for rule in RULES.values()]


def read_homes(homes: HomesFile, folder: Path, *, net: bool) -> MeterData:
    """Return the meters of a set of homes.

    Raises:
        InvalidInputError: when the file is not there, or `net` is asked of homes without solar power.
    """
    from zoneinfo import ZoneInfo

    import numpy as np
    import pyarrow.parquet as pq

    from shoal.domain.errors import InvalidInputError
    from shoal.domain.interval import NS_PER_S
    from shoal.settle.baseline_calendar import MeterCalendar, MeterData

    path = folder / homes.file
    if not path.is_file():
        raise InvalidInputError(
            field="--folder", value=str(folder), fix=f"name the folder that holds {homes.file}"
        )
    if net and not homes.solar:
        raise InvalidInputError(field="--net", value=homes.name, fix="these homes have no solar power")
    table = pq.read_table(path)
    ts_ns = table.column(homes.time).cast("timestamp[ns]").to_numpy().astype(np.int64)
    ts_ns = ts_ns - homes.stamp_s * NS_PER_S
    names = np.array(table.column(homes.site).to_pylist() if homes.site else [0] * table.num_rows)
    row = np.unique(names, return_inverse=True)[1]
    value = table.column(homes.load).to_numpy().astype(np.float64)
    if net:
        value = value - np.nan_to_num(table.column(homes.solar).to_numpy().astype(np.float64))
    step_ns = homes.step_s * NS_PER_S
    first_ns = int(ts_ns.min()) // step_ns * step_ns
    at = (ts_ns - first_ns) // step_ns
    count = int(at.max()) + 1
    sites = int(row.max()) + 1
    good = np.isfinite(value)
    energy_wh = np.zeros((sites, count), dtype=np.int64)
    known = np.zeros((sites, count), dtype=np.bool_)
    energy_wh[row[good], at[good]] = np.rint(value[good] * homes.wh_per_unit).astype(np.int64)
    known[row[good], at[good]] = True
    # Times on a wall whose clock never changes are kept as if they were UTC: places of the day are the same.
    calendar = MeterCalendar.of(start_ns=first_ns, step_s=homes.step_s, count=count, zone=ZoneInfo("UTC"))
    return MeterData(energy_wh=energy_wh, known=known, calendar=calendar)


def _folder(given: Path | None) -> Path:
    if given is not None:
        return given
    named = os.environ.get("SHOAL_DATA")
    return Path(named) if named else Path("../shared/data")


def _told(score: BaselineScore) -> dict[str, Any]:
    from dataclasses import asdict

    shares = {
        "bias_frac": score.bias_frac,
        "rmse_frac": score.rmse_frac,
        "together_rmse_frac": score.together_rmse_frac,
    }
    return asdict(score) | shares
