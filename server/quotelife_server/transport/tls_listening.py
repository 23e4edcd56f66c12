"""Accepts TLS connections, and bounds those whose handshake is not over: nobody else counts them."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any

from quotelife_server import log

ACCEPTS_MAX = 64  # of one turn of the event loop
REST_S = 0.1  # where the process may open no more files
FAILED_SAID_S = 1.0  # of failed handshakes one is told of so often, and how many there have been

_log = log.get_logger(__name__)


class TlsListener:
    """Takes connections of one listening socket until ``close``, which closes it too and ends unfinished handshakes."""

    def __init__(
        self,
        listener: socket.socket,
        context: ssl.SSLContext,
        connect: Callable[[], asyncio.Protocol],
        *,
        handshakes_max: int,
        timeout_s: float,
    ) -> None:
        """``connect`` makes the protocol of a connection. With ``handshakes_max`` of them under way the oldest
        makes room for one more; none takes longer than ``timeout_s``."""
        self._listener = listener
        self._context = context
        self._connect = connect
        self._handshakes_max = handshakes_max
        self._timeout_s = timeout_s
        self._handshakes: dict[asyncio.Task[None], None] = {}  # oldest first
        self._loop = asyncio.get_running_loop()
        self._rest: asyncio.TimerHandle | None = None
        self._failed = 0
        self._said_s = self._refused_said_s = -FAILED_SAID_S
        self._loop.add_reader(listener.fileno(), self._accept)

    @property
    def handshakes(self) -> int:
        """Under way."""
        return len(self._handshakes)

    def close(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        for handshake in list(self._handshakes):
            handshake.cancel()

    def _accept(self) -> None:
        for _ in range(ACCEPTS_MAX):
            try:
                accepted, address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if self._loop.time() - self._refused_said_s >= FAILED_SAID_S:
                    self._refused_said_s = self._loop.time()
                    _log.error("no connection can be accepted", error=str(error))
                self._loop.remove_reader(self._listener.fileno())
                self._rest = self._loop.call_later(REST_S, self._again)
                return
            accepted.setblocking(False)
            if len(self._handshakes) >= self._handshakes_max:
                oldest = next(iter(self._handshakes))
                del self._handshakes[oldest]
                oldest.cancel()
            handshake = self._loop.create_task(self._shake_hands(accepted, address))
            self._handshakes[handshake] = None
            handshake.add_done_callback(self._over)

    def _again(self) -> None:
        self._rest = None
        self._loop.add_reader(self._listener.fileno(), self._accept)

    def _over(self, handshake: asyncio.Task[None]) -> None:
        self._handshakes.pop(handshake, None)

    async def _shake_hands(self, accepted: socket.socket, address: tuple[Any, ...]) -> None:
        # Whatever a client does wrong here ends its connection and is nobody else's concern.
        try:
            await self._loop.connect_accepted_socket(
                self._connect, accepted, ssl=self._context, ssl_handshake_timeout=self._timeout_s
            )
        except asyncio.CancelledError:
            return
        except ssl.SSLError as error:  # the client is not told why: whoever runs the service must be
            self._failed += 1
            if self._loop.time() - self._said_s >= FAILED_SAID_S:
                self._said_s = self._loop.time()
                reason = getattr(error, "verify_message", None) or error.reason or str(error)
                _log.warning(
                    "a TLS handshake failed", peer=address[0], reason=reason, since_start=self._failed
                )
        except OSError:
            return
