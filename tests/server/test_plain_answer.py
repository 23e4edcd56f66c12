"""The short way of a plain request says, records, counts and keeps what the long way would."""

import errno
import tempfile
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quote_expiry.v1 import admin_service_pb2 as admin
from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife.journal.format import Kind
from quotelife.journal.records import decode_answer
from quotelife.replay.verify import verify as replayed
from quotelife_server import handlers
from quotelife_server.plain_answer import PlainAnswers
from quotelife_server.rpc import Code, Deferred, RpcError
from reference.ledger_kit import Call, JournalKit
from reference.service_kit import MS, Market, S

KILL = "/quote_expiry.v1.AdminService/Kill"
ENABLE = "/quote_expiry.v1.AdminService/Enable"


class LongWay(PlainAnswers):
    """Hands everything back."""

    def answer(self, payload: bytes, now_ns: int) -> Deferred | None:
        return None


class ShortWay(PlainAnswers):
    """Counts what it has answered itself."""

    answered = 0

    def answer(self, payload: bytes, now_ns: int) -> Deferred | None:
        answer = super().answer(payload, now_ns)
        self.answered += answer is not None
        return answer


class Way:
    """A service with a journal whose plain requests go by one of the two ways."""

    def __init__(self, folder: Path, kind: type[LongWay] | type[ShortWay], **options: Any) -> None:
        made: list[PlainAnswers] = []

        def make(*given: Any) -> PlainAnswers:
            made.append(kind(*given))
            return made[-1]

        folder.mkdir()
        with patch.object(handlers, "PlainAnswers", make):
            self.kit = JournalKit(folder, **options)
        self.plain = made[-1]  # the first is of the service that the kit makes before it has a journal
        self.calls: list[Call] = []
        self.market = Market(self.kit.engine, seed=2)
        self.kit.clock.set_ns(self.market.run(self.kit.clock.now_ns(), 2.0))

    def ask(self, fields: dict[str, Any]) -> None:
        given = dict(fields)
        for name in ("priced_at_utc_ns", "client_deadline_utc_ns"):
            if name in given:
                given[name] += self.kit.clock.now_ns()
        self.calls.append(self.kit.ask(**given))

    def do(self, deed: object) -> None:
        kit = self.kit
        if isinstance(deed, dict):
            self.ask(deed)
        elif isinstance(deed, tuple):
            method, whom = deed
            request = admin.KillRequest if method == KILL else admin.EnableRequest
            kit.send(str(method), request(counterparty=str(whom), reason="test").SerializeToString())
        elif deed == "turn":
            kit.turn()
        elif deed == "step":
            kit.clock.set_ns(kit.clock.now_ns() + 50 * MS)
            self.market.step(kit.clock.now_ns())
        elif deed == "fault":
            kit.storage.fail(errno.ENOSPC, "write")
        elif deed == "heal":
            kit.storage.heal()
            kit.work_off()
            kit.pass_time(1.5)
        else:
            kit.work_off()

    def end(self) -> None:
        self.do("heal")
        self.do("work off")

    def told(self) -> list[object]:
        return [_outcome(call.outcome) for call in self.calls]

    def journaled(self) -> list[object]:
        records: list[object] = []
        for record in self.kit.read().records():
            said: object = record.payload
            if record.kind == Kind.ANSWER:
                answer = decode_answer(record)
                said = (*answer[:4], _without_time(answer.reply))
            records.append((record.number, record.kind, record.input_sequence, record.now_ns, said))
        return records

    def counted(self) -> list[object]:
        metrics, figures = self.kit.service.metrics, self.kit.ledger.figures
        return [
            [metrics.decisions.of(*each) for each in product(range(4), range(4), range(5))],
            metrics.replayed,
            metrics.internal_errors,
            sum(metrics.latencies.counts),
            figures.refused,
            figures.unjournaled,
            self.kit.ledger.inputs_lost,
        ]

    def kept(self) -> list[object]:
        service = self.kit.service
        found: list[object] = [len(service.recent), service.recent.evicted, len(service.replies)]
        for number in range(self.kit.engine.input_sequence + 1):
            quote = service.recent.find(f"{service.boot_id}-{number}")
            if quote is not None:
                found.append((quote.boot_id, quote.rfq_id, quote.quote_id, quote.counterparty))
                found += [each.canonical() for each in (*quote.requests, *quote.decisions)]
                found += [each.canonical() for each in (*quote.part_requests, *quote.parts)]
        for request_id in IDS:
            stored = service.replies.find(request_id, self.kit.clock.now_ns())
            found.append(stored if stored is None else (stored[0], _without_time(stored[1])))
        return found


def _without_time(reply: bytes) -> bytes:
    message = expiry.GetExpiryResponse.FromString(reply)
    message.ClearField("compute_ns")
    return message.SerializeToString()


def _outcome(outcome: bytes | BaseException | None) -> object:
    if isinstance(outcome, RpcError):
        return outcome.code, outcome.message
    assert isinstance(outcome, bytes), outcome
    return _without_time(outcome)


IDS = ["", "r1", "r2", "r3"]
LOTS, BASE = types.SIZE_UNIT_LOTS, types.SIZE_UNIT_BASE_QUANTITY
ASK = st.fixed_dictionaries(
    {
        "instrument": st.sampled_from(("BTC-USDT", "BTC-USDT", "ETH-USDT", "BTC-USD", "no such")),
        "side": st.sampled_from((types.SIDE_BUY, types.SIDE_SELL, types.SIDE_BUY, types.SIDE_TWO_WAY)),
        "request_id": st.sampled_from(IDS),
        "rfq_id": st.sampled_from(("", "rfq")),
        "quote_id": st.sampled_from(("", "quote")),
        "counterparty": st.sampled_from(("", "alpha", "beta", "somebody")),
    },
    optional={
        "desk": st.sampled_from(("main", "plain", "no such")),
        "edge": st.sampled_from(("0.7", "-3", "12")),
        "reference_price": st.sampled_from(("63001.5", "3100")),
        "size": st.sampled_from((types.Size(quantity="2", unit=LOTS), types.Size(quantity="0.5", unit=BASE))),
        "venue_session": st.sampled_from(("instants", "spans", "coarse", "look")),
        "priced_at_utc_ns": st.sampled_from((-20 * MS, -61 * S)),
        "client_deadline_utc_ns": st.sampled_from((100 * MS, 3 * S)),
        "overrides": st.just(expiry.RequestOverrides(posture=types.POSTURE_RISK_AVERSE)),
        "include_features": st.booleans(),
        "explain": st.booleans(),
        "watch": st.just(True),
    },
)
DEEDS = st.lists(
    st.one_of(
        ASK,
        ASK,
        ASK,
        st.sampled_from(("turn", "work off", "step", "step", "fault", "heal")),
        st.tuples(st.sampled_from((KILL, ENABLE)), st.sampled_from(("alpha", ""))),
    ),
    max_size=40,
)


@settings(max_examples=30, deadline=None)
@given(
    deeds=DEEDS,
    on_failure=st.sampled_from(("refuse", "serve-unjournaled")),
    durability=st.sampled_from(("process-crash", "power-loss")),
)
def test_both_ways_come_to_the_same(deeds: list[object], on_failure: str, durability: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ways = [
            Way(Path(folder) / kind.__name__, kind, on_failure=on_failure, durability=durability)
            for kind in (LongWay, ShortWay)
        ]
        for way in ways:
            for deed in deeds:
                way.do(deed)
            way.end()
        long, short = ways
        assert short.told() == long.told()
        assert short.journaled() == long.journaled()
        assert short.counted() == long.counted()
        assert short.kept() == long.kept()
        assert replayed(short.kit.folder).complete
        for way in ways:
            way.kit.storage.close()


def test_what_both_ways_are_held_against_each_other_with_is_mostly_short_and_firm(tmp_path: Path) -> None:
    way = Way(tmp_path / "way", ShortWay)
    asked = [
        {"instrument": name, "side": side, "counterparty": who, "request_id": f"{name}{side}{who}"}
        for name in ("BTC-USDT", "ETH-USDT")
        for side in (types.SIDE_BUY, types.SIDE_SELL)
        for who in ("alpha", "beta", "somebody")
    ]
    for fields in asked:
        way.ask(fields)
    way.end()
    assert short(way) == len(asked)
    assert {call.expiry.decision for call in way.calls} == {types.DECISION_QUOTE}


@pytest.fixture
def way(tmp_path: Path) -> Way:
    return Way(tmp_path / "way", ShortWay)


def short(way: Way) -> int:
    assert isinstance(way.plain, ShortWay)
    return way.plain.answered


def test_a_plain_request_takes_the_short_way(way: Way) -> None:
    way.ask({"request_id": "r1", "counterparty": "alpha", "rfq_id": "rfq", "edge": "0.7"})
    assert short(way) == 1
    way.end()
    assert way.calls[0].expiry.decision == types.DECISION_QUOTE


@pytest.mark.parametrize(
    "more", [{"explain": True}, {"include_features": True}, {"side": types.SIDE_TWO_WAY}, {"desk": "no such"}]
)
def test_what_is_not_plain_takes_the_long_way(way: Way, more: dict[str, Any]) -> None:
    way.ask(more)
    assert short(way) == 0


def test_a_retry_takes_the_long_way_and_gets_the_first_reply(way: Way) -> None:
    for _ in range(2):
        way.ask({"request_id": "r1"})
    way.end()
    assert short(way) == 1
    assert way.calls[0].reply == way.calls[1].reply


def test_an_unexpected_fault_leaves_only_an_opaque_id(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: object) -> None:
        raise RuntimeError("secret /etc/path")

    monkeypatch.setattr(type(way.kit.service), "synchronised", property(broken), raising=False)
    way.ask({"request_id": "r1"})
    assert way.calls[0].error.code is Code.INTERNAL
    assert "secret" not in way.calls[0].error.message
