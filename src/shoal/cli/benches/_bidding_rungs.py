"""The strategy of the bidding benchmark: the product's own, with hangs, deaths and failures of solvers mixed in.

Which gate is hit is a function of the gate, so that every process agrees and a run can be repeated.
"""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Callable
from typing import Final

from shoal.bidding.cycle.decision import Decision, GateStrategy, RungOf, register
from shoal.bidding.cycle.five_minute import FIVE_MINUTE
from shoal.bidding.cycle.known import Known

NAME: Final = "markov with failing solvers"
HANG_FRAC: Final = 0.04
DIE_FRAC: Final = 0.01
FAIL_FRAC: Final = 0.05


def _draw(known: Known, rung: str) -> float:
    """Return a number in [0, 1) that is a function of the gate and the rung."""
    digest = hashlib.sha256(f"{known.situation.gate.key}/{rung}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2.0**64


def _failing(rung: RungOf) -> RungOf:
    def decide(known: Known) -> Decision:
        drawn = _draw(known, rung.name)
        if drawn < HANG_FRAC:
            time.sleep(3_600.0)
        if drawn < HANG_FRAC + DIE_FRAC:
            os.kill(os.getpid(), signal.SIGKILL)
        if drawn < HANG_FRAC + DIE_FRAC + FAIL_FRAC:
            raise ArithmeticError("the solver gave up")
        return rung.decide(known)

    # what is light runs in the bidder itself: there is no solver to fail
    return rung if rung.light else RungOf(name=rung.name, decide=decide, share=rung.share)


def _with(change: Callable[[RungOf], RungOf]) -> tuple[RungOf, ...]:
    return tuple(change(rung) for rung in FIVE_MINUTE.rungs)


FAILING: Final = register(
    GateStrategy(
        name=NAME,
        version=FIVE_MINUTE.version,
        about="For the benchmark of bidding: solvers hang, die and fail.",
        questions=FIVE_MINUTE.questions,
        rungs=_with(_failing),
        declines=FIVE_MINUTE.declines,
    )
)
