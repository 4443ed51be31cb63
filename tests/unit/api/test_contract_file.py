"""The contract from which the page's types are made is what the application says of itself."""

from __future__ import annotations

from pathlib import Path

from shoal.api.contract_file import contract_text

KEPT = Path(__file__).parents[3] / "web" / "openapi.json"


def test_kept_contract_is_that_of_the_application() -> None:
    assert KEPT.read_text(encoding="utf-8") == contract_text(), "run `python hatch_build.py client`"
