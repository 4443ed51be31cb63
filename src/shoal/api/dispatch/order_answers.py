"""What the interface answers about orders and proposals of dispatch: how those that run go, and who decided.

Units and signs are those of `shoal.api.dispatch.preview_answers`.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec

from shoal.api.dispatch.preview_answers import AskedKind, PreviewSites, PreviewView

OrderKind: TypeAlias = Literal["setpoint", "event", "call", "prices", "envelope", "droop"]
Phase: TypeAlias = Literal["planned", "running", "past"]
ProposalState: TypeAlias = Literal["waiting", "approved", "refused", "withdrawn", "expired"]


class OrderRow(msgspec.Struct, frozen=True, kw_only=True):
    """One order in the list.

    Attributes:
        kind: What it is.
        device_kind: Of an event: `power`, `charge`, `hold` or `local`; empty otherwise.
        title: What is asked, in words.
        phase: Where it is in time; what was ended is past.
        state: `standing`, `cancelled` or `aborted`.
        asked_kw: Of all together; null where each does what it can.
        measured_kw: What its batteries do now, of those heard from; null when it does not run, or nobody was heard.
        coverage_frac: The share of its sites that this is of.
        sites: How many it means now.
        approved_by: The second person; empty for none.
        trial: How its trial on a few stands; empty for none.
    """

    order_id: str
    revision: int
    kind: OrderKind
    device_kind: str
    title: str
    program: str
    for_whom: str
    scope_sites: list[str]
    scope_groups: list[str]
    fleet: bool
    phase: Phase
    state: str
    start_ms: int
    end_ms: int
    by: str
    at_ms: int
    reason: str
    approved_by: str
    trial: str
    asked_kw: float | None
    measured_kw: float | None
    coverage_frac: float | None
    sites: int


class OrderPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some orders: what runs first, then what is planned by its start, then what is past, the newest first.

    Attributes:
        as_of_ms: Of the measured figures; null when none could be had.
        counts: How many there are by phase, and `waiting` proposals.
    """

    as_of_ms: int | None
    now_ms: int
    total: int
    offset: int
    limit: int
    counts: dict[str, int]
    rows: list[OrderRow]


class OrderDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One order with everything that was ever done to it.

    Attributes:
        spec: What is asked, as it is kept: powers in whole watts, charging positive.
        proposal: The proposal that it came from.
        preview: The preview that it was launched from, as it was then; null when none was named.
        steps: Its audit, the oldest first.
    """

    row: OrderRow
    spec: dict[str, Any]
    proposal: Proposal | None
    preview: PreviewView | None
    steps: list[OrderStep]


class OrderStep(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an order's audit.

    `action`: `preview`, `propose`, `approve`, `refuse`, `withdraw`, `put` (launched), `change`, `cancel`, `abort`, `trial`,
    `leave` and `return` of owners, `result`, `report` of a device.
    """

    number: int
    at_ms: int
    by: str
    action: str
    outcome: str
    reason: str
    detail: str


class OrderFeeder(msgspec.Struct, frozen=True, kw_only=True):
    """How an order goes at one feeder; see `OrderNow` for the figures.

    Attributes:
        refused: Sites whose device refused, by reason.
    """

    group_id: str
    name: str
    sites: int
    fresh: int
    commanded_kw: float | None
    measured_kw: float | None
    low_kw: float
    high_kw: float
    coverage_frac: float | None
    oldest_age_s: float | None
    answering: int | None
    refused: int
    reasons: dict[str, int]


class OrderSites(msgspec.Struct, frozen=True, kw_only=True):
    """Where an order's sites stand; a site may be in several.

    Attributes:
        meant: Whom it means now.
        fresh: Of these, heard from lately.
        answering: Fresh, and doing at least half of what is asked; null where nothing is asked of each.
        refused: Whose device refused.
        left: Whose owner left it.
        stopped: Under a kill switch.
    """

    meant: int
    fresh: int
    answering: int | None
    refused: int
    left: int
    stopped: int


class OrderNow(msgspec.Struct, frozen=True, kw_only=True):
    """An order as it goes, on the feed `order/<id>` once a second.

    Attributes:
        as_of_ms: When its sites were looked at.
        t_ms: The instant of the figures: append it to the series when it is later than its last one.
        phase: Where it is in time.
        told_phase: Where the controller is with a call; empty for others.
        commanded_kw: What is asked of all together at this instant, ramps left out; null where each does what it can.
        measured_kw: What the batteries of those heard from do; null when nobody was heard.
        low_kw: All of them, silent ones included, do between this and `high_kw`: the ratings bound those not heard from.
        shortfall_kw: What is missing of the commanded power, without direction; 0 when it is reached.
        shared: How the commanded power is shared out: `told`, each site has its own; `by rating`, the controller shares it
            anew in every cycle, and feeders are shown with the part of their rated power.
        coverage_frac: The share of the rated power that was heard from.
        reasons: Refusals by devices, by reason.
    """

    order_id: str
    revision: int
    state: str
    phase: Phase
    told_phase: str
    as_of_ms: int
    t_ms: int
    start_ms: int
    end_ms: int
    commanded_kw: float | None
    measured_kw: float | None
    low_kw: float
    high_kw: float
    shortfall_kw: float | None
    coverage_frac: float | None
    oldest_age_s: float | None
    shared: Literal["told", "by rating"]
    sites: OrderSites
    reasons: dict[str, int]
    by_feeder: list[OrderFeeder]


class OrderSeries(msgspec.Struct, frozen=True, kw_only=True):
    """Commanded against measured over time; the feed `order/<id>` goes on after the last `t_ms`.

    Attributes:
        t_ms: Instants, growing.
        commanded_kw: What was asked of all together.
        measured_kw: What the batteries of those heard from did; null where nobody was. From before anybody watched the order,
            and where history has no means yet, it is what the plant's sums of its groups made of all of them.
        low_kw: All of them did between this and `high_kw`: the ratings bound those not heard from; the plant's sums say it
            nine times out of ten.
        coverage_frac: The share of the rated power that was heard from.
        gap: Whether nothing was heard between a point and the one before it: no line belongs there.
        step_ms: Length of the means that points from history are.
        seam_ms: Up to there points are from history, after it as they were seen live; null when all are live.
        from_ms: The earliest instant.
        until_ms: The latest, exclusive.
    """

    order_id: str
    from_ms: int
    until_ms: int
    step_ms: int
    seam_ms: int | None
    t_ms: list[int]
    commanded_kw: list[float | None]
    measured_kw: list[float | None]
    low_kw: list[float | None]
    high_kw: list[float | None]
    coverage_frac: list[float | None]
    gap: list[bool]


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """Something that waits for a second person, or did.

    Attributes:
        proposal_id: Its name.
        kind: What would be launched.
        title: In words.
        power_kw: What counts for the limit, without direction.
        body: What would be launched, as it was asked.
        by: Who proposed it.
        reason: Why.
        expires_ms: When it is void if nobody decides.
        state: Where it stands.
        decided_by: Who decided; empty before.
        note: What was said with the decision.
        order_id: The order that came of it; of a change, the order it changes.
        preview: The preview that it was proposed from, as it was then; null when none was named.
    """

    proposal_id: str
    kind: AskedKind
    title: str
    power_kw: float
    body: dict[str, Any]
    by: str
    at_ms: int
    reason: str
    expires_ms: int
    state: ProposalState
    decided_by: str
    decided_ms: int | None
    note: str
    order_id: str
    preview: PreviewView | None


class ProposalPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some proposals, those that wait first, then the newest; `above_kw` null where no second person is ever needed."""

    above_kw: float | None
    now_ms: int
    total: int
    offset: int
    limit: int
    rows: list[Proposal]


DISPATCH_TYPES: Final = (
    PreviewView,
    PreviewSites,
    OrderPage,
    OrderDetail,
    OrderNow,
    OrderSeries,
    Proposal,
    ProposalPage,
)
"""For the contract."""
