"""The interface over HTTP: what each path answers, and how faults look."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from shoal.api.plant import Plant
from shoal.domain.errors import UnavailableError
from shoal.domain.ids import GroupId, SiteId
from shoal.domain.interval import NS_PER_HOUR
from shoal.domain.live import Aggregates
from shoal.domain.telemetry import TELEMETRY
from shoal.fabric.subjects import LIVE_AGGREGATES
from shoal.store.database import open_database
from shoal.store.registry import Registry
from tests.unit.api.doors import (
    DAY,
    ask,
    make_page,
    make_plant,
    make_records,
    write_day,
    write_history,
    write_statement,
)
from tests.unit.api.plants import BESS, GRID, T0_NS, aggregates, quarantine, resource_state
from tests.unit.store.history_cases import write_history as write_samples

import msgspec  # isort: skip


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return make_plant(tmp_path, records=make_records())


def get(plant: Plant, path: str, **request: Any) -> Any:
    answer = ask(plant, "GET", path, **request)
    assert answer.status_code == 200, answer.text
    return answer.json()


def query(plant: Plant, sql: str, **body: Any) -> Any:
    return ask(plant, "POST", "/api/history/query", json={"sql": sql, **body})


def test_state_is_what_the_live_messages_made(plant: Plant) -> None:
    plant.hub.take(LIVE_AGGREGATES, msgspec.json.encode(aggregates()))
    shown = get(plant, "/api/state")
    assert shown["fleet"]["sites"] == 3
    assert shown["now_ms"] == T0_NS // 1_000_000
    assert [group["group_id"] for group in shown["groups"]] == ["homes", "storage", "texas"]


def test_resources_and_quarantine_are_shown(plant: Plant) -> None:
    plant.model.on_resources([resource_state()])
    plant.model.on_quarantine(quarantine())
    assert [one["resource_id"] for one in get(plant, "/api/resources")] == [BESS]
    assert get(plant, "/api/quarantine")["by_reason"] == {"magic": 2}


def test_sites_are_listed_in_pages(plant: Plant) -> None:
    page = get(plant, "/api/sites?offset=1&limit=1")
    assert (page["total"], page["offset"], len(page["sites"])) == (3, 1, 1)
    assert page["sites"][0]["site_id"] == "home-1"
    assert page["sites"][0]["nameplate"]["charge_limit_kw"] == 7.0
    assert page["sites"][0]["groups"] == {"grid": "feeder-1", "weather": "texas"}
    assert get(plant, "/api/sites?offset=9")["sites"] == []


def test_bids_awards_and_runs_come_from_the_ledger(plant: Plant) -> None:
    write_day(plant)
    (bid,) = get(plant, f"/api/bids?delivery_date={DAY}&resource_id={BESS}")
    assert (bid["status"], len(bid["orders"]), len(bid["award"])) == ("accepted", 2, 24)
    assert get(plant, "/api/bids?delivery_date=2021-02-09") == []
    (award,) = get(plant, "/api/awards")
    assert (award["version"], len(award["intervals"])) == (1, 24)
    assert get(plant, "/api/awards?to_ms=1000") == []
    (run,) = get(plant, "/api/runs?latest=5")
    assert run["rung"] == "fresh"


def test_statement_adds_up_to_the_last_unit(plant: Plant) -> None:
    net_amount = write_statement(plant.ledger)
    (row,) = get(plant, "/api/statements")
    shown = get(plant, f"/api/statements/{BESS}/{DAY}")
    assert shown["summary"] == row
    assert row["net_amount"] == "446.50000000"

    def units(text: str) -> int:
        whole, _, digits = text.partition(".")
        return int(whole + digits)

    assert units(row["net_amount"]) == net_amount
    assert sum(units(one["net_amount"]) for one in shown["intervals"]) == net_amount
    shared = sum(units(one["amount"]) for one in shown["shares"])
    assert shared + units(shown["operator_amount"]) == net_amount


@pytest.mark.parametrize(
    "path",
    [
        "/api/sites/nobody",
        f"/api/statements/{BESS}/2021-02-09",
        f"/api/statements/nobody/{DAY}",
        "/api/awards?resource_id=nobody",
        "/api/nothing",
    ],
)
def test_what_is_not_known_is_404_as_a_problem(plant: Plant, path: str) -> None:
    answer = ask(plant, "GET", path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == 404


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/sites?limit=100000", "limit"),
        ("/api/sites?offset=-1", "offset"),
        ("/api/bids?delivery_date=yesterday", "delivery_date"),
        (f"/api/statements/{BESS}/yesterday", "delivery_date"),
        ("/api/awards?from_ms=1e99", "from_ms"),
    ],
)
def test_bad_input_names_the_field_the_value_and_the_fix(plant: Plant, path: str, field: str) -> None:
    answer = ask(plant, "GET", path)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["field"] == field
    assert body["value"]
    assert body["fix"]


def test_history_answers_a_question_and_says_when_there_was_more(tmp_path: Path) -> None:
    plant = make_plant(tmp_path)
    write_history(tmp_path, samples=5)
    body = query(plant, "SELECT seq, battery_w FROM telemetry ORDER BY seq -- all of it", limit=2).json()
    assert body["columns"] == [{"name": "seq", "type": "int64"}, {"name": "battery_w", "type": "int32"}]
    assert (body["rows"], body["truncated"]) == ([[1, -100], [2, -100]], True)
    body = query(plant, "SELECT count(*) AS n, 'nan'::DOUBLE AS nothing FROM telemetry; ").json()
    assert (body["rows"], body["truncated"]) == ([[5, None]], False)


@pytest.mark.parametrize(
    "sql",
    [
        "DROP VIEW telemetry",
        "SELECT 1; SELECT 2",
        "SELECT 1) AS a; DROP VIEW telemetry; SELECT * FROM (SELECT 1",
        "SELECT * FROM nothing",
        "SELEC 1",
        "SELECT * FROM read_csv('/etc/passwd')",
        "COPY (SELECT 1) TO '/tmp/leak.csv'",
        "SELECT * FROM telemetry)",
        "",
        " ",
    ],
)
def test_history_refuses_what_is_not_one_select_on_it(tmp_path: Path, sql: str) -> None:
    plant = make_plant(tmp_path)
    write_history(tmp_path)
    answer = query(plant, sql)
    assert answer.status_code == 422, answer.text
    assert answer.json()["field"] == "sql"
    assert answer.json()["fix"]
    assert "Traceback" not in answer.text
    assert query(plant, "SELECT count(*) FROM telemetry").json()["rows"] == [[5]]


def test_history_query_without_a_body_is_refused(plant: Plant) -> None:
    answer = ask(plant, "POST", "/api/history/query", content=b"{")
    assert answer.status_code == 422
    assert answer.json()["fix"]


def test_a_ledger_that_is_away_is_503(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(latest: int) -> None:
        raise UnavailableError("database", "locked for too long")

    monkeypatch.setattr(plant.ledger, "runs", away)
    answer = ask(plant, "GET", "/api/runs")
    assert (answer.status_code, answer.json()["status"]) == (503, 503)
    assert "locked" in answer.json()["detail"]


def test_probes_answer_although_everything_around_is_silent(tmp_path: Path) -> None:
    plant = make_plant(tmp_path)
    page = make_page(tmp_path / "page")
    assert ask(plant, "GET", "/healthz").json() == {"role": "api", "status": "alive"}
    ready = ask(plant, "GET", "/readyz", page=page)
    assert ready.status_code == 200
    assert ready.json()["last_message_age_s"] is None
    plant.hub.take(LIVE_AGGREGATES, msgspec.json.encode(aggregates()))
    assert ask(plant, "GET", "/readyz", page=page).json()["last_message_age_s"] >= 0


def test_role_without_its_page_is_not_ready(plant: Plant, tmp_path: Path) -> None:
    from shoal.api.page import PageFiles

    answer = ask(plant, "GET", "/readyz", page=PageFiles(tmp_path / "nowhere"))
    assert (answer.status_code, answer.json()["reason"]) == (503, "the page is not built")


def test_metrics_count_what_was_taken(plant: Plant) -> None:
    plant.hub.take(LIVE_AGGREGATES, msgspec.json.encode(aggregates()))
    plant.hub.take(LIVE_AGGREGATES, b"not JSON")
    text = ask(plant, "GET", "/metrics").text
    assert "shoal_api_live_messages_total 2.0" in text
    assert "shoal_api_live_malformed_total 1.0" in text


def test_contract_describes_every_type_that_it_refers_to(plant: Plant) -> None:
    contract = get(plant, "/openapi.json")
    schemas = contract["components"]["schemas"]
    text = json.dumps(contract)
    refers = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert refers - schemas.keys() == set()
    assert {"LiveState", "FleetNow", "Resource", "Group", "Problem", "DeltaMessage"} <= schemas.keys()
    answered = contract["paths"]["/api/state"]["get"]["responses"]["200"]["content"]["application/json"]
    assert answered["schema"] == {"$ref": "#/components/schemas/LiveState"}
    assert schemas["FleetNow"]["properties"]["soc_frac"]["anyOf"] == [{"type": "number"}, {"type": "null"}]


def test_docs_need_no_script_and_nothing_from_elsewhere(plant: Plant) -> None:
    text = ask(plant, "GET", "/docs").text
    assert "/api/statements/{resource_id}/{delivery_date}" in text
    assert "<script" not in text
    assert "http" not in text.replace("https://", "http://").split("<h2>Paths</h2>")[1]


def test_numbers_that_are_none_stay_json(plant: Plant) -> None:
    broken: Aggregates = aggregates(low_kw=[math.nan] * 5)
    plant.model.on_aggregates(broken)
    assert get(plant, "/api/state")["fleet"]["battery_low_kw"] is None
    assert np.isnan(broken.low_kw[0])


def test_history_comes_as_a_file_and_within_a_span(tmp_path: Path) -> None:
    plant = make_plant(tmp_path)
    write_history(tmp_path, samples=5)
    sql = "SELECT seq, battery_w FROM telemetry ORDER BY seq"
    answer = query(plant, sql, format="csv", limit=2)
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.text.splitlines() == ['"seq","battery_w"', "1,-100", "2,-100"]
    answer = query(plant, sql, format="parquet", limit=100_000)
    assert answer.headers["content-disposition"] == 'attachment; filename="history.parquet"'
    assert parquet.read_table(io.BytesIO(answer.content)).num_rows == 5
    assert query(plant, sql, to_ms=1).json()["rows"] == []
    assert len(query(plant, sql, from_ms=1).json()["rows"]) == 5
    assert query(plant, sql, limit=100_000).json()["field"] == "limit"


def test_history_status_says_what_there_is(tmp_path: Path) -> None:
    plant = make_plant(tmp_path)
    write_history(tmp_path, samples=5)
    body = ask(plant, "GET", "/api/history/status").json()
    assert body["positions"] == {"history": 1}
    assert body["tiers"]["telemetry"]["files"] == 1
    assert body["parts"] == 0


def write_registers(folder: Path) -> None:
    """The first home takes in 2 kWh in an hour, and the big battery gives 5; the second home is silent."""
    for row, charge_wh, discharge_wh in ((0, 2_000, 0), (2, 0, 5_000)):
        records = TELEMETRY.empty(2)
        records["ts_ns"], records["seq"] = [T0_NS, T0_NS + NS_PER_HOUR], [1, 2]
        records["charge_wh"], records["discharge_wh"] = [7, 7 + charge_wh], [9, 9 + discharge_wh]
        write_samples(folder / "history", records, np.full(2, row), records["ts_ns"])


def test_energy_of_groups_follows_whoever_moves(tmp_path: Path) -> None:
    plant = make_plant(tmp_path)
    write_registers(tmp_path)
    registry = Registry(open_database(f"sqlite:///{tmp_path / 'registry.db'}"))
    registry.move_site(SiteId("home-0"), GRID, GroupId("storage"), T0_NS + NS_PER_HOUR // 4)
    from_ms = T0_NS // 1_000_000
    path = f"/api/history/energy?hierarchy=grid&from_ms={from_ms}&to_ms={from_ms + 3_600_000}"

    body = get(plant, path)

    lines = {line["group_id"]: line for line in body["groups"]}
    assert {name: (line["charge_wh"], line["discharge_wh"]) for name, line in lines.items()} == {
        "homes": (500, 0),
        "feeder-1": (500, 0),
        "storage": (1_500, 5_000),
        "bess": (0, 5_000),
    }
    assert (lines["homes"]["sites"], lines["homes"]["sites_without_reading"]) == (2, 1)
    assert lines["homes"]["coverage_frac"] == 0.2, "one home was there for a quarter, the other is silent"
    assert lines["storage"]["coverage_frac"] == 1.0
    assert (body["total"]["charge_wh"], body["total"]["sites"]) == (2_000, 3)
    assert (body["no_group"]["sites"], body["no_group"]["coverage_frac"]) == (0, None)
    below = get(plant, f"{path}&group=storage")["groups"]
    assert [line["group_id"] for line in below] == ["storage", "bess"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("hierarchy=nothing&from_ms=0&to_ms=1", 404),
        ("hierarchy=grid&group=texas&from_ms=0&to_ms=1", 404),
        ("hierarchy=grid&from_ms=5&to_ms=5", 422),
        ("hierarchy=grid&from_ms=5", 422),
    ],
)
def test_energy_of_what_is_not_there_is_refused(plant: Plant, query: str, status: int) -> None:
    assert ask(plant, "GET", f"/api/history/energy?{query}").status_code == status


def test_energy_is_for_those_who_may_ask(plant: Plant) -> None:
    path = "/api/history/energy?hierarchy=grid&from_ms=0&to_ms=1"
    assert ask(plant, "GET", path, token="secret").status_code == 401
