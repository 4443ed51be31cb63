"""Speaking with the alarm desk from another process: a person's note goes there, and what came of it comes back."""

from __future__ import annotations

from typing import Final

import msgspec
import nats.errors
from nats.aio.client import Client

from shoal.domain.alarms import AcknowledgeAlarm, AcknowledgeAnswer
from shoal.domain.errors import UnavailableError
from shoal.fabric.subjects import ASK_ALARMS
from shoal.flow.retry import Backoff, Retry

ASK_TIMEOUT_S: Final = 3.0
ASK_PATIENCE_S: Final = 6.0
ASK_BACKOFF: Final = Backoff(first_s=0.2, cap_s=1.0)

_ANSWER: Final = msgspec.json.Decoder(AcknowledgeAnswer)


async def acknowledge_alarm(client: Client, asked: AcknowledgeAlarm) -> AcknowledgeAnswer:
    """Return what came of a note; asking twice is the same as once.

    Raises:
        UnavailableError: when the desk does not answer within a few seconds.
    """

    async def once() -> AcknowledgeAnswer:
        try:
            reply = await client.request(ASK_ALARMS, msgspec.json.encode(asked), timeout=ASK_TIMEOUT_S)
        except (nats.errors.Error, TimeoutError) as error:
            raise UnavailableError("the alarm desk", "it does not answer") from error
        return _ANSWER.decode(reply.data)

    return await Retry(backoff=ASK_BACKOFF, budget_s=ASK_PATIENCE_S).call(once)
