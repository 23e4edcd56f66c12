"""``quotelife watch``: have a quote watched, and print what is said of it until it ends."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from quotelife.errors import QuotelifeError
from quotelife_server.cli.options import TARGET, Target, Timeout, failed, plain, tls_of

if TYPE_CHECKING:
    from quotelife_client import AsyncClient, AsyncWatcher, WatchEvent

HINT_S = 0.1  # a hint leaves right behind the end of a quote

# What belongs to each kind: the same keys on each of its lines, null for what is not known; 0 and false are values.
_FIELDS = {
    "REGISTERED": ("expiry_utc_ns", "unwatched_expiry_utc_ns", "side", "actuation"),
    "REFUSED": ("refusal", "message", "violations"),
    "WITHDRAW": (
        "at_utc_ns",
        "reason",
        "expiry_utc_ns",
        "instrument",
        "moved_ticks",
        "held_back",
        "sequence",
    ),
    "EXPIRED": ("at_utc_ns",),
    "REQUOTE_HINT": ("at_utc_ns", "life_ns"),
    "DISCONNECTED": (),
}


def watch(
    decision_id: Annotated[str, typer.Argument(help="Decision of a firm quote, taken a short while ago.")],
    owner: Annotated[str | None, typer.Option(help="Name of the stream. [default: of this process]")] = None,
    target: Target = TARGET,
    timeout: Timeout = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Have a quote of a running service watched, and print what is said of it until it ends.

    Exit 0: it ended, and how is the last line. 1: it is not watched, and why.
    """

    async def begin(client: AsyncClient, watcher: AsyncWatcher) -> str:
        watcher.register(decision_id, decision_id=decision_id)
        return decision_id

    follow(target, owner, timeout, as_json, begin)


def follow(
    target: str,
    owner: str | None,
    timeout_s: float,
    as_json: bool,
    begin: Callable[[AsyncClient, AsyncWatcher], Awaitable[str]],
) -> None:
    """``begin`` has one quote watched, and gives its id; an empty one: it is not. Raises ``typer.Exit``."""
    import asyncio

    from quotelife_client import ServiceError

    try:
        ended = asyncio.run(_follow(target, owner or f"cli-{os.getpid()}", timeout_s, as_json, begin))
    except ServiceError as error:
        raise failed(target, error) from None
    except (TimeoutError, ConnectionError) as error:
        raise QuotelifeError(f"{target}: {error}") from None
    if not ended:
        raise typer.Exit(1)


async def _follow(
    target: str,
    owner: str,
    timeout_s: float,
    as_json: bool,
    begin: Callable[[AsyncClient, AsyncWatcher], Awaitable[str]],
) -> bool:
    import asyncio

    from quotelife_client import AsyncClient, WatchEventKind

    ends = (WatchEventKind.WITHDRAW, WatchEventKind.EXPIRED)
    began_s = time.monotonic()
    async with (
        AsyncClient(target, timeout_s=timeout_s, tls=tls_of(target)) as client,
        client.watch(owner, open_timeout_s=timeout_s) as watcher,
    ):
        quote_id = await begin(client, watcher)
        if not quote_id:
            return False
        async for event in watcher:
            if event.kind is WatchEventKind.OPENED or (event.quote_id and event.quote_id != quote_id):
                continue
            _say(event, began_s, as_json)
            if event.kind is WatchEventKind.REFUSED:
                return False
            if event.kind in ends:
                with contextlib.suppress(TimeoutError):
                    hint = await asyncio.wait_for(anext(watcher), HINT_S)
                    if hint.kind is WatchEventKind.REQUOTE_HINT:
                        _say(hint, began_s, as_json)
                return True
    return False


def _say(event: WatchEvent, began_s: float, as_json: bool) -> None:
    if as_json:
        names = ("kind", "quote_id", *_FIELDS[event.kind.name])
        typer.echo(json.dumps({name: plain(getattr(event, name)) for name in names}))
        return
    words = {
        "REGISTERED": f"watched until {event.expiry_utc_ns} ns",
        "REFUSED": f"not watched: {event.refusal.name}: {event.message}",
        "WITHDRAW": f"withdraw: {event.reason.name}",
        "EXPIRED": "its life is over",
        "REQUOTE_HINT": f"a new quote could live {event.life_ns / 1e6:.3f} ms",
        "DISCONNECTED": "the stream is broken",
    }
    moved = "" if event.moved_ticks is None else f", moved {event.moved_ticks:+.1f} ticks against it"
    typer.echo(f"{time.monotonic() - began_s:8.3f} s  {words[event.kind.name]}{moved}")
