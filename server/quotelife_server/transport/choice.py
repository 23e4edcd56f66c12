"""Which front end serves gRPC: the native one where it was built, else grpc.aio."""

from collections.abc import Collection, Sequence
from importlib import import_module
from typing import ClassVar, Protocol

from quotelife.errors import ConfigError
from quotelife_server import log
from quotelife_server.handlers import Service
from quotelife_server.rpc import MethodTable, StreamCall
from quotelife_server.transport.options import GrpcOptions, Transport

MISSING = (
    "this build has no native gRPC front end: nghttp2's header was not found when it was made; "
    "run: apt-get install -y libnghttp2-dev, then build again"
)
UNLOADABLE = (
    "the native gRPC front end was built and cannot be loaded: {}; where it is libnghttp2 that is not found, "
    "run: apt-get install -y libnghttp2-14"
)

_log = log.get_logger(__name__)


class GrpcFrontEnd(Protocol):
    """Serves one ``Service`` over gRPC. ``name``: as ``server.transport`` knows it."""

    name: ClassVar[str]

    @property
    def streams(self) -> Collection[StreamCall]:
        """Streaming calls under way."""

    async def start(self) -> list[str]:
        """Bind and serve. Returns the addresses with their real ports. Raises ``CannotListen``, ``ConfigError``."""

    async def stop(self, grace_ns: int) -> None:
        """Take no new call, end streams, wait up to ``grace_ns`` for calls in flight."""


class FrontEnd(Protocol):
    """How a front end is made."""

    def __call__(
        self,
        service: Service,
        addresses: Sequence[str],
        options: GrpcOptions,
        methods: MethodTable | None = None,
    ) -> GrpcFrontEnd: ...


def chosen(transport: Transport) -> FrontEnd:
    """Raises ``ConfigError`` where the native one is asked for and not there."""
    if transport != "grpc_aio":
        try:
            found: FrontEnd = import_module("quotelife_server.transport.native").NativeServer
            return found
        except ImportError as error:
            reason = MISSING if isinstance(error, ModuleNotFoundError) else UNLOADABLE.format(error)
            if transport == "native":
                raise ConfigError([f"server: transport: native: {reason}"]) from error
            _log.warning(
                "gRPC is served by grpc.aio, at many times the cost a call", reason=reason, error=str(error)
            )
    other: FrontEnd = import_module("quotelife_server.transport.grpc_aio").GrpcServer
    return other
