"""What a device answers to a command."""

from __future__ import annotations

import msgspec
import pytest

from shoal.domain.orders import OrderReport
from shoal.domain.outcome import Accepted, Curtailed, Outcome, Rejected
from shoal.edge.agent import AgentColumns
from shoal.edge.agent_owner import opt_out
from shoal.edge.orders_report import encode_report, report_of
from tests.unit.edge.sites import T0, nameplates
from tests.unit.edge.test_agent_orders import event, ns, with_orders


@pytest.mark.parametrize(
    ("outcome", "said", "reason"),
    [
        (Accepted(), "applied", ""),
        (Curtailed(asked=9.0, granted=5.0, reason="over_nameplate"), "curtailed", "over_nameplate"),
        (Rejected(reason="expired", detail="ended"), "refused", "expired"),
    ],
)
def test_report_says_what_was_made_of_a_command(outcome: Outcome, said: str, reason: str) -> None:
    columns = AgentColumns(nameplates())
    report = report_of(columns, 0, kind="desired", version=7, outcome=outcome, now_ns=T0, mode="local")
    assert (report.kind, report.version, report.outcome, report.reason) == ("desired", 7, said, reason)
    assert (report.t_ns, report.mode, report.opted_out) == (T0, "local", ())
    assert msgspec.json.decode(encode_report(report), type=OrderReport) == report


def test_report_names_the_events_that_the_owner_has_left() -> None:
    columns = with_orders(event(0, 100, event_id="a"), event(0, 100, event_id="b"))
    opt_out(columns, 0, "b", ns(1))
    report = report_of(columns, 0, kind="orders", version=1, outcome=Accepted(), now_ns=ns(2), reason="owner")
    assert (report.opted_out, report.reason, report.outcome) == (("b",), "owner", "applied")
