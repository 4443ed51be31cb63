"""Whatever stands: every alarm in exactly one cause, never more than ten of them, and losses that hold what is lost."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.domain.alarms import Alarm, AlarmKind, Severity
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_S
from shoal.twin.alarm_causes import MOST_CAUSES, OTHER, Area, Explainer
from shoal.twin.alarm_losses import COSTLY, Losses
from shoal.twin.alarm_rules import SITE_RULES
from tests.unit.twin.forests import make_forest_fleet

FLEET = make_forest_fleet(regions=3, substations=3, feeders=3, sites=7)
SITES = len(FLEET.site_ids)
FLEET.nameplate["discharge_limit_kw"] = 1.0 + np.arange(SITES) % 11
FLEET.nameplate["energy_capacity_kwh"] = np.where(np.arange(SITES) % 5 == 0, 0.0, 10.0)
POWER_KW = np.where(FLEET.nameplate["energy_capacity_kwh"] > 0, FLEET.nameplate["discharge_limit_kw"], 0.0)
EXPLAINER, LOSSES = Explainer(FLEET), Losses(FLEET)
SITE_KINDS = tuple(SITE_RULES)
ROWS = st.integers(0, SITES - 1)


def make_alarm(number: int, kind: AlarmKind, scope: str, subject: str, sites: int, **facts: Any) -> Alarm:
    values: dict[str, Any] = {
        "number": number,
        "kind": kind,
        "severity": list(Severity)[number % 4],
        "scope": scope,
        "subject": subject,
        "name": subject,
        "sites": sites,
        "raised_ns": number * NS_PER_S,
        "updated_ns": number * NS_PER_S,
    }
    return Alarm(**values | facts)


@st.composite
def standing(draw: st.DrawFn) -> list[Alarm]:
    alarms: list[Alarm] = []
    for number in range(draw(st.integers(0, 40))):
        scope = draw(st.sampled_from(["site", "site", "group", "scattered", "fleet", "part"]))
        if scope == "part":
            kind = draw(st.sampled_from([AlarmKind.HISTORY_LAG, AlarmKind.SHARD_WITHOUT_OWNER]))
            alarms.append(make_alarm(number, kind, "part", f"part-{number}", 0))
            continue
        kind = draw(st.sampled_from(SITE_KINDS))
        if scope == "site":
            subject = draw(st.sampled_from([*FLEET.site_ids, "a site that is gone"]))
            alarms.append(make_alarm(number, kind, "site", subject, 1))
        elif scope == "fleet":
            alarms.append(make_alarm(number, kind, "fleet", "fleet", draw(st.integers(0, SITES))))
        else:
            group = draw(st.sampled_from([*(one.group_id for one in FLEET.groups), "a group that is gone"]))
            detail = "scattered" if scope == "scattered" else ""
            alarms.append(make_alarm(number, kind, "group", group, draw(st.integers(0, 70)), detail=detail))
    return alarms


AREAS = st.lists(st.sets(ROWS, max_size=120), max_size=3).map(
    lambda found: [
        Area(key=str(number), name="Storm", rows=np.array(sorted(rows), dtype=np.int64))
        for number, rows in enumerate(found)
    ]
)


@settings(deadline=None)
@given(standing(), AREAS, st.integers(1, MOST_CAUSES))
def test_every_alarm_is_in_one_of_few_causes(alarms: list[Alarm], areas: list[Area], most: int) -> None:
    causes = EXPLAINER.causes(alarms, areas, most_count=most)
    assert len(causes) <= most
    assert sorted(at for one in causes for at in one.alarm_rows.tolist()) == list(range(len(alarms)))
    assert len({one.key for one in causes}) == len(causes)
    assert all(len(one.alarm_rows) for one in causes)
    if len(causes) < most:
        assert OTHER not in {one.key for one in causes}
    worst = [max(alarms[at].severity.order for at in one.alarm_rows.tolist()) for one in causes]
    named = worst[:-1] if causes and causes[-1].key == OTHER else worst
    assert named == sorted(named, reverse=True)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_ten_thousand_faults_at_once_are_at_most_ten_causes(seed: int, spread: float) -> None:
    random = np.random.default_rng(seed)
    rows = random.integers(0, SITES, 10_000)
    kinds = random.choice(len(SITE_KINDS), 10_000, p=_weights(spread))
    alarms = [
        make_alarm(number, SITE_KINDS[kind], "site", FLEET.site_ids[row], 1)
        for number, (row, kind) in enumerate(zip(rows.tolist(), kinds.tolist(), strict=True))
    ]
    causes = EXPLAINER.causes(alarms)
    assert len(causes) <= MOST_CAUSES
    assert sum(len(one.alarm_rows) for one in causes) == 10_000


def _weights(spread: float) -> list[float]:
    rest = spread / len(SITE_KINDS)
    return [1 - spread + rest] + [rest] * (len(SITE_KINDS) - 1)


@settings(deadline=None)
@given(st.data(), st.sampled_from(FLEET.groups), st.one_of(st.none(), st.sampled_from(FLEET.groups)))
def test_loss_lies_within_its_ends_whichever_sites_it_is(
    data: st.DataObject, group: Any, within: Any
) -> None:
    rows = FLEET.rows_in(group.group_id)
    hit = data.draw(st.sets(st.sampled_from(rows.tolist()), min_size=1))
    alarm = make_alarm(1, AlarmKind.COMMUNICATION_LOSS, "group", group.group_id, len(hit))
    counted = hit if within is None else hit & set(FLEET.rows_in(within.group_id).tolist())
    truth_kw = float(POWER_KW[sorted(counted)].sum())
    lost = LOSSES.lost([alarm], None if within is None else within.group_id)
    assert lost.low_kw - 1e-9 <= truth_kw <= lost.high_kw + 1e-9
    assert lost.low_kw - 1e-9 <= lost.expected_kw <= lost.high_kw + 1e-9
    if len(hit) == len(rows):
        assert lost.low_kw == lost.high_kw


@settings(deadline=None)
@given(st.lists(st.tuples(ROWS, st.sampled_from(SITE_KINDS)), max_size=30, unique=True))
def test_loss_of_sites_alone_holds_their_union(hits: list[tuple[int, AlarmKind]]) -> None:
    alarms = [
        make_alarm(number, kind, "site", FLEET.site_ids[row], 1) for number, (row, kind) in enumerate(hits)
    ]
    union = {row for row, kind in hits if kind in COSTLY}
    lost = LOSSES.lost(alarms)
    assert lost.low_kw - 1e-9 <= float(POWER_KW[sorted(union)].sum()) <= lost.high_kw + 1e-9


def test_fleet_without_groups_has_causes_too() -> None:
    bare = Fleet(
        site_ids=FLEET.site_ids,
        nameplate=FLEET.nameplate,
        latitude_deg=FLEET.latitude_deg,
        longitude_deg=FLEET.longitude_deg,
        groups=(),
        leaf_group={},
        resources=(),
    )
    alarm = make_alarm(1, AlarmKind.COMMUNICATION_LOSS, "site", FLEET.site_ids[0], 1)
    assert [one.key for one in Explainer(bare).causes([alarm])] == ["kind:communication_loss"]
