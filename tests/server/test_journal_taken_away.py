"""Something removes, renames, replaces or cuts the journal under a running service: noticed, said, written again."""

import asyncio
import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife.errors import JournalError
from quotelife.journal.recovery import Severity, unnamed_models, verify
from quotelife.journal.storage import DirectoryStorage, Storage
from quotelife.model.artifact import builtin_artifact, load_artifact
from quotelife_server.rpc import Code
from reference.ledger_kit import JournalKit
from reference.service_kit import GET_EXPIRY, running, write_config

DURABILITIES = ("process-crash", "power-loss")


def open_segment(folder: Path) -> Path:
    return max(folder.glob("*.qlj"))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def replaced(path: Path) -> None:
    copy = path.with_suffix(".copy")
    shutil.copy(path, copy)
    copy.replace(path)


def added_to(path: Path) -> None:
    with open(path, "ab") as stream:
        stream.write(b"not a record")


DEEDS: dict[str, Callable[[Path], None]] = {
    "removed": lambda folder: open_segment(folder).unlink(),
    "renamed": lambda folder: open_segment(folder).rename(folder / "moved.bak"),  # type: ignore[dict-item,return-value]
    "replaced by a copy": lambda folder: replaced(open_segment(folder)),
    "folder removed": lambda folder: shutil.rmtree(folder),
    "folder moved": lambda folder: shutil.move(folder, folder.with_name("elsewhere")),  # type: ignore[dict-item,return-value]
}


def failed_and_recovered(kit: JournalKit) -> bool:
    """Within a little more than two seconds."""
    failed = bool(kit.ledger.fault)
    for _ in range(22):
        kit.pass_time(0.1)
        failed = failed or bool(kit.ledger.fault)
    return failed and not kit.ledger.fault


@pytest.fixture(params=DURABILITIES)
def kit(request: pytest.FixtureRequest, tmp_path: Path) -> JournalKit:
    return JournalKit(tmp_path, durability=request.param)


@pytest.mark.parametrize("deed", list(DEEDS))
def test_what_was_acknowledged_is_written_again(kit: JournalKit, deed: str) -> None:
    before = kit.ask(request_id="before")
    kit.work_off()
    DEEDS[deed](kit.folder)
    unnoticed = kit.ask(request_id="unnoticed")  # acknowledged perhaps, into a file without a name
    kit.work_off()
    assert failed_and_recovered(kit)
    after = kit.ask(request_id="after")
    kit.work_off()
    assert verify(str(kit.folder)).severity <= Severity.TORN
    kit.restart()
    assert verify(str(kit.folder)).findings == []
    acknowledged = {"before": before, "after": after}
    if isinstance(unnoticed.outcome, bytes):
        acknowledged["unnoticed"] = unnoticed
    for request_id, call in acknowledged.items():
        assert kit.ask(request_id=request_id).reply == call.reply


def change_model(kit: JournalKit) -> None:
    kit.engine.apply_model(load_artifact(builtin_artifact("logistic")), kit.clock.now_ns())


def models_of(kit: JournalKit) -> set[str]:
    return {path.name for path in (kit.folder / "artifacts").iterdir()}


@pytest.mark.parametrize("deed", list(DEEDS))
def test_every_model_that_a_segment_written_again_names_is_there_and_stays(
    kit: JournalKit, deed: str
) -> None:
    """Past the next tidying too, which removes what no segment names."""
    first = kit.engine.model.digest
    kit.ask()
    kit.work_off()
    change_model(kit)
    kit.ask()
    kit.work_off()
    DEEDS[deed](kit.folder)
    assert failed_and_recovered(kit)
    kit.pass_time(65)
    assert models_of(kit) == {first, kit.engine.model.digest}
    assert verify(str(kit.folder)).severity <= Severity.TORN  # the copy that replaced it


def test_a_model_that_only_the_state_of_a_held_segment_names_is_written_again(tmp_path: Path) -> None:
    """In force when the segment was begun and changed in it: its first record names it."""
    kit = JournalKit(tmp_path, segment_bytes=2**20)
    first = kit.engine.model.digest
    while kit.journal.writer.segment < 2:
        for _ in range(100):
            kit.ask()
        kit.work_off()
    kit.pass_time(2)
    change_model(kit)
    kit.ask()
    kit.work_off()
    shutil.rmtree(kit.folder)
    assert failed_and_recovered(kit)
    assert models_of(kit) == {first, kit.engine.model.digest}
    assert verify(str(kit.folder)).findings == []


@pytest.mark.parametrize("moment", ["before they are listed", "before one is removed"])
def test_a_model_changed_to_while_models_are_tidied_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Left from an earlier start, so that its copy is there and nobody names it: in use again at that moment."""
    kit = JournalKit(tmp_path)
    change_model(kit)
    kit.ask()
    kit.work_off()
    assert kit.engine.model.digest in models_of(kit)
    kit.restart()
    for name in ("0000000001.qlj", "0000000001.idx"):  # as retention does
        (kit.folder / name).unlink()
    changed: list[str] = []

    def meanwhile() -> None:
        """The loop changes the model, and another worker thread sees to its copy."""
        if not changed:
            change_model(kit)
            changed.append(kit.engine.model.digest)
            kit.journal.writer.prepare()

    def unnamed(storage: Storage, *rest: Any) -> list[str]:
        if moment == "before they are listed":
            meanwhile()
        found = unnamed_models(storage, *rest)
        if moment == "before one is removed":
            meanwhile()
        return found

    monkeypatch.setattr("quotelife_server.journaling.unnamed_models", unnamed)
    kit.pass_time(65)
    kit.ask()
    kit.work_off()
    assert changed[0] in models_of(kit)
    assert verify(str(kit.folder)).findings == []


@pytest.mark.parametrize("policy", ["refuse", "serve-unjournaled"])
def test_meanwhile_the_policy_holds(tmp_path: Path, policy: str) -> None:
    kit = JournalKit(tmp_path, on_failure=policy)
    open_segment(kit.folder).unlink()
    kit.pass_time(1.1)
    call = kit.ask()
    kit.work_off()
    assert kit.service.health.serving == (policy == "serve-unjournaled")
    if policy == "refuse":
        assert call.error.code == Code.UNAVAILABLE
    else:
        assert call.expiry.unjournaled
    kit.pass_time(1.1)
    assert kit.service.health.serving
    again = kit.ask()
    kit.work_off()
    assert not again.expiry.unjournaled


def test_with_power_loss_no_answer_leaves_after_a_sync_of_a_file_without_a_name(tmp_path: Path) -> None:
    kit = JournalKit(tmp_path, durability="power-loss")
    open_segment(kit.folder).unlink()
    call = kit.ask(request_id="r")
    kit.work_off()
    assert call.error.code == Code.UNAVAILABLE and kit.ledger.fault


@pytest.mark.parametrize("deed", [cut, emptied, added_to])
def test_what_is_gone_for_good_is_said_is_damage_and_memory_has_the_answers(
    tmp_path: Path, deed: Callable[[Path], None]
) -> None:
    kit = JournalKit(tmp_path)
    before = [kit.ask(request_id=f"r{i}") for i in range(4)]
    kit.work_off()
    deed(open_segment(kit.folder))
    before.append(kit.ask(request_id="r4"))
    kit.work_off()
    assert failed_and_recovered(kit)
    assert [kit.ask(request_id=f"r{i}").reply for i in range(5)] == [call.reply for call in before]
    after = kit.ask(request_id="after")
    kit.work_off()
    assert after.expiry.decision_id
    assert verify(str(kit.folder)).severity == Severity.DAMAGE


def test_what_a_cut_takes_of_unsynced_records_is_still_at_hand_with_power_loss(tmp_path: Path) -> None:
    """Cut at a place that had not been promised yet: nothing is lost."""
    kit = JournalKit(tmp_path, durability="power-loss")
    before = kit.ask(request_id="before")
    kit.work_off()
    safe = open_segment(kit.folder).stat().st_size
    late = kit.ask(request_id="late")
    kit.turn()  # written, not synced
    os.truncate(open_segment(kit.folder), safe)
    kit.work_off()
    kit.pass_time(2.2)
    assert late.error.code == Code.UNAVAILABLE and not kit.ledger.fault
    kit.restart()
    assert verify(str(kit.folder)).findings == []
    assert kit.ask(request_id="before").reply == before.reply


def test_the_lock_is_taken_again_in_a_folder_made_again(tmp_path: Path) -> None:
    kit = JournalKit(tmp_path)
    shutil.rmtree(kit.folder)
    kit.pass_time(2.2)
    with pytest.raises(JournalError, match="another process"):
        DirectoryStorage(kit.folder)


def test_another_writer_in_a_folder_made_again_keeps_this_one_out(tmp_path: Path) -> None:
    kit = JournalKit(tmp_path)
    shutil.rmtree(kit.folder)
    other = DirectoryStorage(kit.folder)
    kit.pass_time(2.2)
    assert "another process" in kit.ledger.fault
    assert list(kit.folder.glob("*.qlj")) == []
    other.close()
    kit.pass_time(1.1)
    assert not kit.ledger.fault


def test_a_segment_that_waits_to_be_closed_is_written_again_too(tmp_path: Path) -> None:
    kit = JournalKit(tmp_path, segment_bytes=2**20)
    calls = {}
    while kit.journal.writer.segment < 2:
        for _ in range(100):
            calls[f"r{len(calls)}"] = kit.ask(request_id=f"r{len(calls)}")
        kit.turn()
        if kit.journal.writer.unfinished:
            (kit.folder / "0000000001.qlj").unlink(missing_ok=True)
    kit.work_off()
    kit.pass_time(2.2)
    assert not kit.ledger.fault
    kit.restart()
    assert verify(str(kit.folder)).findings == []
    for request_id, call in calls.items():
        if isinstance(call.outcome, bytes):
            assert kit.ask(request_id=request_id).reply == call.reply


def test_an_id_whose_answer_went_with_a_closed_segment_is_not_decided_anew(tmp_path: Path) -> None:
    kit = JournalKit(tmp_path, segment_bytes=2**20)
    first = kit.ask(request_id="r")
    kit.work_off()
    assert first.reply
    kit.restart(replies_bytes=0)
    (kit.folder / "0000000001.qlj").unlink()
    assert kit.ask(request_id="r").error.code == Code.DATA_LOSS
    assert kit.ask(request_id="another").outcome is None


def test_retries_of_an_answer_that_is_gone_are_counted_and_said_once_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit = JournalKit(tmp_path)
    kit.ask(request_id="r")
    kit.work_off()
    kit.restart(replies_bytes=0)
    (kit.folder / "0000000001.qlj").unlink()
    lines: list[int] = []
    monkeypatch.setattr(
        "quotelife_server.journaling._log.error", lambda _, *, since_start, **rest: lines.append(since_start)
    )
    for _ in range(100):
        kit.ask(request_id="r")
    kit.pass_time(1)
    kit.ask(request_id="r")
    assert lines == [1, 101]
    assert kit.ledger.unreadable == 101


@pytest.mark.parametrize(
    ("error", "mend"), [(errno.ENOSPC, "make room"), (errno.EROFS, "mount it for writing")]
)
def test_a_start_on_a_disk_that_refuses_names_the_path_and_the_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, mend: str
) -> None:
    kit = JournalKit(tmp_path)
    kit.ask()
    kit.work_off()

    def refused(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr("reference.faulty_storage.FaultyStorage.append", refused)
    with pytest.raises(JournalError, match=f"{kit.folder}.*{mend}"):
        kit.restart()
    monkeypatch.undo()
    kit.restart()


async def test_a_service_raises_the_alert_recovers_and_still_knows_its_answers(tmp_path: Path) -> None:
    folder = tmp_path / "journal"

    async def until(condition: Callable[[], bool]) -> None:
        for _ in range(500):
            if condition():
                return
            await asyncio.sleep(0.02)
        raise AssertionError("not within ten seconds")

    async with (
        running(write_config(tmp_path), journal={"directory": str(folder)}) as app,
        grpc.aio.insecure_channel(app.addresses[0]) as channel,
    ):
        ask = channel.unary_unary(GET_EXPIRY)
        request = expiry.GetExpiryRequest(request_id="r", instrument="BTC-USDT", side=types.SIDE_BUY)
        first = await ask(request.SerializeToString(), timeout=10)
        shutil.rmtree(folder)
        await until(lambda: [alert.name for alert in app.alerts.active()] == ["journal_failing"])
        await until(lambda: not app.alerts.active())
        assert await ask(request.SerializeToString(), timeout=10) == first
    assert verify(str(folder)).findings == []
    async with (
        running(write_config(tmp_path), journal={"directory": str(folder)}) as app,
        grpc.aio.insecure_channel(app.addresses[0]) as channel,
    ):
        assert await channel.unary_unary(GET_EXPIRY)(request.SerializeToString(), timeout=10) == first
