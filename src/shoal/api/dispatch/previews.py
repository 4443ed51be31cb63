"""The previews that people looked at, kept for some minutes in this process: to be paged through, and launched from."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from shoal.api.dispatch.preview_answers import PreviewView
from shoal.domain.errors import InvalidInputError, UnknownIdError

KEPT_S: Final = 15 * 60.0
MOST_KEPT: Final = 100
"""A preview of a million sites holds some 30 MB; so many sites are kept in all."""
MOST_SITES: Final = 2_000_000
_NOT_SAME: Final = frozenset({"reason", "preview"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreviewRows:
    """What a preview says of each site in scope, N rows of the fleet.

    Attributes:
        rows: The sites, ascending.
        reason: Positions in `dispatch_reasons.REASONS`.
        asked_w: What each is asked, charging positive.
        expected_w: What it would do at once.
        held_w: What it can hold to the end.
        soc_frac: State of charge; NaN where not known.
        age_s: Age of its newest sample; NaN for one never heard.
    """

    rows: NDArray[np.int64]
    reason: NDArray[np.int8]
    asked_w: NDArray[np.int64]
    expected_w: NDArray[np.int64]
    held_w: NDArray[np.int64]
    soc_frac: NDArray[np.float32]
    age_s: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KeptPreview:
    """A preview, who looked at it, and what was asked."""

    view: PreviewView
    rows: PreviewRows
    by: str
    asked: dict[str, Any]
    kept_s: float


class Previews:
    """The previews of one process; the oldest goes when there are too many."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, KeptPreview] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, view: PreviewView, rows: PreviewRows, *, by: str, asked: BaseModel) -> None:
        """Keep a preview under its token."""
        kept = KeptPreview(view=view, rows=rows, by=by, asked=_same(asked), kept_s=time.monotonic())
        with self._lock:
            self._kept[view.token] = kept
            self._kept.move_to_end(view.token)
            self._forget()

    def find(self, token: str) -> KeptPreview:
        """Return a preview.

        Raises:
            UnknownIdError: when it is not kept any more, or never was.
        """
        with self._lock:
            self._forget()
            kept = self._kept.get(token)
        if kept is None:
            raise UnknownIdError("preview", token)
        return kept

    def of(self, token: str, asked: BaseModel) -> KeptPreview | None:
        """Return the preview that something is launched from; None when none is named.

        Raises:
            InvalidInputError: when it is not kept any more, or is of something else.
        """
        if not token:
            return None
        try:
            kept = self.find(token)
        except UnknownIdError as error:
            fix = f"previews are kept for {KEPT_S / 60:g} minutes; look again, then launch"
            raise InvalidInputError(field="preview", value=token, fix=fix) from error
        if kept.asked != _same(asked):
            fix = "it is of something else than what is launched; look again, then launch"
            raise InvalidInputError(field="preview", value=token, fix=fix)
        return kept

    def _forget(self) -> None:
        oldest_s = time.monotonic() - KEPT_S
        sites = sum(len(one.rows.rows) for one in self._kept.values())
        while self._kept:
            first = next(iter(self._kept.values()))
            over = len(self._kept) > MOST_KEPT or (sites > MOST_SITES and len(self._kept) > 1)
            if first.kept_s >= oldest_s and not over:
                return
            sites -= len(first.rows.rows)
            self._kept.popitem(last=False)


def _same(asked: BaseModel) -> dict[str, Any]:
    """Return what has to be the same in a preview and in what is launched from it."""
    return asked.model_dump(exclude=set(_NOT_SAME))
