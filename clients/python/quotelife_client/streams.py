"""Requests on their way over long streams, and what becomes of them when a stream breaks."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quotelife_client import calls
from quotelife_client.calls import ServiceError
from quotelife_client.requests import Asked
from quotelife_client.types import Expiry, ExpiryRequest, MarketEvent

T = TypeVar("T")

Answer = Expiry | ServiceError


class _Asking:
    """Requests that are out, oldest first, and the one that no stream has taken yet."""

    def __init__(self, ask: Callable[[ExpiryRequest], Asked]) -> None:
        self._ask = ask
        self._next: Asked | None = None
        self._out: deque[Asked] = deque()
        self._tag = 0
        self._ended = False
        self._failure: BaseException | None = None  # of the caller's own iterator

    def _take(self) -> Message:
        """The next request goes out."""
        asked, self._next = self._next, None
        assert asked is not None
        self._out.append(asked)
        self._tag += 1
        return expiry.StreamExpiryRequest(tag=self._tag, request=asked.message)

    def answer(self, reply: expiry.StreamExpiryResponse) -> Answer:
        return self._out.popleft().read(reply.result)

    def _given_up(self, error: ServiceError | None) -> list[Answer]:
        if self._failure is not None:
            raise self._failure
        if not self._out and self._next is not None:  # what the stream was opened for did not get out at all
            self._take()
        if error is None:
            error = ServiceError(grpc.StatusCode.UNAVAILABLE, "the stream ended before its answers")
        if not self._out and not error.could_not_answer:
            raise error
        out = list(self._out)
        self._out.clear()
        return [asked.instead(error) for asked in out]


class Asking(_Asking):
    """Of a blocking client. gRPC draws requests in a thread of its own, one a stream: a thread that still waits for
    the caller's iterator when its stream breaks leaves what it gets to the next stream."""

    def __init__(self, requests: Iterable[ExpiryRequest], ask: Callable[[ExpiryRequest], Asked]) -> None:
        super().__init__(ask)
        self._requests = iter(requests)
        self._drawing = threading.Lock()
        self._changing = threading.Lock()
        self._stream = 0

    def more(self) -> bool:
        """Wait for the next request; false when there is none. Raises what the caller's iterator raises."""
        self._draw()
        if self._failure is not None:
            raise self._failure
        return self._next is not None

    def _draw(self) -> None:
        with self._drawing:
            if self._next is None and not self._ended:
                try:
                    self._next = self._ask(next(self._requests))
                except StopIteration:
                    self._ended = True
                except BaseException as error:
                    self._failure = error
                    self._ended = True

    def outgoing(self) -> Iterator[Message]:
        """What gRPC draws for one stream, from now on the only one."""
        self._stream += 1
        stream = self._stream

        def messages() -> Iterator[Message]:
            while True:
                self._draw()
                with self._changing:
                    if stream != self._stream or self._next is None:
                        return
                    message = self._take()
                yield message

        return messages()

    def broken(self, error: ServiceError | None) -> list[Answer]:
        """The stream is over: what stands in for answers still to come. Raises the error where nothing may."""
        with self._changing:
            self._stream += 1
            return self._given_up(error)


class AsyncAsking(_Asking):
    """Of an asyncio client."""

    def __init__(
        self,
        requests: Iterable[ExpiryRequest] | AsyncIterable[ExpiryRequest],
        ask: Callable[[ExpiryRequest], Asked],
    ) -> None:
        super().__init__(ask)
        self._requests = each_of(requests)
        self._drawing: asyncio.Task[None] | None = None

    async def more(self) -> bool:
        """As ``Asking.more``."""
        if self._next is None and not self._ended:
            if self._drawing is None:
                self._drawing = asyncio.ensure_future(self._draw())
            await asyncio.shield(self._drawing)  # who waits may be cancelled; the caller's iterator may not
        if self._failure is not None:
            raise self._failure
        return self._next is not None

    async def _draw(self) -> None:
        try:
            self._next = self._ask(await anext(self._requests))
        except StopAsyncIteration:
            self._ended = True
        except Exception as error:
            self._failure = error
            self._ended = True
        finally:
            self._drawing = None

    async def send(self, call: Any) -> None:
        """Send requests over this call until it or they end; how it ended is told by its answers."""
        try:
            try:
                while await self.more():
                    await call.write(self._take())
            except Exception:
                if self._failure is None:
                    raise
            await call.done_writing()  # what the caller's iterator raised is raised when all is answered
        except (grpc.RpcError, asyncio.InvalidStateError):
            return

    def broken(self, error: ServiceError | None) -> list[Answer]:
        """As ``Asking.broken``."""
        return self._given_up(error)

    def close(self) -> None:
        if self._drawing is not None:
            self._drawing.cancel()


class Handing:
    """Market events that gRPC draws in a thread of its own; what the caller's iterator raises is kept for him."""

    def __init__(self, messages: Iterable[Iterable[MarketEvent]]) -> None:
        self._messages = messages
        self._failure: BaseException | None = None

    def outgoing(self) -> Iterator[Message]:
        try:
            for events in self._messages:
                yield calls.market_message(events)
        except GeneratorExit:
            raise
        except BaseException as error:
            self._failure = error
            raise

    def raise_own_failure(self) -> None:
        if self._failure is not None:
            raise self._failure


async def each_of(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
