"""What a fleet takes: reckoned by hand beside the program, the order of the limits, and the document."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from shoal.cli import bench, main
from shoal.cli.benches import scaling
from shoal.cli.benches._scaling_inputs import Assumptions, Measured, provenance, provenance_of
from shoal.cli.benches._scaling_limits import MOST_SITES, Kind, Limit, largest_plant, limits, step
from shoal.cli.benches._scaling_model import Model, Plant
from shoal.cli.benches._scaling_text import quantity
from shoal.domain.errors import InvalidInputError

ROOT = Path(__file__).parents[3]
MEASURED = Measured(**{field.name: 1.0 for field in fields(Measured)})
ASSUMED = Assumptions(direct_frac=0.5, gateway_sites=50, report_s=60.0, gateway_s=10.0, sample_s=10.0)


def model(measured: Measured = MEASURED, **changes: Any) -> Model:
    return Model(measured, replace(ASSUMED, **changes))


def limit(name: str, of: Model) -> Limit:
    return next(one for one in limits(of) if one.name == name)


def test_messages_and_samples_of_a_fleet_by_hand() -> None:
    plant = model().plant(100_000)
    # 50,000 sites send every minute, 1,000 gateways of 50 every 10 s
    assert plant.connections == 51_000
    assert plant.messages_per_s == pytest.approx(50_000 / 60 + 1_000 / 10)
    assert plant.samples_per_s == pytest.approx(100_000 / 10)
    assert plant.in_bytes_per_s == pytest.approx(plant.messages_per_s * 124 + 10_000 * 50)
    assert plant.journal_bytes == pytest.approx(plant.in_bytes_per_s * 86_400)
    # 2,000 lowest groups, and 223 above them
    assert plant.groups == 2_223


def test_sites_that_do_not_fill_a_gateway_need_one_all_the_same() -> None:
    assert model(direct_frac=0.0).connections(51) == 2
    assert model(direct_frac=1.0).connections(51) == 51


def test_processor_times_add_up_by_hand() -> None:
    measured = replace(
        MEASURED,
        engine_mqtt_us=15.0,
        engine_reader_us=2.0,
        engine_copy_us=5.0,
        engine_record_us=0.3,
        engine_message_us=10.0,
        telemetry_message_us=3.0,
        telemetry_record_us=0.25,
        refresh_site_us=0.05,
        history_row_us=1.0,
    )
    each = model(measured, direct_frac=1.0, battery_frac=0.0)
    # a million sites: 16,667 messages and 100,000 samples a second, and an answer in 600 s to each
    messages = 1e6 / 60
    engine = messages * (15 + 2 + 2 * 5) + 1e5 * 0.3 + 1e6 / 600 * 10
    assert each.engine_cores(1_000_000) == pytest.approx(engine / 1e6)
    reading = messages * 3 + 1e5 * 0.25
    assert each.telemetry_cores(1_000_000) == pytest.approx((reading + 1e6 * 0.05) / 1e6)
    assert each.history_cores(1_000_000) == pytest.approx((reading + 1e5 * 2) / 1e6)


def test_machines_follow_from_what_is_scarce() -> None:
    few = replace(MEASURED, connection_bytes=1e5, engine_subject_bytes=1e-6)
    # 300,000 connections of 100 kB are 30 GB: two machines' halves of 32 GiB; but three copies need three
    assert model(few, direct_frac=1.0).servers(300_000) == 3
    # 300 GB in halves of 32 GiB
    assert model(replace(few, connection_bytes=1e6), direct_frac=1.0).servers(300_000) == 18
    assert model(few, direct_frac=1.0, connections_a_server=50_000).servers(300_000) == 6
    assert model(few, direct_frac=1.0).workers(1_000) == 2


def test_cost_by_hand() -> None:
    free: dict[str, Any] = {"disk_gb_month_usd": 1e-12, "object_gb_month_usd": 1e-12, "egress_gb_usd": 1e-12}
    plant = model(core_hour_usd=0.05, memory_gib_hour_usd=0.01, **free).plant(1_000)
    assert plant.machines == 5
    assert plant.cost_usd_per_month == pytest.approx(5 * (8 * 0.05 + 32 * 0.01) * 730)
    dear = model(core_hour_usd=1e-12, memory_gib_hour_usd=1e-12, **{**free, "disk_gb_month_usd": 2.0}).plant(
        1_000
    )
    stored = (dear.journal_bytes + dear.snapshot_bytes) * 3 / 1e9
    assert dear.cost_usd_per_month == pytest.approx(stored * 2.0)


def test_every_quantity_grows_with_the_sites() -> None:
    each = Model(provenance().measured())
    sizes = [1_000, 30_000, 100_000, 999_999, 1_000_000, 7_000_000, 100_000_000, MOST_SITES]
    plants = [each.plant(sites) for sites in sizes]
    for field in fields(Plant):
        if field.name not in ("takeover_s", "refresh_ms"):  # of one shard: more shards make them smaller
            values = [getattr(plant, field.name) for plant in plants]
            assert values == sorted(values), field.name
    for one in limits(each):
        used = [one.used_frac(sites) for sites in sizes]
        assert used == sorted(used), one.name


def test_a_limit_breaks_where_its_use_reaches_it() -> None:
    for one in limits(Model(provenance().measured())):
        at = one.breaks_at()
        assert one.used_frac(at) <= 1
        assert at == MOST_SITES or one.used_frac(at + 1) > 1
    assert limit("control's cycle", model(battery_frac=1.0)).breaks_at() == 10_000_000  # 30 s of 3 us each


def test_sums_break_by_groups_and_not_by_sites() -> None:
    at = limit("sums of a shard, one message", model()).breaks_at()
    groups = model().groups(at)
    assert groups * 320 <= 8 << 20 < model().groups(at + 50) * 320
    assert limit("sums of a shard, one message", model(sites_per_group=500)).breaks_at() == pytest.approx(
        10 * at, rel=1e-3
    )


def test_first_to_break_is_another_when_a_constant_is() -> None:
    now = Model(provenance().measured())
    assert largest_plant(now).name == "sums of a shard, one message"
    slow = replace(now.measured, order_us=100.0)
    assert largest_plant(Model(slow)).name == "control's cycle"
    assert step(Model(slow), 1_000_000).plants > step(now, 1_000_000).plants
    wide = Assumptions(sites_per_group=5_000)
    assert largest_plant(Model(now.measured, wide)).name == "servers in one cluster"


def test_a_fleet_beyond_one_plant_is_several_none_of_which_is_too_large() -> None:
    each = Model(provenance().measured())
    small, large = step(each, 100_000), step(each, 10_000_000)
    assert (small.plants, small.outgrown) == (1, ())
    assert large.plants > 1
    assert large.plants * large.plant.sites >= 10_000_000
    assert large.plant.sites <= largest_plant(each).breaks_at() < 10_000_000
    assert large.outgrown[0].name == largest_plant(each).name
    assert all(one.kind is not Kind.SETTING for one in large.outgrown)
    assert "journal's size" in {one.name for one in large.settings}
    assert large.next.breaks_at() >= 10_000_000


def test_constants_say_where_they_come_from() -> None:
    found = provenance()
    for constant in found.constants:
        assert constant.source.startswith(("shoal ", "measured by hand")), constant.name
        assert constant.about
        assert constant.unit
    commands = {c.source.split()[2] for c in found.constants if c.source.startswith("shoal bench ")}
    assert commands <= bench.benchmarks().keys()
    cases = [c.source.split() for c in found.constants if "--case" in c.source]
    assert all(words[4] in bench.benchmarks()[words[2]].cases for words in cases)


@pytest.mark.parametrize("wrong", ["missing", "unknown", "nameless", "zero"])
def test_constants_that_do_not_fit_are_refused(wrong: str) -> None:
    one = {"value": 1.0, "unit": "s", "source": "shoal doctor", "about": "a figure"}
    content: dict[str, Any] = {"machine": "m", "date": "d"}
    content |= {field.name: dict(one) for field in fields(Measured)}
    assert provenance_of(content).measured() == MEASURED
    if wrong == "missing":
        del content["order_us"]
    elif wrong == "unknown":
        content["nonsense_us"] = one
    elif wrong == "nameless":
        del content["order_us"]["source"]
    else:
        content["order_us"]["value"] = 0.0
    with pytest.raises(InvalidInputError):
        provenance_of(content).measured()


def test_assumptions_that_make_no_sense_are_refused() -> None:
    for wrong in ({"direct_frac": 1.5}, {"fill_frac": 0.0}, {"fill_frac": 1.1}, {"report_s": 0.0}):
        with pytest.raises(InvalidInputError):
            Assumptions(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "", "0"),
        (0.0325, "cores", "0.033 cores"),
        (933.3, "/s", "933 /s"),
        (9_333.0, "/s", "9.3 k/s"),
        (1_000_000, "", "1 M"),
        (133.4e12, "B", "133 TB"),
        (2_500.0, "s", "2,500 s"),
    ],
)
def test_quantities_are_written_short(value: float, unit: str, text: str) -> None:
    assert quantity(value, unit) == text


def test_the_document_is_current(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.run(["bench", "scaling", "--docs"])
    printed = capsys.readouterr().out
    held = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    _, _, rest = held.partition("<!-- computed: scaling -->\n")
    table, end, _ = rest.partition("<!-- end of computed -->")
    assert end
    assert table == printed, "docs/scaling.md: put what `shoal bench scaling --docs` prints between its marks"


def test_the_example_of_the_document_runs(capsys: pytest.CaptureFixture[str]) -> None:
    held = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    example = held.partition("```python\n")[2].partition("```")[0]
    exec(example, {})
    plants, machines, *_ = capsys.readouterr().out.split()
    assert (int(plants), int(machines)) >= (1, 5)


def test_a_benchmark_without_a_document_says_so() -> None:
    with pytest.raises(InvalidInputError, match="scaling"):
        bench.document_of("loop")


def test_rows_name_the_first_thing_to_break(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.run(["bench", "scaling", "--case", "1M", "--json"])
    rows = json.loads(capsys.readouterr().out)["results"]
    assert {row["case"] for row in rows} == {"1M"}
    (last,) = [row for row in rows if row["size"].startswith("next to break: ")]
    assert last["value"] == step(Model(provenance().measured()), 1_000_000).next.breaks_at()
    names = {row["case"] for row in bench.measure("scaling", None, quick=False)["results"]}
    assert names == {*scaling.SIZES, "limits"}


def test_the_probe_measures_every_constant_that_names_it() -> None:
    rows = bench.measure("scaling", "probe", quick=True)["results"]
    named = [one for one in provenance().constants if one.source == "shoal bench scaling --case probe"]
    assert len(rows) == len(named) + 2  # and the sums on their way, and the registry on disk
    assert all(row["value"] > 0 for row in rows if "in a process" not in row["size"])
