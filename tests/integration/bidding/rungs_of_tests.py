"""Strategies whose rungs behave and misbehave, for the processes of a solver to load."""

from __future__ import annotations

import os
import signal
import time

from shoal.bidding.cycle.decision import Decision, GateStrategy, RungOf, register
from shoal.bidding.cycle.known import Known, Question, Situation


def _nothing(situation: Situation) -> tuple[Question, ...]:
    return ()


def _quick(known: Known) -> Decision:
    return Decision(rung="quick", reasons=(known.digest(),))


def _hang(known: Known) -> Decision:
    while True:  # a solver that never comes back, busy
        time.monotonic()


def _die(known: Known) -> Decision:
    os.kill(os.getpid(), signal.SIGKILL)
    return Decision(rung="die")


def _fail(known: Known) -> Decision:
    raise ValueError("the prices make no sense")


def _stop(known: Known) -> Decision:
    os.kill(os.getpid(), signal.SIGSTOP)
    return Decision(rung="stop")


MISBEHAVING = register(
    GateStrategy(
        name="misbehaving",
        version="1",
        about="Hangs, dies, fails, and then decides.",
        questions=_nothing,
        rungs=(
            RungOf(name="hang", decide=_hang, share=0.2),
            RungOf(name="die", decide=_die, share=0.2),
            RungOf(name="fail", decide=_fail, share=0.2),
            RungOf(name="stop", decide=_stop, share=0.2),
            RungOf(name="quick", decide=_quick, share=1.0),
        ),
    )
)
