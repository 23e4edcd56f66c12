"""Structured logging: one JSON object a line on standard error. Never called on the decision path."""

import logging
import sys
from typing import Any, cast

import orjson
import structlog

Logger = structlog.stdlib.BoundLogger

_processors: list[Any] = []  # one list for ever: a logger keeps the one that it was first used with


def _dumps(event: dict[str, Any], **_: object) -> str:
    return orjson.dumps(event, default=str).decode()


def configure(level: str) -> None:
    """Set up structlog and route the standard library's loggers (grpc, aiohttp, asyncio) through it."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    _processors[:] = [
        structlog.stdlib.filter_by_level,
        *shared,
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ]
    structlog.configure(
        processors=_processors,
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(serializer=_dumps),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # It tells each connection's begin and end; the feeds do that, with their name and reason.
    logging.getLogger("picows").setLevel(max(root.level, logging.WARNING))


def get_logger(name: str) -> Logger:
    return cast(Logger, structlog.get_logger(name))
