from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

SEGMENT_HEADER_BYTES: int
RECORD_HEADER_SIZE: int
FORMAT_VERSION: int
LAYOUT_HASH: bytes

class Kind(IntEnum):
    BOOT = 1
    CHANGE = 2
    SIGNAL = 3
    DECISION = 4
    ANSWER = 5
    REFUSED = 6
    GAP = 7
    STATE = 8
    SEAL = 9
    SHADOW = 10
    LABEL = 11
    WATCH = 12

class SegmentHeader(NamedTuple):
    segment: int
    first_number: int
    created_ns: int
    boot_id: str
    layout_hash: bytes
    schema_hash: bytes

class RawRecord(NamedTuple):
    number: int
    kind: int
    input_sequence: int
    now_ns: int
    durable: int
    flags: int
    payload: bytes
    size: int

class SegmentScan:
    def __init__(self, offset: int, next_number: int, stop_number: int = 0) -> None: ...
    end: int
    next_number: int
    stop_number: int
    records: int
    sealed: bool
    first_ns: int
    last_ns: int
    durable: int
    def run(self, buffer: Any, base: int = 0) -> bool: ...
    def run_file(self, descriptor: int, piece_bytes: int = 262_144, pause_s: float = 0.0) -> None: ...
    def sort(self, pause_s: float = 0.0) -> None: ...
    def column(self, name: str, pause_s: float = 0.0) -> npt.NDArray[np.uint64]: ...

def pack_header(
    segment: int, first_number: int, created_ns: int, boot_id: str, layout_hash: bytes, schema_hash: bytes
) -> bytes: ...
def unpack_header(buffer: Any) -> SegmentHeader: ...
def read_record(buffer: Any, offset: int) -> RawRecord | None: ...
def pack_record(
    kind: int,
    number: int,
    input_sequence: int,
    now_ns: int,
    durable: int,
    payload: bytes,
    flags: int = 0,
) -> bytes: ...
def give_back(descriptor: int, begin: int, end: int, piece: int, pause_s: float = 0.0) -> None: ...
def find_after(buffer: Any, offset: int, number: int) -> tuple[int, int, int, bool] | None: ...
def id_hash(request_id: bytes) -> int: ...
