"""Who settles where in the tests of settlement."""

from __future__ import annotations

from typing import Final

RESOURCE: Final = "north"
POINT: Final = "POINT"
