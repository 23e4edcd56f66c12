"""A whole application over real sockets, its books kept fresh."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quotelife_server.app import Application
from reference.service_kit import running, write_config


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Application]:
    async with running(write_config(tmp_path), unix_socket=str(tmp_path / "quotelife.sock")) as application:
        yield application
