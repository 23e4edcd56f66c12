"""Structured logging."""

import logging
from collections.abc import Iterator

import pytest
import structlog

from quotelife_server import log


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_logger_that_was_used_before_follows_when_logging_is_configured_again() -> None:
    log.configure("critical")
    logger = log.get_logger("quotelife.test_log")
    logger.warning("before")
    log.configure("critical")
    with structlog.testing.capture_logs() as lines:
        logger.warning("after")
    assert [line["event"] for line in lines] == ["after"]
