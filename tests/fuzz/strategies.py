"""Inputs of a target for a property test: its seeds with a few edits, which shrink to the fewest that matter."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.fuzz.target import Target


@st.composite
def inputs_of(draw: st.DrawFn, target: Target) -> bytes:
    """Draw a seed of `target`, cut, joined with another, and with pieces taken out and put in."""
    changed = bytearray(draw(st.sampled_from(target.seeds)))
    pieces = st.one_of(st.sampled_from(target.words), st.binary(max_size=9), st.sampled_from(target.seeds))
    edits = st.tuples(st.integers(0, 2_000), st.sampled_from((0, 0, 1, 2, 4, 8, 5_000)), pieces)
    for at, out, piece in draw(st.lists(edits, max_size=5)):
        at %= len(changed) + 1
        changed[at : at + out] = piece
    return bytes(changed)
