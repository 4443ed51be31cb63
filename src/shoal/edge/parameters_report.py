"""What a device says that it is set to, in its own words: the armed droop, its limits, how soon it acts, and its firmware.

It travels as a report like those of orders, on the same subject, and says so by its ``kind``. Who speaks is known by the
subject alone. It is said when a session begins, when anything in it changes, and a few times a day, for what is not heard for
long backs nothing.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from shoal.domain.errors import WireFormatError
from shoal.services.drift import DeviceParameters

KIND: Final = b'"kind":"parameters"'
SAY_AGAIN_S: Final = 6 * 3_600.0


class ParametersReport(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="parameters"
):
    """See `shoal.services.drift.DeviceParameters`; `t_ns` is by the device's clock."""

    t_ns: int
    droop_frac: float | None = None
    deadband_hz: float | None = None
    ramp_w_per_s: float | None = None
    response_s: float | None = None
    limit_w: int | None = None
    firmware: str = ""

    def of(self, site_id: str, *, heard_ns: int) -> DeviceParameters:
        """Return it as it is kept: of whom it came, and when it was heard, for clocks of devices may be wrong."""
        fields = {name: getattr(self, name) for name in self.__struct_fields__ if name != "t_ns"}
        return DeviceParameters(site_id=site_id, t_ns=heard_ns, **fields)

    def says_same(self, other: ParametersReport | None) -> bool:
        """Whether nothing but the time is different."""
        return other is not None and msgspec.structs.replace(other, t_ns=self.t_ns) == self


_DECODER: Final = msgspec.json.Decoder(ParametersReport)


def is_parameters(payload: bytes) -> bool:
    """Whether a report is of parameters and not of orders."""
    return KIND in payload[:64]


def encode_parameters(report: ParametersReport) -> bytes:
    """Return the message."""
    return msgspec.json.encode(report)


def decode_parameters(payload: bytes) -> ParametersReport:
    """Return the report of one message.

    Raises:
        WireFormatError: with reason ``parameters``.
    """
    try:
        return _DECODER.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireFormatError("parameters", str(error)) from error


def configured(
    droop: Any, *, now_ns: int, discharge_w: int, response_s: float, firmware: str
) -> ParametersReport:
    """Return what one agent is set to.

    Args:
        droop: Its record of `shoal.edge.agent_columns.DROOP`.
        now_ns: The device's time; a droop that is armed ahead counts, one that has ended does not.
        discharge_w: Most that the battery gives now.
        response_s: How long it takes to act on what it measures.
        firmware: Of the device, or of the agent where that does not say.
    """
    up_w, span_hz = int(droop["up_w"]), float(droop["full_deviation_hz"]) - float(droop["deadband_hz"])
    reference_hz = float(droop["reference_hz"])
    armed = int(droop["end_ns"]) > now_ns and up_w > 0 and discharge_w > 0 and reference_hz > 0.0
    return ParametersReport(
        t_ns=now_ns,
        droop_frac=round(span_hz * discharge_w / (up_w * reference_hz), 9) if armed else None,
        deadband_hz=round(float(droop["deadband_hz"]), 6) if armed else None,
        response_s=response_s,
        limit_w=min(up_w, discharge_w) if armed else discharge_w,
        firmware=firmware,
    )
