"""What is posted: no number in any body of any route may be infinite or none."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

import shoal.api.app  # noqa: F401  (brings every route along)
from shoal.api.bodies import Body
from shoal.api.home.routes import ReserveAsked


def below(kind: type[BaseModel]) -> set[type[BaseModel]]:
    return {one for child in kind.__subclasses__() for one in {child} | below(child)}


def test_every_body_of_the_interface_has_finite_numbers() -> None:
    bodies = [one for one in below(BaseModel) if one.__module__.startswith("shoal.api.") and one is not Body]
    assert len(bodies) > 30
    assert [one.__name__ for one in bodies if not issubclass(one, Body)] == []
    assert [one.__name__ for one in bodies if one.model_config.get("allow_inf_nan") is not False] == []


@pytest.mark.parametrize("number", ["Infinity", "NaN"])
def test_a_number_without_end_is_refused_by_its_field(number: str) -> None:
    with pytest.raises(ValidationError, match="reserve_frac"):
        ReserveAsked.model_validate_json(f'{{"reserve_frac": {number}}}')
