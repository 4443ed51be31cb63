"""`shoal baseline`: the list of rules, and scores on real homes where their data is at hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shoal.cli.baseline import HOMES, app
from shoal.domain.errors import InvalidInputError
from shoal.settle.baseline_rules import RULES

SHARED = Path(__file__).parents[4] / "shared/data"


def test_every_rule_is_listed_with_its_source() -> None:
    done = CliRunner().invoke(app, ["list", "--json"])
    assert done.exit_code == 0
    assert {one["rule"] for one in json.loads(done.output)} == set(RULES)
    assert all(len(one["source"]) > 30 for one in json.loads(done.output))


def test_scores_on_real_homes_are_in_bounds() -> None:
    if not (SHARED / HOMES["citylearn"].file).is_file():
        pytest.skip("the metered homes are not at hand")
    arguments = ["score", "--homes", "citylearn", "--folder", str(SHARED), "--every", "9", "--json"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    scores = {one["rule_name"]: one for one in json.loads(done.output)}
    assert set(scores) == set(RULES)
    assert abs(scores["caiso-10-in-10"]["bias_frac"]) < 0.1
    assert scores["caiso-10-in-10"]["rmse_frac"] < scores["ercot-mid-8-of-10"]["rmse_frac"]
    for one in scores.values():
        assert one["together_rmse_frac"] < one["rmse_frac"]


def test_data_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"sgsc_10homes"):
        CliRunner().invoke(
            app, ["score", "--homes", "sgsc", "--folder", str(tmp_path)], catch_exceptions=False
        )
