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
from shoal.twin.aggregate import aggregates_of
from shoal.twin.layout import Layout
from shoal.twin.silence import SilenceTable, estimate


def warm_up(fleet: Fleet, *, options: TelemetryOptions, clock: Clock, table: SilenceTable) -> None:
    """Take one made-up sample of the first site through all that is compiled. Blocks; run it in a thread."""
    layout = Layout.of(fleet)
    shard = Shard(
        number=0,
        fleet=fleet,
        rows=np.arange(min(len(fleet.site_ids), 1)),
        layout=layout,
        time=clock,
        clock_rule=options.clock_rule,
    )
    records = TELEMETRY.empty(1)
    records["seq"] = 1
    subject = f"tele.0.{next(iter(fleet.site_ids), 'nobody')}".encode()
    payloads = [encode(records, oldest_seq=1, version=version) for version in (2, 1)]
    shard.take(JournalBatch.of([(subject, payload) for payload in payloads]))
    sums = shard.sums(now_ns=clock.now_ns(), rates=table.effective(), timeouts=options.timeouts)
    levels = np.array([group.level for group in fleet.groups], dtype=np.int64)
    doubt = estimate(table, sums.silence(), layout.parent_of.astype(np.int64), levels)
    aggregates_of(sums, doubt, t_ns=clock.now_ns())
    shard.answer(AskTwins(), t_ns=clock.now_ns(), token=0)
    shard.restore(shard.mark(), shard.state())
