"""A learned table of silent sites as it is kept and sent: with what it was learned from, checked when it is read.

A table that does not check out, or is for other signals than these, is refused whole: the one in use is always a good one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from shoal.domain.errors import CorruptStateError
from shoal.twin.silence import QUANTITIES, SIGNALS, SilenceTable
from shoal.twin.silence_trial import TrialScore

VERSION: Final = 1
LEAST_COVERED_FRAC: Final = 0.85
"""Of the truths of a trial, how many must lie in the 90 % interval."""
_WHAT: Final = "the table of silent sites"


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedSilence:
    """A table and where it comes from; `table.provenance` says the same for people.

    Attributes:
        table: The table.
        learned_ns: When it was learned, plant time.
        from_ns: Begin of the history that it was learned from.
        to_ns: Its end, exclusive.
        sites: How many sites it was learned from.
        fleet_sites: How many sites the fleet had.
        sample_count: How many five-minute samples of a site there were.
        is_recorded: Whether silences of its own taught it; else they were pretended.
        trial: How a table learned from the earlier part of that history did on the rest of it.
        built_in_trial: How the built-in one did there.
    """

    table: SilenceTable
    learned_ns: int
    from_ns: int
    to_ns: int
    sites: int
    fleet_sites: int
    sample_count: int
    is_recorded: bool
    trial: TrialScore
    built_in_trial: TrialScore

    @property
    def is_better(self) -> bool:
        """Whether it is to be preferred to the built-in one.

        Pretended silence says nothing of why sites really fall silent: what it teaches is too sure of itself.
        """
        own, other = self.trial, self.built_in_trial
        return self.is_recorded and own.covered_frac >= LEAST_COVERED_FRAC and own.loss_w < other.loss_w


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    signals: list[str]
    learned_ns: int
    from_ns: int
    to_ns: int
    sites: int
    fleet_sites: int
    sample_count: int
    is_recorded: bool
    trial: tuple[float, float]
    built_in_trial: tuple[float, float]
    table: dict[str, object]


def encode_learned(learned: LearnedSilence) -> bytes:
    """Return it as it is kept, some 10 kB of MessagePack."""
    return msgspec.msgpack.encode(
        _Kept(
            version=VERSION,
            signals=list(SIGNALS),
            learned_ns=learned.learned_ns,
            from_ns=learned.from_ns,
            to_ns=learned.to_ns,
            sites=learned.sites,
            fleet_sites=learned.fleet_sites,
            sample_count=learned.sample_count,
            is_recorded=learned.is_recorded,
            trial=learned.trial,
            built_in_trial=learned.built_in_trial,
            table=learned.table.to_dict(),
        )
    )


def decode_learned(data: bytes) -> LearnedSilence:
    """Return what `encode_learned` made bytes of.

    Raises:
        CorruptStateError: when it does not decode, is of another version, for other signals, or no usable table.
    """
    try:
        kept = msgspec.msgpack.decode(data, type=_Kept)
    except msgspec.MsgspecError as error:
        raise CorruptStateError(_WHAT, str(error)) from error
    if kept.version != VERSION:
        raise CorruptStateError(_WHAT, f"it is of version {kept.version}, not {VERSION}")
    if kept.signals != list(SIGNALS):
        raise CorruptStateError(_WHAT, f"it is for {', '.join(kept.signals)}, not {', '.join(SIGNALS)}")
    try:
        table = SilenceTable.from_dict(kept.table)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CorruptStateError(_WHAT, f"a column does not decode: {error}") from error
    check_table(table)
    return LearnedSilence(
        table=table,
        learned_ns=kept.learned_ns,
        from_ns=kept.from_ns,
        to_ns=kept.to_ns,
        sites=kept.sites,
        fleet_sites=kept.fleet_sites,
        sample_count=kept.sample_count,
        is_recorded=kept.is_recorded,
        trial=TrialScore(*kept.trial),
        built_in_trial=TrialScore(*kept.built_in_trial),
    )


def check_table(table: SilenceTable) -> None:
    """Refuse a table that the estimate could not use.

    Raises:
        CorruptStateError: naming the column that does not check out.
    """
    bins, sizes, signals = len(table.age_ns), table.size_sites.size, len(SIGNALS)
    by_bin, by_size = (signals + 1, bins), (len(QUANTITIES), 2, sizes)
    shapes = {
        "edges_ns": (bins - 1,),
        "age_ns": (bins,),
        "size_sites": (sizes,),
        "correlation": (signals, signals),
        **dict.fromkeys(("weight", "stay", "bias", "spread", "common", "shift"), by_bin),
        **dict.fromkeys(("dispersion", "floor", "shrink_sites"), (signals,)),
        **dict.fromkeys(("z_low", "z_high", "z_firm"), by_size),
    }
    for name, shape in shapes.items():
        column = getattr(table, name)
        if column.shape != shape or not column.size:
            raise CorruptStateError(_WHAT, f"{name} is of shape {column.shape}, not {shape}")
        if not np.isfinite(column).all():
            raise CorruptStateError(_WHAT, f"{name} holds what is no number")
    for name in ("edges_ns", "age_ns", "size_sites"):
        column = getattr(table, name)
        if (np.diff(column) <= 0).any() or column[0] <= 0:
            raise CorruptStateError(_WHAT, f"{name} does not rise")
    for name in ("weight", "spread", "common", "shift", "dispersion", "floor", "shrink_sites"):
        if (getattr(table, name) < 0.0).any():
            raise CorruptStateError(_WHAT, f"{name} is below 0")
    if (table.z_low > table.z_high).any() or (table.weight > 1.0).any():
        raise CorruptStateError(_WHAT, "z_low is above z_high, or weight above 1")
    if not isinstance(table.provenance, str):
        raise CorruptStateError(_WHAT, "provenance is no text")
