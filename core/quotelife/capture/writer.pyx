"""The sink that captures an engine's inputs; see ``writer.pxd``."""

import dataclasses

from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdint cimport uint8_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from quotelife.checksum cimport crc32c_c
from quotelife.inputs cimport CHANGE_CONFIG
from quotelife.records cimport Event, Signal

from quotelife.capture.format import BLOCK_BYTES_MAX, BOOT_BYTES, CaptureError, Head
from quotelife.capture.format import VERSION as FORMAT_VERSION

from quotelife.checksum import crc32c

cdef extern from "Python.h":
    enum:
        PyBUF_READ

cdef enum:
    HEADER = 80
    SLOT = 64
    RUN = 16
    BLOCK_HEAD = 1
    BLOCK_INPUTS = 2
    KIND_EVENT = 1
    KIND_SIGNAL = 2
    KIND_TIMER = 3
    KIND_LOST = 4
    KIND_WATCH_TIMER = 5
    CHECKED_FROM = 8

assert sizeof(Header) == HEADER and sizeof(Run) == RUN and sizeof(Event) == SLOT and sizeof(Signal) == SLOT


cdef int fill_header(Header* header, int kind, uint64_t first_sequence, Py_ssize_t length, bytes boot) except -1:
    memset(header, 0, sizeof(Header))
    memcpy(header.magic, b"QLCB", 4)
    memcpy(header.boot_id, <const char*>boot, len(boot))
    header.version = FORMAT_VERSION
    header.kind = kind
    header.length = length
    header.first_sequence = first_sequence
    return 0


def head_block(head, uint64_t next_sequence):
    """The bytes of a HEAD block. ``next_sequence`` is the first that may come after it."""
    cdef Header header
    text = head.to_json()
    text += b" " * (-len(text) % RUN)
    if HEADER + len(text) > BLOCK_BYTES_MAX:
        raise CaptureError(f"the configuration takes {len(text)} bytes; a capture holds {BLOCK_BYTES_MAX}")
    fill_header(&header, BLOCK_HEAD, next_sequence, HEADER + len(text), head.boot_id.encode("ascii"))
    block = bytearray((<const char*>&header)[:HEADER]) + text
    block[4:8] = crc32c(memoryview(block)[CHECKED_FROM:]).to_bytes(4, "little")
    return bytes(block)


cdef class CaptureWriter(InputSink):
    """Captures what an engine tells it of into ``files`` (``SegmentFiles``).

    At most ``blocks`` blocks of ``block_bytes`` wait in memory. ``boot_id`` is the journal's, at most 32 ASCII
    characters. Call ``begin``, hand the writer to ``Engine.record_to``, call ``tick`` from the thread of the engine
    and ``write_pending`` from that thread or one other, and in the end ``close``.
    """

    def __cinit__(self):
        self.blocks = self.open = NULL
        self.waiting = self.free_blocks = NULL

    def __init__(self, files, *, str boot_id not None, Py_ssize_t block_bytes=256 * 1024, uint32_t blocks=64,
                 int64_t age_ns=1_000_000_000):
        cdef uint32_t i
        if self.blocks != NULL:
            raise CaptureError("a capture writer is initialised once")
        if not 0 < len(boot_id) <= BOOT_BYTES or not boot_id.isascii():
            raise ValueError(f"boot_id must be 1 to {BOOT_BYTES} ASCII characters, not {boot_id!r}")
        if not HEADER + SLOT + 2 * RUN <= block_bytes <= BLOCK_BYTES_MAX:
            raise ValueError(f"block_bytes must lie between {HEADER + SLOT + 2 * RUN} and {BLOCK_BYTES_MAX}")
        if blocks < 2:
            raise ValueError("blocks must be at least 2: one is filled while another is written")
        self.files = files
        self.boot_id = boot_id
        self.boot_bytes = boot_id.encode("ascii")
        self.age_ns = age_ns
        self.fault = ""
        self.heads = {}
        self.head = None
        # One run more than slots: where every input stands alone, and inputs were lost before them.
        self.slots_max = (block_bytes - HEADER - RUN) // (SLOT + RUN)
        self.blocks = <Block*>calloc(blocks, sizeof(Block))
        self.waiting = <Block**>calloc(blocks, sizeof(Block*))
        self.free_blocks = <Block**>calloc(blocks, sizeof(Block*))
        if self.blocks == NULL or self.waiting == NULL or self.free_blocks == NULL:
            raise MemoryError()
        self.n_blocks = self.n_free = blocks
        for i in range(blocks):
            self.blocks[i].bytes = <char*>malloc(block_bytes)
            self.blocks[i].runs = <Run*>malloc((self.slots_max + 1) * sizeof(Run))
            if self.blocks[i].bytes == NULL or self.blocks[i].runs == NULL:
                raise MemoryError()
            self.free_blocks[i] = &self.blocks[i]

    def __dealloc__(self):
        cdef uint32_t i
        if self.blocks != NULL:
            for i in range(self.n_blocks):
                free(self.blocks[i].bytes)
                free(self.blocks[i].runs)
            free(self.blocks)
        free(self.waiting)
        free(self.free_blocks)

    def begin(self, configuration, *, int64_t start_ns, uint64_t input_sequence=0):
        """Note what is needed to read what follows: the engine's ``config_payload()``, time and sequence."""
        self.head_fields = Head(self.boot_id, input_sequence, start_ns, configuration)
        self.heads[self.sealed] = head_block(self.head_fields, input_sequence + 1)

    # --- the engine's side ----------------------------------------------------------------------------------------

    cdef int events(self, const Event* events, Py_ssize_t count, uint64_t first_sequence) except -1:
        cdef Block* block
        cdef uint32_t n
        while count > 0:
            block = self._room(first_sequence, count)
            if block == NULL:
                return 0
            n = <uint32_t>min(count, <Py_ssize_t>(self.slots_max - block.n_slots))
            memcpy(block.bytes + HEADER + block.n_slots * <size_t>SLOT, events, n * <size_t>SLOT)
            block.events += n
            self._note(block, KIND_EVENT, first_sequence, n)
            events += n
            first_sequence += n
            count -= n
        return 0

    cdef int signal(self, const Signal* signal, uint64_t sequence) except -1:
        cdef Block* block = self._room(sequence, 1)
        if block != NULL:
            memcpy(block.bytes + HEADER + block.n_slots * <size_t>SLOT, signal, SLOT)
            block.signals += 1
            self._note(block, KIND_SIGNAL, sequence, 1)
        return 0

    cdef int timer(self, int64_t now_ns, uint64_t sequence) except -1:
        return self._timer(KIND_TIMER, now_ns, sequence)

    cdef int watch_timer(self, int64_t now_ns, uint64_t sequence) except -1:
        return self._timer(KIND_WATCH_TIMER, now_ns, sequence)

    cdef int _timer(self, int kind, int64_t now_ns, uint64_t sequence) except -1:
        cdef Block* block = self._room(sequence, 1)
        cdef char* slot
        if block != NULL:
            slot = block.bytes + HEADER + block.n_slots * <size_t>SLOT
            memset(slot, 0, SLOT)
            memcpy(slot, &now_ns, sizeof(now_ns))
            block.timers += 1
            self._note(block, kind, sequence, 1)
        return 0

    cdef int change(self, int kind, dict payload, int64_t now_ns, uint64_t sequence) except -1:
        if kind == CHANGE_CONFIG:
            if self.open != NULL:
                self._seal()
            self.head_fields = dataclasses.replace(self.head_fields, configuration=payload)
            self.heads[self.sealed] = head_block(self.head_fields, sequence + 1)
        return 0

    cdef Block* _room(self, uint64_t sequence, uint64_t count) noexcept:
        # The block with room for one slot; NULL when none is free, and the inputs are lost.
        cdef Block* block
        cdef uint64_t left
        cdef uint32_t n
        if self.open == NULL:
            if self.n_free == 0:
                if count:
                    if not self.lost_first:
                        self.lost_first = sequence
                    self.lost_last = sequence + count - 1
                    self.lost += count
                return NULL
            self.n_free -= 1
            block = self.open = self.free_blocks[self.n_free]
            block.n_slots = block.n_runs = block.events = block.signals = block.timers = 0
            block.finished = False
            block.opened_ns = self.now_ns
            if self.lost_first:
                left = min(self.lost_last - self.lost_first + 1, <uint64_t>0xFFFFFFFF)
                n = <uint32_t>left
                block.runs[0].first_sequence = self.lost_first
                block.runs[0].count = n
                block.runs[0].kind = KIND_LOST
                memset(block.runs[0].pad, 0, 3)
                block.n_runs = 1
                self.lost_first = 0
        return self.open

    cdef void _note(self, Block* block, int kind, uint64_t first_sequence, uint32_t count) noexcept nogil:
        cdef Run* run
        block.n_slots += count
        if block.n_runs:
            run = &block.runs[block.n_runs - 1]
            if run.kind == kind and run.first_sequence + run.count == first_sequence:
                run.count += count
                if block.n_slots == self.slots_max:
                    self._seal()
                return
        run = &block.runs[block.n_runs]
        run.first_sequence = first_sequence
        run.count = count
        run.kind = kind
        memset(run.pad, 0, 3)
        block.n_runs += 1
        if block.n_slots == self.slots_max:
            self._seal()

    cdef void _seal(self) noexcept nogil:
        self.waiting[self.sealed % self.n_blocks] = self.open
        self.open = NULL
        self.sealed += 1

    def tick(self, int64_t now_ns):
        """Let time pass: a block that was opened ``age_ns`` ago is sealed, and a loss is marked."""
        self.now_ns = now_ns
        if self.lost_first:
            self._room(0, 0)
        if self.open != NULL and now_ns - self.open.opened_ns >= self.age_ns:
            self._seal()

    # --- the disk's side ------------------------------------------------------------------------------------------

    def write_pending(self):
        """Write the sealed blocks; False when the disk failed: ``fault`` says why, and the next call tries again."""
        cdef Block* block
        try:
            while True:
                head = self.heads.get(self.done)
                if head is not None:
                    self.head = head
                    self.files.append_head(head)
                    if self.heads.get(self.done) is not head:
                        continue               # another configuration came meanwhile
                    del self.heads[self.done]
                if self.done == self.sealed:
                    break
                block = self.waiting[self.done % self.n_blocks]
                if not block.finished:
                    self._finish(block)
                self.files.append(PyMemoryView_FromMemory(block.bytes, (<Header*>block.bytes).length, PyBUF_READ),
                                  self.head)
                self.records += block.events + block.signals
                self.done += 1
                self.free_blocks[self.n_free] = block
                self.n_free += 1
        except OSError as error:
            self.fault = error.strerror or str(error)
            return False
        self.fault = ""
        return True

    cdef int _finish(self, Block* block) except -1:
        cdef Header* header = <Header*>block.bytes
        cdef size_t slots = block.n_slots * <size_t>SLOT, runs = block.n_runs * <size_t>RUN
        memcpy(block.bytes + HEADER + slots, block.runs, runs)
        fill_header(header, BLOCK_INPUTS, block.runs[0].first_sequence, HEADER + slots + runs, self.boot_bytes)
        header.slots = block.n_slots
        header.runs = block.n_runs
        header.events = block.events
        header.signals = block.signals
        header.timers = block.timers
        with nogil:
            header.checksum = crc32c_c(0, <const uint8_t*>block.bytes + CHECKED_FROM, header.length - CHECKED_FROM)
        block.finished = True
        return 0

    @property
    def pending_blocks(self):
        """Blocks in memory that wait to be written, the one being filled among them."""
        return self.sealed - self.done + (self.open != NULL)

    def close(self):
        """Write all that is left and let go of the folder; False when not all could be written: it is lost."""
        cdef uint64_t k
        cdef Block* block
        if self.lost_first:
            self._room(0, 0)
        if self.open != NULL:
            self._seal()
        whole = self.write_pending()
        for k in range(self.done, self.sealed):
            block = self.waiting[k % self.n_blocks]
            self.lost += block.n_slots
            self.free_blocks[self.n_free] = block
            self.n_free += 1
        self.done = self.sealed
        self.files.close()
        return whole and not self.lost_first
