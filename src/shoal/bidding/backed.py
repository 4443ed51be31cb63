"""Services that devices still back: parameters that have drifted take capacity out of offers, not out of energy."""

from __future__ import annotations

from typing import Final, Protocol

import structlog

from shoal.bidding.cycle.known import Offered, Withheld
from shoal.domain.errors import UnavailableError
from shoal.store.device_parameters import ServiceBacking

REASON: Final = "parameter_drift"
_W_PER_KW: Final = 1e3
_log = structlog.get_logger(__name__)


class Parameters(Protocol):
    """Where parameters are kept; see `shoal.store.device_parameters.DeviceParameterStore`."""

    def backing(self, now_ns: int) -> tuple[ServiceBacking, ...]:
        """Return how far each service of which something is assumed is backed."""
        ...


class BackedServices:
    """Tells bidding how much of a resource's services devices back.

    Args:
        parameters: Where they are kept.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self._known: tuple[ServiceBacking, ...] | None = None

    def __call__(self, resource_id: str, as_of_ns: int, /) -> Offered:
        """Return the limits of a resource's services at an instant, and what is withheld of them.

        Raises:
            UnavailableError: when nothing was ever read; later the last word counts.
        """
        try:
            self._known = self._parameters.backing(as_of_ns)
        except UnavailableError as error:
            if self._known is None:
                raise
            _log.warning("parameters cannot be read", why=str(error))
        mine = [one for one in self._known if one.resource_id == resource_id]
        return Offered(
            withheld=tuple(_withheld(one) for one in mine if one.withheld_w),
            service_limit_kw={one.service: one.backed_w / _W_PER_KW for one in mine},
        )


def _withheld(one: ServiceBacking) -> Withheld:
    alarm = one.alarm
    detail = "" if alarm is None else f": {alarm.detail}"
    return Withheld(
        reason=REASON,
        sites=0 if alarm is None else alarm.sites,
        power_kw=one.withheld_w / _W_PER_KW,
        energy_kwh=0.0,
        said=f"no more than {one.backed_w / _W_PER_KW:,.0f} kW of {one.service} is offered{detail}",
    )
