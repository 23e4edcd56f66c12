"""Decisions explained from a journal alone, by the library, the command and the service."""

import asyncio
import errno
import io
import json
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path

import pytest
from google.protobuf import json_format
from rich.console import Console
from tests.reference.service_kit import CONFIG, MS, Kit, Market, S
from typer.testing import CliRunner

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife.config import load_config
from quotelife.errors import JournalError
from quotelife.explain.journaled import explain_from
from quotelife.explain.words import RECALIBRATION_BOUND
from quotelife.features.schema import NAMES
from quotelife.journal.format import Kind, pack_record
from quotelife.journal.reader import Journal
from quotelife.journal.records import Record, decode_decision, decode_label
from quotelife.journal.storage import DirectoryStorage
from quotelife.journal.writer import JournalWriter
from quotelife.records import REQUEST_DTYPE, DecisionRecord, EventBuffer, EventKindCode, RequestRecord
from quotelife_server import convert
from quotelife_server.cli.commands import app
from quotelife_server.cli.explain_page import page
from quotelife_server.explaining import JournalExplanations
from quotelife_server.handlers import Hooks, Service, State
from quotelife_server.in_flight import InFlight
from quotelife_server.ledger import NoJournal
from quotelife_server.metrics import Metrics
from quotelife_server.outgoing import Waiting
from quotelife_server.reply_store import ReplyStore
from quotelife_server.rpc import CallContext, Code, Deferred, RpcError, Unary, waited
from quotelife_server.settings import ServiceConfig

RUN = CliRunner()


class WriterLedger(NoJournal):
    """Writes each answer through at once, as the service's does in batches."""

    def __init__(self, replies: ReplyStore, writer: JournalWriter) -> None:
        super().__init__(replies, lambda work: work())
        self.writer = writer

    def take(self, waiting: Waiting, now_ns: int) -> Deferred:
        self.writer.answer(
            waiting.sequences, waiting.request_id.encode(), waiting.digest, waiting.request, waiting.reply
        )
        self.writer.commit()
        waiting.resolve(waiting.reply)
        return waiting


class Journaled(Kit):
    """The handlers with a journal, on a simulated market."""

    def __init__(self, folder: Path, text: str = CONFIG) -> None:
        super().__init__(folder, text=text)
        self.folder = folder / "journal"
        self.writer = JournalWriter(DirectoryStorage(self.folder), boot_id="b00t")
        self.writer.begin(self.engine, self.clock.now_ns())
        self.engine.record_to(self.writer)
        replies = ReplyStore(2**20, S)
        self.service = Service(
            self.engine,
            self.clock,
            boot_id="b00t",
            metrics=Metrics(),
            replies=replies,
            in_flight=InFlight(8),
            retry_delay_ns=MS,
            ledger=WriterLedger(replies, self.writer),
        )
        self.service.set_state(State.SERVING)

    def explained(self, decision_id: str) -> expiry.ExplainDecisionResponse:
        found = explain_from(Journal(self.folder), decision_id)
        assert found is not None
        return convert.explained_answer(found)


@pytest.fixture
def kit(tmp_path: Path) -> Journaled:
    return Journaled(tmp_path)


def test_the_journal_explains_as_the_service_did(kit: Journaled) -> None:
    """Word for word and figure for figure, without the market."""
    reply = kit.get(counterparty="alpha", desk="main", explain=True)
    response = kit.explained(reply.decision_id)
    assert list(response.explanations) == list(reply.explanations)
    assert response.explanations[0].verified


def test_request_and_reply_come_as_they_were_sent(kit: Journaled) -> None:
    payload = kit.payload(counterparty="alpha", rfq_id="rfq-7", price="62999.5")
    reply = kit.call("/quote_expiry.v1.QuoteExpiryService/GetExpiry", payload)
    response = kit.explained(expiry.GetExpiryResponse.FromString(reply).decision_id)
    assert response.request.SerializeToString(deterministic=True) == payload
    assert response.response == expiry.GetExpiryResponse.FromString(reply)


def test_both_sides_are_explained_by_the_id_of_either(kit: Journaled) -> None:
    reply = kit.get(side=types.SIDE_TWO_WAY)
    ids = [side.decision_id for side in reply.sides]
    for decision_id in ids:
        explanations = kit.explained(decision_id).explanations
        assert [each.decision_id for each in explanations] == ids
        assert [each.side for each in explanations] == [types.SIDE_BUY, types.SIDE_SELL]
        assert all(each.verified for each in explanations)


def test_every_feature_is_there_with_its_validity(kit: Journaled) -> None:
    reply = kit.get(include_features=True)
    (explanation,) = kit.explained(reply.decision_id).explanations
    assert [each.name for each in explanation.features] == list(NAMES)
    assert list(explanation.features) == list(reply.features)
    assert any(not each.HasField("value") for each in explanation.features)


def test_a_decision_is_explained_by_the_configuration_of_its_time(kit: Journaled) -> None:
    before = kit.get(counterparty="alpha")
    changed = kit.path.read_text(encoding="utf-8").replace(
        "strategic: {posture: client_priority}", "strategic: {posture: risk_averse}"
    )
    kit.path.write_text(changed, encoding="utf-8")
    kit.engine.apply_config(load_config(kit.path, ServiceConfig), kit.clock.now_ns())
    after = kit.get(counterparty="alpha")
    old, new = (kit.explained(reply.decision_id).explanations[0] for reply in (before, after))
    assert (old.config_revision, new.config_revision) == (1, 2)
    assert old.config_digest != new.config_digest
    assert old.verified and new.verified
    applied = [next(step.detail for step in each.rule_path if step.applied) for each in (old, new)]
    assert applied[0].endswith("asks for Client Priority")
    assert applied[1].endswith("asks for Risk Averse")


def test_an_operators_override_is_explained_after_it_has_ended(kit: Journaled) -> None:
    now_ns = kit.clock.now_ns()
    gone = kit.engine.set_override(now_ns=now_ns, expires_ns=now_ns + S, posture=2)
    kit.engine.clear_override(gone, now_ns)
    number = kit.engine.set_override(now_ns=now_ns, expires_ns=now_ns + S, posture=3)
    reply = kit.get(counterparty="alpha")
    kit.engine.clear_override(number, now_ns)
    kit.get()
    (explanation,) = kit.explained(reply.decision_id).explanations
    assert explanation.verified
    (step,) = [step for step in explanation.rule_path if step.applied]
    assert step.rule == types.RULE_RUNTIME_OVERRIDE
    assert step.detail.startswith(f"operator's override {number} for everybody asks for Risk Averse")
    assert reply.rule_index == number


def test_an_override_that_has_just_expired_does_not_spoil_the_verification(kit: Journaled) -> None:
    """Its place in the engine is only given up at the next timer."""
    now_ns = kit.clock.now_ns()
    kit.engine.set_override(now_ns=now_ns, expires_ns=now_ns + MS, posture=2)
    number = kit.engine.set_override(now_ns=now_ns, expires_ns=now_ns + S, posture=3)
    kit.clock.set_ns(now_ns + 2 * MS)
    reply = kit.get(counterparty="alpha")
    assert reply.rule_index == number
    assert kit.explained(reply.decision_id).explanations[0].verified


@pytest.mark.parametrize(
    "decision_id", ["", "b00t-", "b00t-99999999", "other-1", "no id at all", "b00t-0x10"]
)
def test_an_id_that_is_not_there_is_not_found(kit: Journaled, decision_id: str) -> None:
    kit.get()
    assert explain_from(Journal(kit.folder), decision_id) is None
    result = RUN.invoke(app, ["explain", "--journal", str(kit.folder), "--", decision_id])
    assert result.exit_code == 1
    assert f"holds no decision {decision_id}" in str(result.exception)


def tampered(kit: Journaled, decision_id: str) -> None:
    """The record with another life, its checksum as it should be."""
    record = Journal(kit.folder).find_decision(decision_id)
    assert record is not None
    _, decision = decode_decision(record)
    life_ns = decision.life_ns.to_bytes(8, "little")
    at = record.payload.index(life_ns, REQUEST_DTYPE.itemsize)
    payload = bytearray(record.payload)
    payload[at : at + 8] = (decision.life_ns + MS).to_bytes(8, "little")
    path = kit.folder / record.segment
    raw = bytearray(path.read_bytes())
    whole = pack_record(record.kind, record.number, record.input_sequence, record.now_ns, 0, bytes(payload))
    raw[record.offset : record.offset + len(whole)] = whole
    path.write_bytes(raw)


def test_a_record_that_does_not_follow_from_itself_is_said_to(kit: Journaled) -> None:
    reply = kit.get(counterparty="alpha")
    tampered(kit, reply.decision_id)
    (explanation,) = kit.explained(reply.decision_id).explanations
    assert explanation.HasField("verified") and not explanation.verified
    result = RUN.invoke(app, ["explain", reply.decision_id, "--journal", str(kit.folder)])
    assert result.exit_code == 4
    assert "NOT VERIFIED" in result.output


def damaged(kit: Journaled, decision_id: str) -> None:
    """One bit of the record of a sealed segment is another."""
    kit.writer.close()
    record = Journal(kit.folder).find_decision(decision_id)
    assert record is not None
    path = kit.folder / record.segment
    raw = bytearray(path.read_bytes())
    raw[record.offset + 200] ^= 1
    path.write_bytes(raw)


def test_a_damaged_record_is_refused(kit: Journaled) -> None:
    first = kit.get(counterparty="alpha")
    kit.get()
    damaged(kit, first.decision_id)
    with pytest.raises(JournalError):
        explain_from(Journal(kit.folder), first.decision_id)
    result = RUN.invoke(app, ["explain", first.decision_id, "--journal", str(kit.folder)])
    assert result.exit_code == 1
    assert "damaged" in str(result.exception)


def test_a_journal_without_the_models_copy_still_explains_the_rules(kit: Journaled) -> None:
    reply = kit.get(counterparty="alpha")
    kit.writer.close()
    (artifact,) = (kit.folder / "artifacts").iterdir()
    artifact.rename(kit.folder / "elsewhere")
    (explanation,) = kit.explained(reply.decision_id).explanations
    assert not explanation.HasField("verified")
    assert "no whole copy of the model" in explanation.verification
    assert str(kit.folder) not in explanation.verification
    assert not explanation.contributions
    assert [step.rule for step in explanation.rule_path if step.applied] == [types.RULE_COUNTERPARTY_TIER]


LEARNING = (
    CONFIG
    + """
learning: {probe_interval: 250ms, recalibration: {enabled: true}}
postures:
  client_priority: {held_tolerance: {enabled: true}}
"""
)


def after(kit: Journaled, seconds: float) -> list[expiry.GetExpiryResponse]:
    """Answers of all instruments, and a market that goes on for so long."""
    market = Market(kit.engine, seed=3)
    kit.clock.set_ns(market.run(kit.clock.now_ns(), 21.0))
    replies = [
        kit.get(counterparty="alpha", instrument=name, side=side)
        for name in ("BTC-USDT", "ETH-USDT")
        for side in (types.SIDE_BUY, types.SIDE_SELL)
    ]
    for _ in range(round(seconds * 20)):
        kit.clock.set_ns(kit.clock.now_ns() + 50 * MS)
        market.step(kit.clock.now_ns())
    kit.writer.commit()
    return replies


def test_what_the_market_made_of_a_decision_is_listed_beside_it(tmp_path: Path) -> None:
    """Exactly the labels that the journal has of it, none of another decision and none of a probe."""
    kit = Journaled(tmp_path, LEARNING)
    replies = after(kit, 6.0)
    written = [decode_label(record) for record in Journal(kit.folder).records((Kind.LABEL,))]
    passed = set()
    for reply in replies:
        sequence = int(reply.decision_id.partition("-")[2])
        own = [label for label in written if label["decision"] == sequence]
        response = kit.explained(reply.decision_id)
        assert response.explanations[0].verified
        assert [
            (each.horizon_ns, each.life, each.passed, each.passage_ns if each.HasField("passage_ns") else -1)
            for each in response.labels
        ] == [(each["horizon_ns"], each["part"] == 2, each["hit"] == 1, each["passage_ns"]) for each in own]
        assert {(each.life, each.horizon_ns) for each in response.labels} == {
            (False, 500 * MS), (False, 2 * S), (True, reply.life_ns),
        }  # fmt: skip
        for each, label in zip(response.labels, own, strict=True):
            passed.add(each.passed)
            assert each.decision_id == reply.decision_id
            if each.life:
                assert (each.moved, each.held_alpha) == (label["moved"], label["alpha"])
            else:
                assert each.p == label["p"] > 0.0
    assert passed == {True, False}
    result = RUN.invoke(app, ["explain", replies[0].decision_id, "--journal", str(kit.folder)])
    assert "What the market made of it" in result.output and "within the life, " in result.output


def test_what_is_not_over_is_not_listed_and_what_was_lost_sight_of_is_not_known(tmp_path: Path) -> None:
    kit = Journaled(tmp_path, LEARNING)
    known = {each.decision_id: kit.explained(each.decision_id) for each in after(kit, 0.4)}
    decision_id, told = next((id_, each) for id_, each in known.items() if len(each.labels) == 1)
    (label,) = told.labels
    assert label.life and label.horizon_ns == told.response.life_ns == 250 * MS and not label.passed
    lost = EventBuffer(8)
    for i in range(2):
        lost.append(EventKindCode.STATUS, instrument=i, receive_ns=kit.clock.now_ns(), aux=5, flags=1)
    kit.engine.on_events(lost)
    kit.engine.on_timer(kit.clock.now_ns() + 10 * S)
    kit.writer.commit()
    response = kit.explained(decision_id)
    assert [each.horizon_ns // MS for each in response.labels] == [250, 500, 2000]
    assert [each.HasField("passed") for each in response.labels] == [True, False, False]


@pytest.fixture(scope="module", params=[0, 60], ids=["all-the-time", "seldom"])
def burst(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Journal:
    """900 decisions at one moment, of which most are thinned; then decisions of both instruments for a minute, every
    50 ms or every 3 s."""
    kit = Journaled(tmp_path_factory.mktemp("burst"), LEARNING)
    market = Market(kit.engine, seed=3)
    now_ns = market.run(kit.clock.now_ns(), 21.0)

    def ask(instrument: int) -> None:
        kit.engine.decide(RequestRecord(instrument, 1, now_ns=now_ns, counterparty=0), DecisionRecord())

    for number in range(900):
        ask(number % 9 == 0)
    for turn in range(1240):
        now_ns += 50 * MS
        market.step(now_ns)
        if turn % (request.param or 1) == 0:
            ask(0)
            ask(1)
    assert kit.engine.label_counts()[4] > 200, "thinned"
    kit.writer.close()
    return Journal(kit.folder)


def test_no_label_that_came_within_the_minute_is_missed(burst: Journal) -> None:
    decisions = list(burst.records((Kind.DECISION,)))
    labels: dict[int, list[bytes]] = {}
    for record in burst.records((Kind.LABEL,)):
        labels.setdefault(int(decode_label(record)["decision"]), []).append(record.payload)
    assert any(record.input_sequence not in labels for record in decisions[:900])
    for record in decisions[:900:53] + decisions[900::97]:
        found = explain_from(burst, record.decision_id)
        assert found is not None
        told = [label.tobytes() for label in found.decisions[0].labels]
        assert told == labels.get(record.input_sequence, [])


def test_labels_that_cannot_come_are_not_waited_for(burst: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest life ends after 5 s, and labels of later decisions tell that its own would have come."""
    labelled = {int(decode_label(record)["decision"]) for record in burst.records((Kind.LABEL,))}
    thinned = [r for r in burst.records((Kind.DECISION,)) if r.input_sequence not in labelled][:200:40]
    reached = reading(monkeypatch)
    for record in thinned:
        found = explain_from(burst, record.decision_id)
        assert found is not None and not found.decisions[0].labels
        assert 2 * S <= reached() - record.now_ns < 7 * S


def test_messages_that_would_have_brought_labels_end_the_search_where_there_are_none_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All lives are cut by the client's deadline: nothing is asked of them."""
    kit = Journaled(
        tmp_path,
        LEARNING.replace("enabled: true}}\npost", "enabled: false}, monitor: {enabled: false}}\npost"),
    )
    market = Market(kit.engine, seed=3)
    now_ns = market.run(kit.clock.now_ns(), 21.0)
    for _ in range(400):
        now_ns += 50 * MS
        market.step(now_ns)
        deadline_ns = now_ns + 30 * MS
        request = RequestRecord(0, 1, now_ns=now_ns, counterparty=0, client_deadline_ns=deadline_ns)
        kit.engine.decide(request, DecisionRecord())
    kit.writer.close()
    journal = Journal(kit.folder)
    assert not list(journal.records((Kind.LABEL,)))
    reached = reading(monkeypatch)
    for record in list(journal.records((Kind.DECISION,)))[:200:40]:
        found = explain_from(journal, record.decision_id)
        assert found is not None and not found.decisions[0].labels
        assert 0 < reached() - record.now_ns < S


def reading(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Up to which time the journal was read the last time."""
    following, read_ns = Journal.following, 0

    def watched(self: Journal, record: Record, kinds: Iterable[Kind]) -> Iterator[Record]:
        nonlocal read_ns
        for each in following(self, record, kinds):
            read_ns = int(decode_label(each)["at_ns"]) if each.kind is Kind.LABEL else each.now_ns
            yield each

    monkeypatch.setattr(Journal, "following", watched)
    return lambda: read_ns


def test_where_nothing_is_learned_the_journal_is_not_searched_for_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    off = "learning: {recalibration: {enabled: false}, monitor: {enabled: false}}\n"
    kit = Journaled(tmp_path, CONFIG + off)
    replies = after(kit, 1.0)
    monkeypatch.delattr(Journal, "following")
    assert not kit.explained(replies[0].decision_id).labels


# --- the service --------------------------------------------------------------------------------------------

EXPLAIN = "/quote_expiry.v1.QuoteExpiryService/ExplainDecision"


async def asked(kit: Journaled, decision_id: str) -> expiry.ExplainDecisionResponse:
    """ExplainDecision as a transport calls it. Raises ``RpcError``."""
    running: list[asyncio.Task[None]] = []

    def spawn(work: Awaitable[bytes], answer: Deferred) -> None:
        async def resolve() -> None:
            try:
                answer.resolve(await work)
            except BaseException as error:
                answer.resolve(error)

        running.append(asyncio.create_task(resolve()))

    async def unused(_: object = None) -> bytes:
        raise NotImplementedError

    kit.service.hooks = Hooks(reload=unused, status=unused, spawn=spawn)
    entry = kit.service.methods[EXPLAIN]
    assert isinstance(entry, Unary)
    payload = expiry.ExplainDecisionRequest(decision_id=decision_id).SerializeToString()
    answer = kit.service.unary(entry, payload, CallContext(EXPLAIN))
    return expiry.ExplainDecisionResponse.FromString(await waited(answer))


async def test_the_service_explains_from_its_journal(kit: Journaled) -> None:
    kit.service.explanations = JournalExplanations(kit.folder)
    first = kit.get(counterparty="alpha")
    assert await asked(kit, first.decision_id) == kit.explained(first.decision_id)
    second = kit.get(side=types.SIDE_TWO_WAY)
    response = await asked(kit, second.decision_id)
    assert response.response == second, "what was written since the last look is found too"


async def test_an_unknown_id_is_not_found_by_the_service(kit: Journaled) -> None:
    kit.service.explanations = JournalExplanations(kit.folder)
    with pytest.raises(RpcError) as caught:
        await asked(kit, "b00t-99999999")
    assert caught.value.code == Code.NOT_FOUND


async def test_no_id_is_a_wrong_field(kit: Journaled) -> None:
    kit.service.explanations = JournalExplanations(kit.folder)
    with pytest.raises(RpcError) as caught:
        await asked(kit, "")
    assert caught.value.code == Code.INVALID_ARGUMENT


async def test_without_a_journal_the_precondition_fails(kit: Journaled) -> None:
    with pytest.raises(RpcError) as caught:
        await asked(kit, "b00t-1")
    assert caught.value.code == Code.FAILED_PRECONDITION
    assert "keeps no journal" in caught.value.message


async def test_damage_is_data_loss_and_names_no_path(kit: Journaled) -> None:
    kit.service.explanations = JournalExplanations(kit.folder)
    reply = kit.get()
    damaged(kit, reply.decision_id)
    with pytest.raises(RpcError) as caught:
        await asked(kit, reply.decision_id)
    assert caught.value.code == Code.DATA_LOSS
    assert str(kit.folder) not in caught.value.message


async def test_who_asks_while_a_segment_is_removed_may_ask_again(
    kit: Journaled, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit.service.explanations = JournalExplanations(kit.folder)
    reply = kit.get()
    assert (await asked(kit, reply.decision_id)).response == reply

    def gone(*_: object) -> bytes:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(kit.folder))

    with monkeypatch.context() as patch:
        patch.setattr(DirectoryStorage, "read", gone)
        with pytest.raises(RpcError) as caught:
            await asked(kit, reply.decision_id)
    assert caught.value.code == Code.UNAVAILABLE
    assert str(kit.folder) not in caught.value.message
    assert (await asked(kit, reply.decision_id)).response == reply
    for segment in kit.folder.glob("*.qlj"):
        segment.unlink()
    with pytest.raises(RpcError) as caught:
        await asked(kit, reply.decision_id)
    assert caught.value.code == Code.NOT_FOUND


# --- the command --------------------------------------------------------------------------------------------


def test_the_page_has_every_part(kit: Journaled) -> None:
    kit.engine.on_signal(1, receive_ns=kit.clock.now_ns(), source_ns=kit.clock.now_ns(), value=-1.0)
    reply = kit.get(counterparty="alpha", desk="main", price="62999.5", rfq_id="rfq-7")
    kit.writer.close()
    result = RUN.invoke(
        app, ["explain", reply.decision_id, "--journal", str(kit.folder)], env={"COLUMNS": "160"}
    )
    assert result.exit_code == 0, result.output
    for part in (
        reply.decision_id,
        "Risk Averse because of STRESS (news -1.00",
        "rfq-7",
        "62999.5",
        "What moved P(500 ms)",
        "h_ticks",
        "Which posture",
        "→  counterparty tier",
        "What bounds the life",
        "binds",
        "verified: computed again",
    ):
        assert part in result.output, part


def test_the_json_reads_back_to_the_same_message(kit: Journaled) -> None:
    reply = kit.get(side=types.SIDE_TWO_WAY, counterparty="beta")
    result = RUN.invoke(app, ["explain", reply.decision_id, "--journal", str(kit.folder), "--json"])
    assert result.exit_code == 0, result.output
    response = json_format.Parse(result.output, expiry.ExplainDecisionResponse())
    assert response == kit.explained(reply.decision_id)


def test_the_json_has_the_keys_that_the_documentation_names(kit: Journaled) -> None:
    reply = kit.get(counterparty="beta")
    result = RUN.invoke(app, ["explain", reply.decision_id, "--journal", str(kit.folder), "--json"])
    written = json.loads(result.output)
    (explanation,) = written["explanations"]
    text = (Path(__file__).parents[2] / "docs" / "explain.md").read_text(encoding="utf-8")
    keys = set(written) | set(explanation)
    for part in ("contributions", "rule_path", "constraints", "risks", "features"):
        keys |= {key for entry in explanation[part] for key in entry}
    missing = [key for key in keys if f"`{key}`" not in text]
    assert not missing


def test_one_side_alone(kit: Journaled) -> None:
    reply = kit.get(side=types.SIDE_TWO_WAY)
    command = ["explain", reply.decision_id, "--journal", str(kit.folder), "--json", "--side", "sell"]
    response = json_format.Parse(RUN.invoke(app, command).output, expiry.ExplainDecisionResponse())
    assert [each.side for each in response.explanations] == [types.SIDE_SELL]


def test_a_side_that_was_not_quoted_is_refused(kit: Journaled) -> None:
    reply = kit.get()
    command = ["explain", reply.decision_id, "--journal", str(kit.folder), "--side", "sell"]
    result = RUN.invoke(app, command)
    assert result.exit_code == 1
    assert "has no sell side" in str(result.exception)


@pytest.mark.parametrize("where", [(), ("--target", "127.0.0.1:1")])
def test_last_is_of_a_journal_alone(where: tuple[str, ...]) -> None:
    """A service would be asked for a decision called last, and say that there is none."""
    result = RUN.invoke(app, ["explain", "last", *where])
    assert result.exit_code == 2
    assert "last goes with --journal" in result.output


def test_last_is_the_newest_decision_of_the_journal(kit: Journaled) -> None:
    kit.get()
    newest = kit.get(counterparty="beta").decision_id
    kit.writer.close()
    result = RUN.invoke(app, ["explain", "last", "--journal", str(kit.folder), "--json"])
    response = json_format.Parse(result.output, expiry.ExplainDecisionResponse())
    assert [each.decision_id for each in response.explanations] == [newest]


def explained_page(*contributions: expiry.Contribution, **fields: float) -> str:
    console = Console(width=160, record=True, file=io.StringIO())
    explanation = expiry.Explanation(contributions=contributions, **fields)
    console.print(page(expiry.ExplainDecisionResponse(), explanation))
    return console.export_text()


def test_the_page_says_what_bounds_on_logits_took_away() -> None:
    """Beside the size in the table a sentence; rounding is not shown, a remainder without a reason is."""
    bound = expiry.Contribution(feature=RECALIBRATION_BOUND, value=-16.0, reference=-27.631, logit=11.631)
    told = "recalibration reads logits up to ±16: -27.631 of the model is read as -16.000"
    shown = explained_page(bound, left_over=1e-5)
    assert told in shown and "+11.631" in shown and "left over" not in shown
    feature = expiry.Contribution(feature="spread_ticks", value=2.0, reference=1.0, logit=0.5)
    shown = explained_page(feature, left_over=0.25)
    assert "logits up to" not in shown and "left over" in shown and "+0.250" in shown


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    result = RUN.invoke(app, ["explain", "b00t-1", "--journal", str(tmp_path / "nowhere")])
    assert result.exit_code == 1
    assert "no such folder" in str(result.exception)
    result = RUN.invoke(app, ["explain", "last", "--journal", str(tmp_path)])
    assert "name the folder of server.journal" in str(result.exception)


def test_a_service_that_is_not_there_is_named() -> None:
    result = RUN.invoke(app, ["explain", "b00t-1", "--target", "127.0.0.1:1", "--timeout", "0.5"])
    assert result.exit_code == 1
    assert "127.0.0.1:1: UNAVAILABLE" in str(result.exception)
