"""A clock that tests set by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from shoal.domain.clock import Stage, Tick


class HandClock:
    """Time stands still until a test moves it."""

    def __init__(self, t_ns: int) -> None:
        self.t_ns = t_ns

    def at(self, machine_ns: Any) -> Any:
        return machine_ns, machine_ns

    def now_ns(self) -> int:
        return self.t_ns

    async def ticks(self, stage: Stage, every_s: float) -> AsyncIterator[Tick]:
        yield Tick(t_ns=self.t_ns)

    def report(self, facts: Mapping[str, int]) -> None:
        """Take facts; nobody waits for them."""

    def account(self, account: Mapping[str, Any]) -> None:
        """Take an account; nobody reads it."""
