"""`shoal forecast study`: its document, its homes and its answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from shoal.cli.forecast_study import BEGIN, END, add_to, markdown, write_document
from shoal.cli.forecast_study_homes import CITYLEARN, EMHASS, mixed_homes, read_homes
from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR
from tests.unit.forecast.homes import loads, panel

DATA = Path(__file__).parents[4] / "shared" / "data"
has_data = pytest.mark.skipif(
    not ((DATA / CITYLEARN).is_file() and (DATA / EMHASS).is_file()),
    reason="the homes' data are not beside the project",
)


def found() -> dict[str, list[dict[str, Any]]]:
    methods = ("naive", "local", "global", "adapted")
    scores: dict[str, Any] = {
        "mae": 0.5,
        "scaled_pinball": 0.1,
        "coverage_90": 0.9,
        "coverage_80": 0.8,
        "homes_within_2_points": 1.0,
        "fit_s": 1.0,
        "predict_ms_per_site_day": 0.3,
    }
    errors = dict(zip(methods, (0.7, 0.5, 0.52, 0.49), strict=True))
    cost: dict[str, Any] = {
        "sites": 10,
        "fit_s": 1.0,
        "fit_ms_per_site": 100.0,
        "adapt_ms_per_site_day": 0.1,
        "predict_ms_per_site_day": 0.2,
        "model_mb": 0.1,
        "fit_peak_mb": 10.0,
        "predict_peak_mb": 1.0,
    }
    cold: dict[str, Any] = {"0 d": None, "7 d": 0.6, "warm": 0.5}
    return {
        "accuracy": [dict[str, Any](set="homes", method=m, scaled_mae=errors[m]) | scores for m in methods],
        "cold_start": [
            dict[str, Any](set="homes", method=m)
            | cold
            | ({"0 d": 0.8} if m in ("global", "adapted") else {})
            for m in methods
        ],
        "cost": [dict[str, Any](method=m) | cost for m in methods],
    }


def test_document_is_made_and_its_numbers_are_replaced_and_its_text_kept(tmp_path: Path) -> None:
    file = tmp_path / "docs" / "study.md"
    write_document(file, "first")
    text = file.read_text(encoding="utf-8")
    assert text.startswith("# Global or local?")
    file.write_text(text.replace("## How", "Mine. ## How"), encoding="utf-8")
    write_document(file, "second")
    again = file.read_text(encoding="utf-8")
    assert "first" not in again
    assert f"{BEGIN}\n\nsecond\n\n{END}" in again
    assert "Mine. ## How" in again
    file.write_text("nothing", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="--out"):
        write_document(file, "third")


def test_markdown_answers_first_and_shows_every_row() -> None:
    text = markdown(found())
    assert "adapted is best, 30 % better than last week's values." in text.splitlines()[0]
    assert text.count("| homes | ") == 8 + 2
    assert "| homes | local | none | 0.600 | 0.500 |" in text


def test_mixed_homes_have_the_shape_asked_and_the_same_bits_again() -> None:
    real = panel(loads(3, 30))
    mixed = mixed_homes(real, 5, 14, seed=2)
    assert mixed.value.shape == (5, 14 * 24)
    np.testing.assert_array_equal(mixed.value, mixed_homes(real, 5, 14, seed=2).value)
    assert not np.array_equal(mixed.value, mixed_homes(real, 5, 14, seed=3).value)
    assert mixed.value.min() > 0.0


def test_wrong_number_of_sites_is_said() -> None:
    app = typer.Typer()
    add_to(app)
    for bad in ("ten", "0", ""):
        result = CliRunner().invoke(app, ["--data", "nowhere", "--sites", bad])
        assert isinstance(result.exception, InvalidInputError)
        assert result.exception.field == "--sites"
    result = CliRunner().invoke(app, ["--data", "nowhere"])
    assert isinstance(result.exception, InvalidInputError)
    assert result.exception.field == "--data"


@has_data
def test_homes_are_read_with_their_signs_and_units() -> None:
    homes = {home.name: home for home in read_homes(DATA)}
    assert len(homes) == 7
    for home in homes.values():
        usual = np.nanmean(home.panel.value, axis=1)
        if home.quantity == "load":
            assert np.all((usual > 0.05) & (usual < 3.0)), home.name
        else:
            assert np.nanmax(home.panel.value) <= 0.0
            by_day = home.panel.value[0, : home.panel.steps // 24 * 24].reshape(-1, 24)
            assert int(np.argmin(by_day.mean(axis=0))) in range(9, 16), home.name
        if home.pool is not None:
            assert not set(home.panel.names) & set(home.pool.names)
            assert home.pool.end_ns <= home.panel.first_ns
    california = homes["17 homes, California, load"].panel
    assert california.value.shape == (17, 8_760)
    assert california.first_ns % (24 * NS_PER_HOUR) == 23 * NS_PER_HOUR  # stamped at the end of the hour


@has_data
@pytest.mark.slow
def test_study_runs_and_prints_what_it_found(tmp_path: Path) -> None:
    app = typer.Typer()
    add_to(app)
    out = tmp_path / "study.md"
    arguments = ["--data", str(DATA), "--sites", "5", "--quick", "--json", "--out", str(out)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    answer = msgspec.json.decode(result.stdout)
    assert {row["method"] for row in answer["accuracy"]} == {
        "naive",
        "local",
        "global",
        "adapted",
        "adapted, told a forecast",
    }
    assert [row["sites"] for row in answer["cost"]] == [5] * 4
    assert "| 5 | adapted |" in out.read_text(encoding="utf-8")
