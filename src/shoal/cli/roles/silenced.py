"""Simulated sites that are silenced while the run goes on, by name in a file; as if their way to the plant were cut.

The file holds site ids, one a line. It is read again when it has changed; without it nobody is silenced.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.ids import SiteId
from shoal.simulate.network import FaultModel

FILE: Final = "silenced"
"""Its name in the folder `run` of the plant's data."""


class SilencedSites(FaultModel):
    """The network's faults, and the sites that a file silences.

    Args:
        sites: The sites, by row.
        seed: The same seed gives the same faults.
        file: Whose lines name who is silenced.
        faults: As `FaultModel` takes them.
    """

    def __init__(self, sites: Sequence[SiteId], seed: int, *, file: Path, **faults: Any) -> None:
        super().__init__(sites, seed, **faults)
        self._file = file
        self._ids = np.array(sites, dtype=np.str_)
        self._seen_ns = 0
        self._silenced = np.zeros(len(sites), dtype=np.bool_)

    def online(self, t_ns: int) -> NDArray[np.bool_]:
        """Return which sites reach the fabric at the instant, N."""
        self._look()
        return super().online(t_ns) & ~self._silenced

    def clear(self) -> None:
        """Switch all faults off from now on, so that everything held back can drain."""
        super().clear()
        self._file.unlink(missing_ok=True)

    def _look(self) -> None:
        try:
            changed_ns = self._file.stat().st_mtime_ns
            if changed_ns == self._seen_ns:
                return
            names = self._file.read_text(encoding="utf-8").split()
        except FileNotFoundError:
            changed_ns, names = 0, []
        self._seen_ns = changed_ns
        self._silenced = np.isin(self._ids, names)
