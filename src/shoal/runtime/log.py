"""Logging: structured events to stderr, and to a file of the process's own when asked.

Events of libraries that use the standard `logging` take the same way. No secret is written: values under
telling names are hidden and passwords inside URLs are cut out, whoever logs them.
"""

from __future__ import annotations

import logging
import logging.handlers
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from shoal.domain.interval import iso
from shoal.runtime.keys import HIDDEN, mask_url
from shoal.runtime.sections import Log

_TELLING: Final = (
    "secret",
    "token",
    "password",
    "passwd",
    "seed",
    "credential",
    "authorization",
    "private_key",
)
_FILE_BYTES: Final = 20 << 20
_FILES_KEPT: Final = 2
_CHATTY: Final = ("httpx", "httpcore", "asyncio", "uvicorn.access", "alembic", "numba")


def configure_logging(
    log: Log,
    *,
    role: str,
    file: Path | None = None,
    now_ns: Callable[[], int] | None = None,
) -> None:
    """Set up logging for this process; calling it again replaces what was set up.

    Args:
        log: Level and format.
        role: Who this process is; every event carries it.
        file: Also write JSON lines there; the file is turned over at 20 MiB and two old ones are kept.
        now_ns: The plant's clock; when given, every event carries its time as `sim_time`.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _stamp(role, now_ns),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.UnicodeDecoder(),
    ]
    json_tail: list[Processor] = [
        structlog.processors.format_exc_info,
        hide_secrets,
        structlog.processors.JSONRenderer(default=str),
    ]
    colours = sys.stderr.isatty()
    console_tail: list[Processor] = [
        structlog.processors.format_exc_info,
        hide_secrets,
        structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handlers = [
        _handler(logging.StreamHandler(), shared, json_tail if log.format == "json" else console_tail)
    ]
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        turning = logging.handlers.RotatingFileHandler(
            file, maxBytes=_FILE_BYTES, backupCount=_FILES_KEPT, encoding="utf-8"
        )
        handlers.append(_handler(turning, shared, json_tail))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(log.level.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def hide_secrets(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Hide values under telling names, at any depth, and passwords inside URLs."""
    return {name: _hidden(name, value) for name, value in event.items()}


def _hidden(name: str, value: Any) -> Any:
    if any(word in name.lower() for word in _TELLING) and value not in (None, "", HIDDEN):
        return HIDDEN
    if isinstance(value, str):
        return mask_url(value) if "://" in value else value
    if isinstance(value, Mapping):
        return {str(key): _hidden(str(key), inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_hidden("", inner) for inner in value]
    return value


def _stamp(role: str, now_ns: Callable[[], int] | None) -> Processor:
    def stamp(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        event["role"] = role
        if now_ns is not None:
            event["sim_time"] = iso(now_ns())
        return event

    return stamp


def _handler(handler: logging.Handler, shared: list[Processor], tail: list[Processor]) -> logging.Handler:
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *tail],
    )
    handler.setFormatter(formatter)
    return handler
