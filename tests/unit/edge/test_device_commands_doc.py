"""The page about commands says what the code does: its examples decode, its reasons and numbers are the code's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, get_args

import msgspec
import pytest

from shoal.domain.desired import DesiredState
from shoal.domain.orders import EventKind, OrderReport, SiteOrders
from shoal.domain.outcome import Accepted
from shoal.edge.agent import MODE_NAMES, AgentColumns
from shoal.edge.agent_columns import MOST_ENVELOPES, MOST_EVENTS
from shoal.edge.agent_orders import MOST_PRICES, receive_orders
from shoal.edge.signed import Refusal
from tests.unit.edge.sites import nameplates

PAGE: Final = (Path(__file__).parents[3] / "docs" / "device-commands.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "kind"), [("desired", DesiredState), ("orders", SiteOrders), ("report", OrderReport)]
)
def test_example_of_a_message_decodes_with_every_name(name: str, kind: type[Any]) -> None:
    (example,) = re.findall(rf"```json {name}\n(.*?)```", PAGE, re.DOTALL)
    decoded = msgspec.json.decode(example, type=kind)
    assert set(msgspec.json.decode(example)) <= {field.encode_name for field in msgspec.structs.fields(kind)}
    if isinstance(decoded, SiteOrders):
        outcome = receive_orders(AgentColumns(nameplates()), 0, decoded, decoded.issued_ns)
        assert outcome == Accepted()


def test_page_names_every_mode_kind_reason_and_limit() -> None:
    for word in (*MODE_NAMES.values(), *get_args(EventKind), *get_args(Refusal)):
        assert f"`{word}`" in PAGE, word
    for limit in (f"{MOST_EVENTS} events", f"{MOST_ENVELOPES} envelopes", f"{MOST_PRICES:,} prices"):
        assert limit in PAGE
