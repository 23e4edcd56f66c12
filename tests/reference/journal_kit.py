"""What the tests of the journal share: an engine without market data, and a writer fed by it."""

from pathlib import Path

from quotelife.config import Config, load_config
from quotelife.engine import Engine
from quotelife.journal.storage import Storage
from quotelife.journal.writer import JournalWriter
from quotelife.records import DecisionRecord, RequestRecord

S = 1_000_000_000
T0 = 1_700_000_000 * S

TEXT = """
version: 1
model: {artifact: first_passage}
instruments:
  - {name: BTC, venue: test, symbol: BTC, tick_size: 0.1, lot_size: 0.001}
  - {name: ETH, venue: test, symbol: ETH, tick_size: 0.01, lot_size: 0.001}
tiers:
  strategic: {posture: client_priority}
counterparties:
  alpha: {tier: strategic}
  beta: {tier: strategic}
desks:
  main: {}
  side: {}
signals: {volatility_indices: [VIX, DVOL]}
"""


def make_config(folder: Path, text: str = TEXT) -> Config:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path)


class Flow:
    """Requests to one engine, each with an answer whose bytes are known: ``given[request id]`` is (reply, record)."""

    def __init__(self, engine: Engine, writer: JournalWriter, prefix: str = "r") -> None:
        self.engine = engine
        self.writer = writer
        self.prefix = prefix
        self.asked = 0
        self.decided: list[bytes] = []
        self.given: dict[bytes, tuple[bytes, bytes, int]] = {}

    def ask(self, count: int = 1, size: int = 100) -> None:
        for _ in range(count):
            if self.writer.full:
                return
            self.asked += 1
            now_ns = max(self.engine.now_ns, T0) + 1000
            decision = DecisionRecord()
            self.engine.decide(RequestRecord(self.asked % 2, 1, now_ns=now_ns, size_lots=1.0), decision)
            self.decided.append(decision.canonical())
            name = f"{self.prefix}{self.asked}".encode()
            reply = (name * (size // len(name) + 1))[:size]
            self.writer.answer([decision.input_sequence], name, b"digest", b"request " + name, reply)
            self.given[name] = (reply, decision.canonical(), decision.input_sequence)


def begin(storage: Storage, engine: Engine, *, boot_id: str = "b1", **options: int) -> JournalWriter:
    """A writer that has noted its boot and is told of the engine's inputs."""
    writer = JournalWriter(storage, boot_id=boot_id, **options)
    writer.begin(engine, T0)
    engine.record_to(writer)
    return writer
