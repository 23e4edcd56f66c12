"""gRPC by grpc.aio: raw bytes in and out over the table of handlers, on TCP and Unix sockets."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import grpc
import grpc.aio
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from quotelife.errors import ConfigError
from quotelife.units import NS_PER_MS, NS_PER_S
from quotelife_server import log
from quotelife_server.addresses import UNIX
from quotelife_server.handlers import Service
from quotelife_server.rpc import (
    CallContext,
    Code,
    MethodTable,
    RpcError,
    Stream,
    StreamCall,
    StreamHandler,
    Unary,
    waited,
)
from quotelife_server.transport.limits import (
    BACKLOG_MAX,
    HOLD_S,
    METADATA_BYTES_MAX,
    draining,
    no_message,
    not_read,
    too_many_streams,
)
from quotelife_server.transport.listening import bound_as, cannot_listen, refused_by_grpc, remove_stale_socket
from quotelife_server.transport.options import GrpcOptions, TlsFiles
from quotelife_server.transport.tls_files import refuse_faults

CALLS_PER_LOOK = 64
LOOK_S = 0.005
OTHER_TLS = (
    "the TLS of gRPC does not take these files, which OpenSSL does (a byte order mark, a rare curve); make them anew, "
    "or set server.transport: native"
)
QUIET_LOOKS = 10  # in a row without a call waiting or come anew, before gRPC is stopped ...
QUIET_S = HOLD_S / 2  # ... or so long after the first, for clients that never rest
UNBOUNDED = 2**31 - 1

RpcMethodHandler = Any  # generic in its type stubs, not when it runs

_log = log.get_logger(__name__)

_CODES = {code.value[0]: code for code in grpc.StatusCode}


def channel_arguments(options: GrpcOptions) -> list[tuple[str, int]]:
    arguments = [
        ("grpc.max_receive_message_length", options.message_bytes_max),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", options.streams_max),
        # gRPC's own bound on calls not handed over yet cancels them without a word; the service refuses
        # them long before, in words (class _Waiting).
        ("grpc.server.max_pending_requests", UNBOUNDED),
        ("grpc.server.max_pending_requests_hard_limit", UNBOUNDED),
        ("grpc.enable_channelz", 1),
        ("grpc.max_channel_trace_event_memory_per_node", 0),
        ("grpc.max_metadata_size", METADATA_BYTES_MAX),
        ("grpc.absolute_max_metadata_size", METADATA_BYTES_MAX),  # else 16 kB, and above the other by chance
        ("grpc.keepalive_time_ms", options.keepalive_interval_ns // NS_PER_MS),
        ("grpc.keepalive_timeout_ms", options.keepalive_timeout_ns // NS_PER_MS),
        # Without these two a client's keepalive is answered with GOAWAY too_many_pings.
        (
            "grpc.http2.min_recv_ping_interval_without_data_ms",
            options.client_ping_interval_min_ns // NS_PER_MS,
        ),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.so_reuseport", 0),
    ]
    if options.connection_age_max_ns is not None:
        arguments += [
            ("grpc.max_connection_age_ms", max(1, options.connection_age_max_ns // NS_PER_MS)),
            ("grpc.max_connection_age_grace_ms", max(1, options.connection_age_grace_ns // NS_PER_MS)),
        ]
    return arguments


def _credentials(files: TlsFiles) -> grpc.ServerCredentials:
    refuse_faults(files)  # gRPC says nothing of a file that is wrong
    ca = None if files.client_ca is None else files.client_ca.read_bytes()
    pair = (files.key.read_bytes(), files.certificate.read_bytes())
    return grpc.ssl_server_credentials([pair], root_certificates=ca, require_client_auth=ca is not None)


class GrpcServer:
    """Serves one ``Service``. ``start`` binds, ``stop`` drains."""

    name: ClassVar[str] = "grpc_aio"

    def __init__(
        self,
        service: Service,
        addresses: Sequence[str],
        options: GrpcOptions,
        methods: MethodTable | None = None,
    ) -> None:
        """``addresses``: ``host:port`` (port 0: any) or ``unix:/path``; ``methods``: all of the service's where
        nothing is said."""
        self._service = service
        self._addresses = addresses
        self._streams: set[_Stream] = set()
        self._streams_max = options.streams_max
        self._stopping = False
        self._goodbye = asyncio.Event()  # clients have been told to go elsewhere
        self._server = grpc.aio.server(options=channel_arguments(options), compression=None)
        self._tls = options.tls
        self._waiting = _Waiting()
        self._server.add_generic_rpc_handlers(
            (_Generic(self._table(service.methods if methods is None else methods)),)
        )

    def _table(self, methods: MethodTable) -> dict[str, RpcMethodHandler]:
        table: dict[str, RpcMethodHandler] = {}
        for path, entry in methods.items():
            if isinstance(entry, Unary):
                # Called when the call comes, not when its message has been read: it counts from there on.
                table[path] = grpc.stream_unary_rpc_method_handler(self._unary(path, entry))
            else:  # what kind of stream it is does not show on the wire
                table[path] = grpc.stream_stream_rpc_method_handler(self._stream(path, entry))
        return table

    @property
    def streams(self) -> Collection[StreamCall]:
        """Streaming calls under way."""
        return self._streams

    async def start(self) -> list[str]:
        """Bind and serve. Returns the addresses with their real ports. Raises ``CannotListen``, ``ConfigError``."""
        bound = []
        credentials = None if self._tls is None else _credentials(self._tls)
        for address in self._addresses:
            unix = address.startswith(UNIX)
            own_tls = None if unix else credentials
            path = address.removeprefix(UNIX)
            if unix:
                remove_stale_socket(Path(path))
            try:
                if own_tls is None:  # a path is read as a part of a URI
                    port = self._server.add_insecure_port(UNIX + quote(path) if unix else address)
                else:
                    port = self._server.add_secure_port(address, own_tls)
            except RuntimeError as error:
                if (found := refused_by_grpc(address)) is not None:
                    raise found from error
                if own_tls is not None:
                    raise ConfigError([f"server.tls: {OTHER_TLS}"]) from error
                raise cannot_listen(address, OSError(str(error))) from error
            bound.append(bound_as(address, port))
        await self._server.start()
        return bound

    async def stop(self, grace_ns: int) -> None:
        """End streams, take no new call, wait up to ``grace_ns`` for those in flight.

        Calls that gRPC holds when it stops are cancelled without a word, so it is stopped when it holds none
        and none comes any more: the service must refuse calls by now. Refusals are held back until clients
        have been told to go elsewhere, or those that try again at once would keep it busy.
        """
        loop = asyncio.get_running_loop()
        end_s = loop.time() + grace_ns / NS_PER_S
        if not self._stopping:
            self._stopping = True
            for stream in list(self._streams):
                stream.finish(draining())
            await self._quiet(end_s)
        loop.call_later(LOOK_S, self._goodbye.set)
        await self._server.stop(max(0.0, end_s - loop.time()))  # gRPC removes the Unix sockets it listens on

    async def _quiet(self, end_s: float) -> None:
        """Until gRPC holds no call and none has come for a few looks: what is still in a socket shows late."""
        loop = asyncio.get_running_loop()
        come, looks, settled_s = -1, 0, end_s
        while loop.time() < min(end_s, settled_s) and looks < QUIET_LOOKS:
            if self._waiting.look() > 0:
                looks, settled_s = 0, end_s
            else:
                settled_s = min(settled_s, loop.time() + QUIET_S)
                looks = looks + 1 if self._waiting.come == come else 0
                come = self._waiting.come
            await asyncio.sleep(LOOK_S)

    def _context(self, path: str, context: Any) -> CallContext:
        remaining_s = context.time_remaining()
        deadline_ns = None
        if remaining_s is not None:
            # "no deadline" comes as a span of centuries; beyond a day it makes no difference.
            deadline_ns = self._service.clock.now_ns() + int(min(max(remaining_s, 0.0), 86_400.0) * NS_PER_S)
        return CallContext(path, deadline_ns, context.peer())

    def _unary(self, path: str, entry: Unary) -> Callable[[AsyncIterator[bytes], Any], Awaitable[bytes]]:
        service, waiting = self._service, self._waiting

        async def call(requests: AsyncIterator[bytes], context: Any) -> bytes:
            waiting.handed_over(context)
            try:
                service.admit(entry, waiting.count)
            except RpcError as error:
                if self._stopping:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._goodbye.wait(), HOLD_S)
                return await self._fail(path, context, error)
            context.add_done_callback(lambda _: service.release(entry))
            try:
                payload = await _only(requests)
                answer = await waited(service.unary(entry, payload, self._context(path, context)))
            except Exception as error:
                return await self._fail(path, context, service.as_rpc_error(error, CallContext(path)))
            service.metrics.answers_of(path).add(Code.OK)
            return answer

        return call

    def _stream(self, path: str, entry: Stream) -> Callable[[AsyncIterator[bytes], Any], Awaitable[None]]:
        service = self._service

        async def call(requests: AsyncIterator[bytes], context: Any) -> None:
            self._waiting.handed_over(context)
            stream = _Stream(asyncio.current_task())
            call_context = self._context(path, context)
            try:
                if self._stopping:
                    raise draining()
                if len(self._streams) >= self._streams_max:
                    raise too_many_streams()
                handler = service.open_stream(entry, stream, call_context)
            except RpcError as error:
                await self._fail(path, context, error)
                return
            self._streams.add(stream)
            reader = asyncio.ensure_future(
                _feed(requests, handler, stream, service, call_context, reads_on=entry.reads_on)
            )
            try:
                while (payload := await stream.outgoing.get()) is not None:
                    stream.writing = True
                    await context.write(payload if isinstance(payload, bytes) else payload())
                    stream.writing = False
                    stream.outgoing.task_done()
                stream.outgoing.task_done()
                stream.written()
                if stream.error is not None:
                    # A gRPC client that is writing when its call ends may lose the reason for the end. Left without
                    # answers it stops, and until then what it writes is read.
                    await asyncio.wait((reader,), timeout=HOLD_S)
            finally:
                self._streams.discard(stream)
                reader.cancel()
                handler.on_cancel()
            if stream.error is not None:
                await self._fail(path, context, stream.error)
            else:
                service.metrics.answers_of(path).add(Code.OK)

        return call

    async def _fail(self, path: str, context: Any, error: RpcError) -> bytes:
        self._service.metrics.answers_of(path).add(error.code)
        status = error.status_bytes()
        if status is not None:
            context.set_trailing_metadata((("grpc-status-details-bin", status),))
        try:
            await context.abort(_CODES[int(error.code)], error.message)
        except grpc.aio.InternalError:  # the client has left: nobody to tell
            raise asyncio.CancelledError from None
        raise AssertionError("abort returns never")


class _Stream:
    """``StreamCall`` over a bounded queue; ``None`` in it ends the call."""

    def __init__(self, task: "asyncio.Task[Any] | None" = None) -> None:
        """``task``: what writes."""
        self.writing = False
        self._task = task
        self._giving_up: asyncio.TimerHandle | None = None
        self.outgoing: asyncio.Queue[bytes | Callable[[], bytes] | None] = asyncio.Queue()
        self.error: RpcError | None = None
        self.finished = False

    def send(self, payload: bytes | Callable[[], bytes]) -> None:
        if self.finished:
            return
        if self.outgoing.qsize() >= BACKLOG_MAX:
            self.finish(not_read())
            return
        self.outgoing.put_nowait(payload)

    def finish(self, error: RpcError | None = None) -> None:
        if self.finished:
            return
        self.finished = True
        self.error = error
        self.outgoing.put_nowait(None)
        if error is not None and self.writing and self._task is not None:
            # A client that does not read holds up what is being written, and what would tell it the reason: it gets
            # a while for both, then the call is dropped, which gRPC tells it as CANCELLED.
            self._giving_up = asyncio.get_running_loop().call_later(HOLD_S, self._task.cancel)

    def written(self) -> None:
        """All but the end is out."""
        if self._giving_up is not None:
            self._giving_up.cancel()


async def _feed(
    requests: AsyncIterator[bytes],
    handler: StreamHandler,
    stream: _Stream,
    service: Service,
    context: CallContext,
    *,
    reads_on: bool,
) -> None:
    """Hand the client's messages to the handler; unless it ``reads_on``, none while answers wait to be written."""
    try:
        async for payload in requests:
            if stream.finished:
                continue
            room = handler.on_message(payload)
            if room is not None:
                await waited(room)
            if not reads_on:
                await stream.outgoing.join()
        handler.on_half_close()
    except Exception as error:
        stream.finish(service.as_rpc_error(error, context))
        with contextlib.suppress(Exception):
            async for _ in requests:
                pass


async def _only(requests: AsyncIterator[bytes]) -> bytes:
    async for payload in requests:
        return payload
    raise no_message()


class _Generic(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    def __init__(self, table: dict[str, RpcMethodHandler]) -> None:
        self._table = table

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> RpcMethodHandler | None:
        return self._table.get(handler_call_details.method)


class _Waiting:
    """How many calls gRPC has received and not handed over yet.

    gRPC hands calls over one at a time, so under overload they queue inside it, where nothing else shows
    them. Its own count of calls that have not ended is read at every ``CALLS_PER_LOOK``-th call (0.1 ms);
    in between each call that is handed over is one fewer waiting.

    That count comes by no public way. Where it cannot be had, none counts as waiting.
    """

    def __init__(self) -> None:
        """For the gRPC server made last."""
        self.count = 0
        self.come = 0  # calls that gRPC has received since it started, as of the last look
        self._open = 0
        self._server_id: int | None = None
        try:
            self._server_id = _newest_server()
        except Exception as error:
            self._go_without(error)
        self._until_look = CALLS_PER_LOOK

    def handed_over(self, context: Any) -> None:
        self._open += 1
        context.add_done_callback(self._ended)
        self.count = max(0, self.count - 1)
        self._until_look -= 1
        if self._until_look == 0:
            self.look()

    def look(self) -> int:
        """Count anew."""
        self._until_look = CALLS_PER_LOOK
        if self._server_id is not None:
            try:
                self.come, unended = _calls(self._server_id)
                self.count = max(0, unended - self._open)
            except Exception as error:
                self._go_without(error)
        return self.count

    def _go_without(self, error: Exception) -> None:
        self._server_id = None
        self.count = 0
        _log.warning(
            "this gRPC does not tell how many calls wait in it; overload shows late", error=str(error)
        )

    def _ended(self, _: Any) -> None:
        self._open -= 1


def _calls(server_id: int) -> tuple[int, int]:
    """How many have come since the start, and how many of them have not ended."""
    figures = json.loads(cygrpc.channelz_get_server(server_id))["server"]["data"]
    started, succeeded, failed = (
        int(figures.get(name, 0)) for name in ("callsStarted", "callsSucceeded", "callsFailed")
    )
    return started, started - succeeded - failed


def _newest_server() -> int:
    """Id of the gRPC server made last."""
    newest, end = 0, False
    while not end:
        page = json.loads(cygrpc.channelz_get_servers(newest + 1))
        for server in page.get("server", ()):
            newest = max(newest, int(server["ref"]["serverId"]))
        end = page.get("end", False)
    return newest
