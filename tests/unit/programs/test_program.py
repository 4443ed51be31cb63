"""A program book as data: its order, what may claim what, and one clear line for a wrong field."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.domain.errors import InvalidInputError
from shoal.programs.claims import CapacityClaim, Claim, HoldClaim, PowerClaim
from shoal.programs.program import Program, ProgramBook, book_toml, default_book, parse_book

NOTHING = np.empty(0, dtype=np.int64)


def test_default_book_has_the_order_of_a_plant() -> None:
    assert default_book().ids == (
        "storm",
        "emergency",
        "contingency",
        "regulation",
        "market",
        "peak",
        "tariff",
        "self-consumption",
    )
    assert [one.id for one in default_book().programs if one.reserve == "raise"] == ["storm"]


def test_book_is_written_and_read_back() -> None:
    odd = Program(
        id="odd", name='A "name"\twith \\ and \x7f', kind="power", may_opt_out=False, minimum_notice_s=60
    )
    book = ProgramBook(programs=(odd, *default_book().programs))
    assert parse_book(book_toml(book.programs)) == book
    assert parse_book("") == ProgramBook(programs=())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[program]", "program book: .* write TOML"),
        ("order = 1", "write one .*program.* for each, nothing else"),
        ("program = 1", "write one .*program.* for each, nothing else"),
        (
            '[[program]]\nid = "a"\nname = "A"',
            "kind of program a: 'nothing' cannot be used; every program needs",
        ),
        ('[[program]]\nname = "A"\nkind = "power"', "id of program 1: "),
        ('[[program]]\nid = "a b"\nname = "A"\nkind = "power"', "program id: 'a b' cannot be used"),
        (
            '[[program]]\nid = "a"\nname = ""\nkind = "power"',
            "name of program a: '' cannot be used; give 1 to 200",
        ),
        (
            '[[program]]\nid = "a"\nname = "A"\nkind = "cake"',
            "kind of program a: 'cake' .* give one of: hold, power",
        ),
        (
            '[[program]]\nid = "a"\nname = "A"\nkind = 3',
            "kind of program a: 3 cannot be used; give a text in quotes",
        ),
        (
            '[[program]]\nid = "a"\nname = "A"\nkind = "power"\nreserve = "raise"',
            "reserve of program a: 'raise'",
        ),
        ('[[program]]\nid = "a"\nname = "A"\nkind = "hold"', "reserve of program a: 'keep' .* give 'raise'"),
        (
            '[[program]]\nid = "a"\nname = "A"\nkind = "power"\ncolour = 1',
            "colour of program a: 1 .* leave it out",
        ),
        (
            '[[program]]\nid = "a"\nname = "A"\nkind = "power"\nexclusive = 1',
            "exclusive of program a: 1 cannot be used; give true or false",
        ),
        (
            '[[program]]\nid = "a"\nname = "A"\nkind = "power"\nminimum_notice_s = -1',
            "minimum_notice_s of program a: -1 .* give seconds from 0",
        ),
        (
            '[[program]]\nid = "a"\nname = "A"\nkind = "power"\n' * 2,
            "program id: 'a' .* name each program once",
        ),
    ],
)
def test_wrong_book_names_field_value_and_fix(text: str, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        parse_book(text)


def test_claims_come_in_the_order_of_the_book() -> None:
    claims: list[Claim] = [
        PowerClaim(claim_id="a", program="market"),
        CapacityClaim(claim_id="b", program="regulation"),
        PowerClaim(claim_id="c", program="emergency"),
        PowerClaim(claim_id="d", program="market"),
        HoldClaim(claim_id="e", program="storm", rows=NOTHING, hold_wh=NOTHING, charge_w=NOTHING),
    ]
    assert [claim.claim_id for claim in default_book().ordered(claims)] == ["e", "c", "b", "a", "d"]


@pytest.mark.parametrize("program", ["market", "regulation", "self-consumption"])
def test_only_a_program_that_may_raise_the_reserve_holds_energy_back(program: str) -> None:
    hold = HoldClaim(claim_id="x", program=program, rows=NOTHING, hold_wh=NOTHING, charge_w=NOTHING)
    with pytest.raises(
        InvalidInputError, match=f"claim x: 'HoldClaim' cannot be used; program {program} is of"
    ):
        default_book().ordered([hold])


def test_unknown_program_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="program: 'cake' cannot be used; name one of: storm"):
        default_book().ordered([PowerClaim(claim_id="a", program="cake")])


def test_notice_is_given_before_the_start() -> None:
    assert default_book().program("peak").latest_notice_ns(7_200_000_000_000) == 3_600_000_000_000
    assert default_book().program("emergency").latest_notice_ns(5) == 5
