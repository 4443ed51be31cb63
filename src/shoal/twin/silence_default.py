"""The table in use from day one, until the fleet's own history has taught a better one.

It was learned from the household, roof and car profiles that come with the simulator, by
`python -m shoal.simulate.silence_table`; the file says so itself.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

from shoal.twin.silence import SilenceTable


@cache
def built_in_table() -> SilenceTable:
    """Return the table that comes with the package."""
    return SilenceTable.from_dict(
        json.loads((files("shoal.twin") / "data" / "silence.json").read_text("utf-8"))
    )
