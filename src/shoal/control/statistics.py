"""What a controller has counted since its process started."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlStatistics:
    """Counters since the process started, and who it is.

    Attributes:
        cycles: Cycles.
        commands: Set-points sent.
        documents: Documents sent.
        repeated: Set-points told again because no answer came.
        unmet_cycles: Dispatches, by cycle, that could not be met.
        losing_claims: Claims, by cycle, that did not get all that they asked for.
        not_responding: Sites that follow by their own word and do not deliver, now.
        commanding: Whether it commands, or has stood down.
    """

    cycles: int
    commands: int
    documents: int
    repeated: int
    unmet_cycles: int
    losing_claims: int
    not_responding: int
    commanding: bool
