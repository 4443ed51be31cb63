"""Every error carries its facts, also to another process."""

from __future__ import annotations

import pickle

import pytest

from shoal.domain import errors

EVERY: list[errors.ShoalError] = [
    errors.ShoalError("plain"),
    errors.InvalidInputError(field="power_kw", value=-1.0, fix="give 0 or more"),
    errors.SettingsError(field="speed", value="fast", fix="give a number"),
    errors.WireFormatError("magic", "begins with b'XX'"),
    errors.UnknownIdError("site", "home-9"),
    errors.GateClosedError(gate_ns=5, now_ns=1_000_000_005),
    errors.DeadlineExceededError("forecast", 1.5),
    errors.StaleTelemetryError(coverage_frac=0.4, needed_frac=0.9),
    errors.FencedOutError(held=3, newest=4),
    errors.UnavailableError("market", "503"),
    errors.CorruptStateError("a.npz", "cut off"),
]


def test_every_error_of_the_tree_is_tried() -> None:
    def below(kind: type[errors.ShoalError]) -> set[type[errors.ShoalError]]:
        return {kind}.union(
            *(below(one) for one in kind.__subclasses__() if one.__module__ == kind.__module__)
        )

    assert {type(error) for error in EVERY} == below(errors.ShoalError)


@pytest.mark.parametrize("error", EVERY, ids=lambda error: type(error).__name__)
def test_error_survives_pickling_with_its_facts(error: errors.ShoalError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error) != ""
    assert vars(again) == vars(error)


def test_settings_error_is_a_wrong_input_that_says_how_to_mend_it() -> None:
    error = errors.SettingsError(field="speed", value="fast", fix="give a number")
    assert isinstance(error, errors.InvalidInputError)
    assert str(error) == "speed: 'fast' cannot be used; give a number"
