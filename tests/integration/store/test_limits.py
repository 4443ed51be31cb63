"""Limits, envelopes and owners' hours in a real database, on both kinds of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine, update

from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.interval import NS_PER_HOUR, Interval, to_ns
from shoal.programs.hours import parse_hours
from shoal.store.limit_records import ConnectionLimit, OperatingEnvelope
from shoal.store.limits import KEPT_NS, LimitStore
from shoal.store.orders import Orders
from shoal.store.programs import ProgramStore
from shoal.store.registry import Registry
from shoal.store.schema import OWNER_HOURS
from shoal.store.terms_over import SpanTerms
from tests.integration.store.fleets import make_fleet

NOW_NS = to_ns(datetime(2026, 11, 27, 12, tzinfo=UTC))
HOUR = NS_PER_HOUR


def limit(target: str, import_w: int | None = 5_000, export_w: int | None = 2_000) -> ConnectionLimit:
    return ConnectionLimit(
        kind="group",
        target=target,
        import_limit_w=import_w,
        export_limit_w=export_w,
        by="ada",
        at_ns=NOW_NS,
        reason="old cable",
    )


def envelope(target: str, first: int, last: int, *, issued_ns: int = NOW_NS) -> OperatingEnvelope:
    return OperatingEnvelope(
        kind="group",
        target=target,
        start_ns=NOW_NS + first * HOUR,
        end_ns=NOW_NS + last * HOUR,
        issued_ns=issued_ns,
        import_limit_w=9_000,
        export_limit_w=8_000,
        by="operator",
        at_ns=NOW_NS,
    )


def test_limit_stands_until_it_is_replaced_or_cleared(tables: Engine) -> None:
    store = LimitStore(tables)
    assert store.version() == 0
    store.put([limit("f1"), limit("f2", None, 0)])
    store.put([limit("f1", 7_000)])
    standing = store.standing(NOW_NS)
    assert [(one.target, one.import_limit_w, one.export_limit_w) for one in standing.limits] == [
        ("f1", 7_000, 2_000),
        ("f2", None, 0),
    ]
    assert standing.version == store.version() == 2
    store.put_envelopes([envelope("f1", 0, 1)])
    store.clear("group", "f1", by="ada", at_ns=NOW_NS)
    assert [one.target for one in store.standing(NOW_NS).limits] == ["f2"]
    assert not store.standing(NOW_NS).envelopes
    with pytest.raises(UnknownIdError):
        store.clear("group", "f1", by="ada", at_ns=NOW_NS)
    lines = Orders(tables).audit(10)
    assert [line.action for line in lines] == ["limit"] * 5
    assert "import 7 kW, export 2 kW" in lines[2].detail


def test_envelope_needs_a_limit_beneath_and_ends_by_itself(tables: Engine) -> None:
    store = LimitStore(tables)
    with pytest.raises(InvalidInputError, match="static limit first"):
        store.put_envelopes([envelope("f1", 0, 1)])
    store.put([limit("f1")])
    assert store.put_envelopes([envelope("f1", 0, 1), envelope("f1", 1, 2)]) == 2
    store.put_envelopes([envelope("f1", 0, 3)])
    assert [one.end_ns for one in store.standing(NOW_NS).envelopes] == [NOW_NS + 3 * HOUR, NOW_NS + 2 * HOUR]
    assert len(store.standing(NOW_NS + 2 * HOUR).envelopes) == 1
    assert store.withdraw("group", "f1", by="ada", at_ns=NOW_NS + 2 * HOUR) == 1
    assert store.withdraw("group", "f1", by="ada", at_ns=NOW_NS + 2 * HOUR) == 0


def test_envelopes_of_long_ago_are_let_go(tables: Engine) -> None:
    store = LimitStore(tables)
    store.put([limit("f1")])
    store.put_envelopes([envelope("f1", 0, 1)])
    late = envelope("f1", 0, 1)
    later_ns = NOW_NS + KEPT_NS + 2 * HOUR
    store.put_envelopes(
        [
            OperatingEnvelope(
                **{
                    **{name: getattr(late, name) for name in late.__struct_fields__},
                    "start_ns": later_ns,
                    "end_ns": later_ns + HOUR,
                    "at_ns": later_ns,
                }
            )
        ]
    )
    assert len(store.standing(0).envelopes) == 1


@pytest.mark.parametrize(
    "wrong",
    [limit("f1", -1), limit("f1", None, None), limit("a b"), limit("f1", 10**13)],
)
def test_limit_that_cannot_be_held_is_refused(tables: Engine, wrong: ConnectionLimit) -> None:
    with pytest.raises(InvalidInputError):
        LimitStore(tables).put([wrong])
    assert LimitStore(tables).version() == 0


def test_owner_keeps_hours_over_a_span_and_bidding_sees_them(tables: Engine) -> None:
    fleet = make_fleet(4)
    Registry(tables).load_fleet(fleet, valid_from_ns=0)
    store = ProgramStore(tables)
    evening = parse_hours("mon-fri 17:00-20:00", zone="America/Chicago")
    said: dict[str, Any] = {"by": "owner", "said_ns": NOW_NS}
    version = store.version()
    assert (
        store.keep_hours(fleet.site_ids[:2], evening, at_ns=NOW_NS, until_ns=NOW_NS + 24 * HOUR, **said) == 2
    )
    assert store.version() == version + 1
    assert store.keep_hours(fleet.site_ids[1:2], None, at_ns=NOW_NS, **said) == 1
    assert [one.hours for one in store.hours(fleet.site_ids[0])] == [evening]
    assert not store.hours(fleet.site_ids[1])
    assert store.next_change_ns(NOW_NS) == NOW_NS + 24 * HOUR
    hours = store.terms_at(NOW_NS).hours
    assert hours is not None
    # 17:00 in Chicago is 23:00 of UTC
    assert hours.away_at(NOW_NS + 11 * HOUR).tolist() == [True, False, False, False]
    terms = SpanTerms(tables).over(Interval(start_ns=NOW_NS, end_ns=NOW_NS + 48 * HOUR))
    spans = [
        Interval(start_ns=NOW_NS + hour * HOUR, end_ns=NOW_NS + (hour + 1) * HOUR)
        for hour in (10, 11, 13, 14)
    ]
    assert terms.available(spans)[0].tolist() == [True, False, False, True]
    assert terms.available(spans)[1:].all()
    assert terms.left("market", spans[1]).tolist() == [True, False, False, False]
    assert not terms.left("storm", spans[1]).any()
    # what was promised for a day is over on the next
    later = Interval(start_ns=NOW_NS + 35 * HOUR, end_ns=NOW_NS + 36 * HOUR)
    assert not terms.away(later).any()


def test_issue_that_nobody_will_follow_any_more_is_let_go(tables: Engine) -> None:
    store = LimitStore(tables)
    store.put([limit("f1"), limit("f2")])
    store.put_envelopes(
        [envelope("f1", -1, 1), envelope("f1", 1, 2), envelope("f1", 2, 4), envelope("f2", 1, 2)]
    )
    store.put_envelopes([envelope("f1", -1, 3, issued_ns=NOW_NS + 1)])
    # what has begun stays on record, and so does what lasts longer or is of somebody else
    assert sorted((one.target, one.start_ns, one.end_ns) for one in store.standing(NOW_NS).envelopes) == [
        ("f1", NOW_NS - HOUR, NOW_NS + HOUR),
        ("f1", NOW_NS - HOUR, NOW_NS + 3 * HOUR),
        ("f1", NOW_NS + 2 * HOUR, NOW_NS + 4 * HOUR),
        ("f2", NOW_NS + HOUR, NOW_NS + 2 * HOUR),
    ]
    # one of an older issue that comes late takes nothing out
    store.put_envelopes([envelope("f2", 1, 3, issued_ns=NOW_NS - 1)])
    assert len(store.standing(NOW_NS).envelopes) == 5


def test_envelope_beyond_the_end_of_time_is_refused(tables: Engine) -> None:
    store = LimitStore(tables)
    store.put([limit("f1")])
    far = to_ns(datetime(9000, 1, 1, tzinfo=UTC))
    with pytest.raises(InvalidInputError):
        store.put_envelopes([msgspec.structs.replace(envelope("f1", 0, 1), start_ns=far, end_ns=far + HOUR)])
    assert not store.standing(NOW_NS).envelopes


def test_hours_that_cannot_be_read_leave_their_site_alone_and_the_others_as_they_are(tables: Engine) -> None:
    fleet = make_fleet(3)
    Registry(tables).load_fleet(fleet, valid_from_ns=0)
    programs = ProgramStore(tables)
    evening = parse_hours("17:00-20:00", zone="UTC")
    programs.keep_hours(fleet.site_ids[:2], evening, at_ns=0, by="ada", said_ns=0)
    with tables.begin() as connection:
        connection.execute(
            update(OWNER_HOURS)
            .where(OWNER_HOURS.c.site_id == fleet.site_ids[0])
            .values(said="Atlantis/Capital mon 17:00-20:00")
        )
    hours = programs.terms_at(NOW_NS).hours
    assert hours is not None
    assert hours.away_at(NOW_NS).tolist() == [True, False, False]
    terms = SpanTerms(tables).over(Interval(start_ns=NOW_NS, end_ns=NOW_NS + HOUR))
    assert terms.away(Interval(start_ns=NOW_NS, end_ns=NOW_NS + HOUR)).tolist() == [True, False, False]
