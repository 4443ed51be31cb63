"""Timing of something that runs in this process: the median over repeats, and how far they lie apart."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long something took.

    Attributes:
        took_s: Median over the repeats.
        least_s: The shortest.
        most_s: The longest.
        cpu_s: Processor time of the repeat that is the median; other load disturbs it less.
    """

    took_s: float
    least_s: float
    most_s: float
    cpu_s: float

    def about(self, count: int) -> str:
        """Say for so many pieces of work how far the rates lie apart, and what it is by processor time."""
        slow, fast, by_cpu = (f"{count / taken:.3g}" for taken in (self.most_s, self.least_s, self.cpu_s))
        return f"{slow} to {fast}, {by_cpu} by processor time"

    def about_ms(self) -> str:
        """Say how far the repeats lie apart, and how long it took by processor time."""
        least, most, by_cpu = (f"{1e3 * taken:.3g}" for taken in (self.least_s, self.most_s, self.cpu_s))
        return f"{least} to {most} ms, {by_cpu} by processor time"


def timed(job: Callable[[T], object], *, ready: Callable[[], T], repeats: int = 7) -> Timing:
    """Time a job, each time on what `ready` returns; one run before warms up."""
    job(ready())
    taken: list[tuple[float, float]] = []
    for _ in range(repeats):
        subject = ready()
        began_s, began_cpu_s = time.perf_counter(), time.thread_time()
        job(subject)
        taken.append((time.perf_counter() - began_s, time.thread_time() - began_cpu_s))
    taken.sort()
    took_s, cpu_s = taken[len(taken) // 2]
    return Timing(took_s=took_s, least_s=taken[0][0], most_s=taken[-1][0], cpu_s=cpu_s)
