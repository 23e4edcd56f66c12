"""The client for asyncio."""

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Sequence
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import grpc
import grpc.aio

from quotelife_client import calls
from quotelife_client.calls import ServiceError
from quotelife_client.requests import (
    CHANNEL_OPTIONS,
    METHODS,
    PUBLISH_EVENTS,
    STREAM_EXPIRY,
    UNSET,
    Call,
    Requests,
    checked_address,
    checked_timeout_s,
    read_publish_events,
    read_stream_expiry,
    renamed,
)
from quotelife_client.streams import AsyncAsking, each_of
from quotelife_client.tls import Tls, secured
from quotelife_client.types import Expiry, ExpiryRequest, MarketEvent, PublishReceipt, WatchEvent
from quotelife_client.watching import OWN_CONNECTION, AsyncWatcher

P = ParamSpec("P")
T = TypeVar("T")


def _awaited(
    build: Callable[Concatenate[Requests, P], Call[T]],
) -> Callable[Concatenate["AsyncClient", P], Coroutine[Any, Any, T]]:
    """The method of the client that carries out what ``build`` builds."""

    @wraps(build)
    async def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            call = build(self._requests, *args, **kwargs)
        except TypeError as error:
            raise renamed(error, "AsyncClient") from None
        return await self._run(call)

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
        tls: Tls | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        """``address``: ``host:port`` or ``unix:/path``. ``timeout_s`` bounds each call, retries included.

        ``fallback_life_ns``: life to give when the service cannot answer; 0 declines, ``None`` raises. It runs
        from ``priced_at_utc_ns``, or from the call, and what is left of it on return is given: keep
        ``timeout_s`` well below it. A counterparty whose last answer was that of a kill gets DECLINE instead.

        ``tls``: encrypt, and say who we are (``Tls``), over TCP; without it, and without ``credentials`` of the
        caller's own making, the connection is in the clear.

        ``attempts_max``: how often a call is made, on UNAVAILABLE alone. ``options``: of the gRPC channel, such as
        ``("grpc.keepalive_time_ms", 30_000)``; they come after this client's own and replace them.
        """
        self._requests = Requests(timeout_s, attempts_max, fallback_life_ns)
        checked_address(address)
        credentials, secure = secured(address, tls, credentials)
        settings = [*CHANNEL_OPTIONS, *secure, *options]

        def connect(*more: tuple[str, Any]) -> Any:
            if credentials is None:
                return grpc.aio.insecure_channel(address, options=[*settings, *more])
            return grpc.aio.secure_channel(address, credentials, options=[*settings, *more])

        self._connect = connect
        self._channel: Any = connect()
        self._methods: dict[str, Any] = {
            path: self._channel.unary_unary(path, calls.serialize, reply.FromString)
            for path, reply in METHODS.items()
        }
        self._stream_expiry: Any = self._channel.stream_stream(
            STREAM_EXPIRY, calls.serialize, read_stream_expiry
        )
        self._publish_events: Any = self._channel.stream_unary(
            PUBLISH_EVENTS, calls.serialize, read_publish_events
        )
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
        """Return when the service says that it is serving. Raises ``TimeoutError`` that says why it is not, where that
        is known; to ask takes up to 0.1 s more."""
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
        try:
            await self._health(b"", timeout=calls.WHY_NOT_S)
            why = "it does not serve yet"
        except grpc.RpcError as error:
            why = calls.service_error(error).message
        raise TimeoutError(f"the service was not ready within {timeout_s} s: {why}")

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise RuntimeError("the client is closed")

    get_expiry = _awaited(Requests.get_expiry)
    batch_get_expiry = _awaited(Requests.batch_get_expiry)
    publish_news = _awaited(Requests.publish_news)
    publish_headline = _awaited(Requests.publish_headline)
    publish_volatility_index = _awaited(Requests.publish_volatility_index)
    publish_inventory = _awaited(Requests.publish_inventory)
    publish_greeks = _awaited(Requests.publish_greeks)
    publish_calendar = _awaited(Requests.publish_calendar)
    status = _awaited(Requests.status)
    report_outcomes = _awaited(Requests.report_outcomes)
    counterparty = _awaited(Requests.counterparty)
    counterparties = _awaited(Requests.counterparties)
    set_override = _awaited(Requests.set_override)
    clear_override = _awaited(Requests.clear_override)
    overrides = _awaited(Requests.overrides)
    reload = _awaited(Requests.reload)
    kill = _awaited(Requests.kill)
    enable = _awaited(Requests.enable)
    models = _awaited(Requests.models)
    load_model = _awaited(Requests.load_model)
    unload_model = _awaited(Requests.unload_model)
    promote_model = _awaited(Requests.promote_model)
    rollback_model = _awaited(Requests.rollback_model)
    set_canary = _awaited(Requests.set_canary)
    clear_model_failures = _awaited(Requests.clear_model_failures)
    end_step_down = _awaited(Requests.end_step_down)

    def watch(
        self,
        owner: str,
        *,
        heartbeat_s: float | None = None,
        lease_s: float | None = None,
        resume: bool = False,
        on_event: Callable[[WatchEvent], None] | None = None,
        open_timeout_s: float = 5.0,
    ) -> AsyncWatcher:
        """Have live quotes watched: ``async with client.watch("oms-1") as watcher``, over a connection of its own.

        ``owner``: a name that no other stream has. ``heartbeat_s``: how often the service is to hear us, by default as
        often as we hear it. ``lease_s``: how long a heartbeat of the service lets quotes live beyond the life that they
        would have without a watch, 0.02 to 60, by default as the service says. ``resume``: go on with what this owner
        had watched before, after a restart of ours.
        ``on_event``: called in the loop for each event, which then come by no iteration; it must not block.
        """
        self._refuse_if_closed()
        return AsyncWatcher(
            lambda: self._connect(*OWN_CONNECTION),
            self.get_expiry,
            owner,
            heartbeat_s=heartbeat_s,
            lease_s=lease_s,
            resume=resume,
            on_event=on_event,
            open_timeout_s=open_timeout_s,
        )

    async def stream_expiry(
        self,
        requests: Iterable[ExpiryRequest] | AsyncIterable[ExpiryRequest],
        *,
        timeout_s: float | None = None,
        fallback_life_ns: int | None = UNSET,
    ) -> AsyncIterator[Expiry | ServiceError]:
        """``Client.stream_expiry`` as an asynchronous generator; requests are drawn ahead of the answers."""
        end_s = None if timeout_s is None else time.monotonic() + checked_timeout_s(timeout_s)
        asking = AsyncAsking(requests, self._requests.asked_on(fallback_life_ns))
        try:
            while await asking.more():
                self._refuse_if_closed()
                left_s = None if end_s is None else max(0.0, end_s - time.monotonic())
                call = self._stream_expiry(timeout=left_s)
                sender = asyncio.ensure_future(asking.send(call))
                failed = None
                try:
                    while (reply := await call.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
                        yield asking.answer(reply)
                    if await call.code() is not grpc.StatusCode.OK:
                        failed = ServiceError(*calls.end_of_call(await call.code(), await call.details()))
                except grpc.RpcError as error:
                    failed = calls.service_error(error)
                except asyncio.CancelledError:
                    if not self._closed:
                        raise
                    failed = ServiceError(grpc.StatusCode.CANCELLED, "the client is closed")
                finally:
                    sender.cancel()
                    call.cancel()
                if self._closed and failed is not None:  # the caller's own doing
                    raise failed
                for answer in asking.broken(failed):
                    yield answer
        finally:
            asking.close()

    async def publish_events(
        self,
        messages: Iterable[Iterable[MarketEvent]] | AsyncIterable[Iterable[MarketEvent]],
        *,
        timeout_s: float | None = None,
    ) -> PublishReceipt:
        """``Client.publish_events`` as a coroutine."""
        self._refuse_if_closed()
        call = self._publish_events(timeout=None if timeout_s is None else checked_timeout_s(timeout_s))
        try:
            async for events in each_of(messages):
                await call.write(calls.market_message(events))
            await call.done_writing()
            return calls.read_receipt(await call)
        except grpc.RpcError as error:
            raise calls.service_error(error) from None
        except asyncio.InvalidStateError:  # it ended while we were writing
            try:
                return calls.read_receipt(await call)
            except grpc.RpcError as error:
                raise calls.service_error(error) from None
        finally:
            call.cancel()

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
