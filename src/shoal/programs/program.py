"""Programs as data: what a use of flexibility may do, and which goes first. The order in the book is the priority.

A book is a TOML document with one `[[program]]` for each, the highest priority on top; see `data/default.toml`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cache, cached_property
from importlib.resources import files
from typing import Any, Final, Literal, TypeAlias, get_args

from shoal.domain.errors import InvalidInputError
from shoal.domain.ids import checked_id
from shoal.domain.interval import NS_PER_S
from shoal.programs.claims import MOST_PROGRAMS, CapacityClaim, Claim, HoldClaim, PowerClaim

ProgramKind: TypeAlias = Literal["hold", "power", "capacity", "local"]
"""``hold``: raises the reserve of single sites. ``power``: power of a group. ``capacity``: power kept ready.
``local``: what each site does for itself."""
ReserveRule: TypeAlias = Literal["keep", "raise"]
"""``keep``: nothing below the owner's reserve. ``raise``: may hold back more. No rule allows to go below it."""
Pays: TypeAlias = Literal["nothing", "energy", "capacity", "event"]

_CHOICES: Final = {"kind": get_args(ProgramKind), "reserve": get_args(ReserveRule), "pays": get_args(Pays)}
_CLAIM_OF: Final[dict[str, type[Claim]]] = {
    "hold": HoldClaim,
    "power": PowerClaim,
    "capacity": CapacityClaim,
    "local": PowerClaim,
}
_MOST_NOTICE_S: Final = 30 * 86_400
_NAME_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A use of flexibility.

    Attributes:
        id: A name for machines, e.g. ``storm``.
        name: A name for people.
        kind: What it asks of sites.
        reserve: What it may do about the owner's reserve.
        exclusive: Whether a site enrolled here serves no other program, but for those `beside_exclusive`.
        beside_exclusive: Whether it may use a site that another program has for itself.
        may_opt_out: Whether the owner may leave it for a while and stay enrolled.
        minimum_notice_s: How long before it begins a site must be told.
        pays: For what the owner is paid.
        terms: Version of the terms that an owner consents to; empty when there is one version only.

    Raises:
        InvalidInputError: naming the field that is wrong.
    """

    id: str
    name: str
    kind: ProgramKind
    reserve: ReserveRule = "keep"
    exclusive: bool = False
    beside_exclusive: bool = False
    may_opt_out: bool = True
    minimum_notice_s: int = 0
    pays: Pays = "nothing"
    terms: str = ""

    def __post_init__(self) -> None:
        checked_id("program id", self.id)
        where = f"of program {self.id}"
        if not self.name or len(self.name) > _NAME_CHARACTERS:
            raise InvalidInputError(
                field=f"name {where}", value=self.name, fix=f"give 1 to {_NAME_CHARACTERS} characters"
            )
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise InvalidInputError(
                    field=f"{name} {where}",
                    value=getattr(self, name),
                    fix=f"give one of: {', '.join(choices)}",
                )
        if (self.kind == "hold") != (self.reserve == "raise"):
            raise InvalidInputError(
                field=f"reserve {where}",
                value=self.reserve,
                fix="give 'raise' to a program of kind 'hold', and to no other",
            )
        if not 0 <= self.minimum_notice_s <= _MOST_NOTICE_S:
            raise InvalidInputError(
                field=f"minimum_notice_s {where}",
                value=self.minimum_notice_s,
                fix=f"give seconds from 0 to {_MOST_NOTICE_S}",
            )

    def latest_notice_ns(self, start_ns: int) -> int:
        """Return until when sites must be told of something that starts then."""
        return start_ns - self.minimum_notice_s * NS_PER_S


@dataclass(frozen=True, kw_only=True)
class ProgramBook:
    """Programs in order of priority, the highest first; the position is the number of the program's bit.

    Raises:
        InvalidInputError: when a program is named twice, or there are too many.
    """

    programs: tuple[Program, ...]

    def __post_init__(self) -> None:
        if len(self.programs) > MOST_PROGRAMS:
            raise InvalidInputError(
                field="program", value=len(self.programs), fix=f"give at most {MOST_PROGRAMS} programs"
            )
        seen: set[str] = set()
        for program in self.programs:
            if program.id in seen:
                raise InvalidInputError(field="program id", value=program.id, fix="name each program once")
            seen.add(program.id)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The programs' ids."""
        return tuple(program.id for program in self.programs)

    @cached_property
    def beside_bits(self) -> int:
        """Bits of the programs that may use a site which another has for itself."""
        return sum(1 << number for number, program in enumerate(self.programs) if program.beside_exclusive)

    def position(self, program_id: str) -> int:
        """Return the program's place, 0 for the highest priority.

        Raises:
            InvalidInputError: when the book has no such program.
        """
        if program_id not in self.ids:
            raise InvalidInputError(
                field="program", value=program_id, fix=f"name one of: {', '.join(self.ids) or 'none'}"
            )
        return self.ids.index(program_id)

    def program(self, program_id: str) -> Program:
        """Return a program.

        Raises:
            InvalidInputError: when the book has no such program.
        """
        return self.programs[self.position(program_id)]

    def ordered(self, claims: Iterable[Claim]) -> list[Claim]:
        """Return the claims in order of priority; those of one program stay as they came.

        Raises:
            InvalidInputError: when a program is unknown, or claims what its kind does not allow.
        """
        placed = []
        for claim in claims:
            program = self.program(claim.program)
            if not isinstance(claim, _CLAIM_OF[program.kind]):
                raise InvalidInputError(
                    field=f"claim {claim.claim_id}",
                    value=type(claim).__name__,
                    fix=f"program {program.id} is of kind {program.kind!r}: give a "
                    f"{_CLAIM_OF[program.kind].__name__}, or change its kind in the book",
                )
            placed.append((self.position(program.id), claim))
        return [claim for _, claim in sorted(placed, key=lambda one: one[0])]


def parse_book(text: str) -> ProgramBook:
    """Return the book that a TOML document holds.

    Raises:
        InvalidInputError: naming the program and the field that is wrong.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInputError(field="program book", value=text[:40], fix=f"write TOML: {error}") from error
    tables = document.pop("program", [])
    if document or not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise InvalidInputError(
            field="program book",
            value=sorted(document) or tables,
            fix="write one [[program]] for each, nothing else",
        )
    return ProgramBook(programs=tuple(_program(table, number) for number, table in enumerate(tables, 1)))


def _program(table: dict[str, Any], number: int) -> Program:
    where = f"of program {table.get('id', number)}"
    known = {item.name: str(item.type) for item in fields(Program)}
    for name, value in table.items():
        if name not in known:
            raise InvalidInputError(
                field=f"{name} {where}", value=value, fix=f"leave it out, or use one of: {', '.join(known)}"
            )
        wanted = {"bool": bool, "int": int}.get(known[name], str)
        if type(value) is not wanted:
            words = {bool: "true or false", int: "a whole number", str: "a text in quotes"}
            raise InvalidInputError(field=f"{name} {where}", value=value, fix=f"give {words[wanted]}")
    missing = [name for name in ("id", "name", "kind") if name not in table]
    if missing:
        raise InvalidInputError(field=f"{missing[0]} {where}", value="nothing", fix="every program needs one")
    return Program(**table)


def book_toml(programs: Sequence[Program]) -> str:
    """Return the TOML document of a book; what is as by default is left out."""
    parts = []
    for program in programs:
        lines = ["[[program]]"]
        for item in fields(Program):
            value = getattr(program, item.name)
            if value != item.default:
                shown = (
                    str(value).lower()
                    if isinstance(value, bool)
                    else value
                    if isinstance(value, int)
                    else _quoted(value)
                )
                lines.append(f"{item.name} = {shown}")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _quoted(text: str) -> str:
    escaped = "".join(
        f"\\u{ord(letter):04x}" if ord(letter) < 32 or ord(letter) == 127 else letter
        for letter in text.replace("\\", "\\\\").replace('"', '\\"')
    )
    return f'"{escaped}"'


@cache
def default_book() -> ProgramBook:
    """Return the book that comes with the package."""
    return parse_book(files("shoal.programs.data").joinpath("default.toml").read_text(encoding="utf-8"))
