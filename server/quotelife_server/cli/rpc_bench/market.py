"""The market of ``bench rpc``, a process of its own: ``python -m … EVENTS_PER_S`` publishes the binary record over TCP.

Two ports. From the first comes one instrument, as the simulator makes it in real time. From the second comes the same
instrument, and from the line ``busy`` on until the line ``idle`` as many more as bring the events to so many a second:
each lives through the same market, a little later than the one before it. Prints a line of JSON when it is ready; ends
when its standard input does.
"""

import contextlib
import json
import math
import os
import select
import socket
import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np

from quotelife.records import EventBuffer
from quotelife.sim.events import EventWriter
from quotelife.sim.market import BTC, MarketConfig, MarketSimulator
from quotelife_client.binary import COUNT_MAX, BinaryEncoder

FLOW_PER_S = 900.0  # orders of one instrument, as in a liquid one at a busy time
TURN_NS = 1_000_000
STEP_TURNS = 5  # the simulator's own grain
LATER_STEPS = 200
RATED_STEPS = 2000
LATE_NS = 100_000_000
SEND_S = 5.0
Records = np.ndarray[Any, Any]
Instruments = np.ndarray[Any, np.dtype[np.int64]]


class Source:
    """One simulated instrument in steps of 5 ms, all of which are kept."""

    def __init__(self, start_ns: int) -> None:
        config = MarketConfig(symbols=(replace(BTC, flow_per_second=FLOW_PER_S),))
        self._market = MarketSimulator(config, 1, start_ns)
        self._buffer = EventBuffer(65_536)
        self._writer = EventWriter(self._buffer, [0])
        self._now_ns = start_ns
        self._step_ns = config.step_ns
        self._steps = 0
        self._starts = np.zeros(2**12, dtype=np.int64)  # a step's first event, and that behind the last step
        self.first = self.snapshot()
        self._events = np.empty(2**16, dtype=self.first.dtype)

    def snapshot(self) -> Records:
        self._writer.write_snapshot(self._market.snapshot(0))
        return self._taken()

    def step(self) -> Records:
        self._now_ns += self._step_ns
        self._writer.write_all(self._market.advance(self._now_ns))
        events = self._taken()
        begin = int(self._starts[self._steps])
        end = begin + len(events)
        self._steps += 1
        if self._steps == len(self._starts):
            self._starts = np.concatenate((self._starts, np.zeros_like(self._starts)))
        if end > len(self._events):
            self._events = np.concatenate((self._events, np.empty_like(self._events)))
        self._starts[self._steps] = end
        self._events[begin:end] = events
        return events

    def others(self, ids: Instruments, step: int) -> tuple[Records, Instruments]:
        """What befalls these instruments at their ``step``, each of which lives some steps behind; and, for each of
        them, where its events end."""
        at = step - ids % LATER_STEPS
        begun = at >= 0
        at[~begun] = 0
        begins = self._starts[at]
        counts = (self._starts[at + 1] - begins) * begun
        ends = np.cumsum(counts)
        picked = np.repeat(begins - ends + counts, counts) + np.arange(ends[-1])
        events: Records = self._events[picked]
        events["instrument"] = np.repeat(ids, counts)
        return events, ends

    def _taken(self) -> Records:
        events = self._buffer.array().copy()
        self._buffer.clear()
        events["receive_ns"] = 0
        events["exchange_ns"] = 0  # those of the others are a little old
        return events


class Line:
    """A connection to one service."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._encoder = BinaryEncoder(1)
        connection.settimeout(SEND_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, events: Records) -> bool:
        """False when nobody is there any more."""
        raw, size = events.tobytes(), 64 * COUNT_MAX
        frames = [self._encoder.frame(raw[at : at + size]) for at in range(0, len(raw), size)]
        try:
            self._connection.sendall(b"".join(frames))
        except OSError:
            self._connection.close()
            return False
        return True


def main(events_per_s: int) -> None:
    source = Source(time.time_ns())
    # The rate, and what the others begin with.
    per_s = sum(len(source.step()) for _ in range(RATED_STEPS)) / (RATED_STEPS * STEP_TURNS * TURN_NS / 1e9)
    instruments = 1 + math.ceil(events_per_s / per_s)
    ids = np.arange(1, instruments, dtype=np.int64)
    cuts = (
        np.linspace(0, len(ids), STEP_TURNS + 1).astype(int)[1:] - 1
    )  # the last of those who have each turn
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    for listener in listeners:
        listener.setblocking(False)
    lines: list[list[Line]] = [[], []]
    _say(
        addresses=[f"127.0.0.1:{each.getsockname()[1]}" for each in listeners],
        instruments=instruments,
        events_per_s_of_one=round(per_s),
    )
    busy, busy_step = False, 0
    due_ns = time.monotonic_ns()
    while True:
        if select.select([0], [], [], 0)[0]:
            words = os.read(0, 64).decode().split()
            if not words:
                return
            busy = words[-1] == "busy"
        for port, listener in enumerate(listeners):
            with contextlib.suppress(BlockingIOError):
                line = Line(listener.accept()[0])
                if line.send(_opening(source, instruments if port else 1)):
                    lines[port].append(line)
        first = source.step()
        lines[0] = [line for line in lines[0] if line.send(first)]
        turns = [first[:0]] * STEP_TURNS
        if busy:
            others, ends = source.others(ids, busy_step)
            turns = np.split(others, ends[cuts])[:STEP_TURNS]
            busy_step += 1
        turns[0] = np.concatenate((first, turns[0]))
        for events in turns:
            if len(events):
                lines[1] = [line for line in lines[1] if line.send(events)]
            due_ns += TURN_NS
            wait_ns = due_ns - time.monotonic_ns()
            if wait_ns > 0:
                time.sleep(wait_ns / 1e9)
            elif wait_ns < -LATE_NS:
                due_ns = time.monotonic_ns()  # what was not sent then is not sent at once now


def _opening(source: Source, instruments: int) -> Records:
    """Books of all instruments: the first as it is now, the others as all of them begin."""
    pieces = [source.snapshot()]
    for instrument in range(1, instruments):
        pieces.append(source.first.copy())
        pieces[-1]["instrument"] = instrument
    return np.concatenate(pieces)


def _say(**figures: object) -> None:
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
