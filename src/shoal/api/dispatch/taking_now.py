"""Who takes part in what now: read when it changes, for all who show orders."""

from __future__ import annotations

import threading

from shoal.api.plant import Plant
from shoal.control.taking_part import TakingPart


class TakingNow:
    """Keeps who takes part. Calls block.

    Args:
        plant: Whose.
    """

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self._lock = threading.Lock()
        self._kept: TakingPart | None = None

    def at(self, t_ns: int) -> TakingPart:
        """Return who takes part at an instant; it is not to be changed.

        Raises:
            UnavailableError: when it was never read, and the database cannot be reached.
        """
        with self._lock:
            if self._kept is None:
                self._kept = TakingPart(self._plant.programs, self._plant.fleet.nameplate, t_ns=t_ns)
            else:
                self._kept.refresh(t_ns)
            return self._kept
