"""Random and mutated bytes for ITCH, MoldUDP64 and SoupBinTCP: refused or taken, never a crash, never out of bounds."""

import random
import time
from decimal import Decimal

import pytest

from quotelife.config import load_config
from quotelife.engine import Engine
from quotelife.errors import DecodeError
from quotelife.feed.itch import MESSAGE_LENGTHS, ItchDecoder
from quotelife.feed.mold import MoldReceiver
from quotelife.feed.soupbin import SoupClient
from quotelife.records import EventBuffer, EventKindCode
from quotelife.sim.itch_wire import mold_header, mold_packet, soup_packet
from reference.itch_twin import example

KINDS = {int(kind) for kind in EventKindCode}
TYPES = sorted(MESSAGE_LENGTHS)
INSTRUMENTS = 3


class Fuzzed:
    def __init__(self, engine: Engine, seed: int) -> None:
        self.rng = random.Random(seed)
        self.engine = engine
        self.buffer = EventBuffer(4 * INSTRUMENTS + 64 + self.rng.randrange(200))
        self.decoder = ItchDecoder(
            self.buffer, [(s * 3, i, Decimal("0.01"), Decimal(1)) for i, s in enumerate("ABC")]
        )
        self.decoder.begin(1)
        self.decoder.settle(1)
        self.drain()

    def drain(self) -> None:
        assert self.buffer.overflowed == 0
        for row in self.buffer.array().tolist():
            assert row[8] in KINDS
            assert 0 <= row[7] < INSTRUMENTS
            assert row[3] >= 0
            assert row[4] >= 0
        self.engine.on_events(self.buffer)
        self.buffer.clear()

    def message(self) -> bytes:
        rng = self.rng
        data = bytearray(
            example(
                rng.choice(TYPES), rng.choice((0, 1, 2, 65_535)), rng.randrange(10**14), rng.randrange(1, 9)
            )
        )
        if rng.random() < 0.3:
            for _ in range(rng.choice((1, 2, 8))):
                data[rng.randrange(len(data))] = rng.randrange(256)
        cut = rng.random()
        if cut < 0.05:
            del data[rng.randrange(len(data)) :]
        elif cut < 0.1:
            data += rng.randbytes(rng.randrange(1, 80))
        elif cut < 0.12:
            data = bytearray(rng.randbytes(rng.randrange(0, 80)))
        return bytes(data)

    def mutate(self, data: bytes) -> bytes:
        rng = self.rng
        out = bytearray(data)
        match rng.randrange(8):
            case 0 if out:
                out[rng.randrange(len(out))] = rng.randrange(256)
            case 1 if out:
                del out[rng.randrange(len(out)) :]
            case 2:
                out += rng.randbytes(rng.randrange(1, 30))
            case 3:
                at = rng.randrange(len(out) + 1)
                out[at:at] = rng.randbytes(rng.randrange(1, 5))
        return bytes(out)


def fuzz_messages(fuzzed: Fuzzed) -> bool:
    try:
        fuzzed.decoder.message(fuzzed.message(), fuzzed.rng.randrange(2**62))
    except DecodeError as error:
        assert str(error)
        return True
    finally:
        fuzzed.drain()
        if fuzzed.rng.random() < 0.02:
            fuzzed.decoder.begin(1)
            fuzzed.decoder.settle(1)
            fuzzed.drain()
    return False


def fuzz_framed(fuzzed: Fuzzed) -> bool:
    raw = b"".join(len(m).to_bytes(2, "big") + m for m in (fuzzed.message() for _ in range(5)))
    raw, at, sequence, refused = fuzzed.mutate(raw), 0, 1, False
    while True:
        before = at
        at, sequence = fuzzed.decoder.framed(raw, at, sequence, 3)
        assert before <= at <= len(raw)
        refused |= fuzzed.decoder.take_fault() is not None
        fuzzed.drain()
        if at == before:
            return refused


class FuzzedMold:
    def __init__(self, fuzzed: Fuzzed) -> None:
        self.fuzzed = fuzzed
        rng = fuzzed.rng
        self.mold = MoldReceiver(fuzzed.decoder, window=rng.choice((64, 1024)), rerequest=rng.random() < 0.5)
        self.now_ns = 1

    def __call__(self, fuzzed: Fuzzed) -> bool:
        rng, mold = fuzzed.rng, self.mold
        session = rng.choice(("S1", "S1", "S1", "S1", "S2"))
        near = max(0, mold.expected + rng.randrange(-5, 80))
        sequence = near if rng.random() < 0.97 else rng.randrange(2**64)
        messages = [fuzzed.message() for _ in range(rng.randrange(5))]
        packet = mold_packet(session, sequence, messages)
        if rng.random() < 0.05:
            packet = mold_header(session, sequence, rng.choice((0, 1, 0xFFFE, 0xFFFF)))
        expected, sessions = mold.expected, mold.sessions
        refused = False
        try:
            mold.packet(fuzzed.mutate(packet), rng.randrange(3), self.now_ns)
        except DecodeError:
            refused = True
        fuzzed.drain()
        while mold.more:
            mold.go_on(self.now_ns)
            fuzzed.drain()
        self.now_ns += rng.choice((0, 1000, 10**6, 10**7, 10**10))
        mold.tick(self.now_ns)
        fuzzed.drain()
        request = mold.request(self.now_ns)
        assert request is None or len(request) == 20
        assert mold.held >= 0
        assert mold.expected >= expected or mold.sessions > sessions
        assert mold.missing_since_ns != 0 or mold.expected >= mold.known or mold.session is None
        return refused


class FuzzedSoup:
    def __init__(self, fuzzed: Fuzzed) -> None:
        self.soup = SoupClient(fuzzed.decoder)

    def __call__(self, fuzzed: Fuzzed) -> bool:
        rng, soup = fuzzed.rng, self.soup
        login = soup.connect()
        assert len(login) == 49
        at = soup.expected if rng.random() < 0.8 else rng.randrange(1, 100)
        stream = soup_packet(b"A", f"{rng.choice(('S1', 'S1', 'S2')):>10}{at:>20}".encode())
        for _ in range(rng.randrange(12)):
            kind = rng.choice((b"S", b"S", b"S", b"S", b"H", b"U", b"+", b"Z", b"J", b"x"))
            stream += soup_packet(kind, fuzzed.message() if kind in b"SU+" else b"")
        if rng.random() < 0.5:
            stream = fuzzed.mutate(stream)
        refused = False
        try:
            while stream:
                n = min(len(stream), rng.randrange(1, 200))
                soup.input_view()[:n] = stream[:n]
                stream = stream[n:]
                while soup.received(n, 1):
                    fuzzed.drain()
                    n = 0
                fuzzed.drain()
        except DecodeError:
            refused = True
        fuzzed.drain()
        soup.disconnected(2)
        fuzzed.drain()
        return refused


@pytest.fixture
def engine(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        "version: 1\ninstruments:\n"
        + "".join(
            f"  - {{name: {s}, venue: nasdaq, symbol: {s * 3}, tick_size: 0.01, lot_size: 1, order_level: true}}\n"
            for s in "ABC"
        ),
        encoding="utf-8",
    )
    return Engine(load_config(path))


def made(what: str, fuzzed: Fuzzed):
    return {
        "messages": lambda _: fuzz_messages,
        "framed": lambda _: fuzz_framed,
        "mold": FuzzedMold,
        "soup": FuzzedSoup,
    }[what](fuzzed)


def fuzz(engine: Engine, what: str, seed: int, seconds: float) -> None:
    end = time.monotonic() + seconds
    done = refused = 0
    while time.monotonic() < end or done < 1000:
        fuzzed = Fuzzed(engine, seed)
        step = made(what, fuzzed)
        for _ in range(300):
            refused += step(fuzzed)
            done += 1
        seed += 1
    assert done // 50 < refused < done


@pytest.mark.parametrize("what", ["messages", "framed", "mold", "soup"])
def test_mutated_bytes_never_break_the_decoder_or_a_transport(engine, what):
    fuzz(engine, what, 1, 0.7)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["messages", "framed", "mold", "soup"])
def test_mutated_bytes_never_break_the_decoder_or_a_transport_for_long(engine, what):
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    fuzz(engine, what, seed, 75.0)
