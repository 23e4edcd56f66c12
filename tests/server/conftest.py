"""A whole application over real sockets, its books kept fresh, by either front end."""

from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from quotelife_server.app import Application
from reference.service_kit import TRANSPORT, running, write_config

NATIVE = find_spec("quotelife_server.transport.native_connection") is not None
needs_native = pytest.mark.skipif(not NATIVE, reason="built without nghttp2")


@pytest.fixture(params=[pytest.param("native", marks=needs_native), "grpc_aio"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What serves gRPC in tests that take it, each of them once with either."""
    name: str = request.param
    monkeypatch.setitem(TRANSPORT, "is", name)
    return name


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Application]:
    async with running(write_config(tmp_path), unix_socket=str(tmp_path / "quotelife.sock")) as application:
        yield application
