"""Ids are safe as subject tokens, file names and parts of a URL, all at once."""

from __future__ import annotations

import pytest

from shoal.domain.errors import InvalidInputError
from shoal.domain.ids import checked_id, site_id


@pytest.mark.parametrize("value", ["a", "home-00001", "A_b-9", "9", "x" * 64])
def test_id_is_taken(value: str) -> None:
    assert site_id(value) == value


@pytest.mark.parametrize(
    "value",
    ["", "x" * 65, "-a", "_a", "a.b", "a*b", "a>b", "a b", "a/b", "a\n", "\na", "a\x00", "hòme", "a%2e", "٣"],
)
def test_id_is_refused(value: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        checked_id("group_id", value)
    assert caught.value.field == "group_id"
    assert caught.value.value == value
