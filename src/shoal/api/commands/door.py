"""What the routes of commands, events and dispatch stand on: orders, whom they can mean, and the rule of four eyes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from shoal.api.dispatch.previews import Previews
from shoal.control.grid_limits import GridLimits
from shoal.control.second_person import SecondPerson
from shoal.control.taking_part import TakingPart
from shoal.domain.fleet import Fleet
from shoal.programs.program import ProgramBook
from shoal.store.orders import Orders
from shoal.store.proposals import Proposals


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandDoor:
    """What the routes stand on.

    Attributes:
        orders: Where orders are kept.
        fleet: Who can be meant.
        book: The programs.
        now_ns: The plant's clock.
        may_release: Operators who may release a kill switch; empty for all of them.
        proposals: Where what waits for a second person is kept; None where nothing ever does.
        second: The rule of four eyes; None for none.
        previews: What people have looked at.
        grid: Limits at connection points, as the controller reckons with them; the database's own when None.
        taking_part: Returns who takes part in what at an instant, as the controller reckons; without what batteries gave
            today when None.
        launching: Held while an order is weighed and kept, so that nobody gets round the rule by haste.
    """

    orders: Orders
    fleet: Fleet
    book: ProgramBook
    now_ns: Callable[[], int]
    may_release: Collection[str] = ()
    proposals: Proposals | None = None
    second: SecondPerson | None = None
    previews: Previews = field(default_factory=Previews)
    grid: GridLimits | None = None
    taking_part: Callable[[int], TakingPart] | None = None
    launching: threading.Lock = field(default_factory=threading.Lock)
