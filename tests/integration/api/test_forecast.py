"""`/api/forecast` over real stores: what was issued against what came, and nothing that was said too late."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from shoal.api.forecasts.routes import MOST_WAITING, forecast_routes, span_ns
from shoal.api.forecasts.views import ForecastReader
from shoal.api.plant import Plant
from shoal.bidding.forecast_contests import shadow_forecasts
from shoal.bidding.forecast_quality import issued_of, match, outcome_of
from shoal.bidding.training_store import ModelStore
from shoal.domain.errors import UnavailableError
from shoal.domain.facts import Facts, SeriesId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, to_ns
from shoal.forecast.champion import Contest
from shoal.store.facts import FactStore
from shoal.store.facts_columns import Columns
from tests.unit.api.doors import ask, make_plant

PRICES: Final = SeriesId("price/ercot-da/HB_NORTH/day-ahead")
FORECAST: Final = SeriesId(f"forecast/{PRICES}")
DAY_NS: Final = 24 * NS_PER_HOUR
MIDNIGHT_NS: Final = 1_612_936_800_000_000_000  # 10 February 2021, 00:00 in Texas
ZONE: Final = ZoneInfo("America/Chicago")


def hours(start_ns: int, count: int) -> tuple[Any, Any]:
    start = start_ns + np.arange(count, dtype=np.int64) * NS_PER_HOUR
    return start, start + NS_PER_HOUR


def say(facts: FactStore, series: SeriesId, start_ns: int, value: Any, known_ns: int) -> None:
    values = np.atleast_2d(np.asarray(value, dtype=np.float64))
    start, end = hours(start_ns, len(values))
    facts.record(
        Facts(
            series_id=series,
            source="shoal test/1",
            known_ns=known_ns,
            start_ns=start,
            end_ns=end,
            value=values,
        )
    )


def fan(mean: float, low: float, high: float, count: int = 24) -> Any:
    return np.tile([mean, low, mean, high], (count, 1))


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    """Two days of prices at 40 and at 60, a week of prices at 30 before; each day forecast at 50, 45 to 55, at noon before."""
    made = make_plant(tmp_path)
    made = replace(made, now_ns=lambda: MIDNIGHT_NS + 2 * DAY_NS)
    facts = FactStore(made.database)
    for back in range(-8, 0):
        start_ns = MIDNIGHT_NS + back * DAY_NS
        say(facts, PRICES, start_ns, np.full((24, 1), 30.0), start_ns - 10 * NS_PER_HOUR)
    for number, price in enumerate((40.0, 60.0)):
        start_ns = MIDNIGHT_NS + number * DAY_NS
        say(facts, FORECAST, start_ns, fan(50.0, 45.0, 55.0), start_ns - 15 * NS_PER_HOUR)
        say(facts, PRICES, start_ns, np.full((24, 1), price), start_ns - 10 * NS_PER_HOUR)
    yield made
    made.database.dispose()


def told(plant: Plant, what: str, **query: str) -> Any:
    answered = ask(plant, "GET", f"/api/forecast/{what}", params=query)
    assert answered.status_code == 200, answered.text
    return answered.json()


def test_scores_are_those_of_what_was_issued_beside_the_week_before(plant: Plant) -> None:
    found = told(plant, "scores", series=FORECAST)
    assert found["t_ms"] == [MIDNIGHT_NS // 1_000_000, (MIDNIGHT_NS + DAY_NS) // 1_000_000]
    assert (found["champion"]["n"], found["champion"]["mae"]) == ([24, 24], [10.0, 10.0])
    assert found["champion"]["bias"] == [10.0, -10.0]
    assert found["naive_mae"] == [10.0, 30.0]
    assert found["naive_crps"] == [pytest.approx(10.0 * 0.95, rel=0.1), pytest.approx(30.0 * 0.95, rel=0.1)]
    (total,) = found["totals"]
    assert (total["mae"], total["naive_mae"], total["skill_frac"]) == (10.0, 20.0, 0.5)
    assert total["mae_low"] is None  # two days say nothing of how sure it is
    assert found["issued"] == 48
    assert found["first_open_ms"] is None


def test_what_is_said_when_the_outcome_is_known_does_not_count(plant: Plant) -> None:
    before = told(plant, "scores", series=FORECAST)
    facts = FactStore(plant.database)
    # right, but an hour after the prices were out, and again when the day had begun
    for known_ns in (MIDNIGHT_NS - 9 * NS_PER_HOUR, MIDNIGHT_NS + NS_PER_HOUR):
        say(facts, FORECAST, MIDNIGHT_NS, fan(40.0, 39.0, 41.0), known_ns)
    assert told(plant, "scores", series=FORECAST) == before
    # a later word in time does
    say(facts, FORECAST, MIDNIGHT_NS, fan(45.0, 35.0, 55.0), MIDNIGHT_NS - 11 * NS_PER_HOUR)
    assert told(plant, "scores", series=FORECAST)["champion"]["mae"] == [5.0, 10.0]


def test_what_is_not_known_yet_is_no_outcome_and_no_naive_forecast(plant: Plant) -> None:
    facts = FactStore(plant.database)
    start_ns = MIDNIGHT_NS + 2 * DAY_NS
    say(facts, FORECAST, start_ns, fan(50.0, 45.0, 55.0), start_ns - 15 * NS_PER_HOUR)
    found = told(plant, "scores", series=FORECAST)
    assert (found["issued"], found["totals"][0]["n"]) == (72, 48)
    assert found["first_open_ms"] == start_ns // 1_000_000
    said = facts.window([PRICES, FORECAST], MIDNIGHT_NS - 9 * DAY_NS, start_ns)
    early = match(
        issued_of(said.facts[FORECAST]),
        said.facts[PRICES],
        zone=ZONE,
        as_of_ns=MIDNIGHT_NS - 11 * NS_PER_HOUR,
    )
    assert len(early) == 0


def test_coverage_counts_outcomes_below_each_quantile(plant: Plant) -> None:
    found = told(plant, "coverage", series=FORECAST)
    assert [point["observed"] for point in found["points"]] == [0.5, 0.5, 0.5]
    assert [point["nominal"] for point in found["points"]] == [0.05, 0.5, 0.95]
    assert [part["n"] for part in found["pit"]] == [24, 0, 0, 24]
    assert (found["inside_nominal"], found["inside_observed"]) == (0.9, 0.0)


def test_series_tell_who_makes_them_and_why_one_is_missing(plant: Plant) -> None:
    (one,) = [one for one in told(plant, "series")["series"] if one["series_id"] == FORECAST]
    assert (one["model"], one["unit"], one["intervals"]) == ("shoal test/1", "USD/MWh", 48)
    missing = [one for one in told(plant, "series")["series"] if one["intervals"] == 0]
    assert all(one["none_because"].startswith("no bid was decided yet") for one in missing)


def test_contests_are_the_naive_one_and_those_of_trained_models(plant: Plant, tmp_path: Path) -> None:
    found = told(plant, "contests", series=FORECAST)
    assert [(one["kind"], one["days"], one["verdict"]) for one in found["contests"]] == [
        ("naive", 2, "collecting")
    ]
    assert found["contests"][0]["gain_frac"] > 0
    assert (found["trained"], found["shadows"]) == (0, 0)
    store = ModelStore(tmp_path / "models", plant.database)
    contest = Contest(
        champion="old", challenger="new", day_count=20, champion_total=2.0, challenger_total=1.0
    )
    store.put_contest("load/homes", contest, MIDNIGHT_NS)
    (held,) = told(plant, "contests")["contests"]
    assert (held["kind"], held["champion"], held["days"], held["verdict"]) == ("model", "old", 20, "keep")
    assert shadow_forecasts(plant.ledger, ["bess"], FORECAST, from_ns=0, to_ns=2**62) == {}


def test_questions_that_make_no_sense_are_refused(plant: Plant) -> None:
    def status(**query: str) -> int:
        return ask(plant, "GET", "/api/forecast/scores", params=query).status_code

    assert status(series="price/ercot-da/HB_NORTH/day-ahead") == 404
    assert status(series="forecast/nothing") == 404
    assert status(series=FORECAST, from_ms="2000", to_ms="1000") == 422
    assert status(series=FORECAST, from_ms="0", to_ms=str(93 * 86_400_000)) == 422
    assert status(series=FORECAST, from_ms=str(2**61)) == 422


@pytest.mark.parametrize(
    ("series", "outcome"),
    [
        ("price/nem/VIC1/predispatch", "price/nem/VIC1/dispatch"),
        ("price/nem/VIC1/predispatch-raise6sec", "price/nem/VIC1/dispatch-raise6sec"),
        ("price/nem/VIC1/p5min", "price/nem/VIC1/dispatch"),
        ("load/nem/VIC1/p5min", "load/nem/VIC1/actual"),
        ("load/nem/VIC1/actual", None),
        ("weather/met/here/temperature", None),
    ],
)
def test_each_forecast_names_its_outcome(series: str, outcome: str | None) -> None:
    assert outcome_of(series) == outcome


def test_an_outcome_in_parts_is_their_mean_and_counts_only_when_whole() -> None:
    def columns(start_ns: Any, step_ns: int, value: Any, known_ns: Any) -> Columns:
        start = np.asarray(start_ns, dtype=np.int64)
        zero = np.zeros(len(start), dtype=np.int64)
        known = np.broadcast_to(np.asarray(known_ns, dtype=np.int64), start.shape).copy()
        return Columns(
            start_ns=start,
            end_ns=start + step_ns,
            known_ns=known,
            revision=zero,
            source_no=zero,
            record_no=zero,
            value=np.asarray(value, dtype=np.float64).reshape(len(start), -1),
        )

    quarter_ns = 15 * NS_PER_MINUTE
    # the second hour lacks its last quarter
    quarters = MIDNIGHT_NS + np.arange(7) * quarter_ns
    came = columns(quarters, quarter_ns, [10, 20, 30, 40, 1, 1, 1], quarters + quarter_ns)
    told_ns = MIDNIGHT_NS - NS_PER_HOUR
    both = columns([MIDNIGHT_NS, MIDNIGHT_NS + NS_PER_HOUR], NS_PER_HOUR, [24.0, 5.0], told_ns)
    found = match(issued_of(both), came, zone=ZONE, as_of_ns=MIDNIGHT_NS + DAY_NS)
    assert found.start_ns.tolist() == [MIDNIGHT_NS]
    assert found.observed.tolist() == [25.0]
    assert np.isnan(found.naive).all()
    assert found.quantile.shape == (1, 0)
    begun = columns([MIDNIGHT_NS], NS_PER_HOUR, [24.0], MIDNIGHT_NS)
    assert len(match(issued_of(begun), came, zone=ZONE, as_of_ns=MIDNIGHT_NS + DAY_NS)) == 0


def test_the_usual_span_is_of_whole_local_days_where_clocks_were_changed() -> None:
    chicago = ZoneInfo("America/Chicago")
    now_ns = to_ns(datetime(2021, 3, 16, 12, tzinfo=chicago))
    assert span_ns(FORECAST, None, None, now_ns=now_ns) == (
        to_ns(datetime(2021, 2, 13, tzinfo=chicago)),
        to_ns(datetime(2021, 3, 19, tzinfo=chicago)),
    )


def test_who_waits_for_scores_does_not_hold_everybodys_threads(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, began = threading.Event(), threading.Semaphore(0)
    beside = ForecastReader.beside

    def slow(self: ForecastReader, *args: Any, **kwargs: Any) -> Any:
        began.release()
        go.wait(20.0)
        return beside(self, *args, **kwargs)

    monkeypatch.setattr(ForecastReader, "beside", slow)
    routes = forecast_routes(plant).routes
    scores = next(one.endpoint for one in routes if getattr(one, "path", "") == "/api/forecast/scores")  # type: ignore[attr-defined]
    with ThreadPoolExecutor(MOST_WAITING + 2) as threads:
        asked = [threads.submit(scores, FORECAST, None, None, "day") for _ in range(MOST_WAITING + 2)]
        assert began.acquire(timeout=10.0)
        done, _ = wait(asked, timeout=5.0, return_when=FIRST_COMPLETED)
        sent_away = [one.exception() for one in done]
        go.set()
        wait(asked, timeout=20.0)
    assert sent_away and all(isinstance(one, UnavailableError) for one in sent_away)
    assert sum(one.exception() is None for one in asked) >= MOST_WAITING
