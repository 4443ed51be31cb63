"""`shoal fleet` as an operator meets it: from a file to the registry and back, and one clear line for a wrong cell."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from shoal.cli import main
from shoal.cli.roles.host import sqlite_url
from shoal.domain.ids import SiteId
from shoal.runtime.settings import load_settings
from shoal.store.database import migrate, open_database
from shoal.store.devices import FIRST, REPLACED
from shoal.store.fleet_files import COLUMNS, read_sites, write_sites
from shoal.store.registry import Registry
from shoal.store.users import Users
from tests.integration.store.fleets import assert_same_fleet, make_fleet

CSV = """\
site_id,latitude_deg,longitude_deg,charge_limit_kw,discharge_limit_kw,energy_capacity_kwh,device_type,gateway_id,gateway_unit,groups
home-1,30.2,-97.7,5,5,13.5,,,,grid=vpp-1/north/feeder-1; weather=texas/coast
home-2,30.3,-97.6,5,5,13.5,home,gw-1,1,grid=vpp-1/north/feeder-2
car-1,30.4,-97.5,,,,ev_charger,gw-1,2,
"""


@pytest.fixture(autouse=True)
def somewhere_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def registry_url() -> str:
    return sqlite_url(load_settings(), "registry.db")


@pytest.fixture
def shoal(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: object) -> Any:
        """Return what `shoal fleet ... --json` prints, or the error that it tells."""
        with pytest.raises(SystemExit) as caught:
            main.run(["fleet", *map(str, arguments), "--json"])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        if caught.value.code in (0, None):
            return json.loads(captured.out)
        assert caught.value.code == 2
        return json.loads(captured.err)

    return run


@pytest.fixture
def sites_file() -> Path:
    path = Path("sites.csv")
    path.write_text(CSV)
    return path


def test_import_registers_and_twice_changes_nothing(shoal: Any, sites_file: Path) -> None:
    told = shoal("import", sites_file)
    assert (told["sites"], told["new_sites"], told["new_groups"]) == (3, 3, 6)
    again = shoal("import", sites_file)
    assert (again["new_sites"], again["new_groups"], again["changes"]) == (0, 0, 0)
    assert again["version"] == told["version"]


def test_show_tells_what_the_file_said(shoal: Any, sites_file: Path) -> None:
    shoal("import", sites_file)
    home = shoal("show", "home-1")
    assert home["groups"] == "grid=vpp-1/north/feeder-1; weather=texas/coast"
    assert (home["energy_capacity_kwh"], home["reserve_frac"], home["device_type"]) == (13.5, 0.2, "home")
    assert (home["gateway_id"], home["credential"]) == (None, "none")
    car = shoal("show", "car-1")
    assert (car["device_type"], car["gateway_id"], car["gateway_unit"]) == ("ev_charger", "gw-1", 2)
    assert car["partition"] == shoal("show", "home-2")["partition"], "behind one gateway"
    assert car["groups"] is None
    assert shoal("show", "nobody")["error"] == "UnknownIdError"


def test_list_is_of_everybody_or_of_a_group(shoal: Any, sites_file: Path) -> None:
    shoal("import", sites_file)
    assert shoal("list")["sites"] == 3
    north = shoal("list", "--group", "north", "--limit", 1)
    assert (north["sites"], [site["site_id"] for site in north["shown"]]) == (2, ["home-1"])
    assert shoal("list", "--group", "nowhere")["error"] == "UnknownIdError"


def test_plain_words_are_for_people(sites_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, part in (
        (("import", "sites.csv"), "3 sites, 3 of them new, 6 new groups"),
        (("list",), "grid=vpp-1/north/feeder-2"),
        (("show", "car-1"), "gateway_unit"),
        (("move", "home-1", "grid", "feeder-2"), "home-1 hangs from feeder-2"),
        (("export", "out.parquet"), "out.parquet: 3 sites"),
        (("credential", "home-1"), "home-1  "),
    ):
        with pytest.raises(SystemExit) as caught:
            main.run(["fleet", *arguments])
        captured = capsys.readouterr()
        assert caught.value.code in (0, None), captured.err
        assert part in captured.out


def test_move_holds_from_its_instant(shoal: Any, sites_file: Path) -> None:
    shoal("import", sites_file, "--at", "2026-01-01T00:00:00Z")
    told = shoal("move", "home-1", "grid", "feeder-2", "--at", "2026-05-04T16:00:00-05:00")
    assert told["at"] == "2026-05-04T21:00:00.000Z"
    before = shoal("show", "home-1", "--at", "2026-05-04T20:59:59Z")
    after = shoal("show", "home-1", "--at", "2026-05-04T21:00:00Z")
    assert before["groups"].startswith("grid=vpp-1/north/feeder-1")
    assert after["groups"].startswith("grid=vpp-1/north/feeder-2")
    assert shoal("move", "home-1", "grid", "coast")["error"] == "UnknownIdError"
    for wrong in ("yesterday", "2026-05-04T16:00:00"):
        assert shoal("move", "home-1", "grid", "feeder-2", "--at", wrong)["field"] == "--at"


def test_credentials_are_shown_once_and_good(shoal: Any, sites_file: Path) -> None:
    shoal("import", sites_file)
    issued = shoal("credential", "home-1", "home-1", "--by", "ada")
    registry = Registry(engine := open_database(registry_url()))
    assert registry.verify(SiteId("home-1"), issued["home-1"])
    rest = shoal("credential", "--missing")
    assert rest.keys() == {"gw-1"}, "what is behind a gateway signs in through it"
    assert registry.verify(SiteId("gw-1"), rest["gw-1"])
    assert shoal("show", "car-1")["credential"] == "issued"
    assert shoal("credential", "nobody")["error"] == "UnknownIdError"
    shoal("credential", "home-1", "--by", "bob")
    steps = [(one.by, one.subject, one.detail) for one in Users(engine).steps(10) if one.subject == "home-1"]
    assert steps == [("bob", "home-1", REPLACED), ("ada", "home-1", FIRST)]
    assert shoal("credential")["field"] == "SITE"


def test_a_cell_left_empty_leaves_a_known_site_as_it_is(shoal: Any, sites_file: Path) -> None:
    shoal("import", sites_file)
    Path("more.csv").write_text("site_id,ev_limit_kw,charge_limit_kw\nhome-1,11,\nhome-2,,4.5\n")
    assert shoal("import", "more.csv")["changes"] == 2
    one, two = shoal("show", "home-1"), shoal("show", "home-2")
    assert (one["ev_limit_kw"], one["charge_limit_kw"], one["latitude_deg"]) == (11, 5, 30.2)
    assert (two["ev_limit_kw"], two["charge_limit_kw"], two["gateway_id"]) == (0, 4.5, "gw-1")
    assert one["groups"] == "grid=vpp-1/north/feeder-1; weather=texas/coast"


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_what_is_exported_is_imported_without_a_change(shoal: Any, kind: str) -> None:
    migrate(url := registry_url())
    registry, fleet = Registry(open_database(url)), make_fleet(300)
    fleet = replace(
        fleet,
        gateway_ids=("gw-1",),
        gateway_of=np.where(np.arange(300) % 7 == 0, 0, -1).astype(np.int32),
        gateway_unit=np.where(np.arange(300) % 7 == 0, 1 + np.arange(300), 0).astype(np.int32),
        device_type=(np.arange(300) % 4).astype(np.uint8),
    )
    registry.load_fleet(fleet, valid_from_ns=0)
    assert shoal("export", f"out.{kind}")["sites"] == 300
    assert shoal("import", f"out.{kind}")["changes"] == 0
    assert_same_fleet(registry.fleet_at(0), fleet)
    # An empty registry takes the file to the last bit, too.
    empty = read_sites(Path(f"out.{kind}"), make_fleet(1).take(np.empty(0, dtype=np.int64)))
    assert empty.nameplate.tobytes() == fleet.nameplate.tobytes()
    assert empty.latitude_deg.tobytes() == fleet.latitude_deg.tobytes()
    assert empty.gateway_unit.tolist() == fleet.gateway_unit.tolist()
    assert empty.device_type.tolist() == fleet.device_type.tolist()


def test_exported_columns_are_those_that_import_knows() -> None:
    write_sites(Path("out.parquet"), make_fleet(3))
    assert tuple(pq.read_schema("out.parquet").names) == COLUMNS


def row(**cells: str) -> str:
    """Return a file of a good row and one with some cells of its own."""
    good = dict(zip(CSV.splitlines()[0].split(","), CSV.splitlines()[1].split(","), strict=True))
    second = good | {"site_id": "home-9"} | cells
    names = list(second)
    lines = [[cells.get(name, "") for name in names] for cells in (good, second)]
    return "\n".join(",".join(line) for line in (names, *lines))


@pytest.mark.parametrize(
    ("content", "field", "value", "fix"),
    [
        (row(site_id="a.b"), "row 2, site_id", "a.b", "letters"),
        (row(site_id=""), "row 2, site_id", "", "letters"),
        (row(site_id="home-1"), "row 2, site_id", "home-1", "row 1 has it already"),
        (row(charge_limit_kw="five"), "row 2, charge_limit_kw", "five", "a number"),
        (row(charge_limit_kw="-1"), "row 2, charge_limit_kw", "-1.0", "from 0"),
        (row(reserve_frac="1.5"), "row 2, reserve_frac", "1.5", "from 0 to 1"),
        (row(energy_capacity_kwh="nan"), "row 2, energy_capacity_kwh", "nan", "a number"),
        (row(latitude_deg="91"), "row 2, latitude_deg", "91.0", "from -90 to 90"),
        (row(longitude_deg=""), "row 2, longitude_deg", "", "a new site needs it"),
        (row(device_type="toaster"), "row 2, device_type", "toaster", "ev_charger"),
        (row(gateway_id="gw-1"), "row 2, gateway_unit", "", "from 1 to 65535"),
        (row(gateway_id="gw-1", gateway_unit="0"), "row 2, gateway_unit", "0", "from 1 to 65535"),
        (row(gateway_unit="3"), "row 2, gateway_unit", "3", "gateway_id"),
        (row(gateway_id="home-1", gateway_unit="3"), "row 2, gateway_id", "home-1", "another name"),
        (row(gateway_id="g w", gateway_unit="3"), "row 2, gateway_id", "g w", "letters"),
        (row(groups="feeder-1"), "row 2, groups", "feeder-1", "grid=region/substation/feeder"),
        (row(groups="grid=vpp-1/south/feeder-1"), "row 2, groups", "feeder-1", "hangs from north"),
        (row(groups="other=feeder-1"), "row 2, groups", "feeder-1", "hierarchy grid"),
        (row(groups="grid=a b"), "row 2, groups", "a b", "letters"),
        (row(groups="grid=1/2/3/4/5/6/7/8/9"), "row 2, groups", "1/2/3/4/5/6/7/8/9", "at most 8 levels"),
        (row(groups="grid=vpp-1; grid=vpp-1"), "row 2, groups", "grid=vpp-1; grid=vpp-1", "one path"),
        (row(batery="3"), "column of sites.csv", "batery", "charge_limit_kw"),
        ("latitude_deg\n3\n", "columns of sites.csv", "['latitude_deg']", "add site_id"),
        ("site_id,gateway_unit\nhome-1,3\n", "column gateway_unit", "alone", "add gateway_id"),
        ("site_id,latitude_deg\nhome-1,3\nhome-2\n", "line 3", "home-2", "give 2 cells, not 1"),
        ("", "file", "sites.csv", "cannot be read"),
    ],
)  # fmt: skip
def test_wrong_cell_is_told_by_row_field_value_and_fix(
    shoal: Any, content: str, field: str, value: str, fix: str
) -> None:
    Path("sites.csv").write_text(content)
    told = shoal("import", "sites.csv")
    assert (told["error"], told["field"], told["value"]) == ("InvalidInputError", field, value)
    assert fix in told["fix"]
    assert shoal("list")["sites"] == 0, "nothing of a wrong file is registered"


def test_place_behind_a_gateway_that_a_registered_site_has_is_refused(shoal: Any, sites_file: Path) -> None:
    shoal("import", sites_file)
    Path("more.csv").write_text(
        "site_id,latitude_deg,longitude_deg,gateway_id,gateway_unit\nnew-1,30,-97,gw-1,2\n"
    )
    told = shoal("import", "more.csv")
    assert (told["field"], told["value"]) == ("row 1, gateway_unit", "2")
    assert "site car-1 has this number" in told["fix"]


@pytest.mark.parametrize("name", ["missing.csv", "missing.parquet", "sites.txt"])
def test_file_that_cannot_be_read_is_told(shoal: Any, name: str) -> None:
    told = shoal("import", name)
    assert (told["field"], told["value"]) == ("file", name)


def test_parquet_of_other_tools_is_taken(shoal: Any) -> None:
    table = pa.table(
        {
            "site_id": pa.array(["home-1", "home-2"]).dictionary_encode(),
            "latitude_deg": pa.array([30.0, 31.0], pa.float32()),
            "longitude_deg": pa.array(["-97.5", " -98"]),
            "charge_limit_kw": pa.array([5, None], pa.int16()),
            "gateway_id": pa.array(["gw", "gw"]),
            "gateway_unit": pa.array([1, 2], pa.uint16()),
            "groups": pa.array(["grid=vpp", None]),
        }
    )
    pq.write_table(table, "sites.parquet")
    assert shoal("import", "sites.parquet")["new_sites"] == 2
    home = shoal("show", "home-2")
    assert (home["longitude_deg"], home["charge_limit_kw"], home["gateway_unit"]) == (-98.0, 0.0, 2)


def test_alert_finds_its_sites(shoal: Any, sites_file: Path) -> None:
    shoal("import", sites_file)
    ring = [[-98, 30], [-97.55, 30], [-97.55, 31], [-98, 31], [-98, 30]]
    Path("alert.geojson").write_text(
        json.dumps(
            {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": [ring]},
                "properties": {
                    "id": "urn:7",
                    "event": "Hail",
                    "severity": "Severe",
                    "effective": "2026-05-04T16:00:00-05:00",
                    "expires": "2026-05-04T18:00:00-05:00",
                },
            }
        )
    )
    (told,) = shoal("alert", "alert.geojson")["alerts"]
    assert (told["alert_id"], told["event"], told["severity"]) == ("urn:7", "Hail", "severe")
    assert (told["from"], told["until"]) == ("2026-05-04T21:00:00.000Z", "2026-05-04T23:00:00.000Z")
    assert (told["sites"], told["discharge_kw"], told["capacity_kwh"]) == (2, 10.0, 27.0)
    assert {group["group_id"]: group["sites"] for group in told["groups"]} == {
        "vpp-1": 2, "north": 2, "feeder-1": 1, "feeder-2": 1, "texas": 1, "coast": 1,
    }  # fmt: skip
    Path("alert.geojson").write_text('{"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 0]]]}')
    assert shoal("alert", "alert.geojson")["field"].startswith("area.polygon[0]")
    Path("alert.geojson").write_text("{")
    assert shoal("alert", "alert.geojson")["field"] == "file"


def test_csv_numbers_are_kept_to_the_last_bit() -> None:
    values = np.random.default_rng(2).uniform(-90, 90, 2_000)
    pa_csv.write_csv(pa.table({"v": values}), "numbers.csv")
    assert pa_csv.read_csv("numbers.csv")["v"].to_numpy().tobytes() == values.tobytes()
