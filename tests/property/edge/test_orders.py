"""Whatever is sent and whenever, by whomever: no site beyond lease, reserve or limit, and no energy from nowhere.

A short run is made each time; `SHOAL_FUZZ_COMMANDS=1000000` makes it a long one, `--log-cli-level=INFO` shows its figures.
"""

from __future__ import annotations

import logging
import os

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_HOUR
from tests.property.edge.orders_fuzz import T0, Fuzz

_log = logging.getLogger(__name__)
COMMANDS = int(os.environ.get("SHOAL_FUZZ_COMMANDS", "8000"))
SITES = 60 if COMMANDS < 100_000 else 400


@pytest.mark.parametrize("seed", [1, 2])
def test_no_command_sequence_moves_a_site_beyond_what_is_right(seed: int) -> None:
    fuzz = Fuzz(SITES, seed)
    fuzz.run(COMMANDS // 2)
    found = fuzz.referee.statistics()
    hours = (fuzz.world.now_ns - T0) / NS_PER_HOUR
    _log.info("seed %d: %d sites, %.1f h, %s, %s", seed, fuzz.sites, hours, found, dict(fuzz.count))
    assert (found.lease_violations, found.reserve_violations, found.limit_violations) == (0, 0, 0), "\n".join(
        map(str, fuzz.referee.examples)
    )
    assert found.unfollowed == 0
    assert fuzz.balance_kwh() < 1e-6
    # It is a test of something only when everything happened.
    for what in ("desired taken", "orders taken", "stale_version", "fenced_out", "expired", "halted", "left"):
        assert fuzz.count[what] > 0, what
    for mode in ("local", "direct", "schedule", "price", "off"):
        assert fuzz.count[f"site-intervals {mode}"] > 0, mode
    assert np.isfinite(fuzz.world.stored_kwh).all()


def test_device_that_holds_on_or_ignores_its_limits_is_noticed() -> None:
    last_w = np.zeros(0, dtype=np.int64)

    def hold_on(decided_w: NDArray[np.int64]) -> NDArray[np.int64]:
        nonlocal last_w
        kept = last_w if len(last_w) else decided_w
        last_w = decided_w
        return np.where(np.arange(len(decided_w)) % 7 == 0, kept, decided_w)

    def strong(decided_w: NDArray[np.int64]) -> NDArray[np.int64]:
        return decided_w * 2

    def careless(decided_w: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.where(decided_w == 0, -2_000, decided_w)

    for act, kind in ((hold_on, "lease"), (strong, "limit"), (careless, "reserve")):
        fuzz = Fuzz(30, 3, act=act)
        fuzz.run(600)
        assert getattr(fuzz.referee.statistics(), f"{kind}_violations") > 0, kind
