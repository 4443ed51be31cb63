"""`shoal history learn`: what would be learned beside what is in use, and one clear line when it cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shoal.cli.main import run
from shoal.store.database import migrate, open_database
from shoal.store.registry import Registry
from shoal.twin.silence_default import built_in_table
from tests.unit.telemetry.silences import fleet_of, lived, restless, write_days


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("plant")
    homes = restless(lived(sites=120))
    url = f"sqlite:///{directory / 'registry.db'}"
    migrate(url)
    Registry(open_database(url)).load_fleet(fleet_of(homes), valid_from_ns=0)
    write_days(directory / "history", homes, days=2.5)
    return directory


def _run(capsys: pytest.CaptureFixture[str], data_dir: Path, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        run(["history", "learn", *arguments, "--set", f"data_dir={data_dir}"])
    told = capsys.readouterr()
    return int(left.value.code or 0), told.out, told.err


def test_dry_run_shows_both_tables(capsys: pytest.CaptureFixture[str], data_dir: Path) -> None:
    at = ("--to", "2021-02-12T12:00Z", "--dry-run")
    code, out, err = _run(capsys, data_dir, *at, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["published"], found["learned"]["sites"]) == (False, 120)
    assert found["in_use"]["about"] == built_in_table().provenance
    load = next(row for row in found["rates"] if (row["age_min"], row["signal"]) == (60, "load"))
    learned, in_use = load["weight"]
    assert learned < 0.2 < in_use and found["is_better"]
    code, out, _ = _run(capsys, data_dir, *at)
    assert code == 0
    assert "own history from 2021-02-10T00:00Z to 2021-02-12T12:00Z, 120 of 120 sites" in out
    assert "does not answer" in out and "not taken" in out and "battery, ordered" in out


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--to", "2021-02-12T12:00Z"), "engine"),
        (("--dry-run", "--to", "2021-02-10T12:00Z"), "2 days"),
        (("--dry-run", "--to", "yesterday"), "--to"),
    ],
)
def test_what_cannot_be_learned_is_told(
    capsys: pytest.CaptureFixture[str], data_dir: Path, arguments: tuple[str, ...], why: str
) -> None:
    code, out, err = _run(capsys, data_dir, *arguments)
    assert (code, out) == (2, "")
    assert why in err and "Traceback" not in err


def test_plant_without_sites_has_nothing_to_learn_from(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, _, err = _run(capsys, tmp_path, "--dry-run")
    assert code == 2 and "registered sites" in err
