"""Watching live quotes: over one stream after another, with the view of ``watch_view`` in between.

``AsyncWatcher`` is one task of the loop that it was made in. ``Watcher`` makes no thread of its own: whoever iterates
it reads the stream, and gRPC's thread, which draws what is sent, sends heartbeats and notices silence.
"""

import asyncio
import contextlib
import logging
import random
import secrets
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quotelife_client import calls
from quotelife_client.calls import ServiceError
from quotelife_client.types import (
    Expiry,
    ExpiryRequest,
    Number,
    QuoteState,
    SizeUnit,
    WatchEvent,
    WithdrawReason,
)
from quotelife_client.watch_view import WatchView

WATCH_QUOTES = "/quote_expiry.v1.QuoteExpiryService/WatchQuotes"
read_watch_quotes = expiry.WatchQuotesResponse.FromString

BACKOFF_FIRST_S = 0.02
BACKOFF_MAX_S = 1.0
OPEN_S = 2.0  # for the service to answer the opening of a stream, before another is tried
STEP_S = 0.05
CLOSE_S = 0.2  # for what was said last to reach the service, before the stream is cancelled
LEAST_TICK_NS = 1_000_000
EVENTS_MAX = 262_144
# A connection of its own: one that is dead without a word is left as soon as its silence shows.
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)

_log = logging.getLogger(__name__)

# The request is wrong and stays wrong, whatever is tried.
_FATAL = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.FAILED_PRECONDITION,
    }
)


class _Watching:
    """What both watchers share: the view, how long to wait, what the caller says."""

    def __init__(self, owner: str, heartbeat_s: float | None, lease_s: float | None, resume: bool) -> None:
        self._view = WatchView(
            owner or secrets.token_hex(8),
            heartbeat_ns=None if heartbeat_s is None else round(heartbeat_s * 1e9),
            lease_ns=None if lease_s is None else round(lease_s * 1e9),
            resume=resume,
        )
        self._closed = False
        self._failure: Exception | None = None
        self._backoff_s = BACKOFF_FIRST_S
        self._opening_until_ns = 0
        self.connections = 0  # streams that the service has opened

    @property
    def owner(self) -> str:
        """The stream's name: ``watch_owner`` of requests that are to be watched by it."""
        return self._view.owner

    @property
    def alive(self) -> bool:
        """The stream stands and the service was heard within its bound."""
        return not self._closed and self._view.alive(time.monotonic_ns())

    def live(self, quote_id: str) -> bool:
        """May the quote be thought of as live? False as soon as its end has passed by the service's clock, it was
        withdrawn, filled or cancelled, or the service is not heard: the stream is broken, or silent beyond its bound;
        beyond the end that it would have without a watch, as soon as its lease has run out.
        Any thread; no waiting."""
        return not self._closed and self._view.live(quote_id, time.monotonic_ns())

    def live_quotes(self) -> list[str]:
        """Ids of all that are."""
        return [] if self._closed else self._view.live_quotes(time.monotonic_ns())

    def withdrawn(self, quote_id: str) -> WithdrawReason | None:
        """Why it was withdrawn; ``None`` where it was not, or that is long ago."""
        return self._view.withdrawn(quote_id)

    def _raise_failure(self) -> None:
        """What is said of quotes now would wait for a stream that never comes."""
        if self._failure is not None:
            raise self._failure

    def _took(self, opened: bool) -> None:
        if opened:
            self._backoff_s = BACKOFF_FIRST_S
            self.connections += 1

    def _pause_s(self) -> float:
        pause_s = random.uniform(0.5, 1.0) * self._backoff_s
        self._backoff_s = min(2 * self._backoff_s, BACKOFF_MAX_S)
        return pause_s

    def _began(self) -> None:
        self._opening_until_ns = time.monotonic_ns() + round(OPEN_S * 1e9)

    def _dead(self, now_ns: int) -> bool:
        """The stream is silent beyond its bound, or its opening takes too long."""
        if self._view.is_open:
            return not self._view.alive(now_ns)
        return now_ns > self._opening_until_ns

    def _interval_s(self) -> float:
        return self._view.interval_ns / 2e9  # twice as often as we said: one that is late is no miss


def _size_text(remaining: Number | None) -> str | None:
    return None if remaining is None else calls.decimal_text("remaining", remaining)


def _whole(quote: ExpiryRequest | None) -> expiry.GetExpiryRequest | None:
    return None if quote is None else calls.request_message(quote)


class AsyncWatcher(_Watching):
    """``AsyncClient.watch``: a context manager and an asynchronous iterator of ``WatchEvent``.

    One task reads and another writes as long as it is open; broken streams are opened anew. A WITHDRAW is acknowledged
    when the caller has it: after ``on_event`` has returned, or when the iterator gives it. Where ``on_event`` raises,
    the next event comes all the same, and a WITHDRAW comes again when the service repeats it; ``errors`` counts, and
    ``first_error``, which is logged, says why. Quotes of a stream that is
    not back when the service has been silent for its bound are withdrawn with reason WATCH_LOST; those past the end
    that they would have without a watch as soon as no heartbeat has renewed their lease in time.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        get_expiry: Callable[..., Any],
        owner: str,
        *,
        heartbeat_s: float | None,
        lease_s: float | None,
        resume: bool,
        on_event: Callable[[WatchEvent], None] | None,
        open_timeout_s: float,
    ) -> None:
        super().__init__(owner, heartbeat_s, lease_s, resume)
        self._connect = connect
        self._get_expiry = get_expiry
        self._on_event = on_event
        self._open_timeout_s = open_timeout_s
        self._events: asyncio.Queue[WatchEvent | None] = asyncio.Queue()
        self._opened = asyncio.Event()
        self._wake = asyncio.Event()
        self._call: Any = None
        self._task: asyncio.Task[None] | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self._ticks_ns = 0  # when it fires
        self.errors = 0  # events that ``on_event`` has raised for
        self.first_error: Exception | None = None

    async def __aenter__(self) -> Self:
        """Raises ``ServiceError`` where the service refuses the stream, ``TimeoutError`` where it cannot be had."""
        self._task = asyncio.create_task(self._run(), name=f"watch-{self.owner}")
        self._tick()
        waiting = asyncio.ensure_future(self._opened.wait())
        try:
            await asyncio.wait(
                (waiting, self._task), timeout=self._open_timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
            self._raise_failure()
            if not self._opened.is_set():
                raise TimeoutError(f"no watch could be opened within {self._open_timeout_s} s")
        except BaseException:
            await self.close()
            raise
        finally:
            waiting.cancel()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the watch: the service counts what is live as withdrawn, and so does the view. What was said before still
        goes out, where the stream stands and takes it within 0.2 s."""
        standing = self.alive
        self._closed = True
        if self._ticker is not None:
            self._ticker.cancel()
        try:
            if self._task is not None:
                if standing:
                    self._wake.set()
                    await asyncio.wait((self._task,), timeout=CLOSE_S)
                self._task.cancel()
                await asyncio.gather(self._task, return_exceptions=True)
        finally:
            if self._task is not None:
                self._task.cancel()
            self._view.broken()
            self._events.put_nowait(None)

    def __aiter__(self) -> AsyncIterator[WatchEvent]:
        return self

    async def __anext__(self) -> WatchEvent:
        """Raises what has ended the watch for good: ``ServiceError`` where the service has refused the stream."""
        event = await self._events.get()
        if event is None:
            self._events.put_nowait(None)
            self._raise_failure()
            raise StopAsyncIteration
        self._acknowledge(event)
        return event

    async def get_expiry(self, quote_id: str, **fields: Any) -> Expiry:
        """``AsyncClient.get_expiry`` with the quote watched from its decision on; ``watched`` says whether it is.

        Raises ``ValueError`` for an id that is live or has ended, what has ended the watch for good, and as that does.
        """
        self._raise_failure()
        self._view.expect(quote_id)
        answer = None
        try:
            answer = await self._get_expiry(quote_id=quote_id, watch=True, watch_owner=self.owner, **fields)
        finally:
            self._view.answered(quote_id, answer)
        self._tick_in_time()
        assert isinstance(answer, Expiry)
        return answer

    def register(self, quote_id: str, *, decision_id: str = "", quote: ExpiryRequest | None = None) -> None:
        """Have a quote watched whose life was given before, or a whole one. An event says what came of it.

        Raises ``ValueError``, ``ConnectionError`` while the stream does not stand, what has ended the watch for good.
        """
        self._raise_failure()
        self._view.register(quote_id, decision_id=decision_id, quote=_whole(quote))
        self._wake.set()

    def update(
        self,
        quote_id: str,
        state: QuoteState,
        *,
        remaining: Number | None = None,
        size_unit: SizeUnit = SizeUnit.BASE_QUANTITY,
    ) -> None:
        """What has become of a quote: filled, partly filled with ``remaining`` left, cancelled. Raises what has ended
        the watch for good, ``ConnectionError`` where too many wait for a stream to take them."""
        self._raise_failure()
        self._view.update(quote_id, state, _size_text(remaining), size_unit)
        self._wake.set()

    def _acknowledge(self, event: WatchEvent) -> None:
        self._view.acknowledge(event)
        if self._view.outgoing:
            self._wake.set()

    def _deliver(self, events: list[WatchEvent]) -> None:
        if self._on_event is not None:
            for event in events:
                try:
                    self._on_event(event)
                except Exception as error:  # the caller's: the others are to be known all the same
                    self._view.missed(event)
                    self._raised(event, error)
                else:
                    self._acknowledge(event)
            return
        for event in events:
            self._events.put_nowait(event)
        if self._events.qsize() > EVENTS_MAX and self._call is not None:
            self._call.cancel()  # nobody acts on them: the service is to know

    def _raised(self, event: WatchEvent, error: Exception) -> None:
        self.errors += 1
        if self.first_error is None:
            self.first_error = error
            text = "on_event has raised for %s of %r; others of its errors are counted only"
            _log.error(text, event.kind.name, event.quote_id, exc_info=error)

    async def _run(self) -> None:
        try:
            await self._stream_on()
        except Exception as error:  # nobody awaits this task: whoever asks for events is told
            self._failure = error
            self._deliver(self._view.broken())
            self._events.put_nowait(None)

    async def _stream_on(self) -> None:
        while not self._closed:
            self._began()
            failed = await self._stream()
            if self._closed:
                return
            self._deliver(self._view.broken())
            if failed is not None and failed.code in _FATAL:
                self._failure = failed
                self._events.put_nowait(None)
                return
            await asyncio.sleep(self._pause_s())

    async def _stream(self) -> ServiceError | None:
        """One stream, until it ends; why it did."""
        channel = self._connect()
        call = self._call = channel.stream_stream(WATCH_QUOTES, calls.serialize, read_watch_quotes)()
        sender = asyncio.create_task(self._send(call))
        try:
            while (message := await call.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
                was_open, interval_ns = self._view.is_open, self._view.interval_ns
                events = self._view.take(message, time.monotonic_ns())
                if self._view.is_open and not was_open:
                    self._took(opened=True)
                    self._opened.set()
                self._deliver(events)
                self._tick_in_time()
                if self._view.outgoing or self._view.interval_ns < interval_ns:
                    self._wake.set()
            return ServiceError(*calls.end_of_call(await call.code(), await call.details()))
        except grpc.RpcError as error:
            return calls.service_error(error)
        except asyncio.CancelledError:
            if self._closed or (task := asyncio.current_task()) is None or task.cancelling():
                raise
            return ServiceError(grpc.StatusCode.UNAVAILABLE, "the service was not heard")
        finally:
            self._call = None
            sender.cancel()
            call.cancel()
            await channel.close()

    async def _send(self, call: Any) -> None:
        try:
            await call.write(self._view.opening())
            while True:
                if not (self._view.is_open and self._view.outgoing):
                    if self._closed:
                        await call.done_writing()
                        return
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._wake.wait(), self._interval_s())
                self._wake.clear()
                if self._view.is_open:
                    await call.write(self._view.take_outgoing(time.monotonic_ns()))
        except (grpc.RpcError, asyncio.InvalidStateError):
            return  # the reader says how it ended

    def _tick(self) -> None:
        now_ns = time.monotonic_ns()
        self._deliver(self._view.tick(now_ns))
        if self._view.outgoing:
            self._wake.set()
        if self._call is not None and self._dead(now_ns):
            self._call.cancel()
        if not self._closed:
            self._tick_at(now_ns, now_ns + self._view.silence_ns // 8)
            self._tick_in_time()

    def _tick_in_time(self) -> None:
        """No later than a lease may run out."""
        due_ns = self._view.due_ns()
        if due_ns is not None and due_ns < self._ticks_ns and not self._closed:
            now_ns = time.monotonic_ns()
            self._tick_at(now_ns, max(due_ns, now_ns + LEAST_TICK_NS))

    def _tick_at(self, now_ns: int, at_ns: int) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
        self._ticks_ns = at_ns
        self._ticker = asyncio.get_running_loop().call_later((at_ns - now_ns) / 1e9, self._tick)


class Watcher(_Watching):
    """``Client.watch``: a context manager and an iterator of ``WatchEvent``, to be iterated by one thread.

    That thread reads the stream and opens it anew where it breaks: without it nothing is taken in, the view goes silent
    and no quote is live. All else may be called by any thread. A WITHDRAW is acknowledged when the iteration asks for
    the next event. Quotes of a stream that is not back when the service has been silent for its bound are withdrawn
    with reason WATCH_LOST; those whose lease has run out are live no more at once, and told with the next message, or
    when the silence shows.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        get_expiry: Callable[..., Expiry],
        owner: str,
        *,
        heartbeat_s: float | None,
        lease_s: float | None,
        resume: bool,
    ) -> None:
        super().__init__(owner, heartbeat_s, lease_s, resume)
        self._connect = connect
        self._get_expiry = get_expiry
        self._changed = threading.Condition()
        self._call: Any = None
        self._streams = 0
        self._ending = False  # what waits for this stream goes out, and it ends
        self._events: deque[WatchEvent] = deque()  # to be given to whoever iterates

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the watch; the iteration ends too. The service counts what is live as withdrawn, and so does the view.
        What was said before still goes out, where the stream stands and takes it within 0.2 s."""
        with self._changed:
            standing = self.alive
            self._closed = True
            call = self._call
            self._changed.notify_all()
        if call is not None:
            if standing:
                self._finish(call)
            call.cancel()
        with self._changed:
            self._view.broken()
            self._changed.notify_all()

    def _finish(self, call: Any) -> None:
        """What waits goes out, and the service has said that it has read it, or time is up."""
        done = threading.Event()
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        if call.add_callback(done.set):  # else it has ended
            done.wait(CLOSE_S)

    def wait_open(self, timeout_s: float) -> None:
        """Return when the stream stands: another thread iterates. Raises ``ServiceError``, ``TimeoutError``."""
        with self._changed:
            self._changed.wait_for(lambda: self._view.is_open or self._failure or self._closed, timeout_s)
            self._raise_failure()
            if not self._view.is_open:
                raise TimeoutError(f"no watch could be opened within {timeout_s} s")

    def get_expiry(self, quote_id: str, **fields: Any) -> Expiry:
        """As ``AsyncWatcher.get_expiry``, of ``Client.get_expiry``."""
        with self._changed:
            self._raise_failure()
            self._view.expect(quote_id)
        answer = None
        try:
            answer = self._get_expiry(quote_id=quote_id, watch=True, watch_owner=self.owner, **fields)
        finally:
            with self._changed:
                self._view.answered(quote_id, answer)
        return answer

    def register(self, quote_id: str, *, decision_id: str = "", quote: ExpiryRequest | None = None) -> None:
        """As ``AsyncWatcher.register``."""
        with self._changed:
            self._raise_failure()
            self._view.register(quote_id, decision_id=decision_id, quote=_whole(quote))
            self._changed.notify_all()

    def update(
        self,
        quote_id: str,
        state: QuoteState,
        *,
        remaining: Number | None = None,
        size_unit: SizeUnit = SizeUnit.BASE_QUANTITY,
    ) -> None:
        """As ``AsyncWatcher.update``."""
        with self._changed:
            self._raise_failure()
            self._view.update(quote_id, state, _size_text(remaining), size_unit)
            self._changed.notify_all()

    def __iter__(self) -> Iterator[WatchEvent]:
        """Raises ``ServiceError`` where the service refuses the stream for good."""
        yield from self._handed([])
        while not self._closed:
            self._began()
            failed = yield from self._stream()
            with self._changed:
                events = self._view.broken()
            yield from self._handed(events)
            if failed is not None and failed.code in _FATAL and not self._closed:
                with self._changed:
                    self._failure = failed
                    self._changed.notify_all()
                raise failed
            yield from self._pause(self._pause_s())

    def _stream(self) -> Generator[WatchEvent, None, ServiceError | None]:
        """One stream, until it ends; returns why it did."""
        channel = self._connect()
        try:
            ready = grpc.channel_ready_future(channel)
            while not self._closed:
                try:
                    ready.result(timeout=STEP_S)
                    break
                except grpc.FutureTimeoutError:
                    yield from self._pause(0.0)
                    if time.monotonic_ns() > self._opening_until_ns:
                        ready.cancel()
                        return None
            with self._changed:
                self._streams += 1
                self._ending = False
                if self._closed:
                    return None
                method = channel.stream_stream(WATCH_QUOTES, calls.serialize, read_watch_quotes)
                call = self._call = method(self._outgoing(self._streams))
            try:
                for message in call:
                    with self._changed:
                        was_open = self._view.is_open
                        events = self._view.take(message, time.monotonic_ns())
                        events += self._view.tick(time.monotonic_ns())
                        if self._view.is_open and not was_open:
                            self._took(opened=True)
                        self._changed.notify_all()
                    yield from self._handed(events)
                return None
            except grpc.RpcError as error:
                return calls.service_error(error)
            except GeneratorExit:  # the iteration is given up
                if self.alive:
                    self._finish(call)
                raise
            finally:
                with self._changed:
                    self._call = None
                    self._streams += 1  # what is drawn for this stream ends
                    self._changed.notify_all()
                call.cancel()
        finally:
            channel.close()

    def _handed(self, events: list[WatchEvent]) -> Iterator[WatchEvent]:
        self._events.extend(events)  # of an iteration that was given up, too
        while self._events:
            event = self._events.popleft()
            asked = False
            try:
                yield event
                asked = True
            finally:
                with self._changed:
                    if asked:
                        self._view.acknowledge(event)
                    else:
                        self._view.missed(event)
                    if self._view.outgoing:
                        self._changed.notify_all()

    def _pause(self, pause_s: float) -> Iterator[WatchEvent]:
        """So long, and at least once: what time does meanwhile."""
        end_s = time.monotonic() + pause_s
        while not self._closed:
            with self._changed:
                events = self._view.tick(time.monotonic_ns())
            yield from self._handed(events)
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                return
            with self._changed:
                self._changed.wait(min(left_s, STEP_S))

    def _outgoing(self, stream: int) -> Iterator[expiry.WatchQuotesRequest]:
        """Drawn by gRPC's thread, for one stream."""
        with self._changed:
            opening = self._view.opening()
        yield opening
        while True:
            with self._changed:
                waits = self._view.is_open and self._view.outgoing
                if not waits and not self._ending and not self._closed:
                    self._changed.wait(self._interval_s())
                if stream != self._streams:
                    return
                if (self._ending or self._closed) and not (self._view.is_open and self._view.outgoing):
                    return
                if self._dead(time.monotonic_ns()):
                    call = self._call
                    break
                message = self._view.take_outgoing(time.monotonic_ns()) if self._view.is_open else None
            if message is not None:
                yield message
        if call is not None:
            call.cancel()
