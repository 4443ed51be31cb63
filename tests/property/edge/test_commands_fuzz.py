"""Commands of any content: no crash, agent and referee take the same, and no frame opens that was not signed for it."""

from __future__ import annotations

from hypothesis import given, settings

from tests.fuzz.commands import TARGETS, check_desired, check_frame, check_orders
from tests.fuzz.strategies import inputs_of

ORDERS, DESIRED, FRAME = TARGETS


@settings(max_examples=80, deadline=None)
@given(inputs_of(ORDERS))
def test_document_of_any_content_is_taken_or_refused_and_breaks_no_limit(payload: bytes) -> None:
    check_orders(payload)


@settings(max_examples=80, deadline=None)
@given(inputs_of(DESIRED))
def test_setpoint_of_any_content_is_taken_or_refused_and_breaks_no_limit(payload: bytes) -> None:
    check_desired(payload)


@settings(max_examples=150, deadline=None)
@given(inputs_of(FRAME))
def test_frame_of_any_content_opens_for_nobody(payload: bytes) -> None:
    check_frame(payload)
