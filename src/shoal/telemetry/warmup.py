"""Running every kernel once before anything depends on it.

Compiling the kernels takes many seconds on a new machine, and loading what was compiled takes a good part of one. A member
that stood still for so long would lose the shards that it has just gained, so this comes before it wants any.
"""

from __future__ import annotations

import numpy as np

from shoal.domain.clock import Clock
from shoal.domain.fleet import Fleet
from shoal.domain.telemetry import TELEMETRY
from shoal.domain.twins import AskTwins
from shoal.domain.wire import encode
from shoal.fabric.batch import JournalBatch
from shoal.telemetry.contract import TelemetryOptions
from shoal.telemetry.shard import Shard
from shoal.telemetry.site_twins import SiteTwins
from shoal.twin.aggregate import aggregates_of
from shoal.twin.layout import Layout
from shoal.twin.silence import SilenceTable, estimate


def warm_up_twins(fleet: Fleet, layout: Layout, *, clock: Clock) -> None:
    """Take a made-up sample of the first site through the decoder and into its twin. Blocks; run it in a thread."""
    rows = np.arange(min(len(fleet.site_ids), 1))
    SiteTwins(fleet, rows, layout, clock=clock).judge(_made_up(fleet))


def warm_up(
    fleet: Fleet, layout: Layout, *, options: TelemetryOptions, clock: Clock, table: SilenceTable
) -> None:
    """Take a made-up sample of the first site through all that is compiled. Blocks; run it in a thread."""
    shard = Shard(
        number=0,
        fleet=fleet,
        rows=np.arange(min(len(fleet.site_ids), 1)),
        layout=layout,
        time=clock,
        clock_rule=options.clock_rule,
    )
    shard.take(_made_up(fleet))
    sums = shard.sums(now_ns=clock.now_ns(), rates=table.effective(), timeouts=options.timeouts)
    doubt = estimate(table, sums.silence(), layout.parent_number, layout.level_of)
    aggregates_of(sums, doubt, t_ns=clock.now_ns())
    shard.answer(AskTwins(), t_ns=clock.now_ns(), token=0)
    shard.restore(shard.mark(), shard.state())


def _made_up(fleet: Fleet) -> JournalBatch:
    records = TELEMETRY.empty(1)
    records["seq"] = 1
    subject = f"tele.0.{next(iter(fleet.site_ids), 'nobody')}".encode()
    return JournalBatch.of([(subject, encode(records, oldest_seq=1, version=version)) for version in (2, 1)])
