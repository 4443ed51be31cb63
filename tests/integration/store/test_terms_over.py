"""Terms over spans of time, on both databases: what was put day by day, asked hour by hour."""

from __future__ import annotations

import numpy as np
import pytest
from sqlalchemy import Engine

from shoal.domain.interval import NS_PER_HOUR, Interval
from shoal.store.programs import ProgramStore
from shoal.store.registry import Registry
from shoal.store.terms_over import DAY_NS, SpanTerms
from tests.integration.store.fleets import make_fleet

FLEET = make_fleet(6)
DAY = Interval(start_ns=20 * DAY_NS, end_ns=21 * DAY_NS)


@pytest.fixture
def programs(tables: Engine) -> ProgramStore:
    Registry(tables).load_fleet(FLEET, valid_from_ns=0)
    return ProgramStore(tables)


def test_span_sees_what_begins_and_ends_within_it_and_every_change(
    programs: ProgramStore, tables: Engine
) -> None:
    terms = SpanTerms(tables)
    names = list(FLEET.site_ids)
    assert terms.over(DAY).asks_nobody("market")
    programs.enrol("market", names[:4], at_ns=0)
    programs.withdraw("market", names[:1], at_ns=DAY.start_ns + NS_PER_HOUR)
    programs.opt_out(
        "market", names[1:2], at_ns=DAY.end_ns - 1, until_ns=DAY.end_ns + NS_PER_HOUR, by="ada", said_ns=0
    )
    programs.promise("reserve_frac", names[2:3], 0.6, at_ns=DAY.end_ns - 1, by="ada", said_ns=0)
    programs.promise("cycle_wh_per_day", names[2:4], 5_000.5, at_ns=0, by="ada", said_ns=0)
    programs.promise("cycle_wh_per_day", names[3:4], 900.0, at_ns=DAY.end_ns, by="ada", said_ns=0)
    found = terms.over(DAY)
    assert np.flatnonzero(found.enrolled("market", DAY)).tolist() == [1, 2, 3]
    assert np.flatnonzero(found.enrolled("market", DAY, throughout=False)).tolist() == [0, 1, 2, 3]
    assert np.flatnonzero(found.left("market", DAY)).tolist() == [1]
    assert not found.left("market", DAY, throughout=True).any()
    assert found.promises(DAY).reserve_frac[2] == 0.6
    assert found.promises(DAY).cycle_budget_wh[[2, 3]].tolist() == [5_000, 5_000]
    first = Interval(start_ns=DAY.start_ns, end_ns=DAY.start_ns + NS_PER_HOUR)
    assert terms.over(first) is found, "hours of the day are not read again"
    assert found.enrolled("market", first)[0] and found.promises(first).reserve_frac[2] == 0.0
    programs.opt_out("market", names[3:4], at_ns=0, by="ada", said_ns=0)
    assert terms.over(first).left("market", first)[3]
    later = Interval(start_ns=DAY.start_ns + 10 * DAY_NS, end_ns=DAY.end_ns + 10 * DAY_NS)
    assert np.flatnonzero(terms.over(later).enrolled("market", later)).tolist() == [1, 2, 3]


def test_program_that_all_have_left_for_good_has_nobody(programs: ProgramStore, tables: Engine) -> None:
    programs.enrol("market", list(FLEET.site_ids), at_ns=0)
    programs.withdraw("market", list(FLEET.site_ids), at_ns=DAY_NS)
    assert not SpanTerms(tables).over(DAY).enrolled("market", DAY, throughout=False).any()
