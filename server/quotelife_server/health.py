"""grpc.health.v1 as handlers: Check, Watch and, where the installed protocol has it, List."""

from collections.abc import Callable, Iterable
from typing import cast

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from quotelife_server.rpc import (
    CallContext,
    Code,
    MethodTable,
    RpcError,
    Stream,
    StreamCall,
    Unary,
)

SERVICE = "grpc.health.v1.Health"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


def _service_of(payload: bytes) -> str:
    try:
        return cast(str, health_pb2.HealthCheckRequest.FromString(payload).service)
    except DecodeError:
        raise RpcError(
            Code.INVALID_ARGUMENT, "the bytes are not a grpc.health.v1.HealthCheckRequest"
        ) from None


def _reply(status: int) -> bytes:
    return cast(bytes, health_pb2.HealthCheckResponse(status=status).SerializeToString())


class Health:
    """One health for all services: the process serves all of them or none. ``""`` stands for the process."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = ["", *services]
        self._serving = False
        self._watchers: set[Callable[[], None]] = set()

    @property
    def serving(self) -> bool:
        return self._serving

    def set_serving(self, serving: bool) -> None:
        """Change the answer and tell every watcher, if it is a change."""
        if serving == self._serving:
            return
        self._serving = serving
        for tell in list(self._watchers):
            tell()

    def status(self, service: str) -> int:
        if service not in self._services:
            return int(SERVICE_UNKNOWN)
        return int(SERVING if self._serving else NOT_SERVING)

    def methods(self) -> MethodTable:
        table: MethodTable = {
            f"/{SERVICE}/Check": Unary(self._check, bounded=False, needs_serving=False),
            f"/{SERVICE}/Watch": Stream(lambda context, call: _Watch(self, call)),
        }
        if hasattr(health_pb2, "HealthListRequest"):
            table[f"/{SERVICE}/List"] = Unary(self._list, bounded=False, needs_serving=False)
        return table

    def subscribe(self, tell: Callable[[], None]) -> None:
        self._watchers.add(tell)

    def unsubscribe(self, tell: Callable[[], None]) -> None:
        self._watchers.discard(tell)

    def _check(self, payload: bytes, context: CallContext) -> bytes:
        status = self.status(_service_of(payload))
        if status == SERVICE_UNKNOWN:
            raise RpcError(Code.NOT_FOUND, "unknown service")
        return _reply(status)

    def _list(self, payload: bytes, context: CallContext) -> bytes:
        response = health_pb2.HealthListResponse()
        for service in self._services:
            response.statuses[service].status = self.status(service)
        return cast(bytes, response.SerializeToString())


class _Watch:
    """Sends the status at once and on every change, until the client goes."""

    def __init__(self, health: Health, call: StreamCall) -> None:
        self._health = health
        self._call = call
        self._service: str | None = None

    def on_message(self, payload: bytes) -> None:
        if self._service is not None:
            raise RpcError(Code.INVALID_ARGUMENT, "Watch takes one request")
        self._service = _service_of(payload)
        self._health.subscribe(self._tell)
        self._tell()

    def on_half_close(self) -> None:
        if self._service is None:
            raise RpcError(Code.INVALID_ARGUMENT, "Watch takes one request")

    def on_cancel(self) -> None:
        self._health.unsubscribe(self._tell)

    def _tell(self) -> None:
        assert self._service is not None
        self._call.send(_reply(self._health.status(self._service)))
