"""`shoal history energy`: the groups' lines add up, and a wrong question is told what to mend."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from shoal.cli.main import run
from shoal.domain.ids import GroupId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
from shoal.domain.telemetry import REGISTERS, TELEMETRY
from shoal.store.database import migrate, open_database
from shoal.store.registry import Registry
from tests.integration.store.fleets import GRID, make_fleet
from tests.unit.store.history_cases import write_history

FLEET = make_fleet(3)
START_NS = 1_612_972_800_000_000_000
SPAN = ("--from", "2021-02-10T16:00Z", "--to", "2021-02-10T17:00Z")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Three homes that take in 600 Wh in an hour by each register; the first moves after a sixth of it."""
    data = tmp_path / "data"
    data.mkdir()
    url = f"sqlite:///{data / 'registry.db'}"
    migrate(url)
    engine = open_database(url)
    registry = Registry(engine)
    registry.load_fleet(FLEET, valid_from_ns=0)
    registry.move_site(FLEET.site_ids[0], GRID, GroupId("feeder-2"), START_NS + 10 * NS_PER_MINUTE)
    engine.dispose()
    for row in range(3):
        records = TELEMETRY.empty(2)
        records["ts_ns"], records["seq"] = [START_NS, START_NS + NS_PER_HOUR], [1, 2]
        for name in REGISTERS:
            records[name] = [row, row + 600]
        write_history(data / "history", records, np.full(2, row), records["ts_ns"])
    return data


def _run(capsys: pytest.CaptureFixture[str], data_dir: Path, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        run(["history", "energy", *arguments, "--set", f"data_dir={data_dir}"])
    told = capsys.readouterr()
    return int(left.value.code or 0), told.out, told.err


def test_energy_prints_a_line_a_group_and_what_all_sites_moved(
    capsys: pytest.CaptureFixture[str], data_dir: Path
) -> None:
    code, out, _ = _run(capsys, data_dir, "--hierarchy", "grid", *SPAN)
    assert code == 0
    rows = {line[:12].strip(): line[12:].split() for line in out.splitlines()[1:]}
    assert list(rows) == ["vpp", "feeder-1", "feeder-2", "of no group", "all sites"]
    assert rows["vpp"] == rows["all sites"] == ["1800"] * 4 + ["3", "0", "100.0%"]
    assert rows["feeder-1"] == ["700"] * 4 + ["2", "0", "100.0%"]
    assert rows["feeder-2"] == ["1100"] * 4 + ["2", "0", "100.0%"]
    assert rows["of no group"] == ["0"] * 4 + ["0", "0", "-"]


def test_energy_as_json_is_what_the_interface_answers(
    capsys: pytest.CaptureFixture[str], data_dir: Path
) -> None:
    _, out, _ = _run(capsys, data_dir, "--hierarchy", "grid", "--group", "feeder-1", *SPAN, "--json")
    found = json.loads(out)
    assert [(line["group_id"], line["import_wh"]) for line in found["groups"]] == [("feeder-1", 700)]
    assert (found["total"]["import_wh"], found["from_ms"]) == (1_800, START_NS // 1_000_000)


def test_energy_without_a_registry_or_of_an_unknown_tree_is_refused(
    capsys: pytest.CaptureFixture[str], data_dir: Path, tmp_path: Path
) -> None:
    code, _, err = _run(capsys, data_dir, "--hierarchy", "nothing", *SPAN)
    assert code and "nothing" in err
    code, _, err = _run(capsys, tmp_path / "empty", "--hierarchy", "grid", *SPAN)
    assert code and "registry" in err
    assert not (tmp_path / "empty").exists()
