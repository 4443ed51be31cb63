"""The outlook: blocks, what is usual, how a deviation carries on, and that nothing ahead is read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.forecast.outlook import (
    Outlook,
    OutlookSettings,
    blocks_ahead,
    expected_prices,
    fit_outlook,
    state_after,
)

SLOTS = 48
FLOOR, CAP = -1_000.0, 17_500.0


def made_up(days: int, *, seed: int = 1, keep: float = 0.95) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return prices with a shape of the day and a deviation that fades by `keep` an interval, and their slots."""
    rng = np.random.default_rng(seed)
    slot = np.arange(days * SLOTS) % SLOTS
    level, far = 0.0, np.empty(len(slot))
    for i in range(len(slot)):
        level = keep * level + rng.normal(0.0, 0.1)
        far[i] = level
    return 100.0 * np.sinh(0.7 + 0.3 * np.sin(2.0 * np.pi * slot / SLOTS) + far), slot.astype(np.int64)


def fitted(price: NDArray[np.float64], slot: NDArray[np.int64], **changed: int) -> Outlook:
    follows = np.ones(len(price), np.bool_)
    follows[0] = False
    settings = OutlookSettings(**changed)  # type: ignore[arg-type]
    return fit_outlook(
        price_per_mwh=price, slot_number=slot, follows=follows, slots_count=SLOTS, settings=settings
    )


def paths(outlook: Outlook, slot: int, *prices: float) -> NDArray[np.float64]:
    return expected_prices(
        outlook, outlook.state, slot, np.array(prices), floor_per_mwh=FLOOR, cap_per_mwh=CAP
    )


def test_blocks_grow_with_distance_and_cover_the_horizon() -> None:
    lengths = blocks_ahead(1.0 / 12.0, OutlookSettings().block_h)
    assert (lengths[0], lengths[-1], lengths.sum()) == (6, 24, 36 * 12)
    assert np.all(np.diff(lengths) >= 0)
    assert blocks_ahead(1.0, OutlookSettings().block_h).min() == 1


def test_a_deviation_carries_on_and_fades() -> None:
    price, slot = made_up(100)
    calm, dear = paths(fitted(price, slot), 0, 76.0, 200.0)
    lift = dear / calm
    assert lift[0] > 1.5
    assert lift[0] > lift[4] > lift[12]
    assert 0.8 < lift[-1] < 1.25


def test_expected_prices_are_close_to_what_comes() -> None:
    price, slot = made_up(120, seed=2)
    cut = 110 * SLOTS
    outlook = fitted(price[:cut], slot[:cut])
    foreseen, came, usual = [], [], []
    for at in range(cut, cut + 8 * SLOTS):
        state = state_after(outlook, price[cut:at], slot[cut:at])
        given = expected_prices(
            outlook, state, int(slot[at]), price[at : at + 1], floor_per_mwh=FLOOR, cap_per_mwh=CAP
        )
        foreseen.append(given[0, 0])
        came.append(price[at + 1])
        usual.append(outlook.money_scale * np.sinh(outlook.usual_ahead[slot[at], 0]))
    missed = np.abs(np.array(foreseen) - came).mean()
    assert missed < 0.6 * np.abs(np.array(usual) - came).mean()


def test_a_rare_spike_counts_for_what_it_brings() -> None:
    price, slot = made_up(100)
    spiked = price.copy()
    spiked[(np.arange(100) % 10 == 5).repeat(SLOTS) & ((slot == 36) | (slot == 37))] = 9_000.0
    # seen from an hour ahead
    plain, tail = (paths(fitted(one, slot), 33, 80.0)[0] for one in (price, spiked))
    assert tail[2] > 2.0 * plain[2]
    assert np.all(tail <= CAP)


def test_spans_with_gaps_teach_nothing() -> None:
    price, slot = made_up(60)
    follows = np.zeros(len(price), np.bool_)
    settings = OutlookSettings()
    outlook = fit_outlook(
        price_per_mwh=price, slot_number=slot, follows=follows, slots_count=SLOTS, settings=settings
    )
    assert not outlook.coefficient.any()
    calm, dear = paths(outlook, 0, 76.0, 200.0)
    np.testing.assert_array_equal(calm, dear)


def test_a_short_history_gives_finite_prices() -> None:
    price, slot = made_up(3)
    assert np.isfinite(paths(fitted(price, slot), 5, -900.0, 80.0, 17_500.0)).all()


def test_the_same_history_gives_the_same_bits() -> None:
    price, slot = made_up(40)
    first, second = (paths(fitted(price.copy(), slot.copy()), 7, 50.0, 500.0) for _ in range(2))
    assert first.tobytes() == second.tobytes()
