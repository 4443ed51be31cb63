"""Modbus TCP, the part that reads and writes holding registers, as one connection that heals itself.

One request is on its way at a time. After a late or wrong answer the connection is closed, so that no answer is ever
taken for that of another request; the next request connects again.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Sequence
from typing import Final

from shoal.domain.errors import InvalidInputError, UnavailableError, WireFormatError

MOST_READ: Final = 125
MOST_WRITTEN: Final = 123
_READ_HOLDING: Final = 3
_WRITE_SEVERAL: Final = 16
_HEAD: Final = struct.Struct(">HHHBB")
_EXCEPTIONS: Final = {
    1: "illegal function",
    2: "illegal address",
    3: "illegal value",
    4: "device failure",
    5: "acknowledged, not done yet",
    6: "device busy",
    10: "gateway path unavailable",
    11: "gateway target does not answer",
}


class ModbusRefusedError(UnavailableError):
    """The device answered with an exception; `code` is the protocol's."""

    def __init__(self, what: str, code: int) -> None:
        super().__init__(what, f"Modbus exception {code} ({_EXCEPTIONS.get(code, 'unknown')})")
        self.code = code


class ModbusTcp:
    """A connection to one unit behind one address.

    Args:
        host: Name or address.
        port: Usually 502.
        unit: Number of the unit behind it, 0 to 255.
        timeout_s: How long a request may take, connecting included.

    Raises:
        InvalidInputError: when the unit is none.
    """

    def __init__(self, host: str, port: int, unit: int, *, timeout_s: float = 3.0) -> None:
        if not 0 <= unit <= 255:
            raise InvalidInputError(field="unit", value=unit, fix="a number from 0 to 255")
        self._host, self._port, self._unit = host, port, unit
        self._timeout_s = timeout_s
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._number = 0
        self._in_flight = False
        self._one_at_a_time = asyncio.Lock()

    @property
    def where(self) -> str:
        """Whom it speaks to, for people."""
        return f"Modbus device {self._host}:{self._port} unit {self._unit}"

    async def read(self, address: int, count: int) -> list[int]:
        """Return `count` holding registers from `address` on, each 0 to 65535.

        Raises:
            UnavailableError: when the device does not answer in time; `ModbusRefusedError` when it refuses.
            WireFormatError: with reason ``modbus`` when it answers something else.
        """
        registers: list[int] = []
        while len(registers) < count:
            some = min(MOST_READ, count - len(registers))
            asked = struct.pack(">HH", address + len(registers), some)
            answer = await self._ask(_READ_HOLDING, asked)
            if len(answer) != 1 + 2 * some or answer[0] != 2 * some:
                await self.close()
                raise WireFormatError("modbus", f"{len(answer)} bytes do not hold {some} registers")
            registers += struct.unpack(f">{some}H", answer[1:])
        return registers

    async def write(self, address: int, registers: Sequence[int]) -> None:
        """Write holding registers from `address` on, in one request.

        Raises:
            UnavailableError: when the device does not answer in time; `ModbusRefusedError` when it refuses.
            WireFormatError: with reason ``modbus`` when it answers something else.
            InvalidInputError: when there are none or too many for one request.
        """
        count = len(registers)
        if not 1 <= count <= MOST_WRITTEN:
            raise InvalidInputError(field="registers", value=count, fix=f"1 to {MOST_WRITTEN} at once")
        body = struct.pack(f">HHB{count}H", address, count, 2 * count, *registers)
        answer = await self._ask(_WRITE_SEVERAL, body)
        if answer != body[:4]:
            await self.close()
            raise WireFormatError("modbus", "the answer speaks of other registers than were written")

    async def close(self) -> None:
        """End the connection; the next request begins another."""
        streams, self._streams = self._streams, None
        if streams is not None:
            # without waiting for what a dead peer will never take
            streams[1].transport.abort()
            with contextlib.suppress(OSError):
                await streams[1].wait_closed()

    async def _ask(self, function: int, body: bytes) -> bytes:
        async with self._one_at_a_time:
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await self._ask_once(function, body)
            except (ModbusRefusedError, WireFormatError):
                raise
            except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                why = "no answer in time" if isinstance(error, TimeoutError) else str(error) or "closed"
                raise UnavailableError(self.where, why) from error
            finally:
                # whatever ended a request half way leaves an answer behind that nobody may read
                if self._streams is not None and self._in_flight:
                    await self.close()

    async def _ask_once(self, function: int, body: bytes) -> bytes:
        self._in_flight = True
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        self._number = (self._number + 1) & 0xFFFF
        writer.write(_HEAD.pack(self._number, 0, len(body) + 2, self._unit, function) + body)
        await writer.drain()
        number, protocol, length, unit, answered = _HEAD.unpack(await reader.readexactly(_HEAD.size))
        if (number, protocol) != (self._number, 0) or not 3 <= length <= 260:
            raise WireFormatError("modbus", f"transaction {number} of {length} bytes, not {self._number}")
        answer = await reader.readexactly(length - 2)
        if unit != self._unit or answered & 0x7F != function:
            raise WireFormatError("modbus", f"unit {unit} answers with function {answered}")
        self._in_flight = False
        if answered & 0x80:
            raise ModbusRefusedError(self.where, answer[0])
        return answer
