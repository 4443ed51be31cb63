"""The time during which one member owns one unit of work: what it committed last, and whether it still may.

The register of the unit is the only judge. A commit is written over the version that this tenure has seen, so once
somebody else has taken the register, nothing that a former owner sends can change it, however late it arrives.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import msgspec

from shoal.domain.errors import CorruptStateError, FencedOutError, InvalidInputError, UnavailableError
from shoal.fabric._registers import ConflictError, Entry, Registers

MOST_STATE_BYTES: Final = 16 << 10
"""Registers are read all together, several times a second; what is larger belongs into a snapshot."""
_RETRY_S: Final = 0.05
_PATIENCE_S: Final = 5.0
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed_s() -> float:
    """Return a clock that never goes back and that goes on while a process, or the whole machine, stands still."""
    return time.clock_gettime(_CLOCK)


class Register(msgspec.Struct, frozen=True, array_like=True):
    """Who owns a unit (nobody when `member` is empty), by which token, and what was committed last."""

    member: str
    token: int
    state: bytes


def decode_register(subject: str, entry: Entry | None) -> Register:
    """Return the content of a register; one that was never written is nobody's, with token 0.

    Raises:
        CorruptStateError: when it does not decode.
    """
    if entry is None:
        return Register("", 0, b"")
    try:
        return msgspec.msgpack.decode(entry.data, type=Register)
    except msgspec.MsgspecError as error:
        raise CorruptStateError(f"register {subject}", str(error)) from error


class Tenure:
    """The ownership of one unit; made by `Ownership`. Two tenures of a unit never have the same token."""

    def __init__(
        self,
        registers: Registers,
        *,
        subject: str,
        unit: str,
        member: str,
        token: int,
        state: bytes,
        seq: int,
        lease_until_s: Callable[[], float],
        on_end: Callable[[Tenure, bool], None],
    ) -> None:
        self._registers = registers
        self._subject = subject
        self._unit = unit
        self._member = member
        self._token = token
        self._state = state
        self._seq = seq
        self._lease_until_s = lease_until_s
        self._on_end = on_end
        self._lock = asyncio.Lock()
        self._ended = False

    def __repr__(self) -> str:
        return f"Tenure(unit={self._unit!r}, token={self._token}, ended={self._ended})"

    @property
    def unit(self) -> str:
        """The unit that is owned."""
        return self._unit

    @property
    def token(self) -> int:
        """The fencing token: larger than that of every earlier tenure of the unit."""
        return self._token

    @property
    def state(self) -> bytes:
        """What was committed last, by this tenure or by one before it; empty when nothing ever was."""
        return self._state

    @property
    def ended(self) -> bool:
        """Whether the unit was released or lost."""
        return self._ended

    @property
    def seq(self) -> int:
        """The version of the register that this tenure has seen last."""
        return self._seq

    @property
    def busy(self) -> bool:
        """Whether a write is on its way, so that the register may be newer than `seq` by this tenure's own doing."""
        return self._lock.locked()

    def valid(self) -> bool:
        """Return whether nobody else can own the unit now, as far as this machine's clock can tell.

        False for a while is no loss: the engine may be away. It is true again once the engine has confirmed it.
        """
        return not self._ended and elapsed_s() < self._lease_until_s()

    async def commit(self, state: bytes) -> None:
        """Make `state` what the next owner starts from. Tries again while the lease lasts, for 5 s at most.

        Raises:
            FencedOutError: when the unit is no longer this tenure's; nothing was changed.
            UnavailableError: when the engine did not answer: `state` may have been committed or not, but is not
                committed later over another commit of this tenure.
            InvalidInputError: when `state` is too long for a register.
        """
        _check_size(state)
        async with self._lock:
            await self._write(Register(self._member, self._token, state))

    async def release(self, state: bytes | None = None) -> None:
        """Give the unit up for whoever is to own it next, with a last `state` unless it is None.

        Raises:
            FencedOutError: when the unit is no longer this tenure's.
            UnavailableError: when the engine did not answer; the tenure has ended all the same, and the register is
                given back later or expires with its member, with the state committed before or with this one.
        """
        _check_size(state or b"")
        async with self._lock:
            try:
                await self._write(Register("", self._token, self._state if state is None else state))
            finally:
                self.end(lost=False)

    async def affirm(self) -> None:
        """Write the register as it is, so that nobody can take it who has looked at it before.

        Raises:
            FencedOutError: when the unit is no longer this tenure's.
            UnavailableError: when the engine did not answer.
        """
        async with self._lock:
            await self._write(Register(self._member, self._token, self._state))

    def end(self, *, lost: bool) -> None:
        """Let no more be committed."""
        if not self._ended:
            self._ended = True
            self._on_end(self, lost)

    async def _write(self, wanted: Register) -> None:
        data = msgspec.msgpack.encode(wanted)
        until_s = elapsed_s() + _PATIENCE_S
        written = False
        while not written:
            if self._ended:
                raise FencedOutError(held=self._token, newest=await self._newest_token())
            try:
                written = await self._try(data, wanted)
            except UnavailableError:
                if not self.valid() or elapsed_s() > until_s:
                    raise
                await asyncio.sleep(_RETRY_S)
        self._state = wanted.state

    async def _try(self, data: bytes, wanted: Register) -> bool:
        """Write once; return whether `wanted` is written now, by this or by an earlier attempt."""
        try:
            self._seq = await self._registers.write(self._subject, data, over=self._seq)
        except ConflictError as conflict:
            return await self._is_written(wanted, conflict.newest)
        return True

    async def _is_written(self, wanted: Register, newest: int) -> bool:
        """After a refusal, learn the newest version; return whether it is `wanted` by a write whose answer was lost.

        Raises:
            FencedOutError: when it is somebody else's.
        """
        entry = await self._registers.read(self._subject)
        if entry is not None and entry.seq < newest:
            raise UnavailableError(f"register {self._subject}", "its newest version cannot be read yet")
        found = decode_register(self._subject, entry)
        if entry is not None and found == wanted:
            self._seq = entry.seq
            return True
        if entry is None or (found.member, found.token) != (self._member, self._token):
            self.end(lost=True)
            raise FencedOutError(held=self._token, newest=found.token)
        self._seq = entry.seq
        return False

    async def _newest_token(self) -> int:
        try:
            return decode_register(self._subject, await self._registers.read(self._subject)).token
        except UnavailableError:
            return self._token


def _check_size(state: bytes) -> None:
    if len(state) > MOST_STATE_BYTES:
        raise InvalidInputError(
            field="state of a unit", value=len(state), fix=f"give at most {MOST_STATE_BYTES} bytes"
        )
