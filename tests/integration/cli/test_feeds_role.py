"""The feeds role as a real process: providers that answer, fail, hang and talk nonsense beside each other, and a full store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from shoal.cli.roles.feeds import usable_feeds
from shoal.domain.errors import SettingsError
from shoal.domain.facts import SeriesId
from shoal.domain.interval import iso, to_ns
from shoal.runtime.child import READY_FILE_VARIABLE
from shoal.runtime.settings import Settings
from shoal.store.database import open_database, writing
from shoal.store.facts import FactStore
from tests.integration.connect.feeds.server import Provider, Reply, provider
from tests.unit.connect.feeds.recorded import sample, zipped

ROOT = Path(__file__).parents[3]
PATIENCE_S = 60.0
SPEED = 400.0
NOW = datetime(2026, 2, 16, 12, 0, tzinfo=UTC)
GOOD, FAILING, HANGING, GARBAGE = (
    "energy-charts-DE-LU",
    "ercot-day-ahead",
    "nem-dispatch",
    "dwd-mosmix",
)
PLACES_OF = {
    GOOD: "https://api.energy-charts.info",
    FAILING: "https://www.ercot.com",
    HANGING: "https://nemweb.com.au",
    GARBAGE: "https://opendata.dwd.de",
}
PRICE = SeriesId("price/sdac/DE-LU/day-ahead")
SAMPLE = sample("energy_charts.json")


def settings(folder: Path, told: dict[str, Provider], **values: object) -> Settings:
    mirrors = ";".join(f"{PLACES_OF[name]}={one.url}" for name, one in told.items())
    since = iso(time.time_ns())
    given: dict[str, object] = {
        "data_dir": str(folder),
        "feeds.names": "energy-charts-*,ercot-day-ahead,nem-dispatch,dwd-mosmix,entsoe-price",
        "feeds.mirrors": mirrors,
        "feeds.use_proxy": False,
        "clock.source": f"scaled://{iso(to_ns(NOW))}?speed={SPEED:g}&since={since}",
    }
    return Settings().with_values(given | values, "the test")


class Role:
    """One process of the role and its operations endpoint."""

    def __init__(self, folder: Path, given: Settings) -> None:
        file = folder / "settings.json"
        given.save(file)
        self.ready_file = folder / "ready.json"
        self.log = folder / "role.log"
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("SHOAL_", "PYTEST"))
        }
        environment |= {READY_FILE_VARIABLE: str(self.ready_file), "PYTHONPATH": f"{ROOT / 'src'}"}
        with self.log.open("wb") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "shoal.cli.role", "feeds", "--settings", str(file)],
                env=environment,
                stdout=sink,
                stderr=subprocess.STDOUT,
            )

    def wait(self, condition: Callable[[], bool], why: str) -> None:
        until_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < until_s, f"{why}\n{self.log.read_text()}"
            time.sleep(0.02)

    @property
    def port(self) -> int:
        return int(json.loads(self.ready_file.read_text())["ops_port"])

    def asked(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name: str, key: str | None = None) -> float:
        for family in text_string_to_metric_families(self.asked("/metrics")[1]):
            for one in family.samples:
                if one.name == f"shoal_feeds_{name}" and (key is None or one.labels["key"] == key):
                    return float(one.value)
        raise KeyError(name)


@contextmanager
def running(folder: Path, given: Settings) -> Iterator[Role]:
    role = Role(folder, given)
    try:
        role.wait(role.ready_file.exists, "it was never ready")
        yield role
    finally:
        role.process.terminate()
        assert role.process.wait(20) == 0, role.log.read_text()


@pytest.fixture
def told() -> Iterator[dict[str, Provider]]:
    """Yield four providers: one gives what was recorded, one fails, one never answers, one gives nonsense."""
    release = threading.Event()
    with ExitStack() as stack:
        found = {name: stack.enter_context(provider()) for name in PLACES_OF}
        found[GOOD].says("/price", Reply(body=SAMPLE))
        found[FAILING].says("/misapp/servlets/IceDocListJsonWS", Reply(status=500))
        found[HANGING].says("/Reports/CURRENT/DispatchIS_Reports/", Reply(wait=release))
        path = "/weather/local_forecasts/mos/MOSMIX_L/single_stations/10637/kml/MOSMIX_L_LATEST_10637.kmz"
        found[GARBAGE].says(path, Reply(body=zipped(os.urandom(2_000), "x.kml")))
        stack.callback(release.set)
        yield found


def test_role_keeps_one_feed_going_whatever_becomes_of_the_others(
    tmp_path: Path, told: dict[str, Provider]
) -> None:
    with running(tmp_path, settings(tmp_path, told)) as role:
        assert role.asked("/readyz")[0] == 200
        role.wait(lambda: role.metric("feed_rounds_total", GOOD) >= 3, "the good feed makes no rounds")
        role.wait(lambda: role.metric("feed_errors_total", GARBAGE) >= 1, "nonsense was taken")
        role.wait(lambda: role.metric("feed_errors_total", FAILING) >= 1, "a failure was not seen")
        assert role.metric("feed_errors_total", GOOD) == 0
        assert role.metric("feed_fresh", GOOD) == 1 and role.metric("feed_fresh", GARBAGE) == 0
        assert role.metric("feed_rounds_total", HANGING) == 1  # it hangs in its first
        assert role.metric("fetch_requests_total") > 4
        assert told[HANGING].count() <= 1
        # a correction is another fact beside the first
        told[GOOD].says("/price", Reply(body=SAMPLE.replace(b"69.79", b"70.5")))
        store = FactStore(open_database(f"sqlite:///{tmp_path / 'registry.db'}"))

        def newest() -> list[float]:
            found: list[float] = store.as_of([PRICE], 0, 2**62, 2**62)[PRICE].value[:, 0].tolist()
            return found

        role.wait(lambda: 70.5 in newest(), "the correction was not taken")
        assert len(newest()) == 7
        assert store.contracts()[PRICE].unit == "EUR/MWh"
        log = role.log.read_text()
        assert "feed_left_out" in log and "SHOAL_ENTSOE_TOKEN" in log
    assert "Traceback" not in role.log.read_text()


def test_role_sets_aside_what_breaks_its_contract_and_says_so(
    tmp_path: Path, told: dict[str, Provider]
) -> None:
    answer: dict[str, Any] = msgspec.json.decode(SAMPLE)
    answer["price"][0] = 99_999.0
    told[GOOD].says("/price", Reply(body=msgspec.json.encode(answer)))
    with running(tmp_path, settings(tmp_path, {GOOD: told[GOOD]}, **{"feeds.names": GOOD})) as role:
        role.wait(lambda: role.metric("feed_quarantined_total", GOOD) == 1, "it was not set aside")
    store = FactStore(open_database(f"sqlite:///{tmp_path / 'registry.db'}"))
    (item,) = store.quarantine(PRICE)
    assert (item.reason, item.value, item.source) == ("range", (99_999.0,), "energy-charts")
    (known,) = store.freshness(0)
    assert known.facts == 6


def test_role_is_not_ready_while_the_store_takes_nothing_and_gives_the_facts_again(
    tmp_path: Path, told: dict[str, Provider]
) -> None:
    told[GOOD].says("/price", Reply(body=b"{}"))
    with running(tmp_path, settings(tmp_path, {GOOD: told[GOOD]}, **{"feeds.names": GOOD})) as role:
        engine = open_database(f"sqlite:///{tmp_path / 'registry.db'}")
        with writing(engine) as connection:
            connection.exec_driver_sql("ALTER TABLE fact_block RENAME TO away")
        told[GOOD].says("/price", Reply(body=SAMPLE))
        role.wait(lambda: role.metric("feed_sink_errors_total", GOOD) >= 1, "it was taken")
        assert role.asked("/readyz")[0] == 503
        with writing(engine) as connection:
            connection.exec_driver_sql("ALTER TABLE away RENAME TO fact_block")
        role.wait(lambda: role.metric("feed_values_total", GOOD) == 7, "it was not given again")
        assert role.asked("/readyz")[0] == 200
        engine.dispose()


def test_role_without_a_feed_that_it_can_poll_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHOAL_ENTSOE_TOKEN", raising=False)
    with pytest.raises(SettingsError, match="name what to poll"):
        usable_feeds(Settings())
    for names, said in (("entsoe-price", "SHOAL_ENTSOE_TOKEN"), ("nothing", "give some of")):
        with pytest.raises(SettingsError, match=said):
            usable_feeds(Settings().with_values({"feeds.names": names}, "the test"))
    given = {"feeds.names": "entsoe-*", "feeds.entsoe_token": "secret", "feeds.places": "entsoe=FR"}
    found = usable_feeds(Settings().with_values(given, "the test"))
    assert [feed.description.name for feed in found] == [
        "entsoe-price",
        "entsoe-load-actual",
        "entsoe-load-forecast",
    ]
