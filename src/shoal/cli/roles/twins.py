"""Asking the twins from another process: every shard by its subject, merged into one view of the fleet."""

from __future__ import annotations

import asyncio
import time

import msgspec
import nats.errors
from nats.aio.client import Client

from shoal.domain.errors import UnavailableError
from shoal.domain.twins import FleetView, ShardAnswer, merge_answers
from shoal.fabric.subjects import ask_twin_subject

ASK_TIMEOUT_S = 2.0
ASK_PATIENCE_S = 120.0
ASK_AGAIN_S = 0.1


async def ask_twins(client: Client, *, shards: int, sites: int) -> FleetView:
    """Return the latest record of every site, waiting for a shard that is being restarted.

    Raises:
        UnavailableError: when a shard does not answer within two minutes.
    """
    answers = await asyncio.gather(*(_ask(client, shard) for shard in range(shards)))
    return merge_answers(list(answers), sites)


async def _ask(client: Client, shard: int) -> ShardAnswer:
    deadline_s = time.monotonic() + ASK_PATIENCE_S
    while time.monotonic() < deadline_s:
        try:
            reply = await client.request(ask_twin_subject(shard), b"", timeout=ASK_TIMEOUT_S)
        except nats.errors.NoRespondersError:
            await asyncio.sleep(ASK_AGAIN_S)
        except (nats.errors.Error, TimeoutError):
            continue
        else:
            return msgspec.msgpack.decode(reply.data, type=ShardAnswer)
    raise UnavailableError(f"twin shard {shard}", "it does not answer")
