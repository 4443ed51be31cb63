"""What each home receives of a settlement, interval by interval, so that a correction moves the shares of what it names alone.

The owners' part of an interval's amount is split by the key that held when the interval was last changed: the energy that each
home charged and discharged that day, as it was known then. Every split is exact, so the homes and the operator sum to the
resource's revenue to the last unit, in each interval and in all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import Interval
from shoal.settle.statement import split_revenue


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SharingKey:
    """By what owners' parts are split.

    Attributes:
        site_ids: N homes.
        weight_wh: N energies, none negative.
        owner_share_permille: The owners' part, in thousandths; the rest is the operator's.
    """

    site_ids: tuple[str, ...]
    weight_wh: NDArray[np.int64]
    owner_share_permille: int

    def __post_init__(self) -> None:
        if self.weight_wh.shape != (len(self.site_ids),) or len(set(self.site_ids)) < len(self.site_ids):
            raise InvalidInputError(
                field="weight_wh", value=self.weight_wh.shape, fix="give each home once, with its weight"
            )

    def split(self, amount: int) -> tuple[NDArray[np.int64], int]:
        """Return N owners' amounts and the operator's; without homes all of it is the operator's."""
        if not self.site_ids:
            return np.zeros(0, dtype=np.int64), amount
        return split_revenue(amount, owner_share_permille=self.owner_share_permille, weight_wh=self.weight_wh)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shares:
    """The shares of one version of a settlement, amounts in 1e-8 currency units.

    Attributes:
        version: Of the settlement.
        keys: Every key in use, by the version that brought it.
        key_of: For each interval the version whose key splits it.
        site_ids: N homes of all keys in use, in order.
        owner_amount: What each of them receives.
        operator_amount: What the operator keeps.
    """

    version: int
    keys: Mapping[int, SharingKey]
    key_of: Mapping[Interval, int]
    site_ids: tuple[str, ...] = field(default=())
    owner_amount: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    operator_amount: int = 0

    @property
    def amount(self) -> int:
        """What is shared: homes and operator together."""
        return int(self.owner_amount.sum()) + self.operator_amount


def share_version(
    amount_of: Mapping[Interval, int],
    changed: Collection[Interval],
    *,
    version: int,
    key: SharingKey,
    previous: Shares | None = None,
) -> Shares:
    """Return the shares of a version of a settlement.

    Args:
        amount_of: What each interval comes to.
        changed: The intervals that the version changes.
        version: Its number.
        key: By which what it changes is split.
        previous: The shares of the version before; None for the first.
    """
    named = set(changed)
    before = {} if previous is None else previous.key_of
    key_of = {at: version if at in named or at not in before else before[at] for at in amount_of}
    keys = ({} if previous is None else dict(previous.keys)) | {version: key}
    in_use = {number: keys[number] for number in sorted(set(key_of.values()))} or {version: key}
    site_ids = tuple(sorted({site for one in in_use.values() for site in one.site_ids}))
    row_of = {site: row for row, site in enumerate(site_ids)}
    rows = {
        number: np.array([row_of[site] for site in one.site_ids], dtype=np.int64)
        for number, one in in_use.items()
    }
    owner_amount, operator_amount = np.zeros(len(site_ids), dtype=np.int64), 0
    for at, amount in amount_of.items():
        parts, kept_amount = in_use[key_of[at]].split(amount)
        owner_amount[rows[key_of[at]]] += parts
        operator_amount += kept_amount
    return Shares(
        version=version,
        keys=in_use,
        key_of=key_of,
        site_ids=site_ids,
        owner_amount=owner_amount,
        operator_amount=operator_amount,
    )


def interval_shares(shares: Shares, at: Interval, amount: int) -> tuple[dict[str, int], int]:
    """Return what each home receives of one interval, and what the operator keeps.

    Raises:
        InvalidInputError: when the version settles no such interval.
    """
    if at not in shares.key_of:
        raise InvalidInputError(
            field="interval", value=(at.start_ns, at.end_ns), fix="give one that is settled"
        )
    key = shares.keys[shares.key_of[at]]
    parts, kept_amount = key.split(amount)
    return dict(zip(key.site_ids, parts.tolist(), strict=True)), kept_amount
