"""Asking the twins from another process: every shard by its subject, merged into one view, or only some sites.

Work that cannot go on without the twins waits for them; a person who asks is told soon that nobody answers.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
import nats.errors
import numpy as np
from nats.aio.client import Client
from numpy.typing import NDArray

from shoal.domain.errors import UnavailableError
from shoal.domain.fleet import Fleet
from shoal.domain.partition import PARTITIONS
from shoal.domain.twins import AskTwins, FleetView, ShardAnswer, merge_answers
from shoal.fabric.subjects import ask_twin_subject
from shoal.flow.retry import Backoff, Retry

ASK_TIMEOUT_S: Final = 2.0
ASK_PATIENCE_S: Final = 120.0
ASK_BACKOFF: Final = Backoff(first_s=0.1, cap_s=1.0)
ASK_SITES_TIMEOUT_S: Final = 1.0
ASK_SITES_PATIENCE_S: Final = 2.0


async def ask_twins(
    client: Client, *, shards: int, sites: int, patience_s: float = ASK_PATIENCE_S
) -> FleetView:
    """Return the latest record of every site, waiting for a shard that is being restarted or moves.

    Args:
        client: A connection with the right to ask.
        shards: How many shards the plant has.
        sites: How many sites.
        patience_s: How long each shard is waited for.

    Raises:
        UnavailableError: when a shard does not answer for so long.
    """
    asked = (_ask_whole(client, shard, patience_s=patience_s) for shard in range(shards))
    answers = await asyncio.gather(*asked)
    return merge_answers([part for parts in answers for part in parts], sites)


async def _ask_whole(client: Client, shard: int, *, patience_s: float) -> list[ShardAnswer]:
    """Ask one shard, part by part."""
    parts: list[ShardAnswer] = []
    first, sites = 0, 1
    while first < sites:
        part = await _ask(client, shard, AskTwins(first=first), patience_s=patience_s)
        parts.append(part)
        first, sites = first + len(part.rows) // 8, part.sites
        if not part.rows:
            break
    return parts


async def ask_sites(
    client: Client, fleet: Fleet, rows: NDArray[np.int64], *, shards: int
) -> list[ShardAnswer]:
    """Return the twins of some sites, one answer for each shard that has any of them.

    Args:
        client: A connection with the right to ask.
        fleet: The fleet.
        rows: Rows of the sites, at most as many as an answer can hold (20,000).
        shards: How many shards the plant has.

    Raises:
        UnavailableError: when a shard does not answer within a few seconds, as when it has no owner.
    """
    shard_of = fleet.partition[rows].astype(np.int64) * shards // PARTITIONS
    questions = [
        (int(shard), AskTwins(rows=rows[shard_of == shard].tobytes())) for shard in np.unique(shard_of)
    ]
    asked = [
        _ask(client, shard, question, timeout_s=ASK_SITES_TIMEOUT_S, patience_s=ASK_SITES_PATIENCE_S)
        for shard, question in questions
    ]
    return list(await asyncio.gather(*asked))


async def ask_site(client: Client, fleet: Fleet, row: int, *, shards: int) -> ShardAnswer:
    """Return the twin of one site, from the shard that has it.

    Raises:
        UnavailableError: when the shard does not answer within a few seconds, as when it has no owner.
    """
    (answer,) = await ask_sites(client, fleet, np.array([row], dtype=np.int64), shards=shards)
    return answer


async def _ask(
    client: Client,
    shard: int,
    question: AskTwins,
    *,
    timeout_s: float = ASK_TIMEOUT_S,
    patience_s: float = ASK_PATIENCE_S,
) -> ShardAnswer:
    asked = msgspec.msgpack.encode(question)

    async def once() -> ShardAnswer:
        try:
            reply = await client.request(ask_twin_subject(shard), asked, timeout=timeout_s)
        except (nats.errors.Error, TimeoutError) as error:
            raise UnavailableError(f"twin shard {shard}", "it does not answer") from error
        return msgspec.msgpack.decode(reply.data, type=ShardAnswer)

    return await Retry(backoff=ASK_BACKOFF, budget_s=patience_s).call(once)
