"""The owner's reserve at the agent: said to the plant, said at the device, and the battery's least; the most of all counts."""

from __future__ import annotations

from shoal.domain.outcome import Accepted, Rejected
from shoal.edge.agent import AgentColumns
from shoal.edge.agent_orders import receive_orders
from shoal.edge.agent_owner import set_reserve
from tests.unit.edge.sites import nameplates
from tests.unit.edge.test_agent_orders import ns, orders


def test_reserve_of_a_document_is_kept_with_what_the_owner_set_at_the_device() -> None:
    columns = AgentColumns(nameplates())
    capacity_kwh = float(columns.energy_capacity_kwh[0])
    least_kwh = float(columns.reserve_kwh[0])
    assert receive_orders(columns, 0, orders(1, reserve_frac=0.6), ns(0)) == Accepted()
    assert columns.reserve_kwh[0] == 0.6 * capacity_kwh
    set_reserve(columns, 0, 0.8)
    assert columns.reserve_kwh[0] == 0.8 * capacity_kwh, "the most of both"
    assert receive_orders(columns, 0, orders(2), ns(1)) == Accepted()
    assert columns.reserve_kwh[0] == 0.8 * capacity_kwh, "the plant takes back its own word only"
    set_reserve(columns, 0, 0.0)
    assert columns.reserve_kwh[0] == least_kwh
    refused = receive_orders(columns, 0, orders(3, reserve_frac=1.5), ns(2))
    assert isinstance(refused, Rejected)
    assert refused.reason == "out_of_range"
    assert receive_orders(columns, 0, orders(4, reserve_frac=0.5, halted=True), ns(3)) == Accepted()
    assert columns.reserve_kwh[0] == 0.5 * capacity_kwh, "the kill switch lets nobody take the reserve"
    kept = columns.state()
    successor = AgentColumns(nameplates())
    successor.restore(kept)
    assert successor.reserve_kwh[0] == 0.5 * capacity_kwh
    del kept["asked_reserve_frac"]
    successor.restore(kept)
    assert successor.reserve_kwh[0] == least_kwh, "a state from before documents said so"
