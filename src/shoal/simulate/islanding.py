"""What a simulated site's device does about the grid: it obeys nobody while there is none, and says so until it is heard.

When the grid is back it begins where it was, by itself; what the plant still wants comes with the plant's own ramps.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_MINUTE
from shoal.domain.orders import OrderReport
from shoal.edge.agent_columns import AgentColumns
from shoal.edge.agent_owner import set_independent
from shoal.edge.audit import Referee
from shoal.simulate.island import Island
from shoal.simulate.physics import HomeWorld

ISLANDED: Final = "islanded"
"""Reason of an `OrderReport` by which a device says that it has no grid; any other says that it has one."""
BACK: Final = "resynchronised"
AGAIN_NS: Final = 5 * NS_PER_MINUTE
"""So often it is said again: a word may be lost."""

Watts = NDArray[np.int64]


class Islanding:
    """The device of a site that loses the grid.

    Attributes:
        row: The site.
    """

    def __init__(self, island: Island, agents: AgentColumns, referee: Referee) -> None:
        self._island, self._agents, self._referee = island, agents, referee
        self.row = island.row
        self._on = False
        self._was_independent = False
        self._left = 0
        self._said_ns = 0

    def next_ns(self, now_ns: int, default_ns: int) -> int:
        """Return when the grid is lost or back, `default_ns` when not before."""
        return self._island.next_ns(now_ns, default_ns)

    def step(self, now_ns: int, *, online: NDArray[np.bool_]) -> str:
        """Follow what became of the grid; return what is to be said of it now, empty for nothing."""
        on = self._island.is_on(now_ns)
        if on != self._on:
            self._on, self._left = on, 2
            if on:
                self._was_independent = bool(self._agents.independent[self.row])
            independent = on or self._was_independent
            set_independent(self._agents, self.row, independent)
            self._referee.owner_switched(
                self.row, off=bool(self._agents.off[self.row]), independent=independent, now_ns=now_ns
            )
        due = self._left > 0 and now_ns - self._said_ns >= (0 if self._left == 2 else AGAIN_NS)
        if not (due and online[self.row]):
            return ""
        self._said_ns = now_ns
        # without a grid it is said for as long as there is none; that it is back, twice
        self._left = 1 if on or self._left == 2 else 0
        return ISLANDED if on else BACK

    def with_reason(self, row: int, report: OrderReport) -> OrderReport:
        """Return a report of orders, which says at any time whether there is a grid."""
        if row != self.row or not self._on or report.kind != "orders":
            return report
        return msgspec.structs.replace(report, reason=ISLANDED)

    def seen(
        self, world: HomeWorld, start_ns: int, load_w: Watts, solar_w: Watts, ev_w: Watts
    ) -> tuple[Watts, Watts, Watts]:
        """Return what sites saw when they decided on a span; the one without a grid sees the span itself."""
        if not self._island.is_on(start_ns):
            return load_w, solar_w, ev_w
        found = []
        for before_w, now_w in ((load_w, world.load_w), (solar_w, world.solar_w), (ev_w, world.ev_w)):
            column_w = before_w.copy()
            column_w[self.row] = now_w[self.row]
            found.append(column_w)
        return found[0], found[1], found[2]

    def account(self) -> dict[str, Any]:
        """Return what the island came to."""
        return self._island.account()
