"""Rounds of feeds over real HTTP: listings followed, corrections seen, hostile documents survived, facts given again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import msgspec
import pytest

from shoal.connect.feeds.aemo import MARKET_TIME
from shoal.connect.feeds.collect import Document, documents
from shoal.connect.feeds.feed import Feed
from shoal.connect.feeds.fetch import Fetcher, FetchLimits, Outcome
from shoal.connect.feeds.poll import FeedPoller, FeedStatistics, Sink
from shoal.connect.feeds.state import FeedStates, Freshness
from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.facts import Facts
from shoal.domain.interval import NS_PER_HOUR, Interval, to_ns
from shoal.runtime.clock import ScaledClock
from shoal.store.database import migrate, open_database
from shoal.store.facts import FactStore
from tests.integration.connect.feeds.conftest import Fetchers
from tests.integration.connect.feeds.server import Provider, Reply
from tests.unit.connect.feeds.recorded import FEEDS, sample, zipped

NOW_NS = to_ns(datetime(2026, 3, 1, 0, 10, 30, tzinfo=MARKET_TIME))
FOLDER = "/Reports/CURRENT/DispatchIS_Reports/"
FIRST = FOLDER + "PUBLIC_DISPATCHIS_202603010005_0000000507000001.zip"
SECOND = FOLDER + "PUBLIC_DISPATCHIS_202603010010_0000000507000405.zip"
OLDER = FOLDER + "PUBLIC_DISPATCHIS_202603010000_0000000507000000.zip"
PRICE = "price/nem/NSW1/dispatch"
REPORT = sample("aemo_dispatchis.csv")


class FrozenClock(ScaledClock):
    """A clock that shows one instant."""

    def __init__(self, t_ns: int) -> None:
        super().__init__(origin_ns=t_ns, speed=1.0)
        self.t_ns = t_ns

    def now_ns(self) -> int:
        """Return the instant."""
        return self.t_ns


class Kept:
    """A sink that remembers, and fails when it is told to."""

    def __init__(self) -> None:
        self.facts: list[Facts] = []
        self.fails = 0

    async def __call__(self, facts: Sequence[Facts]) -> Mapping[str, int]:
        if self.fails:
            self.fails -= 1
            raise RuntimeError("the store is away")
        self.facts.extend(facts)
        return {}

    def prices(self) -> list[float]:
        return [
            value for item in self.facts if item.series_id == PRICE for value in item.value[:, 0].tolist()
        ]


def nem(told: Provider) -> None:
    """Put the recorded folder and its files there."""
    told.says(FOLDER, Reply(body=sample("nemweb_listing.html")))
    for path in (OLDER, FIRST, SECOND):
        told.says(path, Reply(body=zipped(REPORT), match='"1"'))


def poller(
    fetcher: Fetcher, sink: Sink, folder: Path, feeds: Sequence[Feed] = (FEEDS["nem-dispatch"],)
) -> FeedPoller:
    return FeedPoller(
        feeds, fetcher=fetcher, sink=sink, clock=FrozenClock(NOW_NS), states=FeedStates(folder / "state")
    )


def rounds(
    fetcher: Fetcher, sink: Sink, folder: Path, count: int, name: str = "nem-dispatch"
) -> FeedStatistics:
    async def work() -> FeedStatistics:
        async with fetcher:
            polled = poller(fetcher, sink, folder, [FEEDS[name]])
            for _ in range(count):
                await polled.poll(name)
            return polled.statistics().feeds[name]

    return asyncio.run(work())


def collected(fetcher: Fetcher, feed: Feed, span: Interval) -> list[Document]:
    async def work() -> list[Document]:
        async with fetcher:
            return [d async for d in documents(feed, fetcher, span, now_ns=lambda: NOW_NS)]

    return asyncio.run(work())


def test_round_follows_the_listing_and_hands_on_each_document(
    told: Provider, fetchers: Fetchers, tmp_path: Path
) -> None:
    nem(told)
    kept = Kept()
    statistics = rounds(fetchers(), kept, tmp_path, 1)
    assert kept.prices() == [57.31, *kept.prices()[1:]]
    assert statistics.documents_total == {"new": 3}
    assert statistics.values_total == sum(item.value.size for item in kept.facts) == 180
    assert all(item.known_ns == NOW_NS for item in kept.facts)
    state = FeedStates(tmp_path / "state").load("nem-dispatch")
    assert state.newest_end_ns == to_ns(datetime(2026, 3, 1, 0, 15, tzinfo=MARKET_TIME))
    assert state.freshness(FEEDS["nem-dispatch"].description, NOW_NS) is Freshness.FRESH


def test_second_round_reads_only_what_is_new(told: Provider, fetchers: Fetchers, tmp_path: Path) -> None:
    nem(told)
    kept = Kept()
    statistics = rounds(fetchers(), kept, tmp_path, 2)
    assert statistics.documents_total == {"new": 3, "copy": 3}
    assert statistics.values_total == 180
    assert told.count(FIRST) == 1 and told.count(FOLDER) == 2


def test_broken_document_costs_itself_alone_and_is_fetched_again(
    told: Provider, fetchers: Fetchers, tmp_path: Path
) -> None:
    nem(told)
    whole = zipped(REPORT)
    told.says(FIRST, Reply(body=whole[:-30]), Reply(body=whole))
    kept = Kept()
    statistics = rounds(fetchers(), kept, tmp_path, 1)
    assert statistics.documents_total == {"new": 3}
    assert (statistics.errors_total, statistics.values_total) == (1, 120)
    assert "broken or cut off" in statistics.last_error
    statistics = rounds(fetchers(), kept, tmp_path, 1)
    assert statistics.errors_total == 0
    assert told.count(FIRST) == 2


def test_sink_that_fails_is_given_the_facts_again(told: Provider, fetchers: Fetchers, tmp_path: Path) -> None:
    nem(told)
    kept = Kept()
    kept.fails = 2
    statistics = rounds(fetchers(), kept, tmp_path, 2)
    assert statistics.sink_errors_total == 2
    assert statistics.values_total == 180  # one document in the first round, the other two in the second
    assert statistics.last_error == ""
    assert len(kept.prices()) == 9


def test_failed_round_is_noted_and_counted_until_one_succeeds(
    told: Provider, fetchers: Fetchers, tmp_path: Path
) -> None:
    kept = Kept()
    told.says(FOLDER, Reply(status=500))
    rounds(fetchers(), kept, tmp_path, 2)
    state = FeedStates(tmp_path / "state").load("nem-dispatch")
    assert (state.errors_in_a_row, state.succeeded_ns) == (2, 0)
    assert "status 500" in state.last_error
    nem(told)
    rounds(fetchers(), kept, tmp_path, 1)
    assert FeedStates(tmp_path / "state").load("nem-dispatch").errors_in_a_row == 0


def test_error_that_nobody_foresaw_ends_the_round_and_not_the_poller(
    told: Provider, fetchers: Fetchers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object, **_kwargs: object) -> None:
        raise ZeroDivisionError("a bug")

    nem(told)
    monkeypatch.setattr(type(FEEDS["nem-dispatch"]), "read", broken)
    statistics = rounds(fetchers(), Kept(), tmp_path, 2)
    assert statistics.rounds_total == statistics.errors_total == 2
    assert statistics.last_error == "ZeroDivisionError: a bug"


def test_quarantined_records_are_counted_by_reason(
    told: Provider, fetchers: Fetchers, tmp_path: Path
) -> None:
    path = "/bmrs/api/v1/balancing/settlement/system-prices/2026-05-06"
    record = msgspec.json.decode(sample("elexon_system_prices.json"))["data"][0]
    told.says(
        path, Reply(body=msgspec.json.encode({"data": [record, record, record | {"settlementPeriod": 99}]}))
    )
    midnight = to_ns(datetime.fromisoformat("2026-05-06T00:00+01:00"))
    span = Interval(start_ns=midnight, end_ns=midnight + 12 * NS_PER_HOUR)
    (document,) = collected(fetchers(), FEEDS["elexon-system-price"], span)
    assert document.reading is not None
    assert document.reading.reasons == {"the day has no such period": 1}
    assert document.reading.duplicates_total == 2


def test_corrected_document_is_read_again_and_replaces_in_the_store(
    told: Provider, fetchers: Fetchers, tmp_path: Path
) -> None:
    path = "/price"
    body = sample("energy_charts.json")
    told.says(path, Reply(body=body), Reply(body=body), Reply(body=body.replace(b"69.79", b"70.5")))
    url = f"sqlite:///{tmp_path / 'facts.db'}"
    migrate(url)
    store = FactStore(open_database(url))
    clock = FrozenClock(NOW_NS)

    async def keep(facts: Sequence[Facts]) -> Mapping[str, int]:
        await asyncio.to_thread(store.record_all, facts)
        return {}

    async def work() -> FeedStatistics:
        async with fetchers(now_ns=clock.now_ns) as fetcher:
            polled = FeedPoller(
                [FEEDS["energy-charts-DE-LU"]],
                fetcher=fetcher,
                sink=keep,
                clock=clock,
                states=FeedStates(tmp_path / "state"),
            )
            for _ in range(3):
                await polled.poll("energy-charts-DE-LU")
                clock.t_ns += NS_PER_HOUR
            return polled.statistics().feeds["energy-charts-DE-LU"]

    statistics = asyncio.run(work())
    assert statistics.documents_total == {"new": 2, "unchanged": 1}
    (name,) = {facts.series_id for facts in FEEDS["energy-charts-DE-LU"].parse(body, known_ns=1)}
    for as_of_ns, price in ((NOW_NS + NS_PER_HOUR, 69.79), (NOW_NS + 3 * NS_PER_HOUR, 70.5)):
        found = store.as_of([name], 0, 2**62, as_of_ns)[name]
        assert found.value[1, 0] == price
        assert len(found.start_ns) == 7


def test_nothing_there_yet_is_no_failure(told: Provider, fetchers: Fetchers, tmp_path: Path) -> None:
    statistics = rounds(fetchers(), Kept(), tmp_path, 1, name="energy-charts-DE-LU")
    assert statistics.documents_total == {"absent": 1}
    assert (statistics.errors_total, statistics.last_error) == (0, "")
    told.says("/api", Reply(status=400, body=sample("entsoe_nothing.xml")))
    statistics = rounds(fetchers(), Kept(), tmp_path, 1, name="entsoe-price")
    assert (statistics.errors_total, statistics.values_total) == (0, 0)


def test_ercot_round_reads_the_documents_of_its_listing(told: Provider, fetchers: Fetchers) -> None:
    told.says("/misapp/servlets/IceDocListJsonWS", Reply(body=sample("ercot_listing.json")))
    told.says("/misdownload/servlets/mirDownload", Reply(body=zipped(sample("ercot_dam.csv"), "cdr.csv")))
    day = to_ns(datetime.fromisoformat("2025-08-05T00:00-05:00"))
    (document,) = collected(
        fetchers(), FEEDS["ercot-day-ahead"], Interval(start_ns=day, end_ns=day + 24 * NS_PER_HOUR)
    )
    assert document.outcome is Outcome.NEW and document.reading is not None
    assert document.reading.values_total == 72
    assert told.seen[-1].query == "doclookupId=1131900002"


def test_listing_that_is_gone_is_a_failure(fetchers: Fetchers, tmp_path: Path) -> None:
    statistics = rounds(fetchers(), Kept(), tmp_path, 1)
    assert statistics.errors_total == 1
    assert "see whether it moved" in statistics.last_error


def test_slow_host_holds_up_no_other(told: Provider, fetchers: Fetchers, tmp_path: Path) -> None:
    release = threading.Event()
    told.says(FOLDER, Reply(body=sample("nemweb_listing.html"), wait=release))
    told.says("/Reports/CURRENT/TradingIS_Reports/", Reply(body=b"", wait=release))
    told.says("/price", Reply(body=sample("energy_charts.json")))
    names = ("nem-dispatch", "nem-trading", "energy-charts-DE-LU")

    async def work() -> int:
        async with fetchers() as fetcher:
            polled = FeedPoller(
                [FEEDS[name] for name in names],
                fetcher=fetcher,
                sink=Kept(),
                clock=FrozenClock(NOW_NS),
                states=FeedStates(tmp_path / "state"),
                per_host=1,
            )
            slow = [asyncio.create_task(polled.poll(name)) for name in names[:2]]
            try:
                async with asyncio.timeout(4.0):
                    return (await polled.poll(names[2])).values_total
            finally:
                release.set()
                await asyncio.gather(*slow)

    assert asyncio.run(work()) == 7


def test_poller_refuses_what_cannot_be(fetchers: Fetchers, tmp_path: Path) -> None:
    fetcher = fetchers()
    with pytest.raises(InvalidInputError):
        poller(fetcher, Kept(), tmp_path, [FEEDS["nem-dispatch"]] * 2)
    with pytest.raises(UnknownIdError):
        asyncio.run(poller(fetcher, Kept(), tmp_path).poll("nothing"))
    asyncio.run(fetcher.close())


def good_rounds(polled: FeedPoller) -> int:
    return sum(polled.statistics().feeds["energy-charts-DE-LU"].documents_total.values())


def bad_errors(polled: FeedPoller) -> int:
    return polled.statistics().feeds["nem-dispatch"].errors_total


def test_running_poller_keeps_each_cadence_whatever_becomes_of_another_feed(
    told: Provider, fetchers: Fetchers, tmp_path: Path
) -> None:
    """Two feeds on a fast clock; one host answers nothing but errors, the other goes on."""
    told.says("/price", Reply(body=sample("energy_charts.json")))
    told.says(FOLDER, Reply(status=500))
    clock = ScaledClock(origin_ns=NOW_NS, speed=3_600.0)
    kept = Kept()

    async def work() -> tuple[FeedStatistics, FeedStatistics]:
        fetcher = fetchers(now_ns=clock.now_ns, limits=FetchLimits(failures_to_open=1000))
        names = ("energy-charts-DE-LU", "nem-dispatch")
        async with fetcher:
            polled = FeedPoller(
                [FEEDS[name] for name in names],
                fetcher=fetcher,
                sink=kept,
                clock=clock,
                states=FeedStates(tmp_path / "state"),
                look_s=60.0,
            )
            running = asyncio.create_task(polled.run())
            async with asyncio.timeout(20.0):
                while good_rounds(polled) < 3 or bad_errors(polled) < 3:
                    assert not running.done()
                    await asyncio.sleep(0.01)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            found = polled.statistics().feeds
            return found[names[0]], found[names[1]]

    good, bad = asyncio.run(work())
    assert good.errors_total == 0 and good.values_total == 7  # unchanged documents are not read again
    assert bad.errors_total >= 3 and "status 500" in bad.last_error
    assert good.due_ns % int(1800e9) >= int(120e9)  # at the cadence, after the delay of publication
