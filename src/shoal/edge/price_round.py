"""What goes between the plant and a site in the search for prices: one series of prices down, one answer up.

A question ends soon, changes nothing at the site and asks for nothing but what the site would do. Its answer goes to whoever
adds the homes of a group up, and no further.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Final

import msgspec

from shoal.domain.errors import WireFormatError
from shoal.domain.interval import NS_PER_S
from shoal.domain.orders import PriceSeries

ROLL: Final = -1
"""The number of a question that only asks who is there, and how far the site's net import reaches."""
MOST_STEPS: Final = 192
MOST_ROWS: Final = 24
_MOST_PRICES: Final = 2_200
"""So many prices in all rows fit into a document that a small device takes."""
MOST_PRICE_PER_KWH: Final = 100.0
MOST_KWH: Final = 1e7
"""Of one site in one interval: beyond any, and small enough that one that is wrong leaves the sum of a group a number."""
MOST_COST: Final = 1e9
LONGEST_NS: Final = 600 * NS_PER_S
"""A question that would stand for longer is none."""


class PriceAsk(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What would you do at these prices?

    Attributes:
        search: Names the search, the same in the answer.
        number: Which question of it; `ROLL` for who is there.
        start_ns: When the first interval begins.
        step_s: Length of each.
        steps: How many there are.
        until_ns: After this instant no answer is wanted.
        prices: What is added to the site's own tariff in each interval, a kWh: little-endian doubles; empty in a roll call.
            Rows of it, one after the other, ask for the mean of the plans against each, by stored energy.
        shares: How much each row counts; empty for one row.
    """

    search: str
    number: int
    start_ns: int
    step_s: int
    steps: int
    until_ns: int
    prices: bytes = b""
    shares: tuple[float, ...] = ()


class PriceAnswer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a site would do.

    Attributes:
        search: As asked.
        number: As asked.
        alone: Whether its owner agreed that its answer is seen by itself, and not only in the sum of a group.
        energy: Net import in each interval, in kWh; little-endian doubles like all columns here. Empty in a roll call.
        cost: The site's own cost in currency, without the price that was added, with `penalty`; energy stored at the beginning
            and at the end counts as what it is worth.
        lower_bound: No plan costs less at these prices, with what was added, in currency; of no meaning for several rows.
        penalty: What breaking the connection's limits was charged in `cost`, where the load alone breaks them.
        least: In a roll call, the least net import in each interval that is possible at all, in kWh.
        most: The most.
    """

    search: str
    number: int
    alone: bool = False
    energy: bytes = b""
    cost: float = 0.0
    lower_bound: float = 0.0
    penalty: float = 0.0
    least: bytes = b""
    most: bytes = b""


_ENCODER: Final = msgspec.msgpack.Encoder()
_ASK: Final = msgspec.msgpack.Decoder(PriceAsk)
_ANSWER: Final = msgspec.msgpack.Decoder(PriceAnswer)


def encode(message: PriceAsk | PriceAnswer) -> bytes:
    """Return a message as bytes."""
    return _ENCODER.encode(message)


def decode_ask(payload: bytes) -> PriceAsk:
    """Return a question.

    Raises:
        WireFormatError: with reason ``prices`` when it is none.
    """
    try:
        ask = _ASK.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireFormatError("prices", str(error)) from error
    sound = (
        len(ask.search) <= 64
        and ROLL <= ask.number < 2**31
        and 1 <= ask.steps <= MOST_STEPS
        and 60 <= ask.step_s <= 86_400
        and 0 <= ask.start_ns < 2**62
        and 0 <= ask.until_ns < 2**62
        and bool(ask.prices) == (ask.number != ROLL)
    )
    if not sound:
        raise WireFormatError("prices", "a number is out of range")
    shared = all(share >= 0.0 for share in ask.shares) and abs(sum(ask.shares) - 1.0) < 1e-6
    if ask.shares and not (shared and len(ask.shares) <= MOST_ROWS):
        raise WireFormatError("prices", f"at most {MOST_ROWS} shares, none negative, add up to 1")
    count = ask.steps * max(len(ask.shares), 1)
    if ask.prices and max(map(abs, numbers(ask.prices, count))) > MOST_PRICE_PER_KWH:
        raise WireFormatError("prices", f"a price is further from 0 than {MOST_PRICE_PER_KWH:g}")
    return ask


def most_rows(steps: int) -> int:
    """Return how many rows of so many prices a site is sent at most."""
    return max(min(MOST_ROWS, _MOST_PRICES // steps), 1)


def rows_of(ask: PriceAsk) -> list[tuple[float, ...]]:
    """Return the rows of prices of a question that was decoded; none in a roll call."""
    count = max(len(ask.shares), 1) if ask.prices else 0
    every = numbers(ask.prices, ask.steps * count)
    return [every[at * ask.steps : (at + 1) * ask.steps] for at in range(count)]


def series_of(
    rows: Sequence[Sequence[float]], shares: Sequence[float], *, start_ns: int, step_s: int
) -> PriceSeries:
    """Return rows of prices as what a site follows: one row as it is, several with their mean."""
    if len(rows) == 1:
        mean = tuple(rows[0])
        return PriceSeries(
            start_ns=start_ns, step_s=step_s, import_per_kwh=mean, export_per_kwh=mean, added=True
        )
    mean = tuple(
        math.fsum(share * price for share, price in zip(shares, column, strict=True))
        for column in zip(*rows, strict=True)
    )
    return PriceSeries(
        start_ns=start_ns,
        step_s=step_s,
        import_per_kwh=mean,
        export_per_kwh=mean,
        added=True,
        rows=tuple(tuple(row) for row in rows),
        weights=tuple(shares),
    )


def decode_answer(payload: bytes, steps: int) -> PriceAnswer:
    """Return an answer about so many intervals.

    Raises:
        WireFormatError: with reason ``answer`` when it is none.
    """
    try:
        answer = _ANSWER.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireFormatError("answer", str(error)) from error
    if not all(map(math.isfinite, (answer.cost, answer.lower_bound, answer.penalty))) or answer.penalty < 0.0:
        raise WireFormatError("answer", "a cost is not finite, or a penalty below 0")
    if max(map(abs, (answer.cost, answer.lower_bound, answer.penalty))) > MOST_COST:
        raise WireFormatError("answer", f"a cost is further from 0 than {MOST_COST:g}")
    if answer.number == ROLL:
        least, most = numbers(answer.least, steps), numbers(answer.most, steps)
        if any(low > high for low, high in zip(least, most, strict=True)):
            raise WireFormatError("answer", "the least is above the most")
        said = (*least, *most)
    else:
        said = numbers(answer.energy, steps)
    if max(map(abs, said), default=0.0) > MOST_KWH:
        raise WireFormatError("answer", f"energy is further from 0 than {MOST_KWH:g} kWh")
    return answer


def column(values: Sequence[float]) -> bytes:
    """Return numbers as they travel."""
    return struct.pack(f"<{len(values)}d", *values)


def numbers(payload: bytes, count: int) -> tuple[float, ...]:
    """Return so many numbers.

    Raises:
        WireFormatError: with reason ``number`` when there are more or fewer, or one is not finite.
    """
    if len(payload) != 8 * count:
        raise WireFormatError("number", f"{len(payload)} bytes, not {8 * count}")
    found: tuple[float, ...] = struct.unpack(f"<{count}d", payload)
    if not all(map(math.isfinite, found)):
        raise WireFormatError("number", "an entry is not finite")
    return found
