"""Set-points on the wire: what is not said has its default, in both directions."""

from __future__ import annotations

import msgspec

from shoal.domain.desired import DesiredState

PLAIN = b'{"version":3,"battery_w":-2500,"start_ns":10,"end_ns":20,"issuer":"control","fence":1}'


def test_setpoint_without_program_and_ramp_is_what_it_always_was() -> None:
    state = msgspec.json.decode(PLAIN, type=DesiredState)
    assert (state.resource_id, state.program, state.ramp_s) == ("", "", 0.0)
    assert msgspec.json.encode(state) == PLAIN


def test_setpoint_carries_program_and_ramp_and_skips_what_it_does_not_know() -> None:
    payload = PLAIN[:-1] + b',"resource_id":"vpp-1","program":"peak","ramp_s":30,"later":[1]}'
    state = msgspec.json.decode(payload, type=DesiredState)
    assert (state.resource_id, state.program, state.ramp_s) == ("vpp-1", "peak", 30.0)
    assert msgspec.json.decode(msgspec.json.encode(state), type=DesiredState) == state
