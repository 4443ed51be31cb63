"""Where the money of a back-test went, from perfect foresight to what was delivered, to the last unit.

Both engines come down to four energies an interval: what perfect foresight moved, what the plan on the forecast would have,
what the bid was given, and what the storage could follow. `shoal.settle.attribution` settles each at the same prices, so that
steps sum over intervals, days and products.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.settle.attribution import STAGES, Attribution, Stage, attribute

CENTS: Final = 100


def attributed(
    *,
    perfect_wh: NDArray[np.int64],
    planned_wh: NDArray[np.int64],
    asked_wh: NDArray[np.int64],
    delivered_wh: NDArray[np.int64],
    amount: NDArray[np.int64],
    price_cents_per_mwh: NDArray[np.int64],
    wear_per_mwh: float,
    service_amount: NDArray[np.int64] | None = None,
) -> Attribution:
    """Return N intervals at the four stages; the last one is what the books say, whatever they were settled at.

    Args:
        perfect_wh: N energies of perfect foresight, charging positive.
        planned_wh: N energies of the plan on the forecast.
        asked_wh: N energies that the bid was given.
        delivered_wh: N energies delivered.
        amount: N amounts of the books, 1e-8 of the unit of currency: settled, less wear.
        price_cents_per_mwh: N prices.
        wear_per_mwh: Wear per MWh discharged.
        service_amount: N parts of `amount` that were paid for services: they are won by the bid.

    Raises:
        InvalidInputError: lengths differ.
    """
    if amount.shape != price_cents_per_mwh.shape:
        raise InvalidInputError(field="amount", value=amount.shape, fix="give one for each price")
    energies = (perfect_wh, planned_wh, asked_wh, delivered_wh)
    settled = attribute(
        [Stage(name=name, energy_wh=energy) for name, energy in zip(STAGES, energies, strict=True)],
        price_cents_per_mwh=price_cents_per_mwh,
        wear_cents_per_mwh=round(wear_per_mwh * CENTS),
    )
    # deviations may have prices of their own, a programme its fines: what was delivered is worth what was settled
    columns = settled.amount.copy()
    columns[:, -1] = amount
    if service_amount is not None:
        columns[:, -2] += service_amount
    return replace(settled, amount=columns)
