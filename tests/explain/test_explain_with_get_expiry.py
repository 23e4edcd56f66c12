"""``explain`` in GetExpiry: complete, once, and never in the way of decisions."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.reference.service_kit import CONFIG, GET_EXPIRY, MS, Kit, S, refused

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife_server.explaining import Turns
from quotelife_server.handlers import Service, State
from quotelife_server.in_flight import InFlight
from quotelife_server.metrics import Metrics
from quotelife_server.reply_store import ReplyStore
from quotelife_server.rpc import CallContext, Code, Deferred, Unary


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


def test_an_explanation_comes_with_the_answer(kit: Kit) -> None:
    reply = kit.get(counterparty="alpha", explain=True)
    (explanation,) = reply.explanations
    assert explanation.decision_id == reply.decision_id
    assert explanation.side == types.SIDE_BUY
    assert explanation.verified
    assert explanation.config_digest == kit.config.digest
    assert explanation.model_kind == "first_passage"
    (rule,) = [step for step in explanation.rule_path if step.applied]
    assert rule.rule == reply.rule == types.RULE_COUNTERPARTY_TIER
    assert {step.constraint for step in explanation.constraints if step.binding} == set(reply.binding)
    assert explanation.summary
    assert len(explanation.features) > 60
    total = explanation.baseline_logit + sum(each.logit for each in explanation.contributions)
    assert total + explanation.left_over == pytest.approx(explanation.logit)


def test_the_rest_of_the_answer_is_the_same_without(kit: Kit) -> None:
    plain, explained = kit.get(), kit.get(explain=True)
    for reply in (plain, explained):
        for field in ("explanations", "decision_id", "compute_ns"):
            reply.ClearField(field)
    assert plain == explained


def test_no_explanation_where_none_was_asked_for(kit: Kit) -> None:
    assert not kit.get().explanations


def test_two_sides_get_two_explanations(kit: Kit) -> None:
    reply = kit.get(side=types.SIDE_TWO_WAY, explain=True)
    assert [each.side for each in reply.explanations] == [types.SIDE_BUY, types.SIDE_SELL]
    assert [each.decision_id for each in reply.explanations] == [side.decision_id for side in reply.sides]


def test_a_retry_gets_the_explained_answer_again(kit: Kit) -> None:
    payload = kit.payload(request_id="r", explain=True)
    first, before = kit.call(GET_EXPIRY, payload), kit.engine.input_sequence
    kit.clock.set_ns(kit.clock.now_ns() + 5 * MS)
    assert kit.call(GET_EXPIRY, payload) == first
    assert kit.engine.input_sequence == before


class Waiting:
    """A service whose explanations wait until they are let go."""

    def __init__(self, kit: Kit) -> None:
        self.kit = kit
        self.queue: list[Callable[[], None]] = []
        self.service = Service(
            kit.engine,
            kit.clock,
            boot_id="b00t",
            metrics=Metrics(),
            replies=ReplyStore(2**20, S),
            in_flight=InFlight(8),
            retry_delay_ns=MS,
            later=self.queue.append,
        )
        self.service.set_state(State.SERVING)

    def call(self, **fields: object) -> list[bytes | BaseException]:
        entry = self.service.methods[GET_EXPIRY]
        assert isinstance(entry, Unary)
        answer = self.service.unary(entry, self.kit.payload(**fields), CallContext(GET_EXPIRY))
        outcomes: list[bytes | BaseException] = []
        if isinstance(answer, Deferred):
            answer.then(outcomes.append)
        else:
            outcomes.append(answer)
        return outcomes


def test_a_retry_waits_for_the_explanation_that_is_under_way(kit: Kit) -> None:
    waiting = Waiting(kit)
    first = waiting.call(request_id="r", explain=True)
    decided = kit.engine.input_sequence
    second = waiting.call(request_id="r", explain=True)
    assert kit.engine.input_sequence == decided, "decided once"
    assert first == second == []
    (work,) = waiting.queue
    work()
    assert first == second and isinstance(first[0], bytes)
    assert expiry.GetExpiryResponse.FromString(first[0]).explanations


def test_another_request_of_an_id_under_way_is_refused(kit: Kit) -> None:
    waiting = Waiting(kit)
    waiting.call(request_id="r", explain=True)
    with refused() as errors:
        waiting.call(request_id="r", explain=True, counterparty="beta")
    assert errors[0].code == Code.INVALID_ARGUMENT


def test_a_decision_does_not_wait_for_explanations(kit: Kit) -> None:
    waiting = Waiting(kit)
    explained = [waiting.call(explain=True) for _ in range(3)]
    assert waiting.call(), "answered while three explanations wait"
    assert explained == [[], [], []]


def test_what_has_changed_since_does_not_touch_the_explanation(kit: Kit) -> None:
    """An override set between the decision and its explanation is not in it."""
    waiting = Waiting(kit)
    outcome = waiting.call(counterparty="alpha", explain=True)
    now_ns = kit.clock.now_ns()
    kit.engine.set_override(now_ns=now_ns, expires_ns=now_ns + S, posture=3)
    waiting.call()  # takes the place of the decision in the service's own record
    waiting.queue[0]()
    assert isinstance(outcome[0], bytes)
    reply = expiry.GetExpiryResponse.FromString(outcome[0])
    (rule,) = [step for step in reply.explanations[0].rule_path if step.applied]
    assert rule.rule == reply.rule == types.RULE_COUNTERPARTY_TIER
    assert reply.explanations[0].verified


def test_a_killed_decision_is_explained(kit: Kit) -> None:
    kit.engine.kill(kit.clock.now_ns(), counterparty="alpha", reason="test")
    reply = kit.get(counterparty="alpha", explain=True)
    assert list(reply.reasons) == [types.REASON_KILLED] and reply.rule == types.RULE_KILL_SWITCH
    (explanation,) = reply.explanations
    assert explanation.verified
    assert [step.rule for step in explanation.rule_path if step.applied] == [types.RULE_KILL_SWITCH]
    assert "kill" in explanation.summary
    assert not explanation.contributions


def test_a_throttled_decision_is_explained(tmp_path: Path) -> None:
    throttle = "throttle: {decisions_max: 2, window: 1s, release: automatic, pause: 5s}\n"
    kit = Kit(tmp_path, text=CONFIG.replace("server:\n", throttle + "server:\n", 1))
    for _ in range(3):
        reply = kit.get(counterparty="alpha", explain=True)
    assert types.REASON_THROTTLED in reply.reasons
    (explanation,) = reply.explanations
    assert explanation.verified
    assert [step.rule for step in explanation.rule_path if step.applied] == [reply.rule]
    assert "too many decisions" in explanation.summary


async def test_turns_lets_the_loop_run_between_two_pieces() -> None:
    order: list[str] = []
    loop = asyncio.get_running_loop()
    turns, ended = Turns(), asyncio.Event()

    def decide(left: int) -> None:
        order.append("decision")
        if left:
            loop.call_soon(decide, left - 1)
        else:
            ended.set()

    for _ in range(3):
        turns.add(lambda: order.append("explanation"))
    loop.call_soon(decide, 3)
    await ended.wait()
    assert order == ["explanation", "decision"] * 3 + ["decision"]


async def test_a_piece_that_fails_does_not_stop_the_others() -> None:
    turns, done = Turns(), asyncio.Event()
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))

    def fail() -> None:
        raise RuntimeError("piece")

    turns.add(fail)
    turns.add(done.set)
    await done.wait()
    assert len(failures) == 1
