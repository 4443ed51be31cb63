"""Which encoding of an answer a reader takes, where the answer is kept packed."""

from __future__ import annotations

from starlette.datastructures import Headers


def takes_gzip(headers: Headers) -> bool:
    """Return whether a request takes gzip, by the rule of the middleware that packs the other answers."""
    return "gzip" in headers.get("accept-encoding", "")
