"""Strategies whose rungs behave and misbehave, for the processes of a solver to load."""

from __future__ import annotations

import os
import signal
import time

import numpy as np

from shoal.bidding.cycle.decision import Decision, GateStrategy, RungOf, register
from shoal.bidding.cycle.five_minute import questions, thresholds
from shoal.bidding.cycle.known import Known, Question, Situation
from shoal.domain.facts import Facts, SeriesId


def _nothing(situation: Situation) -> tuple[Question, ...]:
    return ()


def _quick(known: Known) -> Decision:
    return Decision(rung="quick", reasons=(known.digest(),))


def _slow(known: Known) -> Decision:
    time.sleep(0.3)
    return Decision(rung="slow")


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

SLOW = register(
    GateStrategy(
        name="slow",
        version="1",
        about="Takes some time.",
        questions=_nothing,
        rungs=(RungOf(name="slow", decide=_slow, share=1.0), RungOf(name="fail", decide=_fail, share=1.0)),
    )
)


def _leaves(situation: Situation, decision: Decision) -> tuple[Facts, ...]:
    return (
        Facts(
            series_id=SeriesId("left/by/beside"),
            source="beside",
            known_ns=situation.as_of_ns,
            start_ns=np.array([situation.as_of_ns]),
            end_ns=np.array([situation.as_of_ns + 1]),
            value=np.ones((1, 1)),
        ),
    )


BESIDE = register(
    GateStrategy(
        name="beside",
        version="1",
        about="Thresholds alone; as a live strategy it would leave a fact.",
        questions=questions,
        rungs=(RungOf(name="simple", decide=thresholds, share=1.0),),
        leaves=_leaves,
    )
)
STUCK = register(
    GateStrategy(
        name="stuck",
        version="1",
        about="Never comes back.",
        questions=questions,
        rungs=(RungOf(name="hang", decide=_hang, share=1.0),),
    )
)
