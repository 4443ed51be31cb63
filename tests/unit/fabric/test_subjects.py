"""Subjects: one shape each, and nothing else is read."""

from __future__ import annotations

import pytest

from shoal.domain.errors import InvalidInputError, WireFormatError
from shoal.domain.ids import SiteId, site_id
from shoal.fabric import subjects


def test_journal_subject_carries_its_site() -> None:
    site = site_id("home-000042")
    assert subjects.site_of_journal_subject(subjects.journal_subject(site).encode()) == site


@pytest.mark.parametrize(
    "subject", [b"tele.1", b"tele.x.s", b"tele.1.s.t", b"dev.1.s", b"tele.1.", b"tele.1.\xff", b"tele.1.a*"]
)
def test_journal_subject_of_another_shape_is_refused(subject: bytes) -> None:
    with pytest.raises(WireFormatError) as caught:
        subjects.site_of_journal_subject(subject)
    assert caught.value.reason == "subject"


def test_partition_is_fnv_1a() -> None:
    # Published test vectors of FNV-1a, 32 bits: "" 811c9dc5, "a" e40c292c, "foobar" bf9cf968.
    assert subjects.partition_of(SiteId("")) == 0x811C9DC5 % 64
    assert subjects.partition_of(SiteId("a")) == 0xE40C292C % 64
    assert subjects.partition_of(SiteId("foobar")) == 0xBF9CF968 % 64


def test_journal_filter_of_everything_is_one_filter() -> None:
    assert subjects.journal_filter() == ("tele.>",)
    assert subjects.journal_filter(range(64)) == ("tele.>",)
    assert subjects.journal_filter([3, 1, 3]) == ("tele.1.>", "tele.3.>")


@pytest.mark.parametrize("partitions", [[], [64], [-1, 2]])
def test_journal_filter_refuses_what_is_no_partition(partitions: list[int]) -> None:
    with pytest.raises(InvalidInputError):
        subjects.journal_filter(partitions)


def test_hello_carries_its_site() -> None:
    site = site_id("home-000042")
    assert subjects.hello_subject(site) == "dev.home-000042.hello"
    assert subjects.schema_subject(site) == "to.home-000042.schema"
    assert subjects.site_of_hello_subject(subjects.hello_subject(site).encode()) == site


@pytest.mark.parametrize(
    "subject", [b"dev.a.tele", b"dev.hello", b"to.a.hello", b"dev..hello", b"dev.\xff.hello"]
)
def test_hello_of_another_shape_is_refused(subject: bytes) -> None:
    with pytest.raises(WireFormatError):
        subjects.site_of_hello_subject(subject)


@pytest.mark.parametrize("name", ["home-000042", "gw-1.7"])
def test_report_carries_the_name_under_which_its_sender_is_reached(name: str) -> None:
    subject = subjects.report_subject(SiteId(name))
    assert subject == f"dev.{name}.report"
    assert subjects.downlink_name_of_report_subject(subject) == name
    assert subjects.orders_subject(SiteId(name)) == f"to.{name}.orders"


@pytest.mark.parametrize(
    "subject",
    [
        "dev.a.tele",
        "dev.report",
        "to.a.report",
        "dev..report",
        "dev.g.x.report",
        "dev.g.1.2.report",
        "dev.g.²",
    ],
)
def test_report_of_another_shape_is_refused(subject: str) -> None:
    with pytest.raises(WireFormatError) as caught:
        subjects.downlink_name_of_report_subject(subject)
    assert caught.value.reason == "subject"


@pytest.mark.parametrize("name", ["home-000042", "gw-1.7"])
def test_reading_carries_the_name_under_which_its_sender_is_reached(name: str) -> None:
    subject = subjects.reading_subject(name)
    assert subject == f"dev.{name}.reading"
    assert subjects.downlink_name_of_reading_subject(subject) == name
    assert subjects.arming_subject(name) == f"to.{name}.regulation"
    with pytest.raises(WireFormatError):
        subjects.downlink_name_of_reading_subject(subjects.report_subject(SiteId(name)))
