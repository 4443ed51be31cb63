"""How the limits stood in the last cycle, as the controller keeps it for whoever asks: the interface and the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec

from shoal.control.arbiter import Arbiter
from shoal.control.grid_limits import GridLimits
from shoal.control.grid_room import GroupNow, group_sentence, tightest
from shoal.domain.errors import CorruptStateError
from shoal.programs.claims import Loss
from shoal.programs.explain import loss_sentence

STATE: Final = "@limits"
MOST_GROUPS: Final = 500
MOST_LINES: Final = 100


class LimitsState(msgspec.Struct, frozen=True, kw_only=True):
    """How the limits stood in a cycle.

    Attributes:
        t_ns: When.
        groups: The limited groups, those that hold something back first; at most `MOST_GROUPS` of them.
        group_count: How many there are.
        limited_sites: Batteries that their own connection keeps from their rating.
        unknown: Whom limits name and nobody knows.
        said: What is to be said of them, in words.
        losses: What claims did not get, and why, in words.
    """

    t_ns: int
    groups: list[GroupNow]
    group_count: int
    limited_sites: int
    unknown: list[str]
    said: list[str]
    losses: list[str]


class Memory(Protocol):
    """What survives the controller; see `shoal.control.service.Memory`."""

    def save_state(self, key: str, state: dict[str, Any]) -> None: ...
    def load_state(self, key: str) -> dict[str, Any] | None: ...


class StatesKept(Protocol):
    """Where states are kept, to read them; see `shoal.store.ledger.Ledger`."""

    def load_state(self, resource_id: Any) -> Any: ...


class StateKeeper:
    """Keeps how the limits stand, when there is anything to say.

    Args:
        memory: Where.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        # what a predecessor said does not stay for ever
        self._said = memory.load_state(STATE) is not None

    def keep(
        self,
        t_ns: int,
        grid: GridLimits,
        arbiter: Arbiter,
        losses: Sequence[Loss],
        of_events: Sequence[str] = (),
    ) -> None:
        """Keep the state of a cycle; blocks.

        Raises:
            FencedOutError: when another controller has taken over.
        """
        groups = [] if arbiter.room is None else arbiter.room.groups()
        unknown = grid.unknown
        says = bool(groups or arbiter.limited_sites or unknown or losses or of_events)
        if not says and not self._said:
            return
        shown = tightest(groups, MOST_GROUPS)
        state = LimitsState(
            t_ns=t_ns,
            groups=shown,
            group_count=len(groups),
            limited_sites=arbiter.limited_sites,
            unknown=list(unknown[:MOST_LINES]),
            said=[line for group in shown if (line := group_sentence(group))][:MOST_LINES],
            losses=[*of_events, *(f"{loss.claim}: {loss_sentence(loss)}" for loss in losses)][:MOST_LINES],
        )
        self._memory.save_state(STATE, msgspec.to_builtins(state))
        self._said = says


def kept_limits(states: StatesKept) -> LimitsState | None:
    """Return how the limits stood in the last cycle of the controller; None before the first.

    Raises:
        CorruptStateError: when what is kept cannot be read.
    """
    kept = states.load_state(STATE)
    if kept is None:
        return None
    try:
        return msgspec.json.decode(kept.state, type=LimitsState)
    except msgspec.DecodeError as error:
        raise CorruptStateError(STATE, str(error)) from error
