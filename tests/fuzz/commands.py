"""Targets that read commands: documents and set-points at the agent, beside the referee; frames at a device's door."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Final

import msgspec
import numpy as np
from nacl.signing import SigningKey

from shoal.domain.desired import DesiredState
from shoal.domain.errors import WireFormatError
from shoal.domain.orders import DroopArming, Envelope, PriceSeries, ScheduledEvent, SiteOrders
from shoal.domain.outcome import Rejected
from shoal.edge.agent import AgentColumns, decide, decode_desired, next_change_ns, receive
from shoal.edge.agent_orders import decode_orders, receive_orders
from shoal.edge.audit import Referee
from shoal.edge.orders_report import encode_report, report_of
from shoal.edge.signed import ForgedError, Issuer, Verifier, make_certificate
from tests.fuzz.target import Target
from tests.unit.edge.sites import T0, S, desired, nameplates

_ROOT: Final = bytes(range(32))
_SEED: Final = bytes(range(32, 64))
_PAYLOADS: Final = (b"{}", b'{"version":1}', b"x" * 300)
_EVENT: Final = ScheduledEvent(
    event_id="peak-1",
    program="peak",
    kind="power",
    start_ns=T0,
    end_ns=T0 + 600 * S,
    battery_w=-3_000,
    soc_frac=0.5,
    solar_only=True,
    ramp_s=30.0,
    spread_s=60.0,
    may_opt_out=False,
)
_ORDERS: Final = SiteOrders(
    version=2,
    issued_ns=T0,
    issuer="plant",
    fence=1,
    events=(
        _EVENT,
        msgspec.structs.replace(_EVENT, event_id="b", kind="charge", battery_w=900),
        msgspec.structs.replace(_EVENT, event_id="c", kind="hold"),
        msgspec.structs.replace(_EVENT, event_id="d", kind="local"),
    ),
    prices=PriceSeries(start_ns=T0, step_s=300, import_per_kwh=(0.1, 0.2), export_per_kwh=(0.0, 0.1)),
    envelopes=(Envelope(start_ns=T0, end_ns=T0 + 90 * S, import_limit_w=4_000, export_limit_w=0),),
    droop=DroopArming(
        start_ns=T0,
        end_ns=T0 + 90 * S,
        reference_hz=50.0,
        deadband_hz=0.02,
        full_deviation_hz=0.2,
        up_w=500,
        down_w=400,
    ),
)


def check_orders(data: bytes) -> Hashable:
    """Give a document to a site that follows another one already: agent and referee agree, and no limit is crossed."""
    nameplate = nameplates()
    columns, referee = AgentColumns(nameplate), Referee(nameplate)
    first = msgspec.json.encode(msgspec.structs.replace(_ORDERS, version=1))
    for payload, now_ns in ((first, T0), (data, T0 + 45 * S)):
        granted = referee.heard_orders(0, payload, received_ns=now_ns)
        try:
            orders = decode_orders(payload)
        except WireFormatError as error:
            assert not granted
            return error.reason
        outcome = receive_orders(columns, 0, orders, now_ns)
        assert granted != isinstance(outcome, Rejected), outcome
        encode_report(
            report_of(columns, 0, kind="orders", version=orders.version, outcome=outcome, now_ns=now_ns)
        )
    _live(columns, referee)
    kinds = tuple(sorted({event.kind for event in orders.events}))
    return outcome.reason if isinstance(outcome, Rejected) else (kinds, orders.halted)


def check_desired(data: bytes) -> Hashable:
    """Do the same with a set-point."""
    nameplate = nameplates()
    columns, referee = AgentColumns(nameplate), Referee(nameplate)
    for payload in (msgspec.json.encode(desired(1, 1_000, 0, 90)), data):
        granted = referee.heard(0, payload, received_ns=T0 + 45 * S)
        try:
            state = decode_desired(payload)
        except WireFormatError as error:
            assert not granted
            return error.reason
        outcome = receive(columns, 0, state, T0 + 45 * S)
        assert granted != isinstance(outcome, Rejected), outcome
    _live(columns, referee)
    return outcome.reason if isinstance(outcome, Rejected) else state.ramp_s > 0


def _live(columns: AgentColumns, referee: Referee) -> None:
    """Let a site live on for a while, over a restart, under the referee's eyes."""
    again = AgentColumns(nameplates())
    again.restore(columns.state())
    now_ns, stored_kwh = T0 + 45 * S, np.array([6.0])
    for step in range(14):
        end_ns = min(now_ns + 50 * S, next_change_ns(again, now_ns))
        span_s = (end_ns - now_ns) / S
        seen: dict[str, Any] = {
            "load_w": np.array([800 * (step % 3)]),
            "solar_w": np.array([-1_500 * (step % 2)]),
            "ev_w": np.array([0]),
            "frequency_hz": np.array([50.0 - 0.1 * (step % 4 - 1)]),
        }
        done_w = decide(again, now_ns=now_ns, stored_kwh=stored_kwh, horizon_s=span_s, **seen).battery_w
        into_kwh = np.maximum(done_w, 0) / 1e3 * span_s / 3_600 * again.charge_efficiency_frac
        out_kwh = np.maximum(-done_w, 0) / 1e3 * span_s / 3_600 / again.discharge_efficiency_frac
        ended_kwh = stored_kwh + into_kwh - out_kwh
        breach = referee.observe(
            start_ns=now_ns,
            end_ns=end_ns,
            battery_w=done_w,
            stored_start_kwh=stored_kwh,
            stored_end_kwh=ended_kwh,
            **seen,
        )
        assert not breach.any(), list(referee.examples)
        now_ns, stored_kwh = end_ns, ended_kwh
        again.forget_ended(now_ns)


def _issuer() -> Issuer:
    certificate = make_certificate(
        _ROOT,
        issuer="control",
        tenant="plant",
        public_key=bytes(SigningKey(_SEED).verify_key),
        not_before_ns=0,
        not_after_ns=2 * T0,
        kinds=("desired", "orders"),
        programs=("peak",),
    )
    return Issuer(_SEED, certificate)


_VERIFIER: Final = Verifier(bytes(SigningKey(_ROOT).verify_key), "plant")
_FRAMES: Final = tuple(_issuer().sign_batch([("home", "durable", payload) for payload in _PAYLOADS]))


def check_frame(data: bytes) -> Hashable:
    """Open a frame: none but those that were signed, and they for their own kind alone."""
    reasons = []
    for kind in ("desired", "orders", "durable"):
        try:
            _VERIFIER.open("home", kind, data, T0)
        except ForgedError as error:
            reasons.append(error.reason)
        else:
            raise AssertionError("a frame was opened that nobody had the right to sign")
    return tuple(reasons)


_WORDS: Final = (
    *(
        b'"version":',
        b'"fence":',
        b'"halted":true',
        b'"event_id":"peak-1"',
        b'"kind":"hold"',
        b'"ramp_s":1e5',
    ),
    *(b'"battery_w":', b"1e309", b"-1", b"9223372036854775807", b'"\\ud800"', b'"\\u0000"', b"null", b"[]"),
    *(
        str(T0 + 60 * S).encode(),
        str(T0).encode(),
        b'"start_ns":',
        b'"end_ns":',
        b'"ramp_s":30',
        b'"spread_s":60',
    ),
)
_SETPOINT: Final = DesiredState(
    version=2,
    battery_w=-2_000,
    start_ns=T0 + 50 * S,
    end_ns=T0 + 400 * S,
    issuer="plant",
    fence=1,
    program="peak",
    ramp_s=40.0,
)
TARGETS: Final = (
    Target(name="orders", check=check_orders, seeds=(msgspec.json.encode(_ORDERS),), words=_WORDS),
    Target(name="desired", check=check_desired, seeds=(msgspec.json.encode(_SETPOINT),), words=_WORDS),
    Target(name="frame", check=check_frame, seeds=_FRAMES, words=(*_FRAMES, b"\x01", b"{")),
)
