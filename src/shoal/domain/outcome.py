"""Outcomes: the answers that a domain foresees, as values to match on, never as exceptions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """Taken as asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curtailed:
    """Taken in part. `granted` and `asked` share the unit that the asker used."""

    asked: float
    granted: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """Not taken. `reason` is a stable code, `detail` says to a person what to change."""

    reason: str
    detail: str


Outcome: TypeAlias = Accepted | Curtailed | Rejected
