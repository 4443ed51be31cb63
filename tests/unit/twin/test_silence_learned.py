"""A learned table on its way: it comes back as it was, and what cannot be used is refused."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import msgspec
import numpy as np
import pytest

from shoal.domain.errors import CorruptStateError
from shoal.twin.silence import SilenceTable
from shoal.twin.silence_default import built_in_table
from shoal.twin.silence_learned import LearnedSilence, check_table, decode_learned, encode_learned
from shoal.twin.silence_trial import TrialScore


def learned(table: SilenceTable | None = None) -> LearnedSilence:
    return LearnedSilence(
        table=table or built_in_table(),
        learned_ns=9,
        from_ns=1,
        to_ns=8,
        sites=3,
        fleet_sites=4,
        sample_count=5,
        is_recorded=True,
        trial=TrialScore(0.9, 4.0),
        built_in_trial=TrialScore(0.92, 5.0),
    )


def test_table_comes_back_as_it_was() -> None:
    found = decode_learned(encode_learned(learned()))
    assert (
        found.learned_ns,
        found.from_ns,
        found.to_ns,
        found.sites,
        found.fleet_sites,
        found.sample_count,
    ) == (
        *(9, 1, 8),
        *(3, 4, 5),
    )
    for field in fields(SilenceTable):
        np.testing.assert_array_equal(
            getattr(found.table, field.name), getattr(built_in_table(), field.name), strict=True
        )


def spoilt(**changed: Any) -> bytes:
    kept = msgspec.msgpack.decode(encode_learned(learned()))
    kept["table"].update(changed.pop("table", {}))
    return msgspec.msgpack.encode({**kept, **changed})


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\xc1 rubbish", "malformed"),
        (encode_learned(learned())[:-40], "truncated"),
        (spoilt(version=2), "version 2"),
        (spoilt(signals=["battery_w", "heat_w"]), "heat_w"),
        (spoilt(table={"weight": [[0.5] * 3] * 4}), "weight is of shape"),
        (spoilt(table={"weight": [[0.5], [0.5, 0.1]]}), "does not decode"),
        (spoilt(table={"z_low": "low"}), "does not decode"),
        (spoilt(table={"edges_ns": []}), "edges_ns"),
        (spoilt(table={"dispersion": [1.0, float("nan"), 1.0, 1.0]}), "no number"),
        (spoilt(table={"dispersion": [1.0, -1.0, 1.0, 1.0]}), "below 0"),
        (spoilt(table={"provenance": 7}), "provenance"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(data: bytes, why: str) -> None:
    with pytest.raises(CorruptStateError, match=why):
        decode_learned(data)


def test_edges_must_rise_and_quantiles_be_in_order() -> None:
    table = built_in_table()
    with pytest.raises(CorruptStateError, match="edges_ns does not rise"):
        check_table(replace(table, edges_ns=table.edges_ns[::-1].copy()))
    with pytest.raises(CorruptStateError, match="z_low is above"):
        check_table(replace(table, z_low=table.z_high + 1.0))
    check_table(table)


def test_only_what_its_own_silences_taught_and_did_better_is_preferred() -> None:
    good = learned()
    assert good.is_better
    assert decode_learned(encode_learned(good)).trial == good.trial
    assert not replace(good, is_recorded=False).is_better
    assert not replace(good, trial=TrialScore(0.9, 5.0)).is_better
    assert not replace(good, trial=TrialScore(0.8, 4.0)).is_better
    assert not replace(good, trial=TrialScore(float("nan"), float("nan"))).is_better
