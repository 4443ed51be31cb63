"""Who owns which unit of work, read from another process: the registers, the members that are alive, the journal's ends."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import nats.errors
from nats.aio.client import Client

from shoal.api.answers import OwnedUnit
from shoal.domain.errors import UnavailableError
from shoal.fabric._registers import Entry, Registers
from shoal.fabric.subjects import (
    HISTORY_GROUP,
    LIVE_GROUP,
    OWNERS_STREAM,
    member_subject,
    register_subject,
    telemetry_stream,
)
from shoal.fabric.tenure import Register, decode_register
from shoal.store.history_register import UnitState
from shoal.telemetry.contract import shard_number
from shoal.telemetry.shard import Snapshot

GROUPS: Final = (LIVE_GROUP, HISTORY_GROUP)
_TIMEOUT_S: Final = 3.0


async def read_owners(client: Client, *, shards: int) -> list[OwnedUnit]:
    """Return every unit of work that is or was owned, and those shards that never were.

    Raises:
        UnavailableError: when the engine does not answer.
        CorruptStateError: when a register cannot be read.
    """
    registers = Registers(client, stream=OWNERS_STREAM, timeout_s=_TIMEOUT_S)
    await registers.open()
    try:
        filters = [subject for group in GROUPS for subject in _subjects(group)]
        entries, ends = await asyncio.gather(registers.read_all(filters), _journal_ends(client, shards))
    finally:
        await registers.close()
    found = [unit for group in GROUPS for unit in _units(group, entries, ends)]
    known = {(unit.group, unit.unit) for unit in found}
    never = [
        _unit(LIVE_GROUP, f"shard_{number}", Register("", 0, b""), alive=False, ends=ends)
        for number in range(shards)
        if (LIVE_GROUP, f"shard_{number}") not in known
    ]
    return sorted([*found, *never], key=_order)


def _subjects(group: str) -> tuple[str, str]:
    return register_subject(group, ">"), member_subject(group, "*")


def _units(group: str, entries: Mapping[str, Entry], ends: Mapping[int, int]) -> list[OwnedUnit]:
    own, member = register_subject(group, ""), member_subject(group, "")
    alive = {
        subject.removeprefix(member)
        for subject, entry in entries.items()
        if subject.startswith(member) and entry.data
    }
    registers = {
        subject.removeprefix(own): decode_register(subject, entry)
        for subject, entry in entries.items()
        if subject.startswith(own)
    }
    return [
        _unit(group, unit, register, alive=register.member in alive, ends=ends)
        for unit, register in registers.items()
    ]


def _unit(group: str, unit: str, register: Register, *, alive: bool, ends: Mapping[int, int]) -> OwnedUnit:
    number = shard_number(unit)
    end = None if number is None else ends.get(number)
    position = None if number is None else _position(group, register.state)
    return OwnedUnit(
        group=group,
        unit=unit,
        owner=register.member,
        alive=alive,
        token=register.token,
        position=position,
        journal_end=end,
        behind=None if position is None or end is None else max(end - position, 0),
    )


def _position(group: str, state: bytes) -> int:
    """Return up to where a unit's kept state is complete, 0 when it has none that is understood here."""
    kind: Any = Snapshot if group == LIVE_GROUP else UnitState
    try:
        return int(msgspec.msgpack.decode(state, type=kind).position)
    except msgspec.MsgspecError:
        return 0


async def _journal_ends(client: Client, shards: int) -> dict[int, int]:
    """Return the newest position of each shard's journal, of those that there are."""

    async def end(shard: int) -> tuple[int, int | None]:
        try:
            reply = await client.request(
                f"$JS.API.STREAM.INFO.{telemetry_stream(shard)}", b"", timeout=_TIMEOUT_S
            )
        except (nats.errors.Error, TimeoutError) as error:
            raise UnavailableError(f"stream {telemetry_stream(shard)}", "it does not answer") from error
        state = msgspec.json.decode(reply.data).get("state")
        return shard, None if state is None else int(state["last_seq"])

    found = await asyncio.gather(*(end(shard) for shard in range(shards)))
    return {shard: last for shard, last in found if last is not None}


def _order(unit: OwnedUnit) -> tuple[int, bool, int, str]:
    number = shard_number(unit.unit)
    return GROUPS.index(unit.group), number is None, number or 0, unit.unit
