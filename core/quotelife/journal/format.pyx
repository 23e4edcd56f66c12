"""The bytes of a journal: segment header, records, and the loop that reads a segment through.

docs/journal.md describes the same for somebody who writes a reader of his own.
"""

import hashlib
import struct
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_SetFromErrno
from libc.errno cimport EINTR, errno
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memmove, memset

from quotelife.checksum cimport crc32c_c

from quotelife.checksum import crc32c
from quotelife.errors import JournalError
from quotelife.records import DECISION_DTYPE, LABEL_DTYPE, REQUEST_DTYPE, SHADOW_DTYPE, SIGNAL_DTYPE, WATCH_DTYPE

cdef extern from "<unistd.h>" nogil:
    ssize_t pread(int descriptor, void* to, size_t size, int64_t offset)

cdef extern from "<fcntl.h>" nogil:
    int posix_fadvise(int descriptor, int64_t offset, int64_t size, int advice)
    int POSIX_FADV_DONTNEED

cdef extern from * nogil:
    int __builtin_popcountll(unsigned long long)

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int nanosleep(const timespec* wanted, timespec* left)

FORMAT_VERSION = 4              # 2: labels and shadows' answers are in it; 3: words on live quotes; 4: packed payloads
SEGMENT_HEADER_BYTES = HEADER_BYTES
RECORD_HEADER_SIZE = RECORD_HEADER_BYTES
cdef bytes MAGIC = b"QLJRNL\r\n"
_HEADER = struct.Struct("<8sIIQQq32s32s32s20xI")
assert _HEADER.size == HEADER_BYTES
assert sizeof(RecordHeader) == RECORD_HEADER_BYTES


class Kind(IntEnum):
    """What a record holds."""

    BOOT = KIND_BOOT
    CHANGE = KIND_CHANGE
    SIGNAL = KIND_SIGNAL
    DECISION = KIND_DECISION
    ANSWER = KIND_ANSWER
    REFUSED = KIND_REFUSED
    GAP = KIND_GAP
    STATE = KIND_STATE
    SEAL = KIND_SEAL
    SHADOW = KIND_SHADOW
    LABEL = KIND_LABEL
    WATCH = KIND_WATCH


class SegmentHeader(NamedTuple):
    """First bytes of a segment. ``first_number`` is that of its first record, hashes are SHA-256."""

    segment: int
    first_number: int
    created_ns: int
    boot_id: str
    layout_hash: bytes
    schema_hash: bytes


class RawRecord(NamedTuple):
    """One sound record; ``size`` is its length on disk, padding included."""

    number: int
    kind: int
    input_sequence: int
    now_ns: int
    durable: int
    flags: int
    payload: bytes
    size: int


def _layout_hash():
    parts = []
    for dtype in (REQUEST_DTYPE, DECISION_DTYPE, SIGNAL_DTYPE, SHADOW_DTYPE, LABEL_DTYPE, WATCH_DTYPE):
        parts += [f"{name} {dtype.fields[name][0].str}{dtype.fields[name][0].shape} {dtype.fields[name][1]}"
                  for name in dtype.names] + [str(dtype.itemsize)]
    return hashlib.sha256("\n".join(parts).encode()).digest()


LAYOUT_HASH = _layout_hash()


def pack_header(segment, first_number, created_ns, boot_id, layout_hash, schema_hash):
    """The bytes of a segment header. Raises ``ValueError`` on a boot id that does not fit."""
    name = boot_id.encode("ascii")
    if not 1 <= len(name) <= 32 or b"\0" in name:
        raise ValueError(f"boot id {boot_id!r}: 1 to 32 ASCII characters")
    body = _HEADER.pack(MAGIC, FORMAT_VERSION, HEADER_BYTES, segment, first_number, created_ns, name, layout_hash,
                        schema_hash, 0)[:HEADER_BYTES - 4]
    return body + struct.pack("<I", crc32c(body))


def unpack_header(const uint8_t[::1] buffer not None):
    """The header at the start of a segment. ``JournalError`` when it is short, damaged or of another version."""
    if buffer.shape[0] < HEADER_BYTES:
        raise JournalError("the segment header is cut short")
    raw = bytes(buffer[:HEADER_BYTES])
    magic, version, length, segment, first, created, boot, layout, schema, crc = _HEADER.unpack(raw)
    if crc != crc32c(raw[:HEADER_BYTES - 4]) or magic != MAGIC or length != HEADER_BYTES:
        raise JournalError("the segment header is damaged")
    if version > FORMAT_VERSION:
        raise JournalError(f"format version {version} is newer than this build, which reads up to {FORMAT_VERSION}: "
                           f"use the version of quotelife that wrote it, or a later one")
    return SegmentHeader(segment, first, created, boot.rstrip(b"\0").decode("ascii"), layout, schema)


cdef uint64_t record_at(const uint8_t* data, uint64_t size, uint64_t offset) noexcept nogil:
    cdef RecordHeader header
    cdef uint64_t length
    if offset + RECORD_HEADER_BYTES > size:
        return 0
    memcpy(&header, data + offset, RECORD_HEADER_BYTES)
    if header.length > RECORD_BYTES_MAX or header.kind < KIND_BOOT or header.kind > KIND_WATCH:
        return 0
    length = RECORD_HEADER_BYTES + padded(header.length)
    if offset + length > size or crc32c_c(0, data + offset + 4, length - 4) != header.crc:
        return 0
    return length


cdef uint64_t hash_id(const uint8_t* data, size_t length) noexcept nogil:
    cdef uint64_t value = 0xCBF29CE484222325
    cdef size_t i
    for i in range(length):
        value = (value ^ data[i]) * <uint64_t>0x100000001B3
    return value


def id_hash(bytes request_id not None):
    """Where an index looks for a request id: FNV-1a of 64 bits."""
    return hash_id(request_id, len(request_id))


def read_record(const uint8_t[::1] buffer not None, uint64_t offset):
    """The record at ``offset`` as ``RawRecord``, its payload unpacked, or ``None`` where no sound one begins. Raises
    ``JournalError`` where it is packed by other rules."""
    cdef RecordHeader header
    cdef uint64_t size = record_at(&buffer[0], buffer.shape[0], offset) if buffer.shape[0] else 0
    if size == 0:
        return None
    cdef const char* payload = <const char*>&buffer[0] + offset + RECORD_HEADER_BYTES
    memcpy(&header, &buffer[offset], RECORD_HEADER_BYTES)
    whole = unpack(header.number, payload, header.length) if header.flags & PACKED else payload[:header.length]
    return RawRecord(header.number, header.kind, header.input_sequence, header.now_ns, header.durable, header.flags,
                     whole, size)


cdef bytes unpack(uint64_t number, const char* packed, uint64_t length):
    # The payload that a packed one stands for.
    cdef uint64_t words = 0, bits = 0, k, at, found = 0
    cdef bytes whole
    cdef char* out
    memcpy(&words, packed, min(length, <uint64_t>8))
    at = 8 + 8 * bitmap_words(words)
    if length < 8 or words > RECORD_BYTES_MAX // 8 or at > length:
        raise _packed_otherwise(number)
    for k in range(bitmap_words(words)):
        memcpy(&bits, packed + 8 + 8 * k, 8)
        if k == words // 64 and bits >> (words % 64):
            raise _packed_otherwise(number)     # bits of words that there are not
        found += __builtin_popcountll(bits)
    if at + 8 * found != length:
        raise _packed_otherwise(number)
    whole = PyBytes_FromStringAndSize(NULL, 8 * words)
    out = whole
    memset(out, 0, 8 * words)
    for k in range(words):
        if k % 64 == 0:
            memcpy(&bits, packed + 8 + k // 8, 8)
        if bits & 1:
            memcpy(out + 8 * k, packed + at, 8)
            at += 8
        bits >>= 1
    return whole


def _packed_otherwise(number):
    return JournalError(f"record {number} is sound, but its payload is not packed as it should be: "
                        f"use the version of quotelife that wrote it")


def pack_record(int kind, uint64_t number, uint64_t input_sequence, int64_t now_ns, uint64_t durable, bytes payload,
                int flags=0):
    """The bytes of one record, padding included."""
    cdef RecordHeader header
    header.crc = 0
    header.length = len(payload)
    header.number = number
    header.input_sequence = input_sequence
    header.now_ns = now_ns
    header.durable = durable
    header.kind = kind
    header.flags = flags
    header.zero = 0
    raw = (<const char*>&header)[4:RECORD_HEADER_BYTES] + payload + bytes(padded(len(payload)) - len(payload))
    return struct.pack("<I", crc32c(raw)) + raw


def find_after(const uint8_t[::1] buffer not None, uint64_t offset, uint64_t number):
    """A sound record from ``offset`` on that shows that the one numbered ``number``, broken, was once promised.

    Every place where a record could begin is tried. Returns (offset, number, ``durable``, proves) of the first one
    that proves it (its writer promised whatever it had written, or knew that number to be on the disk), else of the
    first sound one, else ``None``.
    """
    cdef const uint8_t* data
    cdef RecordHeader header
    cdef uint64_t size = buffer.shape[0], length
    cdef bint found = False, proves
    first = None
    if size < RECORD_HEADER_BYTES:
        return None
    data = &buffer[0]
    offset = padded(offset)
    while offset + RECORD_HEADER_BYTES <= size:
        memcpy(&header, data + offset, RECORD_HEADER_BYTES)
        # The range of numbers keeps the checksum from being tried everywhere.
        if header.zero == 0 and number <= header.number <= number + size // RECORD_HEADER_BYTES:
            length = record_at(data, size, offset)
            if length:
                proves = not header.flags & POWER_LOSS or header.durable >= number
                if proves or not found:
                    first = (offset, header.number, header.durable, bool(proves))
                    found = True
                if proves:
                    return first
                offset += length
                continue
        offset += 8
    return first


_COLUMNS = ("decision_sequence", "decision_offset", "answer_sequence", "answer_offset", "id_hash", "id_offset",
            "id_ns", "refused_sequence", "other_offset")
cdef enum:
    DECISION_SEQUENCE, DECISION_OFFSET, ANSWER_SEQUENCE, ANSWER_OFFSET, ID_HASH, ID_OFFSET, ID_NS, REFUSED_SEQUENCE
    OTHER_OFFSET, COLUMNS
    COPIED = 32_768            # values of a column at a time; new memory for them is most of the cost, some 0.1 ms


cdef void rest(int64_t pause_ns) noexcept nogil:
    cdef timespec wanted
    if pause_ns > 0:
        wanted.tv_sec = <long>(pause_ns // 1_000_000_000)
        wanted.tv_nsec = <long>(pause_ns % 1_000_000_000)
        nanosleep(&wanted, NULL)


def give_back(int descriptor, int64_t begin, int64_t end, int64_t piece, double pause_s=0.0):
    """Advise the system that nobody will read these bytes of an open file: it begins to write those that are not on
    the device, and lets go of those that are. In pieces of so many bytes, with pauses; the interpreter is for others
    meanwhile. A hint, whose failure shows nowhere."""
    cdef int64_t pause_ns = <int64_t>(pause_s * 1e9)
    if piece <= 0:
        raise ValueError(f"piece: bytes at a time, above 0, not {piece}")
    with nogil:
        while begin < end:
            posix_fadvise(descriptor, begin, min(piece, end - begin), POSIX_FADV_DONTNEED)
            begin += piece
            rest(pause_ns)


cdef int grow(Column* column, size_t room) except -1 nogil:
    cdef uint64_t* grown = <uint64_t*>realloc(column.values, room * sizeof(uint64_t))
    if grown == NULL:
        with gil:
            raise MemoryError()
    column.values = grown
    column.room = room
    return 0


cdef int push(Column* column, uint64_t value) except -1 nogil:
    if column.count == column.room:
        grow(column, max(<size_t>256, 2 * column.room))
    column.values[column.count] = value
    column.count += 1
    return 0


cdef class SegmentScan:
    """Reads records one after the other from ``offset`` on and notes where they lie.

    ``run(buffer)`` and ``run_file(descriptor)`` go on where the last run ended; they stop at the end, at the first
    record that is not sound or not the next in number, after the seal, or before ``stop_number``. Columns
    (``column(name)``, uint64): sequence and offset of decisions and of answers, hash, offset and time of request ids,
    refused sequences, offsets of all other records but shadows' answers and labels.
    """

    def __cinit__(self):
        self.columns = <Column*>calloc(COLUMNS, sizeof(Column))
        if self.columns == NULL:
            raise MemoryError()

    def __init__(self, uint64_t offset, uint64_t next_number, uint64_t stop_number=0):
        self.end = offset
        self.next_number = next_number
        self.stop_number = stop_number

    def __dealloc__(self):
        cdef int k
        if self.columns != NULL:
            for k in range(COLUMNS):
                free(self.columns[k].values)
            free(self.columns)

    cdef int make_room(self, SegmentScan like) except -1:
        # As much as that one took and a quarter more: columns that grow together would be copied at the same record, a
        # millisecond at 65,536 answers. Memory that is not used costs nothing.
        cdef int k
        cdef size_t room
        for k in range(COLUMNS):
            room = like.columns[k].count + like.columns[k].count // 4
            if room > self.columns[k].room:
                grow(&self.columns[k], room)
        return 0

    def run(self, const uint8_t[::1] buffer not None, uint64_t base=0):
        """Read on; True when everything up to the end of ``buffer`` was sound and nothing follows a seal.

        ``buffer`` is the segment from offset ``base``, at most ``end``, on.
        """
        cdef uint64_t size = buffer.shape[0]
        if base > self.end:
            raise ValueError("a scan goes on where it ended")
        if size:
            with nogil:
                self._run(&buffer[0], size, base)
        return self.end == base + size

    def run_file(self, int descriptor, uint64_t piece_bytes=PIECE_BYTES, double pause_s=0.0):
        """Read on in an open file of the system, which holds the segment, so many bytes at a time.

        Between pieces others have the core for ``pause_s``. The interpreter is not wanted before the end, so that
        nobody waits for it, nor it for anybody. Raises ``OSError``.
        """
        if piece_bytes == 0:
            raise ValueError("a piece has at least one byte")
        with nogil:
            self._run_file(descriptor, piece_bytes, <int64_t>(pause_s * 1e9))

    cdef int _run_file(self, int descriptor, uint64_t piece, int64_t pause_ns) except -1 nogil:
        # data[:held] is what the file holds from end on.
        cdef uint64_t held = 0, room = 0, needed = RECORD_HEADER_BYTES, begin
        cdef uint8_t* data = NULL
        cdef uint8_t* grown
        cdef RecordHeader header
        cdef ssize_t taken
        try:
            while not self.sealed and self.next_number != self.stop_number:
                if held + piece > room:
                    room = max(held + piece, min(2 * room, needed + piece))
                    grown = <uint8_t*>realloc(data, room)
                    if grown == NULL:
                        with gil:
                            raise MemoryError()
                    data = grown
                taken = pread(descriptor, data + held, piece, <int64_t>(self.end + held))
                if taken < 0:
                    if errno == EINTR:
                        continue
                    with gil:
                        PyErr_SetFromErrno(OSError)
                if taken == 0:
                    return 0                   # what is left is no record
                held += taken
                if held >= needed:
                    begin = self.end
                    self._run(data, held, begin)
                    held -= self.end - begin
                    memmove(data, data + (self.end - begin), held)
                    needed = RECORD_HEADER_BYTES
                    if held >= RECORD_HEADER_BYTES:
                        memcpy(&header, data, RECORD_HEADER_BYTES)
                        needed += padded(header.length)
                        if held >= needed or header.length > RECORD_BYTES_MAX:
                            return 0           # all of it is there and it was not taken
                rest(pause_ns)
        finally:
            free(data)
        return 0

    cdef int _run(self, const uint8_t* data, uint64_t size, uint64_t base) except -1 nogil:
        cdef RecordHeader header
        cdef uint64_t length
        while not self.sealed and self.next_number != self.stop_number:
            length = record_at(data, size, self.end - base)
            if length == 0:
                return 0
            memcpy(&header, data + self.end - base, RECORD_HEADER_BYTES)
            if header.number != self.next_number:
                return 0
            if header.kind == KIND_SEAL:
                self.sealed = True         # bears the number of the next segment's first record
            else:
                self._note(data + self.end - base, self.end, &header)
                self.next_number += 1
                self.records += 1
                if not self.first_ns:
                    self.first_ns = header.now_ns
                self.last_ns = header.now_ns
            self.durable = max(self.durable, header.durable)
            self.end += length
        return 0

    cdef int _note(self, const uint8_t* record, uint64_t offset, const RecordHeader* header) except -1 nogil:
        cdef const uint8_t* payload = record + RECORD_HEADER_BYTES
        cdef uint32_t sizes[6]
        cdef uint64_t sequence
        cdef uint32_t i
        if header.kind == KIND_DECISION:
            push(&self.columns[DECISION_SEQUENCE], header.input_sequence)
            push(&self.columns[DECISION_OFFSET], offset)
        elif header.kind == KIND_ANSWER and header.length >= sizeof(sizes):
            memcpy(sizes, payload, sizeof(sizes))
            if sizeof(sizes) + 8 * <uint64_t>sizes[0] + sizes[1] > header.length:
                return 0
            for i in range(sizes[0]):
                memcpy(&sequence, payload + sizeof(sizes) + 8 * i, 8)
                push(&self.columns[ANSWER_SEQUENCE], sequence)
                push(&self.columns[ANSWER_OFFSET], offset)
            if sizes[1]:
                push(&self.columns[ID_HASH], hash_id(payload + sizeof(sizes) + 8 * sizes[0], sizes[1]))
                push(&self.columns[ID_OFFSET], offset)
                push(&self.columns[ID_NS], <uint64_t>header.now_ns)
        elif header.kind != KIND_SHADOW and header.kind != KIND_LABEL:     # many, and no state is made of them
            push(&self.columns[OTHER_OFFSET], offset)
            if header.kind == KIND_REFUSED:
                for i in range(header.length // 8):
                    memcpy(&sequence, payload + 8 * i, 8)
                    push(&self.columns[REFUSED_SEQUENCE], sequence)
        return 0

    def sort(self, double pause_s=0.0):
        """Put decisions and answers in the order of their sequences, request ids in that of their hashes, each those
        of equal keys in the order of their records; with such pauses in which others may have the core."""
        with nogil:
            self._sort(DECISION_SEQUENCE, 2, <int64_t>(pause_s * 1e9))
            self._sort(ANSWER_SEQUENCE, 2, <int64_t>(pause_s * 1e9))
            self._sort(ID_HASH, 3, <int64_t>(pause_s * 1e9))

    cdef int _sort(self, int key, int columns, int64_t pause_ns) except -1 nogil:
        # By the first of so many columns that stand beside each other: radix sort, the last byte first.
        cdef size_t n = self.columns[key].count, i, first
        cdef const uint64_t* keys = self.columns[key].values
        cdef size_t[256] counts
        cdef uint32_t* order
        cdef uint32_t* next_order
        cdef uint64_t* values
        cdef int byte, c
        cdef bint sorted = True
        for i in range(1, n):
            if keys[i] < keys[i - 1]:
                sorted = False
                break
        if sorted:
            return 0
        if n >> 32:
            with gil:
                raise ValueError("more records than a segment can hold")
        order = <uint32_t*>malloc(n * sizeof(uint32_t))
        next_order = <uint32_t*>malloc(n * sizeof(uint32_t))
        values = <uint64_t*>malloc(n * sizeof(uint64_t))
        try:
            if order == NULL or next_order == NULL or values == NULL:
                with gil:
                    raise MemoryError()
            for i in range(n):
                order[i] = <uint32_t>i
            for byte in range(8):
                memset(counts, 0, sizeof(counts))
                for i in range(n):
                    counts[keys[i] >> 8 * byte & 255] += 1
                if counts[keys[0] >> 8 * byte & 255] == n:
                    continue                   # the same everywhere
                first = 0
                for c in range(256):
                    first += counts[c]
                    counts[c] = first - counts[c]
                for i in range(n):
                    c = keys[order[i]] >> 8 * byte & 255
                    next_order[counts[c]] = order[i]
                    counts[c] += 1
                order, next_order = next_order, order
                rest(pause_ns)
            for c in range(key, key + columns):
                for i in range(n):
                    values[i] = self.columns[c].values[order[i]]
                memcpy(self.columns[c].values, values, n * sizeof(uint64_t))
                rest(pause_ns)
        finally:
            free(order)
            free(next_order)
            free(values)
        return 0

    def column(self, str name, double pause_s=0.0):
        """A copy of one column, in the order of the records or as sorted; with such pauses."""
        cdef Column* column = &self.columns[_COLUMNS.index(name)]
        out = np.empty(column.count, dtype=np.uint64)
        cdef uint64_t[::1] values = out
        cdef size_t k = 0, n
        with nogil:
            while k < column.count:
                n = min(column.count - k, <size_t>COPIED)
                memcpy(&values[k], column.values + k, n * sizeof(uint64_t))
                k += n
                rest(<int64_t>(pause_s * 1e9))
        return out
