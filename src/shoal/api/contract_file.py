"""The contract as a file, from which the page's types are generated: `python -m shoal.api.contract_file FILE`.

The application describes itself without a plant behind it, so no database or engine is needed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import cast

from shoal.api.app import create_app
from shoal.api.plant import Plant


class _Absent:
    """Stands for every part of a plant while the routes are put together; nothing is asked of it."""

    def __getattr__(self, name: str) -> _Absent:
        return self

    def __call__(self, *args: object, **named: object) -> _Absent:
        return self


def contract_text() -> str:
    """Return the contract as JSON, the same for the same interface; it does not name the program's version."""
    contract = create_app(cast("Plant", _Absent())).openapi()
    contract["info"] = {**contract["info"], "version": "0"}
    return json.dumps(contract, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Write the contract to the file that is named."""
    Path(arguments[0]).write_text(contract_text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
