"""What an engine applied is what a capture gives back, in order; what goes wrong costs only itself and is marked."""

import errno
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from quotelife.capture import format as form
from quotelife.capture.format import CaptureError, InputKind
from quotelife.capture.reader import Capture, Inputs
from quotelife.capture.segments import AppendFile, SegmentFiles, list_segments
from quotelife.capture.writer import CaptureWriter
from quotelife.checksum import crc32c
from quotelife.config import Config
from quotelife.engine import Engine
from quotelife.inputs import InputTap
from quotelife.records import EVENT_DTYPE, EventBuffer, RequestRecord, SignalCode
from reference import capture_twin as twin

S = 1_000_000_000
T0 = 1_700_000_000 * S
CONFIG = Config.model_validate_json(
    '{"version": 1, "instruments": [{"name": "BTC", "venue": "test", "symbol": "BTCUSD",'
    ' "tick_size": "0.1", "lot_size": "0.001"}], "signals": {"volatility_indices": ["vix"]}}'
)
BOOT = f"{T0:x}"


class Recorder:
    """An engine that is captured, and its inputs noted on a second way as the twin would give them."""

    def __init__(self, folder: Path, *, files: dict[str, Any] | None = None, **writer: Any) -> None:
        self.files = SegmentFiles(folder, **(files or {}))
        self.writer = CaptureWriter(self.files, **({"boot_id": BOOT} | writer))
        self.engine = Engine(CONFIG, start_ns=T0)
        self.writer.begin(self.engine.config_payload(), start_ns=T0)
        self.inputs: list[twin.Input] = []
        self.engine.record_to(self.writer, InputTap(self._tap))
        self._buffer = EventBuffer(100_000)

    def _tap(self, name: str, sequence: int, *values: Any) -> None:
        if name == "events":
            self.inputs += [
                twin.Input(sequence + i, twin.EVENT, event.tobytes()) for i, event in enumerate(values[0])
            ]
        elif name == "signal":
            self.inputs.append(twin.Input(sequence, twin.SIGNAL, values[0].tobytes()))
        elif name == "timer":
            self.inputs.append(twin.Input(sequence, twin.TIMER, struct.pack("<q56x", values[0])))
        elif name == "watch_timer":
            self.inputs.append(twin.Input(sequence, twin.WATCH_TIMER, struct.pack("<q56x", values[0])))

    def events(self, array: np.ndarray) -> None:
        self._buffer.clear()
        self._buffer.extend(array)
        self.engine.on_events(self._buffer)

    def some_events(self, n: int) -> None:
        array = np.zeros(n, dtype=EVENT_DTYPE)
        array["receive_ns"] = array["exchange_ns"] = T0
        array["sequence"] = self.engine.input_sequence + np.arange(n)
        array["instrument"] = 5  # of no interest to the engine, and yet an input
        self.events(array)

    def signal(self, value: float) -> None:
        self.engine.on_signal(SignalCode.NEWS, receive_ns=T0, source_ns=T0 - 5, value=value)

    def decide(self) -> None:
        self.engine.decide(RequestRecord(0, 1, now_ns=T0), _decision())


def _decision() -> Any:
    from quotelife.records import DecisionRecord

    return DecisionRecord()


def flat(runs: list[Inputs]) -> list[twin.Input]:
    out = []
    for run in runs:
        if run.kind is InputKind.LOST:
            out.append(twin.Input(run.first_sequence, twin.LOST, run.length.to_bytes(4, "little")))
        out += [
            twin.Input(run.first_sequence + i, int(run.kind), record.tobytes())
            for i, record in enumerate(run.records)
        ]
    return out


def captured(folder: Path) -> list[twin.Input]:
    return flat(list(Capture(folder).inputs()))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("events"), st.integers(0, 40), st.integers(0, 2**32 - 1)),
        st.tuples(st.just("signal"), st.floats(-1, 1)),
        st.tuples(st.just("timer"), st.integers(0, 2**62)),
        st.tuples(st.just("watch_timer"), st.integers(0, 2**62)),
        st.tuples(st.just("decide")),
        st.tuples(st.just("tick"), st.integers(0, 3)),
        st.tuples(st.just("write")),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, slots=st.integers(2, 20), compress=st.booleans(), segment_bytes=st.integers(500, 20_000))
def test_arbitrary_inputs_come_back_equal_with_their_sequences(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[Any, ...]],
    slots: int,
    compress: bool,
    segment_bytes: int,
) -> None:
    folder = tmp_path_factory.mktemp("capture")
    run = Recorder(folder, files={"segment_bytes": segment_bytes, "compress": compress}, blocks=200,
                   block_bytes=80 + 80 * slots + 16)  # fmt: skip
    now = T0
    for name, *values in steps:
        if name == "events":
            raw = np.random.default_rng(values[1]).integers(0, 256, 64 * values[0], dtype=np.uint8)
            array = raw.view(EVENT_DTYPE)
            array["instrument"] |= 1 << 20  # unknown to the engine: its content may be anything
            array["kind"] = 5
            run.events(array)
        elif name == "signal":
            run.signal(values[0])
        elif name == "timer":
            run.engine.on_timer(values[0])
        elif name == "watch_timer":
            run.engine.on_watch_timer(values[0])
        elif name == "decide":
            run.decide()
        elif name == "tick":
            now += values[0] * S
            run.writer.tick(now)
        else:
            assert run.writer.write_pending()
    assert run.writer.close()
    while run.files.tidy(0):
        pass
    assert captured(folder) == run.inputs
    assert run.writer.lost == 0
    assert run.writer.records == sum(each.kind in (twin.EVENT, twin.SIGNAL) for each in run.inputs)


def test_the_bytes_are_those_that_the_format_describes(tmp_path: Path) -> None:
    run = Recorder(tmp_path, files={"compress": False}, block_bytes=1000)
    for n in (1, 5, 30):
        run.some_events(n)
        run.signal(0.5)
        run.decide()
        run.engine.on_timer(T0 + n)
    run.writer.close()
    raw = tmp_path / "0000000001.qlc"
    assert twin.segment_inputs(raw) == run.inputs
    for _, block in twin.blocks(raw.read_bytes()):
        assert struct.unpack_from("<I", block, 4)[0] == twin.crc32c(block[8:])
        assert block[:4] == b"QLCB" and block[48:80].rstrip(b"\0") == BOOT.encode()


def test_header_and_run_lie_as_their_dtypes_say() -> None:
    assert form.HEADER_DTYPE.itemsize == twin.HEADER.size == form.HEADER_BYTES
    assert form.RUN_DTYPE.itemsize == twin.RUN.size == form.RUN_BYTES
    assert {dtype.itemsize for dtype in form.SLOT_DTYPES.values()} == {form.SLOT_BYTES}


def test_consecutive_inputs_of_a_kind_are_one_run(tmp_path: Path) -> None:
    run = Recorder(tmp_path)
    for n in (3, 4):
        run.some_events(n)
    run.decide()
    run.some_events(2)
    run.writer.close()
    runs = list(Capture(tmp_path).inputs())
    assert [(each.first_sequence, each.length) for each in runs] == [(1, 7), (9, 2)]


def test_a_block_leaves_by_size_or_by_age(tmp_path: Path) -> None:
    run = Recorder(tmp_path, block_bytes=80 + 80 * 10 + 16, age_ns=2 * S)
    run.writer.tick(T0)
    run.some_events(25)
    run.writer.write_pending()
    assert len(captured(tmp_path)) == 20
    run.writer.tick(T0 + 2 * S - 1)
    run.writer.write_pending()
    assert len(captured(tmp_path)) == 20
    run.writer.tick(T0 + 2 * S)
    run.writer.write_pending()
    assert captured(tmp_path) == run.inputs


def test_no_segment_grows_over_its_bound_and_each_begins_with_a_head(tmp_path: Path) -> None:
    run = Recorder(tmp_path, files={"segment_bytes": 12_000, "compress": False}, block_bytes=2000)
    for _ in range(40):
        run.some_events(30)
    run.writer.close()
    segments = list_segments(tmp_path)
    assert len(segments) > 5 and run.files.count == len(segments)
    for segment in segments:
        assert segment.path.stat().st_size <= 12_000
        data = segment.path.read_bytes()
        assert data[14] == form.BlockKind.HEAD
    assert captured(tmp_path) == run.inputs


def test_closed_segments_are_compressed_and_the_open_one_is_left_alone(tmp_path: Path) -> None:
    run = Recorder(tmp_path, files={"segment_bytes": 12_000}, block_bytes=2000)
    for _ in range(40):
        run.some_events(30)
        run.writer.write_pending()
    raw = sum(segment.path.stat().st_size for segment in list_segments(tmp_path))
    while run.files.tidy(0):
        pass
    segments = list_segments(tmp_path)
    assert [segment.compressed for segment in segments] == [True] * (len(segments) - 1) + [False]
    assert sum(segment.path.stat().st_size for segment in segments) < raw / 2
    run.writer.close()
    assert captured(tmp_path) == run.inputs


def test_a_compression_that_was_cut_off_costs_nothing(tmp_path: Path) -> None:
    run = Recorder(tmp_path)
    run.some_events(50)
    run.writer.close()
    raw = tmp_path / "0000000001.qlc"
    kept = raw.read_bytes()
    (tmp_path / "0000000001.qlc.zst.tmp").write_bytes(b"half")
    files = SegmentFiles(tmp_path)
    assert not list(tmp_path.glob("*.tmp"))
    assert files.tidy(0)
    assert not raw.exists()
    raw.write_bytes(kept)  # as if the process had ended before it was removed
    files.tidy(0)
    assert not raw.exists()
    files.close()
    assert captured(tmp_path) == run.inputs


def test_the_oldest_segments_go_when_there_is_too_much(tmp_path: Path) -> None:
    run = Recorder(tmp_path, files={"segment_bytes": 12_000, "total_bytes_max": 60_000, "compress": False},
                   block_bytes=2000)  # fmt: skip
    for _ in range(40):
        run.some_events(30)
        run.writer.write_pending()
        run.files.tidy(0)
        assert sum(segment.path.stat().st_size for segment in list_segments(tmp_path)) <= 60_000
    run.writer.close()
    kept = captured(tmp_path)
    assert kept == run.inputs[-len(kept) :] and len(kept) > 200


def test_segments_go_at_their_age(tmp_path: Path) -> None:
    run = Recorder(tmp_path, files={"segment_bytes": 4_000, "age_max_ns": 10 * S}, block_bytes=2000)
    run.some_events(100)
    run.writer.close()
    segments = list_segments(tmp_path)
    assert len(segments) > 3
    for i, segment in enumerate(segments):
        os.utime(segment.path, ns=(T0 + i * S, T0 + i * S))
    files = SegmentFiles(tmp_path, age_max_ns=10 * S)
    files.tidy(T0 + 12 * S)
    files.close()
    assert [segment.number for segment in list_segments(tmp_path)] == [s.number for s in segments[2:]]


def test_a_torn_tail_loses_only_itself_wherever_it_tears(tmp_path: Path) -> None:
    run = Recorder(tmp_path, block_bytes=80 + 80 * 5 + 16)
    run.some_events(12)
    run.signal(0.1)
    run.writer.close()
    raw = tmp_path / "0000000001.qlc"
    data = raw.read_bytes()
    blocks = twin.blocks(data)
    last = blocks[-1][0]
    whole = [each for _, block in blocks[:-1] for each in twin.block_inputs(block)]
    assert 0 < len(whole) < len(run.inputs)
    for length in range(last, len(data)):
        raw.write_bytes(data[:length])
        capture = Capture(tmp_path)
        assert flat(list(capture.inputs())) == whole
        assert [(d.offset, d.length, d.torn) for d in capture.damage] == (
            [(last, length - last, True)] if length > last else []
        )


def test_a_flipped_bit_costs_its_block_and_no_other(tmp_path: Path) -> None:
    run = Recorder(tmp_path, block_bytes=80 + 80 * 2 + 16)
    run.some_events(6)
    run.writer.close()
    raw = tmp_path / "0000000001.qlc"
    data = bytearray(raw.read_bytes())
    blocks = [(offset, block) for offset, block in twin.blocks(bytes(data)) if block[14] == 2]
    offset, block = blocks[1]
    rest = [each for at, b in blocks if at != offset for each in twin.block_inputs(b)]
    assert rest
    for bit in range(0, len(block) * 8, 3):
        data[offset + bit // 8] ^= 1 << bit % 8
        raw.write_bytes(data)
        capture = Capture(tmp_path)
        assert flat(list(capture.inputs())) == rest, bit
        assert [(d.offset, d.length) for d in capture.damage] == [(offset, len(block))]
        data[offset + bit // 8] ^= 1 << bit % 8


def unpacked(data: bytes) -> bytes | None:
    try:
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    except zstandard.ZstdError:
        return None


def test_a_flipped_bit_in_a_compressed_segment_is_noted(tmp_path: Path) -> None:
    run = Recorder(tmp_path)
    run.some_events(500)
    run.writer.close()
    files = SegmentFiles(tmp_path)
    files.tidy(0)
    files.close()
    path = tmp_path / "0000000001.qlc.zst"
    data = path.read_bytes()
    whole = unpacked(data)
    rng = random.Random(5)
    harmless = 0
    for _ in range(50):
        at = rng.randrange(20, len(data))
        flipped = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
        path.write_bytes(flipped)
        capture = Capture(tmp_path)
        got = flat(list(capture.inputs()))
        if unpacked(flipped) == whole:  # a match that points at another copy of the same words
            harmless += 1
            assert not capture.damage
            continue
        assert capture.damage
        assert set(got) <= set(run.inputs)
    assert harmless < 10


class FaultyFile:
    """A file on a disk with room for so many bytes more; without any, every call fails."""

    def __init__(self, path: Path, disk: "Disk") -> None:
        self._file = path.open("xb", buffering=0)
        self._disk = disk

    def write(self, data: memoryview, /) -> int:
        if self._disk.broken:
            raise OSError(errno.EIO, "broken")
        n = min(len(data), self._disk.free, 777)  # short writes are ordinary
        if n == 0:
            raise OSError(errno.ENOSPC, "no space left")
        self._disk.free -= n
        return self._file.write(data[:n])

    def seek(self, offset: int, /) -> int:
        return self._file.seek(offset)

    def truncate(self, size: int, /) -> int:
        if self._disk.broken:
            raise OSError(errno.EIO, "broken")
        self._disk.free += self._file.tell() - size
        return self._file.truncate(size)

    def close(self) -> None:
        self._file.close()


class Disk:
    def __init__(self, free: int = 1 << 60) -> None:
        self.free = free
        self.broken = False

    def create(self, path: Path) -> AppendFile:
        if self.broken:
            raise OSError(errno.EIO, "broken")
        return FaultyFile(path, self)


def fail_full(disk: Disk) -> None:
    disk.free = 500


def fail_broken(disk: Disk) -> None:
    disk.broken = True


@pytest.mark.parametrize("fail", [fail_full, fail_broken])
def test_what_a_failing_disk_costs_is_marked_by_its_range_and_the_engine_goes_on(
    tmp_path: Path, fail: Callable[[Disk], None]
) -> None:
    disk = Disk()
    run = Recorder(
        tmp_path, files={"create": disk.create, "compress": False}, block_bytes=80 + 80 * 10 + 16, blocks=3
    )
    run.some_events(10)
    assert run.writer.write_pending()
    fail(disk)
    for _ in range(6):
        run.some_events(10)  # three blocks wait, three are lost
        run.decide()
        assert not run.writer.write_pending()
    assert run.writer.fault
    assert run.writer.lost == 30
    disk.free, disk.broken = 1 << 60, False
    assert run.writer.write_pending()
    assert run.writer.fault == ""
    run.some_events(4)
    assert run.writer.close()
    capture = Capture(tmp_path)
    got = flat(list(capture.inputs()))
    lost = [each for each in got if each.kind == twin.LOST]
    # Events 10 each, a decision after each batch but the first: 1-10, 11-20, 22-31, 33-42 kept, 44-75 lost.
    assert lost == [twin.Input(44, twin.LOST, (32).to_bytes(4, "little"))]
    assert [each for each in got if each.kind != twin.LOST] == [
        each for each in run.inputs if not 44 <= each.sequence <= 75
    ]
    assert run.writer.records == len(run.inputs) - 30


def test_a_loss_is_marked_even_when_nothing_comes_after_it(tmp_path: Path) -> None:
    disk = Disk(free=0)
    run = Recorder(
        tmp_path, files={"create": disk.create, "compress": False}, block_bytes=80 + 80 * 10 + 16, blocks=2
    )
    run.some_events(25)
    assert not run.writer.write_pending()
    run.writer.tick(T0)
    disk.free = 1 << 60
    assert run.writer.write_pending()
    run.writer.tick(T0 + S)
    run.writer.close()
    assert captured(tmp_path)[-1] == twin.Input(21, twin.LOST, (5).to_bytes(4, "little"))


def test_what_cannot_be_written_at_the_end_is_counted(tmp_path: Path) -> None:
    disk = Disk(free=0)
    run = Recorder(tmp_path, files={"create": disk.create})
    run.some_events(25)
    assert not run.writer.close()
    assert run.writer.lost == 25 and run.writer.records == 0


def test_a_change_of_configuration_brings_a_new_head_where_it_happened(tmp_path: Path) -> None:
    run = Recorder(tmp_path)
    run.some_events(3)
    second = CONFIG.instruments[0].model_copy(update={"name": "ETH", "symbol": "ETHUSD"})
    grown = CONFIG.model_copy(update={"instruments": (*CONFIG.instruments, second)})
    run.engine.apply_config(grown, T0)
    run.some_events(2)
    run.writer.close()
    runs = list(Capture(tmp_path).inputs())
    assert [(each.first_sequence, len(each.head.instruments())) for each in runs] == [(1, 1), (5, 2)]
    instrument = runs[1].head.instruments().by_name("ETH")
    assert (instrument.index, instrument.symbol, str(instrument.tick_size)) == (1, "ETHUSD", "0.1")


def test_boots_follow_one_another_in_a_folder(tmp_path: Path) -> None:
    first = Recorder(tmp_path, boot_id="a")
    first.some_events(3)
    first.writer.close()
    second = Recorder(tmp_path, boot_id="b")
    second.some_events(2)
    second.writer.close()
    capture = Capture(tmp_path)
    assert [head.boot_id for head in capture.heads()] == ["a", "b"]
    assert flat(list(capture.inputs("b"))) == second.inputs
    assert flat(list(capture.inputs())) == first.inputs + second.inputs


def test_a_folder_takes_one_writer(tmp_path: Path) -> None:
    files = SegmentFiles(tmp_path)
    with pytest.raises(CaptureError, match="another process captures"):
        SegmentFiles(tmp_path)
    files.close()
    SegmentFiles(tmp_path).close()


def test_another_layout_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Recorder(tmp_path)
    run.some_events(3)
    run.writer.close()
    monkeypatch.setattr("quotelife.capture.reader.LAYOUT", "event 96")
    with pytest.raises(CaptureError, match="records lie otherwise"):
        captured(tmp_path)


def test_an_empty_folder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"no segment of a capture"):
        Capture(tmp_path)


def test_a_capture_of_the_format_before_is_read_and_one_of_the_next_is_refused(tmp_path: Path) -> None:
    """The last but one knew no watch timers; its blocks are otherwise the same."""
    recorder = Recorder(tmp_path)
    recorder.some_events(20)
    recorder.engine.on_timer(T0 + 7)
    recorder.writer.close()
    (path,) = tmp_path.glob("*.qlc")
    current = path.read_bytes()

    def as_version(version: int) -> None:
        data = bytearray(current)
        for offset, block in twin.blocks(current):
            struct.pack_into("<H", data, offset + 12, version)
            checksum = crc32c(bytes(data[offset + form.CHECKED_FROM : offset + len(block)]))
            struct.pack_into("<I", data, offset + 4, checksum)
        path.write_bytes(data)

    assert current[12:14] == form.VERSION.to_bytes(2, "little")
    as_version(1)
    assert captured(tmp_path) == recorder.inputs and len(recorder.inputs) == 21
    as_version(form.VERSION + 1)
    with pytest.raises(
        CaptureError, match=f"format {form.VERSION + 1}, this build reads up to {form.VERSION}"
    ):
        captured(tmp_path)
