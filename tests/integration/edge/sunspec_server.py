"""SunSpec devices of independent making: register images by pysunspec2, served by pymodbus, read back by pysunspec2."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import sunspec2.device  # type: ignore[import-untyped]
import sunspec2.modbus.client  # type: ignore[import-untyped]
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from tests.integration.edge.broker import free_port

Models = Sequence[tuple[int, Mapping[str, Any]]]
COMMON: tuple[int, Mapping[str, Any]] = (1, {"Mn": "Reef", "Md": "Box 5", "DA": 1})


def image(models: Models) -> list[int]:
    """Return the registers of a chain of models."""
    registers = [0x5375, 0x6E53]
    for number, values in models:
        raw = sunspec2.device.Model(number, data={"ID": number, **values}).get_mb()
        block = list(struct.unpack(f">{len(raw) // 2}H", raw))
        registers += [number, len(block) - 2, *block[2:]]
    return [*registers, 0xFFFF, 0]


@contextlib.asynccontextmanager
async def serving(units: Mapping[int, Models], *, base: int = 40_000, port: int = 0) -> AsyncIterator[int]:
    """Serve devices, each by its unit; give the port."""
    devices = [
        SimDevice(id=unit, simdata=[SimData(base, values=image(models), datatype=DataType.REGISTERS)])
        for unit, models in units.items()
    ]
    port = port or free_port()
    server = ModbusTcpServer(devices, address=("127.0.0.1", port))
    await server.serve_forever(background=True)
    try:
        yield port
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]


async def read_back(port: int, model: int, *names: str, unit: int = 1) -> list[Any]:
    """Return points of a device as an independent client sees them, scaled."""

    def look() -> list[Any]:
        device = sunspec2.modbus.client.SunSpecModbusClientDeviceTCP(
            slave_id=unit, ipaddr="127.0.0.1", ipport=port, timeout=5
        )
        try:
            device.scan()
            found = device.models[model][0]
            found.read()
            return [found.points[name].cvalue for name in names]
        finally:
            device.close()

    return await asyncio.to_thread(look)
