"""Where the money went between perfect foresight and what was delivered, exact to the last unit.

The same intervals are settled again and again, each time with the energies of one more stage of the cycle: what perfect
foresight would have moved, what a plan on the forecast would have moved, what the market awarded to the bid, what the
meters say. A step is the difference of two stages, so the steps telescope: whatever is summed (intervals, days, products,
resources), first stage plus steps is the last stage. Amounts are whole 1e-8 currency units as in `shoal.settle.statement`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.settle.statement import share_among_sites

STAGES: Final = ("perfect", "forecast", "bid", "delivered")
"""The usual stages, in order."""
STEPS: Final = ("forecast", "bid", "execution")
"""What lies between the usual stages: worth of the forecast, worth of the bid, lost to execution."""

# Above this an amount summed over a few thousand intervals could leave 64 bits.
_MOST_AMOUNT: Final = 2.0**62


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stage:
    """What one stage of the cycle moved, or would have moved, over N intervals.

    Attributes:
        name: Of the stage.
        energy_wh: N energies at the terminals, charging positive, discharging negative.
        charge_amount: N amounts paid on top (deviation, fees), never negative; None for none.
        carried_wh: Stored energy left at the end, as it could be delivered at the terminals.
    """

    name: str
    energy_wh: NDArray[np.int64]
    charge_amount: NDArray[np.int64] | None = None
    carried_wh: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attribution:
    """N intervals settled at S stages.

    Attributes:
        stages: S names.
        amount: N x S amounts: received at the stage, wear and charges deducted.
        carried_amount: S worths of the energy left at the end.
    """

    stages: tuple[str, ...]
    amount: NDArray[np.int64]
    carried_amount: NDArray[np.int64]

    @property
    def stage_amount(self) -> NDArray[np.int64]:
        """S totals, energy left at the end included."""
        total: NDArray[np.int64] = self.amount.sum(axis=0) + self.carried_amount
        return total

    @property
    def step_amount(self) -> NDArray[np.int64]:
        """N x (S - 1) differences from each stage to the next, by interval; energy left at the end is not in them."""
        steps: NDArray[np.int64] = np.diff(self.amount, axis=1)
        return steps

    @property
    def step_total(self) -> NDArray[np.int64]:
        """S - 1 differences of the totals: `stage_amount` begins with the first stage and adds these."""
        steps: NDArray[np.int64] = np.diff(self.stage_amount)
        return steps

    def by(self, group_of: NDArray[np.int64], groups: int) -> NDArray[np.int64]:
        """Return ``groups`` x S amounts, each the sum of its intervals: days, hours, products.

        Args:
            group_of: N numbers of the group of each interval, from 0 up.
            groups: How many groups there are.

        Raises:
            InvalidInputError: when an interval has no group or an unknown one.
        """
        if group_of.shape != (len(self.amount),):
            raise InvalidInputError(
                field="group_of",
                value=group_of.shape,
                fix=f"give a group for each of {len(self.amount)} intervals",
            )
        if len(group_of) and not 0 <= int(group_of.min()) <= int(group_of.max()) < groups:
            raise InvalidInputError(
                field="group_of", value=int(group_of.max()), fix=f"count groups from 0 to {groups - 1}"
            )
        summed = np.zeros((groups, len(self.stages)), dtype=np.int64)
        np.add.at(summed, group_of, self.amount)
        return summed


def attribute(
    stages: Sequence[Stage],
    *,
    price_cents_per_mwh: NDArray[np.int64],
    wear_cents_per_mwh: int = 0,
    carry_price_cents_per_mwh: int = 0,
) -> Attribution:
    """Return every stage settled at the same prices.

    An interval's amount is ``-energy x price - discharged x wear - charge``; energy left at the end is worth ``carried x carry
    price``, so that a stage which sold its last kWh is not called better than one which kept it.

    Args:
        stages: At least two, from the ideal to the real.
        price_cents_per_mwh: N settlement prices.
        wear_cents_per_mwh: Cost of wear per MWh discharged at the terminals.
        carry_price_cents_per_mwh: What energy left at the end is worth.

    Raises:
        InvalidInputError: when there are fewer than two stages, lengths differ, wear or a charge is negative, or amounts would
            leave 64 bits.
    """
    if len(stages) < 2:
        raise InvalidInputError(field="stages", value=len(stages), fix="give at least two stages")
    if wear_cents_per_mwh < 0:
        raise InvalidInputError(field="wear_cents_per_mwh", value=wear_cents_per_mwh, fix="give 0 or more")
    count = len(price_cents_per_mwh)
    amount = np.empty((count, len(stages)), dtype=np.int64)
    price = price_cents_per_mwh.astype(np.int64)
    for column, stage in enumerate(stages):
        energy_wh = _whole(stage.name, "energy_wh", stage.energy_wh, count)
        discharged_wh = np.maximum(-energy_wh, 0)
        reach = np.abs(energy_wh).astype(np.float64) * (np.abs(price) + wear_cents_per_mwh).astype(np.float64)
        if reach.sum() > _MOST_AMOUNT:
            raise InvalidInputError(
                field=f"{stage.name}.energy_wh",
                value=float(reach.sum()),
                fix="attribute shorter spans: the sum leaves 64 bits",
            )
        amount[:, column] = -energy_wh * price - discharged_wh * wear_cents_per_mwh
        if stage.charge_amount is not None:
            charge = _whole(stage.name, "charge_amount", stage.charge_amount, count)
            if count and int(charge.min()) < 0:
                raise InvalidInputError(
                    field=f"{stage.name}.charge_amount",
                    value=int(charge.min()),
                    fix="give what is paid, 0 or more",
                )
            amount[:, column] -= charge
    carried = np.array([stage.carried_wh * carry_price_cents_per_mwh for stage in stages], dtype=np.int64)
    return Attribution(stages=tuple(stage.name for stage in stages), amount=amount, carried_amount=carried)


def together(parts: Sequence[Attribution]) -> Attribution:
    """Return several attributions (products, resources) as one: their intervals one after another.

    Raises:
        InvalidInputError: when there are none, or their stages differ.
    """
    if not parts:
        raise InvalidInputError(field="parts", value=0, fix="give at least one attribution")
    for part in parts:
        if part.stages != parts[0].stages:
            raise InvalidInputError(
                field="stages", value=part.stages, fix=f"use {parts[0].stages} throughout"
            )
    return Attribution(
        stages=parts[0].stages,
        amount=np.concatenate([part.amount for part in parts]),
        carried_amount=np.sum([part.carried_amount for part in parts], axis=0, dtype=np.int64),
    )


def share_steps(
    whole: Attribution, *, weight_wh: NDArray[np.int64], site_amount: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return M x S what the first stage and each step came to for every site.

    The first stage and all steps but the last are split by weight; the last step of a site is what brings it to its amount. So
    each row sums to what the site receives and each column to the whole's: nothing is lost to rounding either way.

    Args:
        whole: The attribution of what the sites did together.
        weight_wh: M weights, e.g. energy offered.
        site_amount: M amounts that the sites' shares of the last stage come to; they sum to the last total.

    Raises:
        InvalidInputError: when the amounts do not sum to the last stage's total, or see `share_among_sites`.
    """
    total = whole.stage_amount
    if int(site_amount.sum()) != int(total[-1]):
        raise InvalidInputError(
            field="site_amount",
            value=int(site_amount.sum()),
            fix=f"sum to the delivered total, {int(total[-1])}",
        )
    shares = np.empty((len(weight_wh), len(whole.stages)), dtype=np.int64)
    parts = np.concatenate([total[:1], np.diff(total)])
    for column, part in enumerate(parts[:-1].tolist()):
        shares[:, column] = share_among_sites(part, weight_wh)
    shares[:, -1] = site_amount - shares[:, :-1].sum(axis=1)
    return shares


def _whole(stage: str, field: str, values: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    if values.shape != (count,) or not np.issubdtype(values.dtype, np.integer):
        raise InvalidInputError(
            field=f"{stage}.{field}",
            value=(values.shape, str(values.dtype)),
            fix=f"give {count} whole numbers",
        )
    return values.astype(np.int64)
