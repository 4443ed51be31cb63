"""How large a site is expected to be before it has data."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.forecast.sites_prior import expected_kw, learn_prior
from tests.unit.forecast.homes import panel


def test_site_without_data_is_as_large_as_its_class() -> None:
    mean = np.array([0.5] * 10 + [4.0] * 10)
    value = np.repeat(mean[:, None], 48, axis=1)
    taught = panel(value, class_index=np.array([0] * 10 + [1] * 10))
    prior = learn_prior(value, taught)
    new = panel(np.full((4, 48), np.nan), class_index=np.array([0, 1, -1, 7]))
    small, large, unknown, never_seen = expected_kw(prior, new)
    assert small == pytest.approx(0.5, rel=0.5)
    assert large == pytest.approx(4.0, rel=0.5)
    assert small < unknown < large
    assert unknown == never_seen


def test_nameplate_counts_more_than_class() -> None:
    plate = np.array([2.0, 4.0, 8.0])
    value = np.repeat(0.15 * plate[:, None], 48, axis=1)
    prior = learn_prior(value, panel(value, nameplate_kw=plate))
    new = panel(np.full((2, 48), np.nan), nameplate_kw=np.array([6.0, np.nan]))
    by_plate, typical = expected_kw(prior, new)
    assert by_plate == pytest.approx(0.9)
    assert typical == pytest.approx(0.6)


def test_one_dead_or_absent_meter_changes_little() -> None:
    value = np.full((9, 48), 1.0)
    value[0] = 0.0
    value[1] = np.nan
    prior = learn_prior(value, panel(value))
    assert expected_kw(prior, panel(value))[5] == pytest.approx(1.0)
    nothing = learn_prior(np.full((2, 48), np.nan), panel(np.full((2, 48), np.nan)))
    assert np.isnan(nothing.typical_kw[-1])
