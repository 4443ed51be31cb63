"""A site of SunSpec devices: a battery or hybrid inverter, solar inverters and a meter, as one driver.

SunSpec inverters count what they give as positive, meters what is imported: here all becomes load-positive. Of a hybrid
inverter, whose one output is roof and battery together, the battery is what the roof gives less what comes out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from shoal.domain.errors import InvalidInputError, UnavailableError, WireFormatError
from shoal.edge.drivers.modbus_tcp import ModbusTcp
from shoal.edge.drivers.protocol import Measurement, Parameters, completed
from shoal.edge.drivers.sunspec import SunSpecDevice, inverter_model, meter_model, whole
from shoal.edge.drivers.sunspec_points import INVERTERS, METERS

_BATTERY_MODELS: Final = (802, 713, 124)
_ASLEEP_S: Final = 60.0
_RATINGS: Final = (120, 121, 124, 713, 802)


@dataclass(frozen=True, slots=True, kw_only=True)
class SunSpecAddress:
    """A device of the site.

    Attributes:
        role: ``battery`` an inverter with nothing but a battery, ``hybrid`` one with roof and battery, ``solar`` one with a
            roof, ``meter`` the meter at the connection point.
        host: Its address.
        port: Its port.
        unit: Its number behind the address.
        solar_inputs: Of a hybrid: which inputs of model 160, counted from 1, are the roof.
        allow_grid: Of a battery: whether one that is set to charge from its roof alone may be set to charge from the grid.
        import_positive: Of a meter: whether its power is positive when the site imports, as the standard has it.
    """

    role: Literal["battery", "hybrid", "solar", "meter"]
    host: str
    port: int = 502
    unit: int = 1
    solar_inputs: tuple[int, ...] = (1, 2)
    allow_grid: bool = False
    import_positive: bool = True


class SunSpecSite:
    """The driver.

    Args:
        devices: What stands at the site: at most one battery or hybrid, at most one meter.
        revert_s: After so long without a command the battery goes back to its own control.
        timeout_s: How long a request to a device may take.
        monotonic_s: Wall time in seconds, for how long a sleeping roof is left alone.

    Raises:
        InvalidInputError: when there is nothing to read, or more than one battery or meter.
    """

    def __init__(
        self,
        devices: Sequence[SunSpecAddress],
        *,
        revert_s: int = 60,
        timeout_s: float = 3.0,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        roles = [device.role for device in devices]
        batteries = roles.count("battery") + roles.count("hybrid")
        if not devices or batteries > 1 or roles.count("meter") > 1:
            raise InvalidInputError(
                field="driver.devices", value=roles, fix="at most one battery or hybrid, and one meter"
            )
        self._devices = [
            (
                address,
                SunSpecDevice(
                    ModbusTcp(address.host, address.port, address.unit, timeout_s=timeout_s),
                    revert_s=revert_s,
                ),
            )
            for address in devices
        ]
        self._solar_w = 0.0
        self._monotonic_s = monotonic_s
        self._asleep_until_s: dict[str, float] = {}

    async def read(self) -> Measurement:
        """Return what is measured now; see `Driver`."""
        seen: dict[str, float | None] = {}
        for address, device in self._devices:
            if address.role == "solar":
                await self._read_roof(device, address, seen)
                continue
            await device.refresh()
            if address.role == "meter":
                await self._read_meter(device, address, seen)
            else:
                await self._read_inverter(device, address, seen)
        soc_frac = seen.pop("soc_frac", None)
        frequency_hz = seen.pop("frequency_hz", None)
        measured = Measurement(
            soc_frac=soc_frac,
            frequency_hz=frequency_hz,
            **{name: whole(value) for name, value in seen.items()},
        )
        return completed(measured)

    async def write(self, battery_w: int) -> None:
        """Ask the battery for a power, charging positive; see `Driver`."""
        address, device = self._battery()
        await device.refresh()
        if 704 in device.models:
            # the set-point of a hybrid is for its one output
            solar_w = self._solar_w if address.role == "hybrid" else 0.0
            await device.command_power(round(-solar_w) - battery_w)
        else:
            await device.command_rates(battery_w, allow_grid=address.allow_grid)

    async def release(self) -> None:
        """Give the battery back to its own control; see `Driver`."""
        await self._battery()[1].release()

    async def parameters(self) -> Parameters:
        """Return what the battery says of itself; see `Driver`."""
        device = self._battery()[1]
        await device.refresh(*_RATINGS)

        def first(*points: tuple[int, str]) -> int | None:
            values = (device.value(model, name) for model, name in points)
            return whole(next((value for value in values if value), None))

        return Parameters(
            charge_limit_w=first((802, "WChaRteMax"), (124, "WChaMax"), (120, "MaxChaRte"), (121, "WMax")),
            discharge_limit_w=first(
                (802, "WDisChaRteMax"), (124, "WChaMax"), (120, "MaxDisChaRte"), (121, "WMax")
            ),
            energy_capacity_wh=first((802, "WHRtg"), (713, "WHRtg"), (120, "WHRtg")),
            maker=device.maker,
            model=device.model,
            firmware=device.firmware,
        )

    async def close(self) -> None:
        """End the connections."""
        for _, device in self._devices:
            await device.close()

    def _battery(self) -> tuple[SunSpecAddress, SunSpecDevice]:
        for address, device in self._devices:
            if address.role in ("battery", "hybrid"):
                return address, device
        raise WireFormatError("sunspec", "no device of this site has a battery")

    async def _read_meter(
        self, device: SunSpecDevice, address: SunSpecAddress, seen: dict[str, float | None]
    ) -> None:
        model = meter_model(device)
        await device.refresh(*(one for one in METERS if one == model))
        power_w = device.value(model, "W")
        if power_w is None:
            raise WireFormatError("sunspec", f"{device.where}: the meter does not say its power")
        seen["grid_w"] = power_w if address.import_positive else -power_w
        imported, exported = device.value(model, "TotWhImp"), device.value(model, "TotWhExp")
        if not address.import_positive:
            imported, exported = exported, imported
        seen["import_wh"], seen["export_wh"] = imported, exported
        seen["frequency_hz"] = device.value(model, "Hz")

    async def _read_roof(
        self, device: SunSpecDevice, address: SunSpecAddress, seen: dict[str, float | None]
    ) -> None:
        """Read a solar inverter; many sleep at night and answer nobody, which must not stop the battery."""
        now_s = self._monotonic_s()
        if now_s < self._asleep_until_s.get(device.where, -math.inf):
            return
        try:
            await device.refresh()
            await self._read_inverter(device, address, seen)
        except (UnavailableError, WireFormatError):
            self._asleep_until_s[device.where] = now_s + _ASLEEP_S

    async def _read_inverter(
        self, device: SunSpecDevice, address: SunSpecAddress, seen: dict[str, float | None]
    ) -> None:
        model = inverter_model(device)
        await device.refresh(*(one for one in INVERTERS if one == model))
        given_w = device.value(model, "W")
        if given_w is None:
            raise WireFormatError("sunspec", f"{device.where}: the inverter does not say its power")
        if seen.get("frequency_hz") is None:
            seen["frequency_hz"] = device.value(model, "Hz")
        if address.role == "solar":
            seen["solar_w"] = (seen.get("solar_w") or 0.0) - max(given_w, 0.0)
            return
        await device.refresh(*_BATTERY_MODELS)
        soc_pct = next(
            (
                value
                for one, name in ((802, "SoC"), (713, "SoC"), (124, "ChaState"))
                if (value := device.value(one, name)) is not None
            ),
            None,
        )
        seen["soc_frac"] = None if soc_pct is None else soc_pct / 100.0
        if address.role == "battery":
            seen["battery_w"] = -given_w
            if model == 701:
                seen["charge_wh"] = device.value(701, "TotWhAbs")
                seen["discharge_wh"] = device.value(701, "TotWhInj")
            return
        await device.refresh(160)
        powers = device.module_powers_w()
        roof = [powers[number - 1] for number in address.solar_inputs if number <= len(powers)]
        known = [power_w for power_w in roof if power_w is not None]
        if not known:
            raise WireFormatError(
                "sunspec", f"{device.where}: a hybrid must say its solar inputs (model 160)"
            )
        self._solar_w = -sum(known)
        seen["solar_w"] = (seen.get("solar_w") or 0.0) + self._solar_w
        seen["battery_w"] = -self._solar_w - given_w
