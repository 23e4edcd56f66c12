"""No firm answer leaves after a kill that was acknowledged, and the journal agrees with what left."""

from collections.abc import Callable
from pathlib import Path

import pytest

from quote_expiry.v1 import admin_service_pb2 as admin
from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife.decision.kill import STRANGERS
from quotelife.journal.format import Kind
from quotelife.journal.records import decode_answer, decode_refused
from quotelife.replay.verify import verify as replayed
from quotelife_server.in_flight import InFlight
from quotelife_server.rpc import CallContext, Code, Deferred, RpcError, Stream, Unary
from reference.faulty_storage import FAULTS
from reference.ledger_kit import JournalKit
from reference.service_kit import GET_EXPIRY, Kit

BATCH = "/quote_expiry.v1.QuoteExpiryService/BatchGetExpiry"
STREAM = "/quote_expiry.v1.QuoteExpiryService/StreamExpiry"
KILL = "/quote_expiry.v1.AdminService/Kill"
ENABLE = "/quote_expiry.v1.AdminService/Enable"
KILL_ALPHA = admin.KillRequest(counterparty="alpha", reason="test").SerializeToString()
ENABLE_ALPHA = admin.EnableRequest(counterparty="alpha", reason="test").SerializeToString()
ALPHA, BETA = {"counterparty": "alpha"}, {"counterparty": "beta"}


@pytest.fixture(params=["process-crash", "power-loss"])
def kit(request: pytest.FixtureRequest, tmp_path: Path) -> JournalKit:
    return JournalKit(tmp_path, durability=request.param)


def requests(kit: Kit, *each: dict[str, object]) -> list[expiry.GetExpiryRequest]:
    return [expiry.GetExpiryRequest.FromString(kit.payload(**fields)) for fields in each]


def refused_answers(kit: JournalKit) -> set[int]:
    return {sequence for record in kit.read().records([Kind.REFUSED]) for sequence in decode_refused(record)}


def sequence(response: expiry.GetExpiryResponse) -> int:
    return int(response.decision_id.rpartition("-")[2])


class Wire:
    """A transport's end of a stream whose client reads only when told to."""

    def __init__(self) -> None:
        self.queue: list[bytes | Callable[[], bytes]] = []
        self.finished = False

    def send(self, payload: bytes | Callable[[], bytes]) -> None:
        self.queue.append(payload)

    def finish(self, error: RpcError | None = None) -> None:
        self.finished = True

    def read(self) -> list[expiry.ExpiryResult]:
        whole = [payload if isinstance(payload, bytes) else payload() for payload in self.queue]
        return [expiry.StreamExpiryResponse.FromString(each).result for each in whole]


def test_an_answer_that_waits_for_its_record_does_not_outlive_a_kill(kit: JournalKit) -> None:
    firm, other = kit.ask(**ALPHA, request_id="r"), kit.ask(**BETA)
    if kit.ledger.durability == "power-loss":
        kit.turn()  # written, not yet synced
    killed = kit.send(KILL, KILL_ALPHA)
    assert firm.outcome is None and killed.outcome is None
    kit.work_off()
    assert firm.error.code is Code.UNAVAILABLE and "a kill came" in firm.error.message
    assert killed.reply and other.expiry.decision == types.DECISION_QUOTE
    kit.pass_time(0.2)
    answers = [decode_answer(record) for record in kit.read().records([Kind.ANSWER])]
    left = [answer for answer in answers if not refused_answers(kit) & set(answer.sequences)]
    assert [answer.reply for answer in left] == [other.reply]
    assert replayed(kit.folder).complete
    kit.restart()
    kit.send(ENABLE, ENABLE_ALPHA)
    kit.work_off()
    again = kit.ask(**ALPHA, request_id="r")
    kit.work_off()
    assert again.reply not in [answer.reply for answer in answers], "decided anew: the first was never given"


def test_a_retry_that_waits_with_its_first_call_does_not_outlive_a_kill(kit: JournalKit) -> None:
    calls = [kit.ask(**ALPHA, request_id="r") for _ in range(2)]
    kit.send(KILL, KILL_ALPHA)
    kit.work_off()
    assert ["a kill came" in call.error.message for call in calls] == [True, True]


@pytest.mark.parametrize("whom", ["alpha", ""])
def test_an_answer_that_waits_for_its_record_does_not_outlive_a_kill_that_has_ended(
    kit: JournalKit, whom: str
) -> None:
    call, other = kit.ask(**ALPHA), kit.ask(**BETA)
    kit.send(KILL, admin.KillRequest(counterparty=whom, reason="test").SerializeToString())
    kit.send(ENABLE, admin.EnableRequest(counterparty=whom, reason="test").SerializeToString())
    after = kit.ask(**ALPHA)
    assert not kit.engine.kills() and call.outcome is None
    kit.work_off()
    assert "a kill came" in call.error.message
    assert isinstance(other.outcome, bytes) == (whom == "alpha")
    assert after.expiry.decision == types.DECISION_QUOTE


def test_a_retry_after_a_kill_has_ended_gets_no_answer_of_before_it_that_was_never_given(
    kit: JournalKit,
) -> None:
    first = kit.ask(**ALPHA, request_id="r")
    kit.send(KILL, KILL_ALPHA)
    kit.send(ENABLE, ENABLE_ALPHA)
    again = kit.ask(**ALPHA, request_id="r")
    kit.work_off()
    assert ["a kill came" in call.error.message for call in (first, again)] == [True, True]
    anew = kit.ask(**ALPHA, request_id="r")
    kit.work_off()
    assert anew.expiry.decision == types.DECISION_QUOTE


def test_an_answer_of_a_stranger_does_not_outlive_a_kill_of_strangers_that_has_ended(kit: JournalKit) -> None:
    call = kit.ask(counterparty="somebody")
    kill = admin.KillRequest(counterparty=STRANGERS, reason="test").SerializeToString()
    kit.send(KILL, kill)
    kit.send(ENABLE, admin.EnableRequest(counterparty=STRANGERS, reason="test").SerializeToString())
    kit.work_off()
    assert "a kill came" in call.error.message


def test_a_two_way_answer_that_is_firm_on_one_side_is_taken_back(kit: JournalKit) -> None:
    call = kit.ask(**ALPHA, side=types.SIDE_TWO_WAY)
    kit.send(KILL, KILL_ALPHA)
    kit.work_off()
    assert "a kill came" in call.error.message


def test_a_decline_stands_whatever_is_killed(kit: JournalKit) -> None:
    kit.clock.advance_ns(3600 * 10**9)  # the books are stale
    call = kit.ask(**ALPHA)
    kit.send(KILL, KILL_ALPHA)
    kit.work_off()
    assert call.expiry.decision == types.DECISION_DECLINE


def test_firm_answers_of_a_batch_are_taken_back_one_by_one(kit: JournalKit) -> None:
    batch = expiry.BatchGetExpiryRequest(requests=requests(kit, ALPHA, BETA, ALPHA))
    call = kit.send(BATCH, batch.SerializeToString())
    if kit.ledger.durability == "power-loss":
        kit.turn()
    kit.send(KILL, KILL_ALPHA)
    kit.work_off()
    results = expiry.BatchGetExpiryResponse.FromString(call.reply).results
    assert [each.WhichOneof("result") for each in results] == ["fault", "response", "fault"]
    assert results[0].fault.code == Code.UNAVAILABLE
    kit.pass_time(0.2)
    kept = sequence(results[1].response)
    assert refused_answers(kit) == {kept - 1, kept + 1}


@pytest.mark.parametrize("enabled", [False, True])
def test_an_answer_of_a_batch_that_waits_for_its_neighbour_does_not_outlive_a_kill(
    tmp_path: Path, enabled: bool
) -> None:
    """Without a journal an answer is there at once, and the one beside it is still being explained."""
    kit = Kit(tmp_path)
    postponed: list[Callable[[], None]] = []
    later = kit_service(kit, postponed)
    batch = expiry.BatchGetExpiryRequest(requests=requests(kit, ALPHA, {**ALPHA, "explain": True}, BETA))
    reply = later.unary(later.methods[BATCH], batch.SerializeToString(), CallContext(BATCH))  # type: ignore[arg-type]
    assert isinstance(reply, Deferred) and reply.outcome is None
    later.unary(later.methods[KILL], KILL_ALPHA, CallContext(KILL))  # type: ignore[arg-type]
    if enabled:
        later.unary(later.methods[ENABLE], ENABLE_ALPHA, CallContext(ENABLE))  # type: ignore[arg-type]
    postponed[0]()
    results = expiry.BatchGetExpiryResponse.FromString(reply.leaving()).results
    assert [each.WhichOneof("result") for each in results] == ["fault", "fault", "response"]


def test_firm_answers_of_a_stream_that_is_not_read_are_taken_back(kit: JournalKit) -> None:
    entry, wire = kit.service.methods[STREAM], Wire()
    assert isinstance(entry, Stream)
    stream = entry.open(CallContext(STREAM), wire)
    for tag, request in enumerate(requests(kit, ALPHA, BETA, ALPHA)):
        stream.on_message(expiry.StreamExpiryRequest(tag=tag, request=request).SerializeToString())
    kit.work_off()
    assert len(wire.queue) == 3, "resolved, and not yet written"
    kit.send(KILL, KILL_ALPHA)
    kit.work_off()
    assert [each.WhichOneof("result") for each in wire.read()] == ["fault", "response", "fault"]
    kit.pass_time(0.2)
    assert len(refused_answers(kit)) == 2


def test_serving_unjournaled_a_kill_takes_back_what_waits_for_its_record(tmp_path: Path) -> None:
    kit = JournalKit(tmp_path, on_failure="serve-unjournaled")
    FAULTS["full"](kit.storage)
    call = kit.ask(**ALPHA)
    kit.send(KILL, KILL_ALPHA)
    kit.work_off()
    assert "a kill came" in call.error.message


# --- kills and enabling while the journal fails ---------------------------------------------------------------


@pytest.mark.parametrize("policy", ["refuse", "serve-unjournaled"])
@pytest.mark.parametrize("fault", list(FAULTS))
def test_enabling_has_no_effect_while_it_cannot_be_journaled(tmp_path: Path, policy: str, fault: str) -> None:
    kit = JournalKit(tmp_path, on_failure=policy)
    kit.send(KILL, KILL_ALPHA)
    kit.work_off()
    before = kit.engine.kills()
    FAULTS[fault](kit.storage)
    first, firm = kit.send(ENABLE, ENABLE_ALPHA), kit.ask(**ALPHA)  # the fault shows at their commit
    kit.work_off()
    assert first.error.code is Code.UNAVAILABLE and "nothing was enabled" in first.error.message
    assert isinstance(firm.outcome, RpcError), "decided between the two, and taken back"
    second = kit.send(ENABLE, ENABLE_ALPHA)
    assert second.error.code is Code.UNAVAILABLE
    assert kit.engine.kills() == before
    kit.storage.heal()
    kit.pass_time(1.5)
    kit.restart()
    assert kit.engine.kills() == before
    assert kit.send(ENABLE, ENABLE_ALPHA).outcome is None
    kit.work_off()
    assert not kit.engine.kills()


# --- explanations ---------------------------------------------------------------------------------------------


def kit_service(kit: Kit, postponed: list[Callable[[], None]], in_flight: int = 64):  # type: ignore[no-untyped-def]
    """The kit's service with explanations that wait until they are let go."""
    from quotelife_server.handlers import Service, State
    from quotelife_server.metrics import Metrics
    from quotelife_server.reply_store import ReplyStore

    service = Service(
        kit.engine,
        kit.clock,
        boot_id="b00t",
        metrics=Metrics(),
        replies=ReplyStore(2**20, 2**60),
        in_flight=InFlight(in_flight),
        retry_delay_ns=1,
        later=postponed.append,
    )
    service.set_state(State.SERVING)
    return service


def test_each_explained_request_of_a_batch_takes_a_place_in_flight(tmp_path: Path) -> None:
    kit = Kit(tmp_path)
    postponed: list[Callable[[], None]] = []
    service = kit_service(kit, postponed, in_flight=4)
    entry = service.methods[BATCH]
    batch = expiry.BatchGetExpiryRequest(requests=requests(kit, {}, *[{"explain": True}] * 5))
    service.admit(entry)
    reply = service.unary(entry, batch.SerializeToString(), CallContext(BATCH))
    assert service.in_flight.count == 4 and len(postponed) == 3
    with pytest.raises(RpcError) as full:
        service.admit(service.methods[GET_EXPIRY])
    assert full.value.code is Code.RESOURCE_EXHAUSTED
    for work in postponed:
        work()
    results = expiry.BatchGetExpiryResponse.FromString(reply.leaving()).results
    assert [each.fault.code for each in results] == [0, 0, 0, 0, *[Code.RESOURCE_EXHAUSTED] * 2]
    service.release(entry)
    assert service.in_flight.count == 0


def test_what_a_retry_was_given_before_a_kill_is_not_taken_back_with_its_first_call(kit: JournalKit) -> None:
    """The first call's client reads nothing, its retry comes by another connection and is answered; then a kill."""
    payload = kit.payload(**ALPHA, request_id="r")
    entry, context = kit.service.methods[GET_EXPIRY], CallContext(GET_EXPIRY)
    assert isinstance(entry, Unary)
    first = kit.service.unary(entry, payload, context)
    kit.work_off()
    retry = kit.service.unary(entry, payload, context)
    kit.work_off()
    assert isinstance(first, Deferred) and isinstance(retry, Deferred)
    given = retry.leaving()
    kit.send(KILL, KILL_ALPHA)
    kit.work_off()
    with pytest.raises(RpcError, match="a kill came"):
        first.leaving()
    kit.send(ENABLE, ENABLE_ALPHA)
    kit.work_off()
    again = kit.ask(**ALPHA, request_id="r")
    kit.work_off()
    assert again.reply == given
    kit.pass_time(0.2)
    assert not refused_answers(kit)
