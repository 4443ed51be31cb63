"""What the site agent asks of a driver, and what it gets.

A driver is the one place where signs are flipped: everything it gives is load-positive. What it does not measure is None,
which is not zero. Whatever goes wrong with a device is an `UnavailableError` or a `WireFormatError`; the agent survives any.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One look at a site; None for what is not measured.

    Attributes:
        battery_w: Power at the battery's terminals, charging positive.
        solar_w: Solar power, generation negative.
        load_w: Household load without battery, solar and EV.
        ev_w: EV charger, charging positive.
        grid_w: Power at the connection point, import positive.
        soc_frac: State of charge, 0 to 1.
        frequency_hz: Frequency of the grid.
        charge_wh, discharge_wh, import_wh, export_wh: Registers that only grow, in whole watt-hours.
    """

    battery_w: int | None = None
    solar_w: int | None = None
    load_w: int | None = None
    ev_w: int | None = None
    grid_w: int | None = None
    soc_frac: float | None = None
    frequency_hz: float | None = None
    charge_wh: int | None = None
    discharge_wh: int | None = None
    import_wh: int | None = None
    export_wh: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What a device says of itself; None for what it does not say. The site's configuration may only lower the limits."""

    charge_limit_w: int | None = None
    discharge_limit_w: int | None = None
    energy_capacity_wh: int | None = None
    maker: str = ""
    model: str = ""
    firmware: str = ""


class Driver(Protocol):
    """A connection to the devices of one site."""

    async def read(self) -> Measurement:
        """Return what is measured now.

        Raises:
            UnavailableError: when a device does not answer.
            WireFormatError: when what it answers makes no sense.
        """
        ...

    async def write(self, battery_w: int) -> None:
        """Ask the battery for a power, charging positive; where the device can, it falls back by itself when not asked again.

        Raises:
            UnavailableError: when the device does not take it.
            WireFormatError: when what it answers makes no sense.
        """
        ...

    async def release(self) -> None:
        """Give the battery back to its own control.

        Raises:
            UnavailableError: when the device does not take it.
            WireFormatError: when what it answers makes no sense.
        """
        ...

    async def parameters(self) -> Parameters:
        """Return what the device says of itself.

        Raises:
            UnavailableError: when it does not answer.
            WireFormatError: when what it answers makes no sense.
        """
        ...

    async def close(self) -> None:
        """End the connection."""
        ...


def completed(seen: Measurement) -> Measurement:
    """Return a measurement with the one power that follows from the others: site = load + EV + solar + battery.

    A battery or a roof that is not measured at all is taken for one that is not there only when the load is known.
    """
    if seen.load_w is None and seen.grid_w is not None and seen.battery_w is not None:
        load_w = seen.grid_w - seen.battery_w - (seen.solar_w or 0) - (seen.ev_w or 0)
        return _with(seen, load_w=load_w)
    if seen.grid_w is None and seen.load_w is not None:
        grid_w = seen.load_w + (seen.ev_w or 0) + (seen.solar_w or 0) + (seen.battery_w or 0)
        return _with(seen, grid_w=grid_w)
    return seen


def _with(seen: Measurement, **changed: int) -> Measurement:
    values = {name: getattr(seen, name) for name in Measurement.__slots__}
    return Measurement(**{**values, **changed})
