"""The modes of a site agent as an explicit state machine: who decides what the battery does, and why.

Two tables and no more: `RULES` says, from the highest precedence down, which fact calls for which mode; `REASONS` says
why a mode was left for another one. What is decided in a mode is elsewhere; limits and the owner's reserve hold in all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Mode(StrEnum):
    """Who decides."""

    OFF = "off"
    """Nobody: the device is left to itself, at no power where it can be told so."""
    DIRECT = "direct"
    """The plant, by a set-point whose lease is in force."""
    SCHEDULE = "schedule"
    """An event that the plant scheduled and that is under way."""
    PRICE = "price"
    """The site, against the plant's prices."""
    LOCAL = "local"
    """The site, against its own tariff."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the modes follow from.

    Attributes:
        switched_off: The owner's or installer's switch.
        measured: There is a fresh measurement of the site.
        readable: The state of the battery is known from it.
        halted: The plant's kill switch.
        independent: The owner lets nobody command the site.
        lease: A set-point's lease is in force.
        event: An event is under way that the owner has not left.
        opted_out: An event is under way that the owner has left.
        prices: The plant's price series covers the present.
    """

    switched_off: bool = False
    measured: bool = True
    readable: bool = True
    halted: bool = False
    independent: bool = False
    lease: bool = False
    event: bool = False
    opted_out: bool = False
    prices: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """Where the machine is now.

    Attributes:
        mode: The mode.
        reason: A stable code of why.
        before: The mode before; the same one when nothing changed.
    """

    mode: Mode
    reason: str
    before: Mode

    @property
    def changed(self) -> bool:
        """Whether the mode is another one than before."""
        return self.mode is not self.before


RULES: Final[tuple[tuple[Callable[[Facts], bool], Mode, str], ...]] = (
    (lambda facts: facts.switched_off, Mode.OFF, "switched_off"),
    (lambda facts: not facts.measured, Mode.OFF, "no_fresh_measurement"),
    (lambda facts: not facts.readable, Mode.OFF, "battery_unreadable"),
    (lambda facts: facts.halted, Mode.LOCAL, "halted"),
    (lambda facts: facts.independent, Mode.LOCAL, "independent"),
    (lambda facts: facts.lease, Mode.DIRECT, "lease_in_force"),
    (lambda facts: facts.event, Mode.SCHEDULE, "event_under_way"),
    (lambda facts: facts.prices, Mode.PRICE, "prices_in_force"),
    (lambda facts: True, Mode.LOCAL, "no_orders"),
)
"""Read from above; the first that holds decides. `Facts` in, mode and reason out."""

REASONS: Final[dict[tuple[Mode, Mode], str]] = {
    (Mode.DIRECT, Mode.LOCAL): "lease_ended",
    (Mode.SCHEDULE, Mode.LOCAL): "event_ended",
    (Mode.PRICE, Mode.LOCAL): "prices_ended",
    (Mode.DIRECT, Mode.PRICE): "lease_ended",
    (Mode.SCHEDULE, Mode.PRICE): "event_ended",
    (Mode.DIRECT, Mode.SCHEDULE): "lease_ended",
}
"""Why the mode became a lower one, where nothing but the end of the higher one says so."""

WORDS: Final[dict[str, str]] = {
    "switched_off": "switched off here",
    "no_fresh_measurement": "the devices do not answer",
    "battery_unreadable": "the battery does not say how full it is",
    "halted": "the plant has stopped its programs",
    "independent": "you decide alone: programs are left out",
    "lease_in_force": "the plant asks for a power now",
    "event_under_way": "a scheduled event is under way",
    "prices_in_force": "planned against the plant's prices",
    "opted_out": "you have left the event that is under way",
    "no_orders": "planned against your own tariff",
    "lease_ended": "what the plant had asked for has ended",
    "event_ended": "the event has ended",
    "prices_ended": "the plant's prices have ended",
}
"""Each reason for people."""


def next_mode(before: Mode, facts: Facts, *, reason_before: str = "") -> Transition:
    """Return the mode that the facts call for; every mode can follow on every other one.

    Args:
        before: The mode so far.
        facts: What holds now.
        reason_before: Why it was so; kept while neither the mode nor the cause changes.
    """
    mode, reason = next((mode, reason) for holds, mode, reason in RULES if holds(facts))
    if facts.opted_out and mode in (Mode.PRICE, Mode.LOCAL) and reason in ("no_orders", "prices_in_force"):
        reason = "opted_out"
    elif reason in ("no_orders", "prices_in_force", "event_under_way") and before is not mode:
        reason = REASONS.get((before, mode), reason)
    elif before is mode and _is_same_cause(reason, reason_before, mode):
        reason = reason_before
    return Transition(mode=mode, reason=reason, before=before)


def _is_same_cause(reason: str, reason_before: str, mode: Mode) -> bool:
    """Whether the reason at the beginning of a mode still says more than the plain one."""
    begun = {said for (_, to), said in REASONS.items() if to is mode}
    return reason in ("no_orders", "prices_in_force", "event_under_way") and reason_before in begun
