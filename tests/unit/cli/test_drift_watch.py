"""What the alarm desk hears of drifted parameters, and that it goes on hearing while they cannot be read."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from shoal.cli.roles.drift import LOOK_AGAIN_NS, DriftWatch
from shoal.domain.alarms import AlarmKind
from shoal.domain.errors import UnavailableError
from shoal.store.device_parameters import ServiceBacking


@dataclass
class Kept:
    """One service, drifted by so many watts; None while it is away."""

    withheld_w: int | None = 0
    looks: int = 0

    def backing(self, now_ns: int) -> tuple[ServiceBacking, ...]:
        self.looks += 1
        if self.withheld_w is None:
            raise UnavailableError("the registry", "it is away")
        backed_w = 5_000 - self.withheld_w
        return (
            ServiceBacking(
                resource_id="big", service="raise6sec", assumed_w=5_000, backed_w=backed_w, alarm=None
            ),
        )


def test_desk_hears_the_newest_and_keeps_the_last_word() -> None:
    kept = Kept()
    watch = DriftWatch(kept)
    values = []
    for step, withheld_w in enumerate((0, 5_000, None, 0)):
        kept.withheld_w = withheld_w
        (one,) = asyncio.run(watch.measures(1_000 + step * LOOK_AGAIN_NS))
        assert (one.kind, one.subject) == (AlarmKind.PARAMETER_DRIFT, "big/raise6sec")
        values.append(one.value)
    assert values == [0.0, 5_000.0, 5_000.0, 0.0]
    looks = kept.looks
    asyncio.run(watch.measures(1_001 + 3 * LOOK_AGAIN_NS))
    assert kept.looks == looks, "not at every tick"
