"""The protocol of forecasters: panels that end where knowledge ends, models that are their bytes."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from shoal.domain.errors import CorruptStateError, InvalidInputError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
from shoal.forecast.protocol import (
    Horizon,
    Model,
    Panel,
    decode_model,
    encode_model,
    local_clock,
    packed,
    sealed,
    sorted_levels,
)
from tests.unit.forecast.homes import FIRST_NS, HORIZON, loads, panel


def some_model() -> Model:
    return sealed(
        Model(
            kind="test/1",
            names=("a", "b"),
            from_ns=0,
            to_ns=10,
            step_ns=NS_PER_HOUR,
            lead_steps=0,
            horizon_steps=24,
            quantile_level=(0.1, 0.5, 0.9),
            features=("lag",),
            seed=3,
            settings={"depth": 4, "kind": "x", "frac": 0.5, "yes": True},
            scores={"mae": 0.1},
            arrays=packed({"weight": np.arange(6.0).reshape(2, 3), "bins": np.array([1, 2], dtype=np.uint8)}),
        )
    )


def test_model_survives_its_bytes_bit_for_bit() -> None:
    model = some_model()
    data = encode_model(model)
    again = decode_model(data)
    assert again == model
    assert encode_model(again) == data
    np.testing.assert_array_equal(again.array("weight"), np.arange(6.0).reshape(2, 3))
    assert again.array("bins").dtype == np.uint8
    assert again.settings == model.settings


def test_model_version_changes_with_any_content() -> None:
    model = some_model()
    changes: list[dict[str, Any]] = [{"seed": 4}, {"to_ns": 11}, {"scores": {"mae": 0.2}}, {"arrays": {}}]
    for change in changes:
        assert sealed(msgspec.structs.replace(model, **change)).version != model.version
    assert sealed(model) == model


def test_decode_refuses_what_was_tampered_with() -> None:
    model = some_model()
    other = packed({"weight": np.ones((2, 3))})
    with pytest.raises(CorruptStateError):
        decode_model(encode_model(msgspec.structs.replace(model, arrays=other)))
    with pytest.raises(CorruptStateError):
        decode_model(encode_model(model)[:-7])


def test_model_says_which_array_it_lacks() -> None:
    with pytest.raises(CorruptStateError, match="tree"):
        some_model().array("tree")


def test_panel_until_keeps_inputs_to_the_end_of_the_horizon() -> None:
    value = loads(2, 4)
    inputs = {"degc": np.arange(96.0)[None, :]}
    whole = panel(value, inputs=inputs)
    cut = whole.until(48, HORIZON)
    assert cut.value.shape == (2, 48)
    assert cut.inputs["degc"].shape == (1, 72)
    assert cut.end_ns == FIRST_NS + 48 * NS_PER_HOUR
    late = cut.last(24)
    assert late.first_ns == FIRST_NS + 24 * NS_PER_HOUR
    np.testing.assert_array_equal(late.inputs["degc"][0], np.arange(24.0, 72.0))
    assert whole.rows(np.array([1])).names == ("h1",)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("value", {"value": np.zeros((1, 5))}),
        ("names", {"names": ("a", "a")}),
        ("step_ns", {"step_ns": 7 * NS_PER_MINUTE}),
        ("nameplate_kw", {"nameplate_kw": np.zeros(3)}),
        ("inputs", {"inputs": {"degc": np.zeros((1, 4))}}),
    ],
)
def test_panel_refuses_what_does_not_fit(field: str, change: dict[str, Any]) -> None:
    good: dict[str, Any] = {
        "names": ("a", "b"),
        "first_ns": 0,
        "step_ns": NS_PER_HOUR,
        "value": np.zeros((2, 5)),
    }
    Panel(**good)
    with pytest.raises(InvalidInputError, match=field):
        Panel(**(good | change))


def test_horizon_refuses_nothing_and_the_past() -> None:
    assert Horizon(steps=4, step_ns=1, lead_steps=2).reach_steps == 6
    for bad in ({"steps": 0}, {"step_ns": 0}, {"lead_steps": -1}):
        with pytest.raises(InvalidInputError):
            Horizon(**({"steps": 1, "step_ns": 1} | bad))


def test_local_clock_follows_the_change_to_summer_time() -> None:
    first_ns = 1_711_843_200 * 10**9  # 2024-03-31 00:00 UTC: Paris moves from +1 to +2 at 01:00 UTC
    clock = local_clock(first_ns, 30 * NS_PER_MINUTE, 4, "Europe/Paris")
    assert clock.slot_index.tolist() == [2, 3, 6, 7]
    assert clock.ahead_steps.tolist() == [2, 2, 4, 4]
    assert clock.weekday_index.tolist() == [6, 6, 6, 6]
    assert local_clock(FIRST_NS, NS_PER_HOUR, 25, "UTC").weekday_index[[0, 24]].tolist() == [0, 1]


@pytest.mark.parametrize("levels", [(0.1, 0.9), (0.5, 0.1, 0.9), (0.1, 0.5, 0.8), (0.0, 0.5, 1.0)])
def test_levels_come_in_pairs_around_the_median(levels: tuple[float, ...]) -> None:
    assert sorted_levels((0.1, 0.5, 0.9)) == (0.1, 0.5, 0.9)
    with pytest.raises(InvalidInputError):
        sorted_levels(levels)
