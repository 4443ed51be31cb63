"""What people see of the cycle: one run for each order, from its decision, its bid, and every step of that bid.

A run is made anew from the store whenever an order was carried out, and as long as its bid is open. So it needs no
memory, and what a person, another process or the market did to a bid shows like everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from shoal.bidding.cycle.climb import Tried
from shoal.bidding.cycle.keeper import OPEN_STATES
from shoal.bidding.cycle.known import Situation
from shoal.domain.errors import UnknownIdError
from shoal.domain.interval import NS_PER_S
from shoal.domain.live import WorkflowRun, WorkflowStep
from shoal.store.cycles import BidStep, Cycles, DecisionRecord, MarketBidRecord

MANUAL: Final = "manual"
_TRIED: Final = msgspec.json.Decoder(tuple[Tried, ...])
_GATE_CLOSED: Final = "the gate closed"


class RunBook:
    """Keeps the runs of orders up to date.

    Args:
        cycles: Where decisions and bids are.
        record: Keeps a run.
        publish: Tells everybody how a run stands.
    """

    def __init__(
        self,
        cycles: Cycles,
        *,
        record: Callable[[WorkflowRun], None],
        publish: Callable[[WorkflowRun], None],
    ) -> None:
        self._cycles = cycles
        self._record = record
        self._publish = publish
        self._shown: dict[str, WorkflowRun] = {}

    def note(self, name: str) -> None:
        """Show how the run of an order, or of a manual bid, stands now; nothing is done when nobody knows it."""
        record = self._cycles.bid(name)
        try:
            run = run_of(self._cycles.decision(name), record, self._cycles.steps(name))
        except UnknownIdError:
            if record is None:
                return
            run = manual_run(record, self._cycles.steps(name))
        if self._shown.get(name) == run:
            return
        self._record(run)
        self._publish(run)
        if run.finished_ns is None:
            self._shown[name] = run
        else:
            self._shown.pop(name, None)

    def refresh(self) -> None:
        """Show what became of the bids that are open, and of those that were when last looked at."""
        open_now = {record.bid.idempotency_key for record in self._cycles.bids(states=OPEN_STATES)}
        for name in sorted(open_now | self._shown.keys()):
            self.note(name)


def run_of(decision: DecisionRecord, record: MarketBidRecord | None, steps: Sequence[BidStep]) -> WorkflowRun:
    """Return the run of an order from its decision and, where there is one, its bid."""
    gate = msgspec.json.decode(decision.situation, type=Situation).gate
    tried = _TRIED.decode(decision.tried)
    made = [WorkflowStep(name=one.rung, took_s=one.took_s, outcome=one.outcome) for one in tried]
    return WorkflowRun(
        workflow_id=decision.decision_id,
        kind="bid",
        resource_id=decision.resource_id,
        delivery_date=gate.delivery_date,
        gate_ns=decision.closes_ns,
        started_ns=decision.as_of_ns,
        finished_ns=decision.as_of_ns if record is None else _finished_ns(record, steps),
        status="standing" if record is None else status_of(record, steps),
        rung=decision.rung,
        rung_reason=reason_of(tried),
        steps=[*made, *_sent(steps)],
    )


def manual_run(record: MarketBidRecord, steps: Sequence[BidStep]) -> WorkflowRun:
    """Return the run of a bid without a decision: a person made it."""
    return WorkflowRun(
        workflow_id=record.bid.idempotency_key,
        kind="bid",
        resource_id=record.bid.resource_id,
        delivery_date=record.bid.delivery_date,
        gate_ns=record.closes_ns,
        started_ns=record.created_ns,
        finished_ns=_finished_ns(record, steps),
        status=status_of(record, steps),
        rung=MANUAL if record.author else "",
        rung_reason=made_by(record),
        steps=_sent(steps),
    )


def made_by(record: MarketBidRecord) -> str:
    """Return who made a bid by hand, empty for the machine."""
    return f"made by {record.author}" if record.author else ""


def status_of(record: MarketBidRecord, steps: Sequence[BidStep]) -> str:
    """Return where a bid is, ``missed`` when its gate closed before it was sent."""
    if record.state == "withdrawn" and steps and steps[-1].said.startswith(_GATE_CLOSED):
        return "missed"
    return record.state


def reason_of(tried: Sequence[Tried]) -> str:
    """Return why better rungs than the one that held did not."""
    return "; ".join(f"{one.rung}: {one.outcome}" for one in tried[:-1])


def reason_in(tried: str) -> str:
    """Return `reason_of` from the JSON that a decision keeps."""
    return reason_of(_TRIED.decode(tried))


def _finished_ns(record: MarketBidRecord, steps: Sequence[BidStep]) -> int | None:
    return None if record.state in OPEN_STATES or not steps else steps[-1].at_ns


def _sent(steps: Sequence[BidStep]) -> list[WorkflowStep]:
    """Return the steps of a bid after it was written, each with the time since the one before."""
    return [
        WorkflowStep(
            name="submit" if step.state == "submitted" else step.state,
            took_s=(step.at_ns - before.at_ns) / NS_PER_S,
            outcome=step.said or step.state,
        )
        for before, step in pairwise(steps)
    ]
