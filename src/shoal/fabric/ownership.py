"""One owner at a time for each unit of work, over any number of processes and machines, with only the engine between.

A member is alive while its key stands in the engine; the engine takes the key away when it is not renewed. Every
member renews, looks at all keys and registers, and does its part: it claims what it should own and nobody owns, and
is told to hand over what another should own. Claims and commits go through the register of the unit, written only over
the version that was seen: so a member that was dead to the others, or stood still, can change nothing any more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.nuid import NUID

from shoal.domain.errors import CorruptStateError, FencedOutError, InvalidInputError, UnavailableError
from shoal.fabric._registers import ConflictError, Entry, Registers
from shoal.fabric.assignment import assign
from shoal.fabric.connection import translated
from shoal.fabric.subjects import OWNERS_STREAM, changed_subject, member_subject, register_subject
from shoal.fabric.tenure import Register, Tenure, decode_register, elapsed_s

_PERIOD_S: Final = 0.25
_PAUSE_S: Final = 0.02
_LOOKS: Final = 5
_FAREWELL_TTL_S: Final = 1

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Gained:
    """The unit is this member's from now on: start from `tenure.state`, publish with `tenure.token`."""

    tenure: Tenure


@dataclass(frozen=True, slots=True)
class Recalled:
    """Another member is to own the unit: commit what is to be kept and call `tenure.release`, soon."""

    tenure: Tenure


@dataclass(frozen=True, slots=True)
class Lost:
    """The unit is somebody else's, or nobody's: stop the work on it. Not sent after `tenure.release`."""

    tenure: Tenure


Event = Gained | Recalled | Lost


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnershipStatistics:
    """What a member sees and did so far.

    Attributes:
        members: Live members of the group that want units, this one included, when it last looked.
        units: Units that some live member is willing to own.
        unowned: Those of them that nobody owned when it last looked.
        owned: Owned by this member.
        gained: Units gained.
        released: Units handed over.
        lost: Units lost.
        lapses: How often its own lease ran out because it, or the engine, stood still.
        faults: Looks that failed.
        last_fault: Why the last of these did; empty when none did.
    """

    members: int
    units: int
    unowned: int
    owned: int
    gained: int
    released: int
    lost: int
    lapses: int
    faults: int
    last_fault: str


class _Member(msgspec.Struct, frozen=True, array_like=True):
    units: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """The keys of live members and the registers, as they were at one moment."""

    willing: Mapping[str, Collection[str]]
    registers: Mapping[str, tuple[int, Register]]


class Ownership:
    """One member of a group. Run `run()` in a task group and take `events()` in another task.

    Args:
        client: A connection with the rights of an owner in `group`; best one of its own.
        group: The group, one token of a subject.
        member: The member's name, for people; each start gets a unique name from it.
        units: The units that it is willing to own, such as ``telemetry.7``.
        ttl_s: How long a member counts as alive after it was heard last, in whole seconds.
        margin_s: How much earlier it stops believing so itself, in seconds.
        settle_s: How long the members must have been the same before units move from one of them to another.
        release_within_s: How long a recalled unit may take to be released before it is taken away.
    """

    def __init__(
        self,
        client: Client,
        *,
        group: str,
        member: str,
        units: Collection[str],
        ttl_s: int = 2,
        margin_s: float = 0.5,
        settle_s: float = 1.0,
        release_within_s: float = 10.0,
    ) -> None:
        for field, names in (("group", [group]), ("member", [member]), ("units", list(units))):
            for name in names:
                _check_name(field, name, dots=field == "units")
        self._client = client
        self._group = group
        self._member = f"{member}-{NUID().next().decode()}"
        self._units = tuple(sorted(set(units)))
        self._ttl_s = ttl_s
        self._margin_s = margin_s
        self._settle_s = settle_s
        self._release_within_s = release_within_s
        self._registers = Registers(client, stream=OWNERS_STREAM, timeout_s=ttl_s / 2)
        self._tenures: dict[str, Tenure] = {}
        self._recalled_at_s: dict[str, float] = {}
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._wake = asyncio.Event()
        self._hint_due = False
        self._is_in_doubt = False
        self._leaves_by_s: float | None = None
        self._confirmed_at_s = float("-inf")
        self._renewed_at_s = float("-inf")
        self._lapsed_after_s = float("-inf")
        self._judges_from_s = float("-inf")
        self._willing: Mapping[str, Collection[str]] = {}
        self._same_since_s = elapsed_s()
        self._seen_units = self._seen_unowned = 0
        self._gained = self._released = self._lost = self._lapses = self._faults = 0
        self._last_fault = ""

    @property
    def member(self) -> str:
        """The unique name under which this member stands in the registers."""
        return self._member

    @property
    def tenures(self) -> Mapping[str, Tenure]:
        """What this member owns now, by unit."""
        return dict(self._tenures)

    async def events(self) -> AsyncIterator[Event]:
        """Give what happens to this member's units, in order, until it has left. For one taker.

        At most a few events a unit wait here: a unit is not claimed while too many have not been taken.
        """
        while (event := await self._events.get()) is not None:
            yield event

    async def run(self) -> None:
        """Take part until `leave()` or cancelled, through any trouble with the engine.

        Raises:
            UnavailableError: when the connection was closed for good.
            CorruptStateError: when a key or register does not decode.
        """
        await self._registers.open()
        with translated("ownership"):
            hints = await self._client.subscribe(changed_subject(self._group), cb=self._hinted)
        try:
            while not self._has_left():
                try:
                    await self._send_hint()
                    await self._cycle()
                except UnavailableError as error:
                    if self._client.is_closed:
                        raise
                    self._note_fault(error)
                else:
                    self._is_in_doubt = False
                await self._pause()
            await self._farewell()
        finally:
            for tenure in list(self._tenures.values()):
                tenure.end(lost=True)
            self._events.put_nowait(None)
            await self._registers.close()
            if not self._client.is_closed:
                with contextlib.suppress(UnavailableError), translated("ownership"):
                    await hints.unsubscribe()

    def leave(self) -> None:
        """Hand every unit over and end `run()`; those not released in time are given up as committed last."""
        if self._leaves_by_s is None:
            self._leaves_by_s = elapsed_s() + self._release_within_s
        self._wake.set()

    def statistics(self) -> OwnershipStatistics:
        """Return what the member sees and did so far."""
        return OwnershipStatistics(
            members=sum(bool(units) for units in self._willing.values()),
            units=self._seen_units,
            unowned=self._seen_unowned,
            owned=len(self._tenures),
            gained=self._gained,
            released=self._released,
            lost=self._lost,
            lapses=self._lapses,
            faults=self._faults,
            last_fault=self._last_fault,
        )

    def _note_fault(self, error: UnavailableError) -> None:
        self._faults += 1
        self._last_fault = str(error)
        if not self._is_in_doubt:
            _log.info("ownership in doubt", group=self._group, why=self._last_fault)
        self._is_in_doubt = True

    def _has_left(self) -> bool:
        return self._leaves_by_s is not None and (not self._tenures or elapsed_s() > self._leaves_by_s)

    async def _cycle(self) -> None:
        """Renew, look, and do this member's part."""
        started_s = elapsed_s()
        if started_s - self._renewed_at_s > self._ttl_s - self._margin_s:
            self._note_lapse(started_s)
        content = msgspec.msgpack.encode(_Member(self._units if self._leaves_by_s is None else ()))
        seq = await self._registers.write(
            member_subject(self._group, self._member), content, ttl_s=self._ttl_s
        )
        self._renewed_at_s = started_s
        view = await self._look(seq)
        self._drop_lost(view)
        if elapsed_s() > self._lease_until_s():
            # Others may have looked while this member's key was gone: what they saw must be out of date.
            await self._affirm()
        self._confirmed_at_s = started_s
        await self._act(view)

    def _note_lapse(self, now_s: float) -> None:
        """After silence of its own, a member must not take the others for dead before they could be heard."""
        is_first = self._renewed_at_s == float("-inf")
        self._lapses += not is_first and self._renewed_at_s != self._lapsed_after_s
        self._lapsed_after_s = self._renewed_at_s
        self._judges_from_s = now_s + self._ttl_s * (1 if is_first else 2)

    async def _look(self, own_seq: int) -> _View:
        """Return what stands in the engine, no older than this member's own key.

        Raises:
            UnavailableError: when only servers of the cluster answer that are behind.
        """
        filters = [register_subject(self._group, ">"), member_subject(self._group, "*")]
        for _ in range(_LOOKS):
            entries = await self._registers.read_all(filters)
            mine = entries.get(member_subject(self._group, self._member))
            if mine is not None and mine.seq >= own_seq:
                return self._decoded(entries)
            await asyncio.sleep(_PAUSE_S)
        raise UnavailableError(f"stream {OWNERS_STREAM}", "the servers that answered are behind")

    def _decoded(self, entries: Mapping[str, Entry]) -> _View:
        registers: dict[str, tuple[int, Register]] = {}
        willing: dict[str, Collection[str]] = {}
        own, members = register_subject(self._group, ""), member_subject(self._group, "")
        for subject, entry in entries.items():
            if subject.startswith(own):
                registers[subject.removeprefix(own)] = (entry.seq, decode_register(subject, entry))
            elif entry.data:
                try:
                    member = msgspec.msgpack.decode(entry.data, type=_Member)
                except msgspec.MsgspecError as error:
                    raise CorruptStateError(f"key {subject}", str(error)) from error
                willing[subject.removeprefix(members)] = frozenset(member.units)
        return _View(willing=willing, registers=registers)

    def _drop_lost(self, view: _View) -> None:
        """End the tenures whose registers are somebody else's."""
        for unit, tenure in list(self._tenures.items()):
            seq, register = view.registers.get(unit, (0, Register("", 0, b"")))
            is_mine = (register.member, register.token) == (self._member, tenure.token)
            if seq > tenure.seq and not is_mine and not tenure.busy:
                tenure.end(lost=True)

    async def _affirm(self) -> None:
        for tenure in list(self._tenures.values()):
            with contextlib.suppress(FencedOutError):
                await tenure.affirm()

    async def _act(self, view: _View) -> None:
        now_s = elapsed_s()
        if view.willing != self._willing:
            self._willing, self._same_since_s = view.willing, now_s
        owners = {unit: register.member for unit, (_, register) in view.registers.items() if register.member}
        is_settled = now_s - self._same_since_s >= self._settle_s
        target = assign(view.willing, owners, balance=is_settled)
        self._seen_units = len(target)
        self._seen_unowned = sum(owners.get(unit) not in view.willing for unit in target)
        await self._free(view)
        claims = [
            self._claim(unit, *view.registers.get(unit, (0, Register("", 0, b""))))
            for unit, member in target.items()
            if member == self._member and self._may_claim(unit, owners.get(unit, ""), view, now_s)
        ]
        for outcome in await asyncio.gather(*claims, return_exceptions=True):
            if outcome is not None:
                raise outcome
        self._recall([unit for unit in self._tenures if target.get(unit) != self._member], now_s)

    def _may_claim(self, unit: str, owner: str, view: _View, now_s: float) -> bool:
        if unit in self._tenures or owner in view.willing or self._leaves_by_s is not None:
            return False
        if self._events.qsize() > 2 * len(self._units):
            return False  # nobody takes the events: whoever claims must do the work
        return not owner or now_s >= self._judges_from_s

    async def _claim(self, unit: str, seq: int, register: Register) -> None:
        subject = register_subject(self._group, unit)
        claimed = Register(self._member, register.token + 1, register.state)
        try:
            seq = await self._registers.write(subject, msgspec.msgpack.encode(claimed), over=seq)
        except ConflictError:
            return  # somebody was faster
        tenure = Tenure(
            self._registers,
            subject=subject,
            unit=unit,
            member=self._member,
            token=claimed.token,
            state=claimed.state,
            seq=seq,
            lease_until_s=self._lease_until_s,
            on_end=self._ended,
        )
        self._tenures[unit] = tenure
        self._gained += 1
        _log.info("unit gained", group=self._group, unit=unit, fence=tenure.token, after=register.member)
        self._events.put_nowait(Gained(tenure))

    async def _free(self, view: _View) -> None:
        """Give back what stands in this member's name without being its own.

        That is so when the answer to a claim or to a release was lost, and when a recall was not heeded.
        """
        now_s = elapsed_s()
        for unit, at_s in list(self._recalled_at_s.items()):
            if now_s - at_s > self._release_within_s and unit in self._tenures:
                _log.warning("unit not released in time", group=self._group, unit=unit)
                self._tenures[unit].end(lost=True)
        strays = [
            (unit, seq, register)
            for unit, (seq, register) in view.registers.items()
            if register.member == self._member and unit not in self._tenures
        ]
        for unit, seq, register in strays:
            freed = msgspec.msgpack.encode(Register("", register.token, register.state))
            with contextlib.suppress(ConflictError):
                await self._registers.write(register_subject(self._group, unit), freed, over=seq)
                self._hint_due = True

    def _recall(self, units: Collection[str], now_s: float) -> None:
        for unit in units:
            if unit not in self._recalled_at_s:
                self._recalled_at_s[unit] = now_s
                _log.info("unit recalled", group=self._group, unit=unit)
                self._events.put_nowait(Recalled(self._tenures[unit]))

    def _ended(self, tenure: Tenure, is_lost: bool) -> None:
        self._tenures.pop(tenure.unit, None)
        self._recalled_at_s.pop(tenure.unit, None)
        if is_lost:
            self._lost += 1
            _log.warning("unit lost", group=self._group, unit=tenure.unit, fence=tenure.token)
            self._events.put_nowait(Lost(tenure))
        else:
            self._released += 1
            _log.info("unit released", group=self._group, unit=tenure.unit, fence=tenure.token)
        self._hint_due = True
        self._wake.set()

    def _lease_until_s(self) -> float:
        return self._confirmed_at_s + self._ttl_s - self._margin_s

    async def _hinted(self, _: Msg) -> None:
        self._wake.set()

    async def _send_hint(self) -> None:
        """Let the others look at once when a unit was given up."""
        if self._hint_due:
            with translated("ownership"):
                await self._client.publish(changed_subject(self._group), b"")
            self._hint_due = False

    async def _pause(self) -> None:
        """Wait for the next look: a period, less after a hint, but never no time at all."""
        await asyncio.sleep(_PAUSE_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PERIOD_S - _PAUSE_S):
                await self._wake.wait()
        self._wake.clear()

    async def _farewell(self) -> None:
        """Let the key vanish soon: until then it says that the member wants nothing."""
        with contextlib.suppress(UnavailableError):
            await self._registers.write(
                member_subject(self._group, self._member),
                msgspec.msgpack.encode(_Member(())),
                ttl_s=_FAREWELL_TTL_S,
            )
            await self._send_hint()


def _check_name(field: str, name: str, *, dots: bool) -> None:
    parts = name.split(".") if dots else [name]
    if not all(part.replace("-", "").replace("_", "").isalnum() and part.isascii() for part in parts):
        raise InvalidInputError(
            field=f"ownership {field}",
            value=name,
            fix="use letters, digits, '-' and '_', in units dots between",
        )
