"""The blocking client."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import grpc

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
from quotelife_client.streams import Asking, Handing
from quotelife_client.tls import Tls, secured
from quotelife_client.types import Expiry, ExpiryRequest, MarketEvent, PublishReceipt
from quotelife_client.watching import OWN_CONNECTION, Watcher

P = ParamSpec("P")
T = TypeVar("T")


def _waited_for(
    build: Callable[Concatenate[Requests, P], Call[T]],
) -> Callable[Concatenate["Client", P], T]:
    """The method of the client that carries out what ``build`` builds."""

    @wraps(build)
    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            call = build(self._requests, *args, **kwargs)
        except TypeError as error:
            raise renamed(error, "Client") from None
        return self._run(call)

    return method


class Client:
    """Asks the service and waits for the answer. Safe to share between threads; makes none of its own."""

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
                return grpc.insecure_channel(address, options=[*settings, *more])
            return grpc.secure_channel(address, credentials, options=[*settings, *more])

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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._closed = True
        self._channel.close()

    def wait_ready(self, timeout_s: float) -> None:
        """Return when the service says that it is serving. Raises ``TimeoutError`` that says why it is not, where that
        is known; to ask takes up to 0.1 s more."""
        end_s = time.monotonic() + checked_timeout_s(timeout_s)
        while (left_s := end_s - time.monotonic()) > 0:
            self._refuse_if_closed()
            try:
                reply = self._health(b"", timeout=left_s, wait_for_ready=True)
                if reply == calls.HEALTH_SERVING:
                    return
            except grpc.RpcError as error:
                if calls.service_error(error).code is grpc.StatusCode.UNIMPLEMENTED:
                    raise
            time.sleep(min(0.02, max(0.0, end_s - time.monotonic())))
        try:
            self._health(b"", timeout=calls.WHY_NOT_S)
            why = "it does not serve yet"
        except grpc.RpcError as error:
            why = calls.service_error(error).message
        raise TimeoutError(f"the service was not ready within {timeout_s} s: {why}")

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise RuntimeError("the client is closed")

    get_expiry = _waited_for(Requests.get_expiry)
    batch_get_expiry = _waited_for(Requests.batch_get_expiry)
    publish_news = _waited_for(Requests.publish_news)
    publish_headline = _waited_for(Requests.publish_headline)
    publish_volatility_index = _waited_for(Requests.publish_volatility_index)
    publish_inventory = _waited_for(Requests.publish_inventory)
    publish_greeks = _waited_for(Requests.publish_greeks)
    publish_calendar = _waited_for(Requests.publish_calendar)
    status = _waited_for(Requests.status)
    report_outcomes = _waited_for(Requests.report_outcomes)
    counterparty = _waited_for(Requests.counterparty)
    counterparties = _waited_for(Requests.counterparties)
    set_override = _waited_for(Requests.set_override)
    clear_override = _waited_for(Requests.clear_override)
    overrides = _waited_for(Requests.overrides)
    reload = _waited_for(Requests.reload)
    kill = _waited_for(Requests.kill)
    enable = _waited_for(Requests.enable)
    models = _waited_for(Requests.models)
    load_model = _waited_for(Requests.load_model)
    unload_model = _waited_for(Requests.unload_model)
    promote_model = _waited_for(Requests.promote_model)
    rollback_model = _waited_for(Requests.rollback_model)
    set_canary = _waited_for(Requests.set_canary)
    clear_model_failures = _waited_for(Requests.clear_model_failures)
    end_step_down = _waited_for(Requests.end_step_down)

    def watch(
        self,
        owner: str,
        *,
        heartbeat_s: float | None = None,
        lease_s: float | None = None,
        resume: bool = False,
    ) -> Watcher:
        """Have live quotes watched, over a connection of its own: iterate what is returned in a thread of yours.

        ``owner``: a name that no other stream has. ``heartbeat_s``: how often the service is to hear us, by default as
        often as we hear it. ``lease_s``: how long a heartbeat of the service lets quotes live beyond the life that they
        would have without a watch, 0.02 to 60, by default as the service says. ``resume``: go on with what this owner
        had watched before, after a restart of ours.
        """
        self._refuse_if_closed()
        return Watcher(
            lambda: self._connect(*OWN_CONNECTION),
            self.get_expiry,
            owner,
            heartbeat_s=heartbeat_s,
            lease_s=lease_s,
            resume=resume,
        )

    def stream_expiry(
        self,
        requests: Iterable[ExpiryRequest],
        *,
        timeout_s: float | None = None,
        fallback_life_ns: int | None = UNSET,
    ) -> Iterator[Expiry | ServiceError]:
        """Answers in the order of the requests, over one long stream; ends with the requests.

        ``requests`` may go on for as long as one likes; gRPC draws them in a thread of its own, ahead of the
        answers. A request that was refused has its ``ServiceError`` in its place. ``timeout_s`` bounds the
        whole, ``None`` nothing. When the stream breaks, requests that are out get their fallback, as by
        ``get_expiry``, and the next one opens another stream; without a fallback the ``ServiceError`` is raised.
        """
        end_s = None if timeout_s is None else time.monotonic() + checked_timeout_s(timeout_s)
        asking = Asking(requests, self._requests.asked_on(fallback_life_ns))
        while asking.more():
            self._refuse_if_closed()
            left_s = None if end_s is None else max(0.0, end_s - time.monotonic())
            call = self._stream_expiry(asking.outgoing(), timeout=left_s)
            failed = None
            try:
                for reply in call:
                    yield asking.answer(reply)
            except grpc.RpcError as error:
                failed = calls.service_error(error)
            finally:
                call.cancel()
            if self._closed and failed is not None:  # the caller's own doing
                raise failed
            yield from asking.broken(failed)

    def publish_events(
        self, messages: Iterable[Iterable[MarketEvent]], *, timeout_s: float | None = None
    ) -> PublishReceipt:
        """Publish venue messages, each applied whole or not at all, until ``messages`` ends; then the receipt.

        Not retried: the end of the stream distrusts its books, a new one begins with snapshots. ``timeout_s``
        bounds the whole, ``None`` nothing. Raises ``ServiceError``.
        """
        self._refuse_if_closed()
        handing = Handing(messages)
        left_s = None if timeout_s is None else checked_timeout_s(timeout_s)
        try:
            reply = self._publish_events(handing.outgoing(), timeout=left_s)
        except grpc.RpcError as error:
            handing.raise_own_failure()
            raise calls.service_error(error) from None
        handing.raise_own_failure()
        return calls.read_receipt(reply)

    def _run(self, call: Call[T]) -> T:
        method = self._methods[call.method]
        try:
            while True:
                self._refuse_if_closed()
                try:
                    reply = method(call.request, timeout=call.remaining_s())
                    break
                except grpc.RpcError as error:
                    pause_s = call.pause_s(error)
                time.sleep(pause_s)
        except ServiceError as failed:
            if self._closed:  # the caller's own doing
                raise
            return call.otherwise(failed)
        return call.read(reply)
