"""Documents over real HTTP: unchanged ones, hostile ones, limits, secrets, and being a good guest."""

from __future__ import annotations

import asyncio
import gzip
import logging
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from shoal.connect.feeds.feed import Ask, FeedError
from shoal.connect.feeds.fetch import Fetched, Fetcher, FetchLimits, Outcome
from shoal.connect.feeds.host import HostPace
from shoal.domain.errors import InvalidInputError, UnavailableError
from shoal.domain.interval import NS_PER_S
from tests.integration.connect.feeds.conftest import NOW_NS, Fetchers
from tests.integration.connect.feeds.server import Provider, Reply, provider
from tests.unit.connect.feeds.recorded import FEEDS, sample

TOLD = FEEDS["elexon-system-price"].description
ASK = Ask(url="https://data.elexon.co.uk/doc")
R = TypeVar("R")


def run(fetcher: Fetcher, work: Callable[[Fetcher], Awaitable[R]]) -> R:
    async def whole() -> R:
        async with fetcher:
            return await work(fetcher)

    return asyncio.run(whole())


def once(fetcher: Fetcher, ask: Ask = ASK) -> Fetched:
    return run(fetcher, lambda f: f.fetch(ask, TOLD))


def outcomes(fetcher: Fetcher, ask: Ask, count: int) -> list[Outcome]:
    async def work(f: Fetcher) -> list[Outcome]:
        return [(await f.fetch(ask, TOLD)).outcome for _ in range(count)]

    return run(fetcher, work)


def test_unchanged_document_is_not_sent_again(told: Provider, fetchers: Fetchers) -> None:
    told.says(
        "/doc", Reply(body=b"one", match='"v1"', headers={"Last-Modified": "Sun, 01 Mar 2026 10:00:00 GMT"})
    )

    async def work(f: Fetcher) -> tuple[Fetched, Fetched]:
        return await f.fetch(ASK, TOLD), await f.fetch(ASK, TOLD)

    first, second = run(fetchers(), work)
    assert (first.outcome, first.content) == (Outcome.NEW, b"one")
    assert (second.outcome, second.content, second.digest) == (Outcome.UNCHANGED, b"one", first.digest)
    assert told.seen[1].headers["If-None-Match"] == '"v1"'
    assert told.seen[1].headers["If-Modified-Since"] == "Sun, 01 Mar 2026 10:00:00 GMT"
    assert "If-None-Match" not in told.seen[0].headers


def test_same_bytes_are_unchanged_and_other_bytes_are_new(told: Provider, fetchers: Fetchers) -> None:
    told.says("/doc", Reply(body=b"one"), Reply(body=b"one"), Reply(body=b"two"))
    assert outcomes(fetchers(), ASK, 3) == [Outcome.NEW, Outcome.UNCHANGED, Outcome.NEW]


def test_copies_outlive_the_fetcher(told: Provider, fetchers: Fetchers) -> None:
    told.says("/doc", Reply(body=b"one", match='"v1"'))
    assert once(fetchers()).outcome is Outcome.NEW
    assert once(fetchers()).outcome is Outcome.UNCHANGED


def test_immutable_document_is_asked_for_once(told: Provider, fetchers: Fetchers) -> None:
    told.says("/doc", Reply(body=b"one"))
    assert outcomes(fetchers(), replace(ASK, immutable=True), 3) == [Outcome.NEW, Outcome.COPY, Outcome.COPY]
    assert told.count() == 1


def test_provider_that_asks_to_wait_is_not_asked_before(told: Provider, fetchers: Fetchers) -> None:
    told.says("/doc", Reply(body=b"one", headers={"Cache-Control": "max-age=60"}))
    now_ns = [NOW_NS]

    async def work(f: Fetcher) -> list[Outcome]:
        found = []
        for seconds in (0, 59, 61):
            now_ns[0] = NOW_NS + seconds * NS_PER_S
            found.append((await f.fetch(ASK, TOLD)).outcome)
        return found

    assert run(fetchers(now_ns=lambda: now_ns[0]), work) == [Outcome.NEW, Outcome.COPY, Outcome.UNCHANGED]


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
def test_passing_error_is_tried_again(told: Provider, fetchers: Fetchers, status: int) -> None:
    told.says("/doc", Reply(status=status), Reply(status=status), Reply(body=b"one"))
    assert once(fetchers()).content == b"one"
    assert told.count() == 3


def test_lasting_error_names_feed_status_and_address(told: Provider, fetchers: Fetchers) -> None:
    told.says("/doc", Reply(status=503))
    with pytest.raises(
        UnavailableError, match=r"feed elexon-system-price is unavailable: status 503 at https://"
    ):
        once(fetchers())
    assert told.count() == 3


def test_host_that_is_down_is_left_alone(told: Provider, fetchers: Fetchers) -> None:
    told.says("/doc", Reply(status=500))
    fetcher = fetchers()

    async def work(f: Fetcher) -> None:
        for _ in range(10):
            with pytest.raises(UnavailableError):
                await f.fetch(ASK, TOLD)

    run(fetcher, work)
    assert told.count() == 3 * 3  # three calls of three tries, then none
    statistics = fetcher.statistics()
    assert statistics.open_hosts == (told.url.removeprefix("http://"),)
    assert (statistics.requests_total, statistics.failures_total) == (9, 10)


def test_host_that_says_when_to_come_back_is_held_until_then(told: Provider, fetchers: Fetchers) -> None:
    waits: list[float] = []

    async def note(seconds: float) -> None:
        waits.append(seconds)

    told.says("/doc", Reply(status=503, headers={"Retry-After": "7"}), Reply(body=b"one"))
    once(fetchers(pace=lambda rate: HostPace(rate_per_s=rate, sleep=note)))
    assert waits and 6.0 < waits[0] <= 7.0


def test_answer_that_breaks_off_is_tried_again(told: Provider, fetchers: Fetchers) -> None:
    told.says("/doc", Reply(body=b"x" * 1_000, missing=500), Reply(body=b"whole"))
    assert once(fetchers()).content == b"whole"


def test_gzip_that_breaks_off_is_tried_again(told: Provider, fetchers: Fetchers) -> None:
    packed = {"Content-Encoding": "gzip"}
    whole = gzip.compress(b"whole" * 1_000)
    told.says("/doc", Reply(body=whole[:-12], headers=packed), Reply(body=whole, headers=packed))
    assert once(fetchers()).content == b"whole" * 1_000


def test_web_page_with_status_200_is_no_document_and_is_not_kept(told: Provider, fetchers: Fetchers) -> None:
    page = Reply(body=b"<!DOCTYPE html><html>maintenance</html>")
    told.says("/doc", page, page, page, Reply(body=b"data"))
    immutable = replace(ASK, immutable=True)
    fetcher = fetchers()

    async def work(f: Fetcher) -> Fetched:
        with pytest.raises(UnavailableError, match="a web page in place of data"):
            await f.fetch(immutable, TOLD)
        return await f.fetch(immutable, TOLD)

    assert run(fetcher, work).content == b"data"


def test_too_large_answer_is_refused_packed_or_not(told: Provider, fetchers: Fetchers) -> None:
    bomb = gzip.compress(bytes(20 << 20))
    assert len(bomb) < 1 << 20
    for reply in (Reply(body=bytes((1 << 20) + 1)), Reply(body=bomb, headers={"Content-Encoding": "gzip"})):
        told.says("/doc", reply)
        with pytest.raises(FeedError, match="more than 1048576 bytes"):
            once(fetchers())


def test_encoding_that_was_not_offered_is_refused(told: Provider, fetchers: Fetchers) -> None:
    told.says("/doc", Reply(body=b"?", headers={"Content-Encoding": "br"}))
    with pytest.raises(FeedError, match="only gzip was offered"):
        once(fetchers())


def test_what_is_not_there_is_absent(told: Provider, fetchers: Fetchers) -> None:
    assert once(fetchers()) == Fetched(outcome=Outcome.ABSENT)


@pytest.mark.parametrize(
    ("status", "message"), [(401, "refuses this client"), (403, "refuses"), (418, "answers with")]
)
def test_refusal_is_not_tried_again(told: Provider, fetchers: Fetchers, status: int, message: str) -> None:
    told.says("/doc", Reply(status=status))
    with pytest.raises(FeedError, match=message):
        once(fetchers())
    assert told.count() == 1


def test_redirect_is_followed_a_few_times(told: Provider, fetchers: Fetchers) -> None:
    told.says("/doc", Reply(status=302, headers={"Location": "/moved"}))
    told.says("/moved", Reply(body=b"here"))
    assert once(fetchers()).content == b"here"
    told.says("/moved", Reply(status=302, headers={"Location": "/moved"}))
    with pytest.raises(FeedError, match="more than 3"):
        once(fetchers())


def test_slow_answer_is_cut_off(told: Provider, fetchers: Fetchers) -> None:
    release = threading.Event()
    told.says("/doc", Reply(body=b"late", wait=release))
    try:
        with pytest.raises(UnavailableError, match=r"no whole answer within 0\.2 s"):
            once(fetchers(limits=FetchLimits(total_s=0.2)))
    finally:
        release.set()


def test_host_that_cannot_be_reached_is_unavailable(fetchers: Fetchers) -> None:
    with provider() as gone:
        url = gone.url
    with pytest.raises(UnavailableError, match="ConnectError at https://data"):
        once(fetchers(mirrors={"https://data.elexon.co.uk": url}))


def test_user_agent_says_who_asks_and_some_providers_insist(told: Provider, fetchers: Fetchers) -> None:
    met = FEEDS["met-norway-berlin"]
    (ask,) = met.asks(met.recent(NOW_NS))
    told.says("/weatherapi/locationforecast/2.0/compact", Reply(body=sample("met_norway.json")))
    run(fetchers(), lambda f: f.fetch(ask, met.description))
    assert told.seen[0].headers["User-Agent"].startswith("shoal/")
    assert told.seen[0].headers["User-Agent"].endswith("https://plant.example/contact")
    with pytest.raises(FeedError, match="SHOAL_FEEDS_CONTACT"):
        run(fetchers(contact=""), lambda f: f.fetch(ask, met.description))
    with pytest.raises(InvalidInputError, match="ASCII"):
        fetchers(contact="a\r\nX-Evil: 1")


SECRET = "s3cret-t0ken/+"
FORMS = (SECRET, "s3cret-t0ken%2F%2B", "s3cret-t0ken/%2B", "t0ken")


def entsoe(f: Fetcher) -> Awaitable[Fetched]:
    feed = FEEDS["entsoe-price"]
    return f.fetch(feed.asks(feed.recent(NOW_NS))[0], feed.description)


def test_secret_reaches_the_provider_and_nobody_else(
    told: Provider, fetchers: Fetchers, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    told.says("/api", Reply(status=500), Reply(body=sample("entsoe_a44.xml")))
    run(fetchers(), entsoe)
    assert "securityToken=s3cret-t0ken" in told.seen[0].query
    assert any("securityToken=***" in record.getMessage() for record in caplog.records)
    kept = b"".join(path.read_bytes() for path in (tmp_path / "cache").iterdir())
    assert b"Publication_MarketDocument" in kept
    for form in FORMS:
        assert form not in caplog.text
        assert form.encode() not in kept


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=500),
        Reply(status=401),
        Reply(status=418),
        Reply(body=b"<html>"),
        Reply(body=b"x" * 100, missing=50),
        Reply(status=302, headers={"Location": "/elsewhere"}),
        Reply(body=bytes((1 << 20) + 1)),
    ],
)
def test_secret_is_in_no_error(told: Provider, fetchers: Fetchers, reply: Reply) -> None:
    told.says("/api", reply)
    with pytest.raises((UnavailableError, FeedError)) as caught:
        run(fetchers(), entsoe)
    error: BaseException | None = caught.value
    while error is not None:
        assert not any(form in f"{error} {error!r} {vars(error)}" for form in FORMS)
        error = error.__cause__
    assert told.count("/elsewhere") == 0  # a key is never carried along


def test_missing_secret_is_told_with_how_to_get_one(told: Provider, fetchers: Fetchers) -> None:
    with pytest.raises(FeedError, match=r"SHOAL_ENTSOE_TOKEN.*register on transparency"):
        run(fetchers(secrets={}), entsoe)
    assert told.count() == 0


def test_status_400_of_entsoe_is_read_by_its_parser(told: Provider, fetchers: Fetchers) -> None:
    told.says("/api", Reply(status=400, body=sample("entsoe_nothing.xml")))
    assert b"No matching data found" in run(fetchers(), entsoe).content


def test_full_disk_costs_the_copy_and_not_the_document(
    told: Provider, fetchers: Fetchers, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("no folder")
    told.says("/doc", Reply(body=b"one"))
    assert once(fetchers()).content == b"one"
