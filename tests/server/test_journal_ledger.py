"""Answers and their records: none leaves before its record, and what happens while there can be none."""

import asyncio
import errno
import mmap
import os
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from google.rpc import error_details_pb2

from quote_expiry.v1 import admin_service_pb2 as admin
from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import signal_service_pb2 as signals
from quote_expiry.v1 import types_pb2 as types
from quotelife.errors import JournalError
from quotelife.journal import index, storage, writer
from quotelife.journal.format import Kind, give_back
from quotelife.journal.reader import Journal
from quotelife.journal.records import decode_answer, decode_gap
from quotelife.journal.recovery import Severity, verify
from quotelife.journal.storage import DirectoryStorage
from quotelife.records import DecisionRecord, RequestRecord
from quotelife.replay.verify import verify as replayed
from quotelife_server.outgoing import Waiting
from quotelife_server.rpc import Code, Deferred, RpcError, Turn, mapped, waited
from reference.faulty_storage import FAULTS, FaultyStorage
from reference.ledger_kit import Call, JournalKit
from reference.service_kit import S

NEWS = "/quote_expiry.v1.SignalService/PublishNews"
SET_OVERRIDE = "/quote_expiry.v1.AdminService/SetOverride"
LIST_OVERRIDES = "/quote_expiry.v1.AdminService/ListOverrides"
KILL = "/quote_expiry.v1.AdminService/Kill"
POLICIES = ("refuse", "serve-unjournaled")
DURABILITIES = ("process-crash", "power-loss")


@pytest.fixture(params=DURABILITIES)
def kit(request: pytest.FixtureRequest, tmp_path: Path) -> JournalKit:
    return JournalKit(tmp_path, durability=request.param)


@pytest.fixture(params=list(FAULTS))
def fault(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def strike(kit: JournalKit, fault: str) -> FaultyStorage:
    FAULTS[fault](kit.storage)
    return kit.storage


def journaled(kit: JournalKit) -> list[bytes]:
    return [decode_answer(record).reply for record in kit.read().records([Kind.ANSWER])]


def test_an_answer_leaves_after_its_record(kit: JournalKit) -> None:
    call = kit.ask()
    assert call.outcome is None and journaled(kit) == []
    kit.work_off()
    assert journaled(kit) == [call.reply]
    assert not call.expiry.unjournaled


def test_all_answers_of_a_turn_leave_after_one_write(kit: JournalKit) -> None:
    commits = kit.journal.writer.commits
    calls = [kit.ask(request_id=f"r{i}") for i in range(64)]
    kit.work_off()
    assert kit.journal.writer.commits == commits + 1
    assert journaled(kit) == [call.reply for call in calls]


def test_the_worker_leaves_the_core_to_others_between_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit = JournalKit(tmp_path, segment_bytes=2**20, keep_bytes=3 * 2**20)
    slept: list[float] = []
    asked: dict[str, list[float]] = {"scanned": [], "scan_stored": [], "_cut_down": []}
    monkeypatch.setattr("quotelife.journal.storage.time", SimpleNamespace(sleep=slept.append))

    def watch(module: ModuleType, name: str) -> None:
        function = getattr(module, name)

        def watched(*arguments: Any, **named: Any) -> Any:
            asked[name].append(named.get("pause_s", arguments[-1]))
            return function(*arguments, **named)

        monkeypatch.setattr(module, name, watched)

    watch(index, "scanned")
    watch(index, "scan_stored")
    watch(storage, "_cut_down")
    for number in range(2, 7):
        fill_to_segment(kit, number)
        kit.pass_time(2.0)
    kit.pass_time(61.0)
    assert len(asked["scanned"]) == 5 and min(asked["scanned"]) > 0
    assert not asked["scan_stored"], "what was written is known"
    removed = 6 - len(segment_numbers(kit))
    assert removed > 0 and len(asked["_cut_down"]) == removed and min(asked["_cut_down"]) > 0
    assert len(slept) >= 5 * (6 + 1) + removed, (
        "sidecars: head and most columns written, and read; what is removed"
    )
    assert min(slept) > 0


@pytest.mark.parametrize("power_loss", [False, True])
def test_who_knows_that_no_answer_will_follow_need_not_wait_for_the_turn_to_end(
    tmp_path: Path, power_loss: bool
) -> None:
    kit = JournalKit(tmp_path, durability="power-loss" if power_loss else "process-crash")
    calls = [kit.ask(request_id=f"r{i}") for i in range(3)]
    turn = kit.ledger._batch.turn
    over: list[str] = []
    turn.after(lambda: over.append("over"))
    commits = kit.journal.writer.commits
    assert turn.is_long is kit.journal.writer.power_loss
    turn.end_soon()
    assert kit.journal.writer.commits == commits + 1 and len(journaled(kit)) == 3
    if power_loss:
        assert not over and all(call.outcome is None for call in calls), "written, not yet safe"
        kit.work()
    assert over == ["over"] and [call.reply for call in calls] == journaled(kit)
    planned = sum(kit.ledger.figures.commit_counts)
    kit.turn()
    assert sum(kit.ledger.figures.commit_counts) == planned, "what was planned has been done"
    later = kit.ask()
    kit.work_off()
    assert journaled(kit)[-1] == later.reply


def test_with_power_loss_an_answer_waits_for_the_sync(tmp_path: Path) -> None:
    kit = JournalKit(tmp_path, durability="power-loss")
    first = kit.ask()
    kit.turn()
    assert journaled(kit) and first.outcome is None, "written, not yet safe"
    later = [kit.ask(), kit.ask()]
    kit.turn()
    kit.work()
    assert first.outcome is not None
    kit.work_off()
    assert all(call.outcome is not None for call in later)


def test_what_comes_after_the_write_waits_for_no_sync(kit: JournalKit) -> None:
    call = kit.ask()
    seen: list[int] = []
    kit.ledger.after_write(lambda: seen.append(len(journaled(kit))))
    assert seen == []
    kit.turn()
    assert seen == [1], "the record was there, and nothing was waited for"
    assert (call.outcome is None) == (kit.ledger.durability == "power-loss")


def test_what_comes_after_the_write_comes_when_there_can_be_none(kit: JournalKit, fault: str) -> None:
    strike(kit, fault)
    kit.ask()
    seen: list[str] = []
    kit.ledger.after_write(lambda: seen.append("at the failing write"))
    kit.turn()
    kit.work_off()
    kit.ledger.after_write(lambda: seen.append("under the fault"))
    kit.turn()
    assert seen == ["at the failing write", "under the fault"]


def test_a_sync_releases_only_what_was_written_before_it(tmp_path: Path) -> None:
    kit = JournalKit(tmp_path, durability="power-loss")
    first = kit.ask()
    kit.turn()
    late: list[Call] = []

    def meanwhile() -> None:
        late.append(kit.ask())
        kit.turn()

    kit.work(meanwhile)
    assert first.outcome is not None
    assert late[0].outcome is None
    kit.work_off()
    assert late[0].outcome is not None


def test_batches_written_during_a_sync_share_the_next_one(tmp_path: Path) -> None:
    kit = JournalKit(tmp_path, durability="power-loss")
    syncs = kit.journal.writer.syncs
    for _ in range(5):
        kit.ask()
        kit.turn()
    kit.work_off()
    assert kit.journal.writer.syncs <= syncs + 2


def test_the_answer_to_one_decision_is_noted_like_one_to_several(kit: JournalKit) -> None:
    """One has its sequence in a field of its own and goes a shorter way to the writer."""
    one = Waiting(None, b"reply", [7], "id-\u00fc", b"digest", b"request")
    several = Waiting(None, b"reply", [7, 8], "id-\u00fc", b"digest", b"request")
    assert (list(one.sequences), list(several.sequences)) == ([7], [7, 8])
    assert kit.journal.writer.answer([7], "id-\u00fc".encode(), b"digest", b"request", b"reply") == 0
    for waiting in (one, several):
        kit.ledger.take(waiting, kit.clock.now_ns())
    kit.work_off()
    assert (one.outcome, several.outcome) == (b"reply", b"reply")
    by_writer, by_ledger, of_several = kit.read().records([Kind.ANSWER])
    assert by_ledger.payload == by_writer.payload
    assert decode_answer(of_several).sequences == (7, 8)


@pytest.mark.parametrize("beside", [(), (1,)])
def test_the_answer_to_a_decision_that_found_no_room_is_not_given(
    tmp_path: Path, beside: tuple[int, ...]
) -> None:
    kit = JournalKit(tmp_path, buffer_bytes=2**20)
    decision, taken = DecisionRecord(), 0
    while not kit.journal.writer.lost:
        kit.engine.decide(RequestRecord(0, 1, now_ns=kit.clock.now_ns()), decision)
        taken = decision.input_sequence - 1
    kit.journal.writer.commit()
    assert not kit.journal.writer.full
    lost = Waiting(None, b"reply", (*beside, decision.input_sequence), "lost", b"digest", b"request")
    kept = Waiting(None, b"reply", (*beside, taken), "kept", b"digest", b"request")
    for waiting in (lost, kept):
        kit.ledger.take(waiting, kit.clock.now_ns())
    kit.work_off()
    assert isinstance(lost.outcome, RpcError) and lost.outcome.code == Code.UNAVAILABLE
    assert kept.outcome == b"reply"


def test_the_sequences_of_an_answer_can_be_set() -> None:
    waiting = Waiting(None, b"reply")
    assert list(waiting.sequences) == []
    for sequences in ((3,), (3, 4), (), (2**64 - 1,)):
        waiting.sequences = sequences
        assert tuple(waiting.sequences) == sequences


def test_an_id_that_is_no_text_is_refused_before_anything_is_noted(kit: JournalKit) -> None:
    number = kit.journal.writer.next_number
    for sequences in ([7], [7, 8]):
        with pytest.raises(UnicodeEncodeError):
            kit.ledger.take(Waiting(None, b"reply", sequences, "\ud800"), kit.clock.now_ns())
    assert kit.journal.writer.next_number == number


def test_figures_count_every_byte_and_every_write(kit: JournalKit) -> None:
    figures, writer = kit.ledger.figures, kit.journal.writer
    counts, size, held = sum(figures.commit_counts), figures.bytes, kit.storage.size("0000000001.qlj")
    commits = writer.commits
    for answers in (1, 3):
        for _ in range(answers):
            kit.ask()
        kit.work_off()
    assert figures.bytes - size == kit.storage.size("0000000001.qlj") - held > 0
    assert writer.commits - commits == 2 <= sum(figures.commit_counts) - counts
    assert figures.commit_sum_ns > 0


def test_a_retry_in_the_same_turn_waits_and_gets_the_same_bytes(kit: JournalKit) -> None:
    first, retry = kit.ask(request_id="r"), kit.ask(request_id="r")
    assert retry.outcome is None
    kit.work_off()
    assert first.reply == retry.reply
    assert len(journaled(kit)) == 1


def test_the_same_id_with_other_content_is_refused(kit: JournalKit) -> None:
    kit.ask(request_id="r")
    assert kit.ask(request_id="r", side=types.SIDE_SELL).error.code == Code.INVALID_ARGUMENT


@pytest.mark.parametrize("replies_bytes", [2**23, 0])
def test_a_retry_after_a_restart_gets_the_same_bytes(kit: JournalKit, replies_bytes: int) -> None:
    first = kit.ask(request_id="r")
    kit.work_off()
    kit.restart(replies_bytes=replies_bytes)
    kit.pass_time(3600)
    assert kit.ask(request_id="r").reply == first.reply
    assert kit.ask(request_id="r", side=types.SIDE_SELL).error.code == Code.INVALID_ARGUMENT


def test_after_a_day_an_id_is_new(kit: JournalKit) -> None:
    first = kit.ask(request_id="r")
    kit.work_off()
    kit.restart()
    kit.clock.set_ns(kit.clock.now_ns() + 24 * 3600 * 10**9)
    again = kit.ask(request_id="r")
    kit.work_off()
    assert again.reply != first.reply


def test_replies_that_left_memory_are_found_in_closed_segments(tmp_path: Path) -> None:
    kit = JournalKit(tmp_path, segment_bytes=2**20)
    kit.restart(replies_bytes=2**16)
    calls = {}
    for i in range(3000):
        calls[i] = kit.ask(request_id=f"r{i}")
        if i % 50 == 0:
            kit.pass_time(0.1)
    kit.pass_time(1)
    assert kit.ledger.segments > 3
    assert len(kit.service.replies) < 1000
    for i, call in calls.items():
        assert kit.ask(request_id=f"r{i}").reply == call.reply


def test_overrides_and_signals_survive_a_restart(kit: JournalKit) -> None:
    override = admin.SetOverrideRequest(posture=types.POSTURE_RISK_AVERSE, ttl_ns=3600 * 10**9, desk="main")
    set_, news = (
        kit.send(SET_OVERRIDE, override.SerializeToString()),
        kit.send(NEWS, signals.PublishNewsRequest(score=-0.9, instrument="BTC-USDT").SerializeToString()),
    )
    assert set_.outcome is None and news.outcome is None, "acknowledged after their record"
    kit.work_off()
    assert set_.reply and news.reply
    before = kit.send(LIST_OVERRIDES, b"").reply
    assert admin.ListOverridesResponse.FromString(before).overrides
    kit.restart()
    assert kit.send(LIST_OVERRIDES, b"").reply == before
    answer = kit.ask(desk="main", include_features=True)
    kit.work_off()
    assert answer.expiry.posture_effective == types.POSTURE_RISK_AVERSE
    scores = [each.value for each in answer.expiry.features if each.name == "news_score"]
    assert scores and abs(scores[0]) > 0.1


def test_a_kill_survives_a_restart_and_no_stored_quote_is_given_again(kit: JournalKit) -> None:
    first = kit.ask(request_id="r", counterparty="alpha")
    kit.work_off()
    assert first.expiry.decision == types.DECISION_QUOTE
    killed = kit.send(KILL, admin.KillRequest(counterparty="alpha", reason="test").SerializeToString())
    assert killed.outcome is None, "acknowledged after its record"
    kit.work_off()
    assert killed.reply
    kit.restart()
    again, other = kit.ask(request_id="r", counterparty="alpha"), kit.ask(counterparty="beta")
    kit.work_off()
    assert again.expiry.decision == types.DECISION_DECLINE
    assert types.REASON_KILLED in again.expiry.reasons
    assert other.expiry.decision == types.DECISION_QUOTE


def test_a_kill_is_in_force_while_the_journal_fails(kit: JournalKit, fault: str) -> None:
    storage = strike(kit, fault)
    kit.ask()
    kit.work_off()
    call = kit.send(KILL, admin.KillRequest(counterparty="alpha", reason="test").SerializeToString())
    kit.work_off()
    reply = admin.KillResponse.FromString(call.reply)
    assert reply.since_utc_ns and "not yet journaled" in reply.unrecorded
    storage.heal()
    kit.pass_time(1.5)
    kit.restart()
    answer = kit.ask(counterparty="alpha")
    kit.work_off()
    assert types.REASON_KILLED in answer.expiry.reasons


def test_decision_ids_of_two_starts_differ(kit: JournalKit) -> None:
    ids = set()
    for _ in range(2):
        call = kit.ask()
        kit.work_off()
        ids.add(call.expiry.decision_id)
        kit.restart()
    assert len(ids) == 2


# --- failure ------------------------------------------------------------------------------------------------


def test_refuse_takes_the_batch_back(kit: JournalKit, fault: str) -> None:
    strike(kit, fault)
    calls = [kit.ask(request_id=f"r{i}") for i in range(3)]
    kit.work_off()
    for call in calls:
        assert call.error.code == Code.UNAVAILABLE
        assert call.error.message == "the journal cannot be written"
        assert isinstance(call.error.details[0], error_details_pb2.RetryInfo)
    assert not kit.service.health.serving


def test_refuse_decides_nothing_while_failing(kit: JournalKit, fault: str) -> None:
    strike(kit, fault)
    kit.ask()
    kit.work_off()
    before = kit.engine.input_sequence
    for method, payload in ((NEWS, b""), (SET_OVERRIDE, b"")):
        assert kit.send(method, payload).error.code == Code.UNAVAILABLE
    assert kit.ask().error.code == Code.UNAVAILABLE
    assert kit.engine.input_sequence == before


def test_refuse_still_gives_stored_replies_while_failing(kit: JournalKit, fault: str) -> None:
    stored = kit.ask(request_id="stored")
    kit.work_off()
    strike(kit, fault)
    kit.ask()
    kit.work_off()
    assert kit.ask(request_id="stored").reply == stored.reply


def test_it_recovers_by_itself_and_what_was_refused_is_decided_anew(kit: JournalKit, fault: str) -> None:
    storage = strike(kit, fault)
    refused = kit.ask(request_id="r")
    kit.work_off()
    kit.pass_time(3)
    assert kit.ask(request_id="r").error.code == Code.UNAVAILABLE
    storage.heal()
    kit.pass_time(1.5)
    assert kit.service.health.serving and not kit.ledger.fault
    again = kit.ask(request_id="r")
    kit.work_off()
    kinds = [record.kind for record in kit.read().records()]
    assert Kind.REFUSED in kinds
    assert refused.error.code == Code.UNAVAILABLE
    assert verify(str(kit.folder)).severity <= 1
    kit.restart()
    assert verify(str(kit.folder)).findings == []
    assert kit.ask(request_id="r").reply == again.reply


def test_a_refused_answer_is_not_found_after_a_restart(kit: JournalKit, fault: str) -> None:
    storage = strike(kit, fault)
    kit.ask(request_id="r")
    kit.work_off()
    storage.heal()
    kit.pass_time(1.5)
    answers = [decode_answer(record) for record in kit.read().records([Kind.ANSWER])]
    kit.restart()
    again = kit.ask(request_id="r")
    kit.work_off()
    assert again.reply not in [answer.reply for answer in answers]


def test_a_refused_answer_is_not_found_in_a_closed_segment(tmp_path: Path) -> None:
    kit = JournalKit(tmp_path, segment_bytes=2**20)
    kit.storage.fail(errno.ENOSPC, "create", "write")
    refused = kit.ask(request_id="r")
    kit.work_off()
    assert refused.error.code == Code.UNAVAILABLE
    kit.storage.heal()
    kit.pass_time(1.5)
    for _ in range(3000):
        kit.ask()
        kit.work_off()
    kit.pass_time(2)
    assert kit.ledger.segments > 1
    assert kit.ledger.find("r", kit.clock.now_ns()) is None


def segment_numbers(kit: JournalKit) -> list[int]:
    return sorted(int(path.stem) for path in kit.folder.glob("*.qlj"))


def fill_to_segment(kit: JournalKit, number: int) -> None:
    while kit.journal.writer.segment < number:
        for _ in range(100):
            kit.ask()
        kit.turn()
        kit.turn()


def test_retention_leaves_what_the_writer_still_holds(tmp_path: Path) -> None:
    """Segments closed after the last look of the thread that finishes them are beyond ``keep_bytes`` at once."""
    kit = JournalKit(tmp_path, segment_bytes=2**20, keep_bytes=3 * 2**20)
    fill_to_segment(kit, 6)  # no worker thread runs meanwhile
    kit.ledger._earlier.remove_old(kit.clock.now_ns())
    assert segment_numbers(kit) == [1, 2, 3, 4, 5, 6]
    kit.ledger.tick(kit.clock.now_ns() + 2 * S)
    assert not kit.ledger.fault


def test_a_segment_closed_while_another_gets_its_sidecar_is_found_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit = JournalKit(tmp_path, segment_bytes=2**20)
    fill_to_segment(kit, 2)
    real, decision = index.index_segment, ""

    def while_indexed(*args: Any, **options: Any) -> None:
        nonlocal decision
        monkeypatch.setattr(writer, "index_segment", real)
        call = kit.ask(request_id="r")
        fill_to_segment(kit, 3)
        decision = call.expiry.decision_id
        real(*args, **options)

    monkeypatch.setattr(writer, "index_segment", while_indexed)
    kit.work()
    assert kit.ledger.decided(decision, kit.clock.now_ns()) is None
    assert kit.ledger.find("r", kit.clock.now_ns()) is not None
    kit.pass_time(2)
    found = kit.ledger.decided(decision, kit.clock.now_ns())
    assert found is not None and found.answer.request_id == b"r"


def test_a_folder_that_cannot_be_had_is_named_with_its_key(tmp_path: Path) -> None:
    kit = JournalKit(tmp_path)
    with pytest.raises(JournalError, match=r"^server\.journal\.directory: .*another process writes"):
        kit._start()
    kit.storage.close()
    (tmp_path / "file").touch()
    kit.folder = tmp_path / "file"
    with pytest.raises(
        JournalError, match=r"^server\.journal\.directory: .*/file.* that is a file, or name another"
    ):
        kit._start()


def test_decisions_are_found_once_the_disk_takes_their_sidecar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit = JournalKit(tmp_path, segment_bytes=2**20)
    call = kit.ask(request_id="r")
    fill_to_segment(kit, 2)

    def refused(*args: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "no room")

    with monkeypatch.context() as patch:
        patch.setattr(writer, "index_segment", refused)
        kit.work()
    decision = call.expiry.decision_id
    assert kit.ledger.decided(decision, kit.clock.now_ns()) is None
    kit.pass_time(2)
    found = kit.ledger.decided(decision, kit.clock.now_ns())
    assert found is not None and found.answer.request_id == b"r"
    assert kit.ledger.find("r", kit.clock.now_ns()) is not None


def test_while_syncs_fail_what_is_safe_stays_and_what_was_given_up_goes(tmp_path: Path) -> None:
    kit = JournalKit(tmp_path, segment_bytes=2**20, keep_bytes=3 * 2**20, durability="power-loss")
    while kit.journal.writer.segment < 3:
        for _ in range(100):
            kit.ask()
        kit.work_off()
    safe = kit.journal.writer.durable_number
    kit.storage.fail(errno.EIO, "sync")
    kit.ask()
    kit.work_off()
    kit.pass_time(30)
    numbers = segment_numbers(kit)
    assert len(numbers) < 10 and kit.journal.writer.segment > 20
    held = [index.next_number > safe >= index.header.first_number for index in kit.read().segments]
    assert any(held)
    kit.storage.heal()
    kit.pass_time(2)
    call = kit.ask()
    kit.work_off()
    assert call.reply and not kit.ledger.fault
    assert verify(str(kit.folder)).severity < Severity.DAMAGE


def test_what_is_past_keeping_makes_room_on_a_full_disk(tmp_path: Path) -> None:
    """Too young at the last tidying; with nothing else done the service takes records again."""
    kit = JournalKit(tmp_path, segment_bytes=2**20, keep="1s", keep_bytes=None)
    fill_to_segment(kit, 4)
    kit.work_off()
    kit.pass_time(3)
    assert segment_numbers(kit) == [1, 2, 3, 4], "answers of a day"
    kit.storage.room = 0
    refused = kit.ask(request_id="r")
    kit.work_off()
    assert refused.error.code == Code.UNAVAILABLE
    kit.clock.set_ns(kit.clock.now_ns() + 25 * 3600 * S)
    kit.pass_time(7)
    assert segment_numbers(kit) == [4]
    assert not kit.ledger.fault
    again = kit.ask(request_id="r")
    kit.work_off()
    assert again.reply
    assert verify(str(kit.folder)).findings == []


def test_in_a_folder_that_is_another_s_by_now_nothing_is_removed(tmp_path: Path) -> None:
    kit = JournalKit(tmp_path, segment_bytes=2**20, keep="1s")
    fill_to_segment(kit, 4)
    kit.work_off()
    kit.pass_time(2)
    kit.folder.rename(tmp_path / "elsewhere")
    kit.folder.mkdir()
    other = DirectoryStorage(kit.folder)
    theirs = {f"{number:010}.qlj" for number in (1, 2, 3)}
    for name in theirs:
        (kit.folder / name).write_bytes(bytes(4 * 2**20))
    kit.ledger._journal.settings = kit.ledger._journal.settings.model_copy(update={"keep_bytes": 1})
    kit.pass_time(20)
    assert kit.ledger.fault
    assert {path.name for path in kit.folder.glob("*.qlj")} == theirs
    other.close()


def test_serve_unjournaled_marks_every_reply(tmp_path: Path, fault: str) -> None:
    kit = JournalKit(tmp_path, on_failure="serve-unjournaled")
    storage = strike(kit, fault)
    calls = [kit.ask(request_id="r"), kit.ask()]
    kit.work_off()
    calls.append(kit.ask())
    assert all(call.expiry.unjournaled for call in calls)
    assert kit.service.health.serving
    assert kit.ask(request_id="r").reply == calls[0].reply
    storage.heal()
    kit.pass_time(1.5)
    after = kit.ask()
    kit.work_off()
    assert not after.expiry.unjournaled
    assert not list(kit.read().records([Kind.GAP])), "nothing was lost"
    assert replayed(kit.folder).complete
    for call in calls:  # the record that counts is of what left
        decision = kit.read().find_decision(call.expiry.decision_id)
        assert decision is not None
        answer = kit.read().answer_of(decision)
        assert answer is not None and answer.reply == call.reply
    kit.restart()
    assert verify(str(kit.folder)).findings == []
    assert kit.ask(request_id="r").reply == calls[0].reply


@pytest.mark.parametrize("policy", POLICIES)
def test_a_journal_at_rest_notices_within_five_seconds(tmp_path: Path, policy: str, fault: str) -> None:
    kit = JournalKit(tmp_path, on_failure=policy)
    kit.pass_time(3)
    strike(kit, fault)
    kit.pass_time(5)
    assert kit.ledger.fault
    assert kit.service.health.serving == (policy == "serve-unjournaled")


def test_a_failed_sync_refuses_what_it_should_have_covered(tmp_path: Path) -> None:
    kit = JournalKit(tmp_path, durability="power-loss")
    kit.storage.fail(errno.EIO, "sync")
    calls = [kit.ask(request_id="r")]
    kit.turn()
    calls.append(kit.ask())
    kit.work_off()
    assert [call.error.code for call in calls] == [Code.UNAVAILABLE] * 2
    kit.storage.heal()
    kit.pass_time(1.5)
    after = kit.ask(request_id="r")
    kit.work_off()
    kit.restart()
    assert verify(str(kit.folder)).findings == []
    assert kit.ask(request_id="r").reply == after.reply


def test_a_change_of_a_failed_batch_is_in_force_and_says_so(kit: JournalKit, fault: str) -> None:
    storage = strike(kit, fault)
    call = kit.send(
        SET_OVERRIDE,
        admin.SetOverrideRequest(posture=types.POSTURE_RISK_AVERSE, ttl_ns=10**12).SerializeToString(),
    )
    kit.work_off()
    assert call.error.code == Code.UNAVAILABLE and "in force" in call.error.message
    storage.heal()
    kit.pass_time(1.5)
    kit.restart()
    assert admin.ListOverridesResponse.FromString(kit.send(LIST_OVERRIDES, b"").reply).overrides


def test_a_reply_can_be_marked_after_it_was_made() -> None:
    from quotelife_server.convert import unjournaled

    plain = expiry.GetExpiryResponse(decision_id="x", life_ns=5)
    marked = expiry.GetExpiryResponse.FromString(unjournaled(plain.SerializeToString()))
    assert marked == expiry.GetExpiryResponse(decision_id="x", life_ns=5, unjournaled=True)


def test_an_answer_completed_after_the_fault_came_is_taken_back(kit: JournalKit, fault: str) -> None:
    """As one with explanations: decided in one turn, complete in a later one."""
    storage = strike(kit, fault)
    kit.ask()
    kit.work_off()
    late = Call(kit.ledger.answer([kit.engine.input_sequence], "late", b"d", b"request", b"reply", 0))
    assert late.error.code == Code.UNAVAILABLE
    storage.heal()
    kit.pass_time(1.5)
    assert kit.ledger.find("late", kit.clock.now_ns()) is None


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("explained", [False, True])
def test_answers_that_find_no_room_are_refused_or_marked_and_the_gap_is_theirs(
    tmp_path: Path, policy: str, explained: bool
) -> None:
    """Explained replies are long enough to find no room where there was some when they were asked for."""
    kit = JournalKit(tmp_path, on_failure=policy, buffer_bytes=2**20)
    calls = [kit.ask(explain=explained) for _ in range(600)]
    kit.work_off()
    kit.pass_time(1.5)
    if policy == "refuse":
        assert {call.error.code for call in calls if isinstance(call.outcome, RpcError)} == {Code.UNAVAILABLE}
        assert replayed(kit.folder).complete
        return
    replies = [call.expiry for call in calls]
    assert replies[0].unjournaled is False and replies[-1].unjournaled is True
    journal = kit.read()
    missing = [each for each in replies if not _recorded(journal, each)]
    lost = {int(each.decision_id.rpartition("-")[2]) for each in missing}
    told = [decode_gap(record) for record in journal.records([Kind.GAP])]
    assert lost and {each for gap in told for each in range(gap.first, gap.last + 1)} == lost
    assert all(each.unjournaled for each in missing)
    assert not replayed(kit.folder).complete


def _recorded(journal: Journal, reply: expiry.GetExpiryResponse) -> bool:
    decision = journal.find_decision(reply.decision_id)
    return decision is not None and journal.answer_of(decision) is not None


# --- waiting ------------------------------------------------------------------------------------------------


async def test_a_caller_that_leaves_does_not_take_the_others_of_its_turn_along() -> None:
    turn = Turn()
    answers = [Deferred(turn) for _ in range(3)]
    tasks = [asyncio.create_task(waited(answer)) for answer in answers]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.sleep(0.01)
    assert [task.done() for task in tasks] == [False, True, False]
    for answer in answers:
        answer.resolve(b"reply")
    turn.over()
    await asyncio.wait(tasks)
    assert tasks[1].cancelled()
    assert [tasks[0].result(), tasks[2].result()] == [b"reply"] * 2


async def test_a_failure_reaches_whoever_waits() -> None:
    answer = Deferred()
    task = asyncio.create_task(waited(answer))
    await asyncio.sleep(0)
    answer.resolve(RpcError(Code.UNAVAILABLE, "no"))
    with pytest.raises(RpcError):
        await task


# --- what was written goes to the device --------------------------------------------------------------------


def test_records_do_not_gather_in_memory(kit: JournalKit, monkeypatch: pytest.MonkeyPatch) -> None:
    advised: list[tuple[int, int]] = []

    def advise(descriptor: int, begin: int, end: int, piece: int, pause_s: float) -> None:
        assert os.fstat(descriptor).st_size >= end and piece > 0
        give_back(descriptor, begin, end, piece, pause_s)
        advised.append((begin, end))

    monkeypatch.setattr(storage, "give_back", advise)
    writer = kit.journal.writer
    before = 0
    for _ in range(6):
        advised.clear()
        while not writer.behind_due:
            assert advised == []
            writer.answer((), b"", b"", b"", bytes(500_000))
            writer.commit()
            if writer.power_loss:
                writer.sync()
            kit.ledger.tick(kit.clock.now_ns())
        for _ in range(2):
            kit.ledger.tick(kit.clock.now_ns())
            kit.work_off()
        size = kit.storage.size(index.segment_names(kit.storage)[-1][1])
        begin = max(before - (32 << 20), 0) // mmap.PAGESIZE * mmap.PAGESIZE
        end = size // mmap.PAGESIZE * mmap.PAGESIZE
        assert advised == [(begin, end)], "once, with what may not be there yet, but for the last page"
        before = size


# --- callbacks that raise -----------------------------------------------------------------------------------


def broken(*_: object) -> None:
    raise RuntimeError("a callback that must not raise")


def test_a_callback_that_raises_takes_no_other_answer_of_its_batch_along(kit: JournalKit) -> None:
    heard: list[bytes | BaseException] = []
    calls: list[str] = []
    one, two = kit.ledger.acknowledge(b"one"), kit.ledger.acknowledge(b"two")
    assert isinstance(one, Deferred) and isinstance(two, Deferred) and two.turn is not None
    one.then(broken)
    two.then(heard.append)
    two.turn.after(broken)
    two.turn.after(lambda: calls.append("over"))
    kit.ledger.after_write(broken)
    kit.ledger.after_write(lambda: calls.append("written"))
    kit.turn()
    kit.work_off()
    assert heard == [b"two"] and sorted(calls) == ["over", "written"]


def test_a_callback_that_raises_takes_no_other_answer_of_a_fault_along(kit: JournalKit) -> None:
    heard: list[bytes | BaseException] = []
    kit.ledger.take(Waiting(None, b"", unanswered=broken), kit.clock.now_ns())
    kit.ledger.acknowledge(b"one").then(broken)
    two = kit.ledger.acknowledge(b"two")
    two.then(heard.append)
    two.turn.after(lambda: heard.append(b"over"))
    kit.ledger._on_change = broken
    kit.storage.fail(errno.EIO)
    kit.turn()
    kit.work_off()
    assert isinstance(heard[0], RpcError) and heard[1:] == [b"over"]


def test_what_cannot_be_made_of_an_answer_is_its_failure() -> None:
    answer = Deferred()
    made = mapped(answer, broken)
    answer.resolve(b"reply")
    with pytest.raises(RuntimeError, match="must not raise"):
        made.leaving()
    assert mapped(b"reply", lambda reply: reply).leaving() == b"reply"
