"""The pace that the plant asks of its devices: how seldom to report for a while, and how slowly to come back.

Sent as JSON to everybody. It ends by itself, as a lease does, so a plant that dies does not keep its fleet quiet. Only
reports follow it: what a device is asked to do it does at once.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from shoal.domain.errors import WireFormatError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S

MOST_EVERY_S: Final = 3_600.0
"""A device never reports less often than this, whatever it is asked."""
MOST_SPREAD_S: Final = 900.0
LONGEST_NS: Final = 24 * NS_PER_HOUR
"""A word about more than a day ahead is not believed."""


class Pace(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How fast devices may speak.

    Attributes:
        every_s: Each device reports at most this often, in seconds, with everything that has gathered; 0 for no limit.
        until_ns: Until when, exclusive; each device goes back to its own pace some time within `every_s` after it.
        issued_ns: When it was said; of two, the later one counts.
        spread_s: Over how many seconds devices come back when they all lose the plant at once; it holds until another
            one is said. 0 leaves it to the device.
    """

    every_s: float
    until_ns: int
    issued_ns: int
    spread_s: float = 0.0


_DECODER: Final = msgspec.json.Decoder(Pace)


def encode_pace(pace: Pace) -> bytes:
    """Return the message that devices receive."""
    return msgspec.json.encode(pace)


def decode_pace(payload: bytes) -> Pace:
    """Return the pace of one message.

    Raises:
        WireFormatError: with reason ``pace``; also for one that no plant would mean.
    """
    try:
        pace = _DECODER.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireFormatError("pace", str(error)) from error
    # written so that what is no number at all fails too
    if not (0 <= pace.every_s <= MOST_EVERY_S and 0 <= pace.spread_s <= MOST_SPREAD_S):
        raise WireFormatError("pace", f"every {pace.every_s} s, spread {pace.spread_s} s")
    if not 0 <= pace.issued_ns <= pace.until_ns <= pace.issued_ns + LONGEST_NS or pace.until_ns >= 2**63:
        raise WireFormatError("pace", f"from {pace.issued_ns} until {pace.until_ns}")
    return pace


def spread_for(devices: int, sign_ins_per_s: float) -> float:
    """Return over how many seconds so many devices are to come back to be signed in at a rate, at most `MOST_SPREAD_S`."""
    return min(devices / sign_ins_per_s, MOST_SPREAD_S)


def pace_for_lag(
    lag_s: float, *, now_ns: int, usual_s: float = 60.0, patience_s: float = 10.0, hold_s: float = 120.0
) -> Pace | None:
    """Return what a plant that is so far behind asks for, None when it keeps up.

    The interval doubles each time that the lag does. Said again as long as the plant is behind, it lasts; else it ends
    after `hold_s`, which is what keeps it from coming and going.

    Args:
        lag_s: Age of the oldest message that the plant has not yet taken in, in seconds.
        now_ns: The present instant.
        usual_s: How often devices report unasked, in seconds.
        patience_s: A lag up to this is nothing to speak of, in seconds.
        hold_s: How long the word holds, in seconds.
    """
    if not lag_s > patience_s:
        return None
    doublings = math.ceil(math.log2(min(lag_s, MOST_EVERY_S * patience_s) / patience_s))
    every_s = min(usual_s * 2.0**doublings, MOST_EVERY_S)
    # shorter than one of its own intervals it would relieve nobody
    until_ns = now_ns + int(max(hold_s, every_s) * NS_PER_S)
    return Pace(every_s=every_s, until_ns=until_ns, issued_ns=now_ns)
