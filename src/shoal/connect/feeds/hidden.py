"""Keeps secrets out of what the HTTP library logs: it tells whole URLs, and some providers want their key in one."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

_LOGGERS: Final = ("httpx", "httpcore.connection", "httpcore.http11")
_SHOWN: Final = "***"


class HiddenSecrets(logging.Filter):
    """Hides some texts in the library's logs until it is closed."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__()
        self._secrets = tuple({form for secret in secrets for form in (secret, quote(secret, safe=""))})
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(self)

    def close(self) -> None:
        """Hide nothing any more."""
        for name in _LOGGERS:
            logging.getLogger(name).removeFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through, without the secrets."""
        text = record.getMessage()
        if any(secret in text for secret in self._secrets):
            for secret in self._secrets:
                text = text.replace(secret, _SHOWN)
            record.msg, record.args = text, ()
        return True
