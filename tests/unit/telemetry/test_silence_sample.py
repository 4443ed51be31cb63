"""Learning from the plant's own history: which sites are drawn, what of them is read, and what comes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shoal.store.history import History
from shoal.telemetry.silence_sample import (
    DAY_NS,
    TooLittleHistoryError,
    choose_sites,
    learn_own,
    read_silence,
)
from shoal.twin.layout import Layout
from shoal.twin.silence_default import built_in_table
from shoal.twin.silence_learned import decode_learned, encode_learned
from tests.unit.telemetry.silences import START_NS, STEP_NS, fleet_of, lived, restless, write_days

LIVED = lived()
FLEET = fleet_of(LIVED)
LAYOUT = Layout.of(FLEET)
SITES = len(FLEET.site_ids)
DAYS = 3


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    root = tmp_path_factory.mktemp("silence") / "history"
    write_days(root, LIVED, days=DAYS)
    return History(root)


def test_sample_is_the_same_for_the_same_seed_and_whole_feeders() -> None:
    one, same, other = (choose_sites(FLEET, LAYOUT, sites=20, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.rows, same.rows)
    assert one.rows.tolist() != other.rows.tolist()
    assert len(one.rows) == 20 and (np.diff(one.rows) > 0).all()
    feeders, counts = np.unique(LIVED.leaf_group[one.rows], return_counts=True)
    assert (len(feeders), set(counts.tolist())) == (10, {2})
    for number, row in enumerate(one.rows):
        np.testing.assert_array_equal(one.scale[:, number], LIVED.scale[:, row])
        # up from the site: the same levels as in the fleet, to one root
        group, levels = int(one.leaf_group[number]), []
        while group >= 0:
            levels.append(int(one.level[group]))
            group = int(one.parent_number[group])
        assert levels == [3, 2, 1, 0]


def test_large_leaf_gives_a_part_of_its_sites() -> None:
    sample = choose_sites(FLEET, LAYOUT, sites=8, seed=1)
    assert len(np.unique(sample.leaf_group)) == 8
    whole = choose_sites(FLEET, LAYOUT, sites=SITES, seed=1)
    assert whole.rows.tolist() == list(range(SITES))


def test_what_was_late_was_silent(history: History) -> None:
    sample = choose_sites(FLEET, LAYOUT, sites=SITES, seed=1)
    found, begin_ns, recorded = read_silence(
        history,
        sample,
        from_ns=START_NS - DAY_NS,
        to_ns=START_NS + DAYS * DAY_NS,
        fresh_ns=STEP_NS,
    )
    steps = len(found.silent)
    assert (begin_ns, steps, recorded) == (START_NS, DAYS * 288, True)
    np.testing.assert_array_equal(found.silent, LIVED.silent[:steps, sample.rows])
    np.testing.assert_array_equal(found.value_w, np.rint(LIVED.value_w[:, :steps, sample.rows]))
    np.testing.assert_array_equal(found.ordered, LIVED.ordered[:steps])


def test_without_silences_of_its_own_they_are_pretended(history: History) -> None:
    sample = choose_sites(FLEET, LAYOUT, sites=20, seed=1)
    found, _, recorded = read_silence(
        history, sample, from_ns=START_NS, to_ns=START_NS + DAYS * DAY_NS, fresh_ns=DAY_NS
    )
    assert not recorded
    assert 0.1 < found.silent.mean() < 0.3


def test_same_history_gives_the_same_table_and_says_what_it_is_of(history: History) -> None:
    def learn() -> bytes:
        return encode_learned(
            learn_own(
                history, FLEET, LAYOUT, now_ns=START_NS + DAYS * DAY_NS, days=14, sites=SITES, fresh_s=300
            )
        )

    data = learn()
    assert learn() == data
    learned = decode_learned(data)
    assert (learned.sites, learned.fleet_sites, learned.sample_count) == (SITES, SITES, SITES * DAYS * 288)
    assert (learned.from_ns, learned.to_ns) == (START_NS, START_NS + DAYS * DAY_NS)
    assert "own history from 2021-02-10T00:00Z to 2021-02-13T00:00Z, 80 of 80 sites, its own" in (
        learned.table.provenance
    )
    built_in = built_in_table()
    assert not np.array_equal(learned.table.weight[2], built_in.weight[2])
    # three days of 80 homes are few errors: how wide the bands are stays as it was, by every number of silent sites
    np.testing.assert_array_equal(learned.table.size_sites, built_in.size_sites)
    np.testing.assert_allclose(learned.table.z_high, built_in.z_high)


def test_signal_that_few_sites_have_stays_as_it_was(history: History) -> None:
    assert (LIVED.scale[3][:40] > 0).sum() < 20
    few = choose_sites(FLEET, LAYOUT, sites=40, seed=1)
    assert (few.scale[3] > 0).sum() < 20
    now_ns = START_NS + DAYS * DAY_NS
    learned = learn_own(history, FLEET, LAYOUT, now_ns=now_ns, days=14, sites=40, fresh_s=300).table
    built_in = built_in_table()
    np.testing.assert_array_equal(learned.weight[3], built_in.weight[3])
    assert learned.dispersion[3] == built_in.dispersion[3]
    assert not np.array_equal(learned.weight[2], built_in.weight[2])


def test_too_little_history_is_no_table(history: History) -> None:
    with pytest.raises(TooLittleHistoryError, match="2 days"):
        learn_own(history, FLEET, LAYOUT, now_ns=START_NS + DAY_NS, days=14, sites=SITES, fresh_s=300)
    with pytest.raises(TooLittleHistoryError, match="of samples"):
        learn_own(history, FLEET, LAYOUT, now_ns=START_NS, days=14, sites=SITES, fresh_s=300)
    with pytest.raises(TooLittleHistoryError, match="stops"):
        learn_own(
            history, FLEET, LAYOUT, now_ns=START_NS, days=14, sites=SITES, fresh_s=300, stop=lambda: True
        )


def test_table_is_preferred_only_if_it_did_better_where_it_had_not_learned(tmp_path: Path) -> None:
    homes = restless(lived(sites=120))
    fleet = fleet_of(homes)
    write_days(tmp_path / "history", homes, days=2.5)
    history = History(tmp_path / "history")
    now_ns = START_NS + 5 * DAY_NS // 2
    recorded, pretended = (
        learn_own(history, fleet, Layout.of(fleet), now_ns=now_ns, days=14, sites=120, fresh_s=fresh_s)
        for fresh_s in (300, 86_400)
    )
    history.close()
    # a load that is another at every sample has no last value to hold
    assert recorded.table.weight[2][4] < 0.2 < built_in_table().weight[2][4]
    assert recorded.trial.loss_w < recorded.built_in_trial.loss_w
    assert (recorded.is_recorded, recorded.is_better) == (True, True)
    assert (pretended.is_recorded, pretended.is_better) == (False, False)
