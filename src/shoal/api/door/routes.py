"""The routes of people: who the caller is, signing in and out, a new password; and who may sign in, for administrators."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Request
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from shoal.api.answers import Session, UserStepView, UserView
from shoal.api.bodies import Body
from shoal.api.contract import answer, answers, faults
from shoal.api.door.access import SESSION_COOKIE
from shoal.api.door.doorman import Doorman, TooManyError, WrongPasswordError
from shoal.api.door.rights import Caller, acting, caller_of, rights_of
from shoal.api.live.state import to_ms
from shoal.api.problem import problem
from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_S
from shoal.store.passwords import MAX_CHARACTERS
from shoal.store.users import ROLES as ROLE_NAMES
from shoal.store.users import User

MAX_STEPS: Final = 500
MAX_SITES: Final = 100

UserName = Annotated[str, Path(max_length=64, description="The user's name.")]


class SignIn(Body):
    """Who signs in."""

    name: str = Field(max_length=64)
    password: str = Field(max_length=MAX_CHARACTERS)


class NewPassword(Body):
    """The old and the new password."""

    old: str = Field(max_length=MAX_CHARACTERS)
    new: str = Field(max_length=MAX_CHARACTERS)


class UserAsked(Body):
    """What somebody is here; a password where it is to be set."""

    roles: list[str] = Field(min_length=1, max_length=8)
    sites: list[str] = Field(default_factory=list, max_length=MAX_SITES)
    password: str | None = Field(default=None, max_length=MAX_CHARACTERS)


def session_routes(doorman: Doorman) -> APIRouter:
    """Return the routes of signing in."""
    router = APIRouter(prefix="/api/session", tags=["session"])

    async def told(caller: Caller | None) -> Response:
        return answer(_session(caller, sign_in=await doorman.guarded(), now_ns=doorman.wall_ns()))

    async def begun(request: Request, caller: Caller) -> Response:
        response = await told(caller)
        assert caller.until_ns is not None
        response.set_cookie(
            SESSION_COOKIE,
            caller.secret,
            max_age=max((caller.until_ns - doorman.wall_ns()) // NS_PER_S, 0),
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        response.headers["Cache-Control"] = "no-store"
        return response

    @router.get("", responses=answers(Session))
    async def read_session(request: Request) -> Response:
        """Say who the caller is, and what the caller may."""
        response = await told(caller_of(request))
        response.headers["Cache-Control"] = "no-store"
        return response

    @router.post("", responses=answers(Session, 401, 422, 429))
    async def sign_in(request: Request, asked: SignIn) -> Response:
        """Sign in with a name and a password; a cookie keeps the session. Too many wrong ones get 429 with `Retry-After`."""
        try:
            caller = await doorman.sign_in(asked.name, asked.password, address=_address(request))
        except WrongPasswordError as error:
            raise HTTPException(401, "there is no such name and password") from error
        except TooManyError as error:
            raise _too_many(error) from error
        return await begun(request, caller)

    @router.delete("", responses=answers(Session))
    async def sign_out(request: Request) -> Response:
        """End the session, if there is one."""
        caller = caller_of(request)
        if caller is not None:
            await doorman.sign_out(caller)
        response = await told(None)
        response.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict")
        return response

    @router.post("/password", responses=answers(Session, 401, 403, 422, 429))
    async def change_password(request: Request, asked: NewPassword) -> Response:
        """Give oneself a new password; every other session of the name ends."""
        caller = acting(request)
        if caller.mode != "user":
            raise HTTPException(403, "only somebody who has signed in has a password")
        try:
            fresh = await doorman.change_password(caller, asked.old, asked.new, address=_address(request))
        except WrongPasswordError:
            detail, fix = "the old password is wrong", "give the password that you signed in with"
            return problem(403, "Forbidden", detail, field="old", fix=fix)
        except InvalidInputError as error:
            raise InvalidInputError(field="new", value=error.value, fix=error.fix) from error
        except TooManyError as error:
            raise _too_many(error) from error
        return await begun(request, fresh)

    return router


def user_routes(doorman: Doorman) -> APIRouter:
    """Return the routes by which administrators say who may sign in."""
    router = APIRouter(prefix="/api/admin/users", tags=["administration"])
    users = doorman.users

    @router.get("", responses=answers(list[UserView], 403))
    def read_users() -> Response:
        """Return everybody who may sign in, by name."""
        counts = users.session_counts(at_ns=doorman.wall_ns())
        return answer([_user(user, counts.get(user.name, 0)) for user in users.users()])

    @router.get("/steps", responses=answers(list[UserStepView], 403, 422))
    def read_steps(
        limit: Annotated[int, Query(ge=1, le=MAX_STEPS)] = 100,
        before: Annotated[int, Query(ge=0, description="Only steps with smaller numbers; 0 for all.")] = 0,
    ) -> Response:
        """Return what was changed about people and who signed in, the newest first."""
        return answer(
            [
                UserStepView(
                    number=step.number,
                    at_ms=to_ms(step.at_ns),
                    by=step.by,
                    action=step.action,
                    subject=step.subject,
                    detail=step.detail,
                )
                for step in users.steps(limit, before=before)
            ]
        )

    @router.put("/{name}", responses=answers(UserView, 403, 404, 409, 422))
    async def put_user(request: Request, name: UserName, asked: UserAsked) -> Response:
        """Add somebody, or change what somebody is; with a password it is set and the sessions of the name end."""
        caller = acting(request)
        unknown = [role for role in asked.roles if role not in ROLE_NAMES]
        if unknown:
            raise InvalidInputError(
                field="roles", value=unknown[0], fix=f"give one of {', '.join(ROLE_NAMES)}"
            )
        if _is_self(caller, name) and "administer" not in rights_of(asked.roles):
            raise HTTPException(409, "somebody else has to take this role from you")
        user = await asyncio.to_thread(
            users.put,
            name,
            roles=asked.roles,
            sites=asked.sites,
            password=asked.password,
            by=caller.name,
            at_ns=doorman.wall_ns(),
        )
        doorman.forget()
        counts = await asyncio.to_thread(users.session_counts, at_ns=doorman.wall_ns())
        return answer(_user(user, counts.get(user.name, 0)))

    @router.delete("/{name}", status_code=204, responses=faults(403, 404, 409))
    async def remove_user(request: Request, name: UserName) -> Response:
        """Let somebody sign in no more; the sessions of the name end."""
        caller = acting(request)
        if _is_self(caller, name):
            raise HTTPException(409, "somebody else has to remove you")
        await asyncio.to_thread(users.remove, name, by=caller.name, at_ns=doorman.wall_ns())
        doorman.forget()
        return Response(status_code=204)

    return router


def _session(caller: Caller | None, *, sign_in: bool, now_ns: int) -> Session:
    if caller is None:
        return Session(
            operator=None,
            name=None,
            mode=None,
            sign_in=sign_in,
            roles=[],
            rights=[],
            sites=None,
            until_ms=None,
            now_ms=to_ms(now_ns),
        )
    return Session(
        operator=caller.name if "operate" in caller.rights else None,
        name=caller.name,
        mode=caller.mode,
        sign_in=sign_in,
        roles=list(caller.roles),
        rights=sorted(caller.rights),
        sites=None if caller.sites is None else sorted(caller.sites),
        until_ms=None if caller.until_ns is None else to_ms(caller.until_ns),
        now_ms=to_ms(now_ns),
    )


def _user(user: User, sessions: int) -> UserView:
    return UserView(
        name=user.name,
        roles=list(user.roles),
        sites=list(user.sites),
        made_ms=to_ms(user.made_ns),
        made_by=user.made_by,
        password_ms=to_ms(user.password_ns),
        sessions=sessions,
    )


def _is_self(caller: Caller, name: str) -> bool:
    return caller.mode == "user" and caller.name == name.strip().lower()


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _too_many(error: TooManyError) -> HTTPException:
    wait_s = max(round(error.wait_s), 1)
    return HTTPException(
        429, f"too many wrong passwords: try again in {wait_s} s", headers={"Retry-After": str(wait_s)}
    )
