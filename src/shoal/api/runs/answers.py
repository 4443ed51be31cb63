"""What `/api/runs/{id}` answers: one run from the instant of its decision to the market, and what came of deciding it again.

Instants are on the plant's clock; `took_s` and `budget_s` of deciding are seconds of the machine, the others of the plant.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec

from shoal.api.live.state import WorkflowRun

StepPhase: TypeAlias = Literal["decide", "send", "settle"]
InputState: TypeAlias = Literal["fresh", "stale", "missing", "not judged"]
ReplayState: TypeAlias = Literal["none", "running", "done", "failed"]
ReplayVerdict: TypeAlias = Literal["same", "different", "refused"]


class RunGate(msgspec.Struct, frozen=True, kw_only=True):
    """What is bid for, and until when."""

    market_id: str
    product_id: str
    kind: str
    delivery_date: str
    covers_start_ms: int
    covers_end_ms: int
    closes_ms: int


class RunStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step, in order.

    `budget_s` is None where nothing limited it, or it was not kept. `held` says that the run went on with what it came to.
    """

    phase: StepPhase
    name: str
    start_ms: int
    took_s: float
    budget_s: float | None
    outcome: str
    held: bool
    by: str


class RunInput(msgspec.Struct, frozen=True, kw_only=True):
    """What was known of one series when it was decided.

    `age_s` is from `known_ms`, when the newest of it became known, to the decision; `reaches_ms` is the end of the last
    interval. It is stale when it is older than `stale_after_s`; where nobody said how old it may become it is not judged.
    """

    series_id: str
    from_ms: int
    to_ms: int
    intervals: int
    known_ms: int | None
    age_s: float | None
    reaches_ms: int | None
    source: str
    stale_after_s: float | None
    state: InputState


class RunDecision(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided, from what, and why.

    `better_rungs` counts those that were tried before the one that held; `reason` says why they did not. The amount is
    what the plan is expected to earn until its horizon, None on a rung without a plan.
    """

    decision_id: str
    trigger: str
    as_of_ms: int
    record_no: int
    strategy: str
    strategy_version: str
    rung: str
    better_rungs: int
    reason: str
    reasons: list[str]
    relaxed: list[str]
    expected_amount: str | None
    currency: str
    stored_kwh: float
    capacity_kwh: float
    silent_frac: float
    withheld: list[str]
    standing_revision: int | None
    fixed_by_hand: int
    inputs: list[RunInput]


class RunBid(msgspec.Struct, frozen=True, kw_only=True):
    """The bid that was made of it."""

    bid_key: str
    revision: int
    state: str
    author: str


class RunDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One run.

    `sent_ms` is when its bid was first sent. It is `late` when that was not before the gate, or the gate closed without it.
    `no_replay` says why it cannot be decided again; empty when it can.
    """

    run: WorkflowRun
    zone: str
    gate: RunGate | None
    sent_ms: int | None
    late: bool
    steps: list[RunStep]
    decision: RunDecision | None
    bid: RunBid | None
    no_replay: str


class ReplayDifference(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as it was: in the facts, the decision, or the bid that was made of it."""

    what: Literal["facts", "decision", "bid"]
    where: str
    recorded: str
    replayed: str


class RunReplay(msgspec.Struct, frozen=True, kw_only=True):
    """How deciding again stands; instants are on the machine's clock.

    `same` is whether every byte is, None before it is known. A run whose strategy has another version here is refused.
    """

    workflow_id: str
    state: ReplayState
    verdict: ReplayVerdict | None
    same: bool | None
    differs: list[ReplayDifference]
    reason: str
    by: str
    began_ms: int | None
    took_s: float | None


RUN_TYPES: Final[tuple[Any, ...]] = (RunDetail, RunReplay)
