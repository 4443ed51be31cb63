"""Learns the built-in table of silent sites from the packaged profiles: `python -m shoal.simulate.silence_table PATH`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from shoal.simulate.replay import library, replay_fleet
from shoal.twin.silence import SilenceTable
from shoal.twin.silence_learning import learn_from

_SITES: Final = 2_000
_WEEKS: Final = 7
_SEED: Final = 2016
_DIGITS: Final = 5


def learn_built_in() -> SilenceTable:
    """Return what the first half of the packaged year teaches."""
    source = library(None)
    fleet = replay_fleet(source, half="first", sites=_SITES, weeks=_WEEKS, seed=_SEED)
    return learn_from(
        fleet.history, provenance=f"{_WEEKS} weeks of January to June, {_SITES} homes after {source.about}"
    )


def write_table(table: SilenceTable, path: Path) -> None:
    """Write the table, rounded to what the data can tell, a column to a line."""
    columns = {name: _rounded(value) for name, value in table.to_dict().items()}
    body = ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in columns.items())
    path.write_text("{\n" + body + "\n}\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, _DIGITS) if isinstance(value, float) else value


if __name__ == "__main__":
    write_table(learn_built_in(), Path(sys.argv[1]))
