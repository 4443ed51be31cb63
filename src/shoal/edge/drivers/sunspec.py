"""One SunSpec device over Modbus TCP: its chain of models, what they measure, and how its battery is commanded.

The chain is walked once (it begins with "SunS" at one of three addresses) and again when the device was away. Powers are
given as the device means them; the site's driver flips signs. A command always sets the model's reversion time too, so
that a device whose agent dies goes back to its own control.
"""

from __future__ import annotations

import math
from typing import Final

from shoal.domain.errors import UnavailableError, WireFormatError
from shoal.edge.drivers.modbus_tcp import ModbusRefusedError, ModbusTcp
from shoal.edge.drivers.sunspec_points import (
    INVERTERS,
    METERS,
    MODELS,
    MODULE_DCW,
    MODULE_FIRST,
    MODULE_REGISTERS,
    coded,
    reach_of,
    scaled,
    value_of,
)

BASES: Final = (40_000, 50_000, 0)
_MARK: Final = [0x5375, 0x6E53]  # "SunS"
_END: Final = 0xFFFF
_MOST_MODELS: Final = 100
_COMMON: Final = 1
_CHARGE_AND_DISCHARGE: Final = 3
_WATTS: Final = 1
_MOST_REVERT_S: Final = 0xFFFE


class SunSpecDevice:
    """A device behind one Modbus address.

    Args:
        modbus: The connection.
        revert_s: After so long without a new command the device goes back to its own control.
    """

    def __init__(self, modbus: ModbusTcp, *, revert_s: int) -> None:
        self._modbus = modbus
        self._revert_s = min(max(revert_s, 1), _MOST_REVERT_S)
        self._address_of: dict[int, tuple[int, int]] = {}
        self._block: dict[int, list[int]] = {}
        self.maker = ""
        self.model = ""
        self.firmware = ""

    @property
    def where(self) -> str:
        """Which device it is, for people."""
        return self._modbus.where

    @property
    def models(self) -> tuple[int, ...]:
        """Ids of the models that were found, in the order of the chain."""
        return tuple(self._address_of)

    async def refresh(self, *models: int) -> None:
        """Read anew those of the models that the device has, walking the chain first when it is not known.

        Raises:
            UnavailableError: when the device does not answer.
            WireFormatError: with reason ``modbus`` or ``sunspec``.
        """
        if not self._address_of:
            await self._walk()
        try:
            for model in models:
                if model in self._address_of:
                    self._block[model] = await self._read_model(model)
        except (UnavailableError, WireFormatError):
            # it may come back with other firmware: what was read is not to be believed any longer
            self._address_of, self._block = {}, {}
            raise

    def first_of(self, models: tuple[int, ...]) -> int | None:
        """Return the first of the models that the device has."""
        return next((model for model in models if model in self._address_of), None)

    def value(self, model: int, name: str) -> float | None:
        """Return a point of a model that was read, in its unit; None when the device does not say."""
        block = self._block.get(model)
        return None if block is None else scaled(model, name, block)

    def module_powers_w(self) -> list[float | None]:
        """Return the DC power of each input of model 160."""
        block = self._block.get(160)
        if block is None:
            return []
        exponent, count = self.value(160, "DCW_SF"), self.value(160, "N")
        powers: list[float | None] = []
        for number in range(min(int(count or 0), 16)):
            plain = value_of(MODULE_DCW, block, MODULE_FIRST + number * MODULE_REGISTERS)
            powers.append(None if plain is None or exponent is None else plain * 10.0**exponent)
        return powers

    async def command_rates(self, battery_w: int, *, allow_grid: bool = False) -> None:
        """Let model 124 charge (positive) or discharge at a power: each direction is limited to it from both sides.

        Args:
            battery_w: The power.
            allow_grid: Whether a device that is set to charge from its roof alone may be set otherwise.

        Raises:
            UnavailableError: when the device does not take it.
            WireFormatError: when it does not say its rated power.
        """
        await self.refresh(124)
        block = self._block.get(124)
        most_w = self.value(124, "WChaMax")
        if block is None or not most_w:
            raise WireFormatError("sunspec", f"{self.where} has no model 124 with a rated power")
        share_pct = min(max(100.0 * battery_w / most_w, -100.0), 100.0)
        if allow_grid and share_pct > 0 and self.value(124, "ChaGriSet") == 0:
            await self._write(124, "ChaGriSet", coded(124, "ChaGriSet", 1, block))
        await self._write(
            124,
            "InOutWRte_WinTms",
            [
                *coded(124, "InOutWRte_WinTms", 0, block),
                *coded(124, "InOutWRte_RvrtTms", self._revert_s, block),
            ],
        )
        out, into = coded(124, "OutWRte", -share_pct, block), coded(124, "InWRte", share_pct, block)
        await self._write(124, "OutWRte", [*out, *into])
        await self._write(124, "StorCtl_Mod", [_CHARGE_AND_DISCHARGE])

    async def command_power(self, injected_w: int) -> None:
        """Let model 704 give a power at its terminals, injecting positive.

        Raises:
            UnavailableError: when the device does not take it.
            WireFormatError: when it has no such model.
        """
        await self.refresh(704)
        block = self._block.get(704)
        if block is None:
            raise WireFormatError("sunspec", f"{self.where} has no model 704")
        timer = [*coded(704, "WSetEnaRvrt", 0, block), *coded(704, "WSetRvrtTms", self._revert_s, block)]
        power = [*coded(704, "WSet", injected_w, block), *coded(704, "WSetRvrt", 0, block)]
        await self._write(704, "WSetEnaRvrt", timer)
        await self._write(704, "WSet", power)
        await self._write(704, "WSetEna", [1, _WATTS])

    async def release(self) -> None:
        """Give the battery back to the device's own control.

        Raises:
            UnavailableError: when the device does not take it.
            WireFormatError: when what it answers makes no sense.
        """
        await self.refresh()
        if 704 in self._address_of:
            await self._write(704, "WSetEna", [0])
        if 124 in self._address_of:
            await self._write(124, "StorCtl_Mod", [0])

    async def close(self) -> None:
        """End the connection."""
        await self._modbus.close()

    async def _write(self, model: int, name: str, registers: list[int]) -> None:
        start, _ = self._address_of[model]
        await self._modbus.write(start + MODELS[model][name].offset, registers)

    async def _read_model(self, model: int) -> list[int]:
        start, length = self._address_of[model]
        count = length if model == 160 else min(length, reach_of(model))
        return await self._modbus.read(start, count)

    async def _walk(self) -> None:
        """Find the chain and note where each known model begins."""
        base = await self._find_base()
        found: dict[int, tuple[int, int]] = {}
        at = base + len(_MARK)
        for _ in range(_MOST_MODELS):
            model, length = await self._modbus.read(at, 2)
            if model == _END:
                break
            if length == 0 or at + 2 + length > 0xFFFF:
                raise WireFormatError("sunspec", f"{self.where}: model {model} of {length} registers at {at}")
            if model == _COMMON and length >= 32:
                text = await self._modbus.read(at + 2, 48 if length >= 48 else 32)
                self.maker, self.model = _text(text[:16]), _text(text[16:32])
                self.firmware = _text(text[40:48])
            if model in MODELS:
                found.setdefault(model, (at, 2 + length))
            at += 2 + length
        else:
            raise WireFormatError("sunspec", f"{self.where}: the chain of models does not end")
        self._address_of = found

    async def _find_base(self) -> int:
        for base in BASES:
            try:
                if await self._modbus.read(base, 2) == _MARK:
                    return base
            except ModbusRefusedError:
                continue
        raise WireFormatError("sunspec", f"{self.where} has no SunSpec map at {BASES}")


def inverter_model(device: SunSpecDevice) -> int:
    """Return the model that measures what the inverter gives.

    Raises:
        WireFormatError: when there is none.
    """
    model = device.first_of(INVERTERS)
    if model is None:
        raise WireFormatError("sunspec", f"{device.where} has none of the inverter models {INVERTERS}")
    return model


def meter_model(device: SunSpecDevice) -> int:
    """Return the model that measures as a meter.

    Raises:
        WireFormatError: when there is none.
    """
    model = device.first_of(METERS)
    if model is None:
        raise WireFormatError("sunspec", f"{device.where} has none of the meter models {METERS}")
    return model


def whole(value: float | None) -> int | None:
    """Return a number as a whole one, None when there is none that makes sense."""
    return round(value) if value is not None and math.isfinite(value) else None


def _text(registers: list[int]) -> str:
    raw = b"".join(register.to_bytes(2, "big") for register in registers)
    return raw.split(b"\0", 1)[0].decode("ascii", "replace").strip()
