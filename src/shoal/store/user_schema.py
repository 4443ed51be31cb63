"""The tables of people: who may sign in as what, who is signed in, and what was changed about them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, String, Table, Text

from shoal.store.schema import METADATA

_NAME: Final = String(64)
_BY: Final = String(200)

PAGE_USER: Final = Table(
    "page_user",
    METADATA,
    Column("name", _NAME, primary_key=True),
    Column("roles", Text, nullable=False),
    # Of a homeowner: which sites are the person's own.
    Column("sites", Text, nullable=False),
    Column("password", Text, nullable=False),
    Column("password_ns", BigInteger, nullable=False),
    Column("made_ns", BigInteger, nullable=False),
    Column("made_by", _BY, nullable=False),
)

# A session is known by the digest of its secret: who reads the database cannot become somebody by it.
PAGE_SESSION: Final = Table(
    "page_session",
    METADATA,
    Column("digest", String(64), primary_key=True),
    Column("user_name", _NAME, ForeignKey("page_user.name", ondelete="CASCADE"), nullable=False),
    Column("made_ns", BigInteger, nullable=False),
    Column("until_ns", BigInteger, nullable=False),
    Column("address", String(64), nullable=False),
    Index(None, "user_name"),
)

USER_STEP: Final = Table(
    "user_step",
    METADATA,
    Column("step_no", Integer, primary_key=True, autoincrement=True),
    Column("at_ns", BigInteger, nullable=False),
    Column("by", _BY, nullable=False),
    Column("action", String(32), nullable=False),
    Column("subject", _NAME, nullable=False),
    Column("detail", Text, nullable=False),
)
