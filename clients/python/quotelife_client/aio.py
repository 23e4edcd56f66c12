"""The client for asyncio."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import grpc
import grpc.aio

from quotelife_client import calls
from quotelife_client.calls import ServiceError
from quotelife_client.requests import METHODS, Call, Requests, checked_timeout_s

P = ParamSpec("P")
T = TypeVar("T")


def _awaited(
    build: Callable[Concatenate[Requests, P], Call[T]],
) -> Callable[Concatenate["AsyncClient", P], Coroutine[Any, Any, T]]:
    """The method of the client that carries out what ``build`` builds."""

    @wraps(build)
    async def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._run(build(self._requests, *args, **kwargs))

    return method


class AsyncClient:
    """``Client`` as coroutines, for the event loop it was made in."""

    def __init__(
        self,
        address: str,
        *,
        timeout_s: float = 0.25,
        attempts_max: int = 3,
        fallback_life_ns: int | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        """``address``: ``host:port`` or ``unix:/path``. ``timeout_s`` bounds each call, retries included.

        ``fallback_life_ns``: life to give when the service cannot answer; 0 declines, ``None`` raises. It runs
        from ``priced_at_utc_ns``, or from the call, and what is left of it on return is given: keep
        ``timeout_s`` well below it.
        """
        self._requests = Requests(timeout_s, attempts_max, fallback_life_ns)
        # Retries are made here, where the deadline and the request id are known.
        settings = [("grpc.enable_retries", 0), *options]
        self._channel: Any = (
            grpc.aio.insecure_channel(address, options=settings)
            if credentials is None
            else grpc.aio.secure_channel(address, credentials, options=settings)
        )
        self._methods: dict[str, Any] = {
            path: self._channel.unary_unary(path, calls.serialize, reply.FromString)
            for path, reply in METHODS.items()
        }
        self._health: Any = self._channel.unary_unary(calls.HEALTH_CHECK, None, None)
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        self._closed = True
        await self._channel.close()

    async def wait_ready(self, timeout_s: float) -> None:
        """Return when the service says that it is serving. Raises ``TimeoutError``."""
        end_s = time.monotonic() + checked_timeout_s(timeout_s)
        while (left_s := end_s - time.monotonic()) > 0:
            self._refuse_if_closed()
            try:
                reply = await self._health(b"", timeout=left_s, wait_for_ready=True)
                if reply == calls.HEALTH_SERVING:
                    return
            except grpc.RpcError as error:
                if calls.service_error(error).code is grpc.StatusCode.UNIMPLEMENTED:
                    raise
            await asyncio.sleep(min(0.02, max(0.0, end_s - time.monotonic())))
        raise TimeoutError(f"the service was not ready within {timeout_s} s")

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise RuntimeError("the client is closed")

    get_expiry = _awaited(Requests.get_expiry)
    publish_news = _awaited(Requests.publish_news)
    publish_volatility_index = _awaited(Requests.publish_volatility_index)
    publish_inventory = _awaited(Requests.publish_inventory)
    status = _awaited(Requests.status)
    set_override = _awaited(Requests.set_override)
    clear_override = _awaited(Requests.clear_override)
    overrides = _awaited(Requests.overrides)
    reload = _awaited(Requests.reload)

    async def _run(self, call: Call[T]) -> T:
        method = self._methods[call.method]
        try:
            while True:
                self._refuse_if_closed()
                try:
                    reply = await method(call.request, timeout=call.remaining_s())
                    break
                except grpc.RpcError as error:
                    pause_s = call.pause_s(error)
                await asyncio.sleep(pause_s)
        except ServiceError as failed:
            if self._closed:  # the caller's own doing
                raise
            return call.otherwise(failed)
        return call.read(reply)
