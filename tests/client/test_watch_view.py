"""What a watcher knows, on a clock made by hand: what it sends, acknowledges and believes."""

from typing import Any

import pytest

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quotelife_client import QuoteState, SizeUnit, WatchEvent, WatchEventKind, WithdrawReason, calls
from quotelife_client.watch_view import BATCH_MAX, ENDED_KEPT, OUTGOING_MAX, WatchView

MS = 1_000_000
UTC = 1_700_000_000_000 * MS
END = UTC + 60_000 * MS


class Stream:
    """Numbers what is said to a view; times in ms."""

    def __init__(self, *quotes: str) -> None:
        self.view = WatchView("oms")
        self.view.opening()
        self.sequence = 0
        self.say(
            opened=expiry.WatchOpened(
                at_utc_ns=UTC, heartbeat_interval_ns=250 * MS, silence_max_ns=500 * MS, lease_ns=40 * MS
            )
        )
        for quote in quotes:
            self.say(registered=expiry.WatchRegistered(quote_id=quote, expiry_utc_ns=END))

    def say(self, at_ms: float = 0, **message: Any) -> list[WatchEvent]:
        self.sequence += 1
        said = expiry.WatchQuotesResponse(sequence=self.sequence, **message)
        return self.view.take(said, round(at_ms * MS))

    def withdraw(self, quote: str) -> list[WatchEvent]:
        reason = WithdrawReason.VALUE.value
        return self.say(withdraw=expiry.WatchWithdraw(quote_id=quote, reason=reason))  # type: ignore[arg-type]

    def heartbeat(self, at_ms: float, interval_ms: int = 250) -> None:
        beat = expiry.WatchHeartbeat(at_utc_ns=UTC + round(at_ms * MS), interval_ns=interval_ms * MS)
        self.say(at_ms, heartbeat=beat)

    def acknowledged(self) -> list[tuple[str, int]]:
        sent = [each.acknowledge for each in self.view.outgoing if each.HasField("acknowledge")]
        self.view.outgoing.clear()
        return [(each.quote_id, each.sequence) for each in sent]


def said(message: expiry.WatchQuotesRequest) -> list[expiry.WatchQuotesRequest]:
    return list(message.batch.messages) if message.HasField("batch") else [message]


def test_what_was_read_is_said_every_half_interval_however_much_there_is_to_say() -> None:
    stream = Stream("q")
    beats: list[int] = []
    for at_ms in range(10_000, 12_000, 10):
        stream.heartbeat(at_ms)
        stream.view.update("q", QuoteState.PARTLY_FILLED, "1", SizeUnit.LOTS)
        messages = said(stream.view.take_outgoing(at_ms * MS))
        assert messages[0].HasField("update")
        for each in messages[1:]:
            assert each.heartbeat.sequence == stream.sequence
            beats.append(at_ms)
    assert beats == list(range(10_000, 12_000, 130)), "125 ms, and steps of 10"


def test_a_message_with_its_heartbeat_has_no_more_parts_than_a_service_takes() -> None:
    stream = Stream("q")
    for _ in range(BATCH_MAX + 10):
        stream.view.update("q", QuoteState.LIVE, None, SizeUnit.LOTS)
    messages = said(stream.view.take_outgoing(10_000 * MS))
    assert len(messages) == BATCH_MAX and messages[-1].HasField("heartbeat")
    assert len(said(stream.view.take_outgoing(10_001 * MS))) == 11
    (beat,) = said(stream.view.take_outgoing(10_002 * MS))
    assert beat.HasField("heartbeat"), "there is nothing else to say"


def test_only_what_the_caller_has_taken_is_acknowledged() -> None:
    stream = Stream("q")
    (event,) = stream.withdraw("q")
    assert stream.withdraw("q") == [] and stream.acknowledged() == [], "the first waits to be taken"
    stream.view.acknowledge(event)
    assert stream.acknowledged() == [("q", stream.sequence)], "all that was said of it"
    assert stream.withdraw("q") == []
    assert stream.acknowledged() == [("q", stream.sequence)], "a repeat of what was taken"


def test_a_loss_that_waits_is_not_acknowledged_when_the_service_says_so_too() -> None:
    stream = Stream("q")
    (lost,) = stream.view.tick(501 * MS)
    assert (lost.reason, lost.sequence) == (WithdrawReason.WATCH_LOST, 0)
    assert stream.withdraw("q") == [] and stream.acknowledged() == []
    stream.view.acknowledge(lost)
    assert stream.acknowledged() == [("q", stream.sequence)]


def test_what_the_caller_failed_to_take_is_told_again() -> None:
    stream = Stream("q")
    (event,) = stream.withdraw("q")
    stream.view.missed(event)
    assert stream.acknowledged() == []
    (again,) = stream.withdraw("q")
    assert again.kind is WatchEventKind.WITHDRAW
    stream.view.acknowledge(again)
    assert stream.acknowledged() == [("q", stream.sequence)]


def test_what_waits_over_a_new_stream_is_acknowledged_on_that_one() -> None:
    stream = Stream("q")
    (event,) = stream.withdraw("q")
    stream.view.broken()
    stream.view.opening()
    stream.view.acknowledge(event)
    assert stream.acknowledged() == [], "numbers of the stream before say nothing on this one"
    assert stream.withdraw("q") == []
    assert stream.acknowledged() == [("q", stream.sequence)]


def test_what_waits_is_told_once_however_much_has_ended_since() -> None:
    stream = Stream("q")
    (event,) = stream.withdraw("q")
    for k in range(ENDED_KEPT + 1):
        name = f"other-{k}"
        stream.say(registered=expiry.WatchRegistered(quote_id=name, expiry_utc_ns=END))
        stream.view.update(name, QuoteState.FILLED, None, SizeUnit.LOTS)
    stream.view.outgoing.clear()
    assert stream.withdraw("q") == [] and stream.acknowledged() == []
    stream.view.acknowledge(event)
    assert stream.acknowledged() == [("q", stream.sequence)]


def test_an_id_that_has_ended_is_not_asked_for_again() -> None:
    """A repeated request gets the answer of then, which says watched."""
    stream = Stream("filled", "withdrawn", "refused")
    stream.view.update("filled", QuoteState.FILLED, None, SizeUnit.LOTS)
    stream.withdraw("withdrawn")
    for name in ("filled", "withdrawn"):
        with pytest.raises(ValueError, match="has ended; a new quote takes a new id"):
            stream.view.expect(name)
        with pytest.raises(ValueError, match="has ended"):
            stream.view.register(name, decision_id="d-1")
        assert not stream.view.live(name, 1)
    stream.view.expect("unanswered")
    stream.view.answered("unanswered", None)
    stream.view.expect("unanswered")  # nothing was said of it: it may be asked for again


def test_a_withdrawal_that_overtakes_its_answer_holds() -> None:
    stream = Stream()
    stream.view.expect("q")
    stream.withdraw("q")
    answer = calls.read_expiry(
        expiry.GetExpiryResponse(watched=True, life_ns=1000 * MS, counted_from_utc_ns=UTC)
    )
    stream.view.answered("q", answer)
    assert not stream.view.live("q", 1) and stream.view.withdrawn("q") is WithdrawReason.VALUE


def test_the_service_says_with_its_heartbeats_how_long_it_may_be_silent() -> None:
    stream = Stream("q")
    stream.heartbeat(100, interval_ms=2000)
    assert (stream.view.silence_ns, stream.view.interval_ns) == (4000 * MS, 2000 * MS)
    assert stream.view.tick(4000 * MS) == [] and stream.view.live("q", 4000 * MS)
    stream.heartbeat(4000, interval_ms=100)
    assert stream.view.alive(4200 * MS) and not stream.view.alive(4201 * MS)
    (lost,) = stream.view.tick(4201 * MS)
    assert lost.reason is WithdrawReason.WATCH_LOST
    stream.say(4202, heartbeat=expiry.WatchHeartbeat(at_utc_ns=UTC))
    assert stream.view.silence_ns == 200 * MS, "0: as said before"


def test_updates_that_nobody_takes_are_bounded_and_an_end_holds_all_the_same() -> None:
    stream = Stream("q")
    stream.view.broken()
    for _ in range(OUTGOING_MAX):
        stream.view.update("q", QuoteState.PARTLY_FILLED, None, SizeUnit.LOTS)
    with pytest.raises(ConnectionError, match="updates"):
        stream.view.update("q", QuoteState.FILLED, None, SizeUnit.LOTS)
    assert len(stream.view.outgoing) == OUTGOING_MAX
    stream.say(resumed=expiry.WatchResumed(last=True))
    assert not stream.view.live("q", 1)
    with pytest.raises(ValueError, match="has ended"):
        stream.view.expect("q")
