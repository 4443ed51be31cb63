"""`shoal event`: a plan of a registered group, and a settlement from history."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from shoal.cli.event import app
from shoal.domain.errors import InvalidInputError, UnavailableError, UnknownIdError
from shoal.domain.interval import NS_PER_MINUTE
from shoal.domain.telemetry import TELEMETRY, Flag
from shoal.store.database import migrate, open_database
from shoal.store.registry import Registry
from tests.integration.store.fleets import make_fleet
from tests.unit.store.history_cases import write_history

FLEET = make_fleet(3)
START_NS = 1_612_972_800_000_000_000  # 2021-02-10T16:00Z
SPAN = ["--from", "2021-02-10T16:00:00Z", "--to", "2021-02-10T17:00:00Z"]
SITES = [str(site) for site in FLEET.site_ids]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Three homes: one discharges 150 Wh a quarter, one charges, one has a reading that cannot be true."""
    data = tmp_path / "data"
    data.mkdir()
    url = f"sqlite:///{data / 'registry.db'}"
    migrate(url)
    engine = open_database(url)
    Registry(engine).load_fleet(FLEET, valid_from_ns=0)
    engine.dispose()
    minutes = np.arange(-120, 121, 1)
    for row in range(3):
        records = TELEMETRY.empty(len(minutes))
        records["ts_ns"] = START_NS + minutes * NS_PER_MINUTE
        records["seq"] = np.arange(1, len(minutes) + 1)
        past = (minutes + 120) * 10
        records["discharge_wh"] = past if row != 1 else 0
        records["charge_wh"] = past if row == 1 else 0
        records["import_wh"] = 5_000 + past * (3 if row == 1 else 1)
        if row == 2:
            records["flags"] = np.where(np.abs(minutes - 15) < 3, int(Flag.STUCK), 0)
        write_history(data / "history", records, np.full(len(minutes), row), records["ts_ns"])
    return data


def run(data_dir: Path, *arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments, "--set", f"data_dir={data_dir}"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_an_event_is_settled_at_the_batteries(data_dir: Path) -> None:
    arguments = ["settle", "--group", "vpp", *SPAN, "--price", "2000", "--target-kw", "1"]
    found = json.loads(run(data_dir, *arguments, "--left", f"{SITES[0]}=2021-02-10T16:30:00Z", "--json"))
    assert [line["delivered_wh"] for line in found["lines"]] == [300, -600, 300]
    assert [line["reason"] for line in found["lines"]] == ["left_early", "used_more", "partly_metered"]
    assert found["amount"] == 600 * 200_000
    assert sum(line["amount"] for line in found["lines"]) + found["operator_amount"] == found["amount"]
    assert "60.0% of what was asked for" in run(
        data_dir, *arguments, "--left", f"{SITES[0]}=2021-02-10T16:30:00Z"
    )


def test_an_event_is_settled_against_the_hour_before(data_dir: Path) -> None:
    arguments = ["settle", "--group", "vpp", *SPAN, "--price", "100", "--measure", "pjm-hour-before"]
    found = json.loads(run(data_dir, *arguments, "--json"))
    assert found["rule_name"] == "pjm-hour-before"
    assert [line["baseline_wh"] for line in found["lines"]] == [600, 1_800, 300]
    assert [line["delivered_wh"] for line in found["lines"]] == [0, 0, 0]


def test_a_rule_without_enough_days_says_so(data_dir: Path) -> None:
    arguments = ["settle", "--group", "vpp", *SPAN, "--price", "100", "--measure", "caiso-10-in-10"]
    out = run(data_dir, *arguments, "--exclude", "2021-02-09=event")
    assert out.count("no baseline: too few days") == 3


def test_a_plan_says_what_is_asked_and_expected(data_dir: Path) -> None:
    arguments = ["plan", "--group", "vpp", "--kw", "2", *SPAN]
    told = json.loads(run(data_dir, *arguments, "--json"))
    assert [one["stretch"] for one in told["stretches"]] == ["charge", "hold", "power", "return"]
    assert told["stretches"][2]["all_w"] == -2_000
    assert told["expected"]["low_w"] <= told["expected"]["expected_w"] <= told["expected"]["high_w"]
    out = run(data_dir, "plan", "--group", "vpp", "--kw", "2000", *SPAN, "--program", "peak")
    assert "cannot be asked of anybody" in out


def test_wrong_questions_are_told_what_to_mend(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownIdError, match="nobody"):
        run(data_dir, "plan", "--group", "nobody", "--kw", "1", *SPAN)
    with pytest.raises(InvalidInputError, match="--step"):
        run(data_dir, "settle", "--group", "vpp", *SPAN, "--price", "1", "--step", "1000")
    with pytest.raises(InvalidInputError, match="--left"):
        run(data_dir, "settle", "--group", "vpp", *SPAN, "--price", "1", "--left", "x")
    with pytest.raises(UnavailableError, match="registry"):
        run(tmp_path / "no", "plan", "--group", "vpp", "--kw", "1", *SPAN)
