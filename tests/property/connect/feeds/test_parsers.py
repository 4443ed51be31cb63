"""Whatever becomes of a document on its way, a parser gives facts or says `FeedError`, and facts are never impossible."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.connect.feeds.feed import Feed, FeedError
from shoal.domain.interval import Interval
from tests.unit.connect.feeds.recorded import FEEDS, SAMPLE_OF, sample, zipped

_TOKENS = (
    *(b"", b"\x00", b"\xff\xfe", b"-", b"NaN", b"1e999", b"9" * 400, b"null", b"{}", b"[", b"]", b'"', b","),
    *(b"\r\n", b"<", b">", b"&a;", b"</Period>", b"2026-02-30", b"0000", b"9999", b"true", b"\xc3\x28"),
    *(b"99999999999999999999", b"-1", b"Y", b"<!DOCTYPE a>", b"PT1M", b"Infinity"),
)


@st.composite
def mutated(draw: st.DrawFn, content: bytes) -> bytes:
    """A document with some stretches cut, doubled, moved or replaced."""
    text = bytearray(content)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(text)))
        length = draw(st.integers(0, 40))
        kind = draw(st.integers(0, 3))
        if kind == 0:
            text[at : at + length] = draw(st.sampled_from(_TOKENS))
        elif kind == 1:
            text[at:at] = text[at : at + length * 10]
        elif kind == 2:
            del text[at:]
            text += draw(st.sampled_from(_TOKENS))
        elif at < len(text):
            text[at] = draw(st.integers(0, 255))
    return bytes(text)


def check(feed: Feed, content: bytes) -> None:
    try:
        reading = feed.read(content, known_ns=7)
    except FeedError as error:
        assert error.feed == feed.description.name
        assert error.fix and len(str(error)) < 1_000
        return
    for facts in reading.facts:
        assert facts.known_ns == 7 and 0 <= facts.revision < 1 << 31
        assert np.isfinite(facts.value).all() and facts.value.shape == (len(facts.start_ns), 1)
        assert (facts.end_ns > facts.start_ns).all()
        assert len(facts.series_id) < 200 and "{" not in facts.series_id
    assert reading.quarantined_total == sum(reading.reasons.values()) >= len(reading.quarantined)
    assert list(feed.parse(content, known_ns=7)) != [] or not reading.facts


@pytest.mark.parametrize("name", sorted(SAMPLE_OF))
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_mutated_document_raises_nothing_but_the_declared_error(name: str, data: st.DataObject) -> None:
    check(FEEDS[name], data.draw(mutated(sample(SAMPLE_OF[name]))))


@pytest.mark.parametrize("name", ["nem-dispatch", "ercot-day-ahead", "dwd-mosmix"])
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_mutated_archive_raises_nothing_but_the_declared_error(name: str, data: st.DataObject) -> None:
    member = "a.kml" if name == "dwd-mosmix" else "a.csv"
    check(FEEDS[name], data.draw(mutated(zipped(sample(SAMPLE_OF[name]), member))))


@pytest.mark.parametrize("name", sorted(SAMPLE_OF))
@given(content=st.binary(max_size=200))
@settings(max_examples=15, deadline=None)
def test_noise_raises_nothing_but_the_declared_error(name: str, content: bytes) -> None:
    check(FEEDS[name], content)


@pytest.mark.parametrize(
    ("name", "listing"), [("nem-dispatch", "nemweb_listing.html"), ("ercot-day-ahead", "ercot_listing.json")]
)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_mutated_listing_leads_nowhere_but_to_documents(name: str, listing: str, data: st.DataObject) -> None:
    feed = FEEDS[name]
    span = Interval(start_ns=0, end_ns=4_000_000_000_000_000_000)
    (ask,) = feed.asks(span)
    content = data.draw(mutated(sample(listing)))
    try:
        found = feed.follow(content, ask=ask, span=span)
    except FeedError:
        return
    host = ask.url.split("/")[2]
    assert all(not item.listing and item.url.startswith(f"https://{host}/") for item in found)


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_rows_in_any_order_say_the_same(data: st.DataObject) -> None:
    head, *rows = sample("ercot_dam.csv").decode().splitlines()
    shuffled = "\n".join([head, *data.draw(st.permutations(rows))])
    feed = FEEDS["ercot-day-ahead"]
    for left, right in zip(
        feed.parse("\n".join([head, *rows]).encode(), known_ns=1),
        feed.parse(shuffled.encode(), known_ns=1),
        strict=True,
    ):
        assert left.series_id == right.series_id
        np.testing.assert_array_equal(left.start_ns, right.start_ns)
        np.testing.assert_array_equal(left.value, right.value)
