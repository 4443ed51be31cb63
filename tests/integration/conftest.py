"""Servers that integration tests share: a real PostgreSQL from a wheel, started once a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shoal.cli.benches._postgres import postgres
from shoal.domain.errors import UnavailableError


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Yield the URL of the maintenance database of a fresh PostgreSQL; make a database of your own in it."""
    running = postgres()
    try:
        url = running.__enter__()
    except UnavailableError as error:
        pytest.skip(str(error))
    try:
        yield url
    finally:
        running.__exit__(None, None, None)
