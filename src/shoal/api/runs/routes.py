"""The routes of one workflow run: its steps and what it knew, and its decision made again."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from shoal.api.contract import answer, answers, faults
from shoal.api.door.rights import acting
from shoal.api.live import state
from shoal.api.plant import Plant
from shoal.api.runs.answers import ReplayDifference, RunDetail, RunReplay
from shoal.api.runs.views import MADE_BY_HAND, NOT_DECIDED, read_run
from shoal.bidding.replaying import Replaying, Replays
from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.store.facts import FactStore

MOST_CHARACTERS: Final = 300
RunInPath: TypeAlias = Annotated[str, Path(max_length=MOST_CHARACTERS, description="The run.")]


def run_routes(plant: Plant, replays: Replays | None = None) -> APIRouter:
    """Return the routes; they read the database in threads, and decide again in a process."""
    router = APIRouter(prefix="/api/runs", tags=["records"])
    facts = FactStore(plant.database)
    again = replays or Replays(plant.database.url.render_as_string(hide_password=False))

    def check(run_id: str) -> None:
        """Raise why a run cannot be decided again."""
        run = plant.ledger.run(run_id)
        if run is None:
            raise UnknownIdError("run", run_id)
        if not plant.ledger.tried([run_id]):
            why = MADE_BY_HAND if run.kind == "bid" else NOT_DECIDED
            raise InvalidInputError(field="run_id", value=run_id, fix=f"choose another run: {why}")

    @router.get("/{run_id}", responses=answers(RunDetail, 404))
    def read_one(run_id: RunInPath) -> Response:
        """Return a run: each step against the gate, what was known, the rung that held and why."""
        return answer(read_run(plant.ledger, facts, run_id, now_ns=plant.now_ns()))

    @router.post(
        "/{run_id}/replay",
        status_code=202,
        responses={202: answers(RunReplay)[200], **faults(403, 404, 422, 503)},
    )
    def begin_replay(run_id: RunInPath, request: Request) -> Response:
        """Decide again from exactly what was known then; one at a time. Ask with GET what came of it."""
        check(run_id)
        return answer(replay_view(run_id, again.begin(run_id, by=acting(request).name)), status=202)

    @router.get("/{run_id}/replay", responses=answers(RunReplay, 404))
    def read_replay(run_id: RunInPath) -> Response:
        """Return what came of deciding again: whether every byte is the same, and what differs."""
        if plant.ledger.run(run_id) is None:
            raise UnknownIdError("run", run_id)
        return answer(replay_view(run_id, again.of(run_id)))

    return router


def replay_view(run_id: str, held: Replaying | None) -> RunReplay:
    """Return a replay in the words of the interface."""
    found = None if held is None else held.found
    return RunReplay(
        workflow_id=run_id,
        state="none" if held is None else held.state,
        verdict=None if found is None else found.verdict,
        same=None if found is None else found.verdict == "same",
        differs=[
            ReplayDifference(what=one.what, where=one.where, recorded=one.recorded, replayed=one.replayed)
            for one in (() if found is None else found.differences)
        ],
        reason="" if held is None else (held.reason if found is None else found.reason),
        by="" if held is None else held.by,
        began_ms=None if held is None else state.to_ms(held.began_ns),
        took_s=None if held is None else held.took_s,
    )
