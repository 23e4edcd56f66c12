"""Callers by hand for benches, compiled: what makes load must cost less than what is measured.

One in Python sent and read up to a millisecond late at 120,000 calls a second: what waits in a caller is part of every
latency.

Headers are literals the first time and one byte each from then on, as usual clients send them. Responses are told apart by
their frames: one with DATA is an answer, one whose headers end the stream is a refusal.
"""

import numpy as np

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove, memset, strerror
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from quotelife_server.cli import bench_http2 as http2
from quotelife_server.cli.bench_http2 import Load, connect, first_block, frame, message, setting

cdef extern from "<sys/socket.h>" nogil:
    ssize_t send(int descriptor, const void *data, size_t size, int flags)
    ssize_t recv(int descriptor, void *data, size_t size, int flags)
    int MSG_NOSIGNAL

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int POLLIN
    int ppoll(pollfd *descriptors, unsigned long n, const timespec *wait, const void *signals)

cdef enum:
    HEAD_BYTES = 9
    OPEN_MAX = 1000                          # calls of one connection: services say 1,024
    READ_BYTES = 262_144
    CALLERS_MAX = 64
    TIMEOUT_DIGITS = 7                       # behind the first

cdef uint8_t DATA = http2.DATA, HEADERS = http2.HEADERS, RST_STREAM = http2.RST_STREAM, SETTINGS = http2.SETTINGS
cdef uint8_t PING = http2.PING, GOAWAY = http2.GOAWAY, ACK = http2.ACK, END_STREAM = http2.END_STREAM

cdef double ANSWER_S = 10.0                  # who has not been answered by then never is
cdef int64_t SPIN_NS = 200_000               # a sleep may take so much longer than it was asked to
cdef int64_t TICK_NS = 100_000               # of an open loop: what has become due meanwhile leaves together
cdef int64_t NS = 1_000_000_000


cdef struct Calls:
    # Of an open loop: where the times of calls go. Call i goes by connection i % step.
    int64_t *done_ns
    uint8_t *good
    int64_t began_ns
    size_t n
    size_t step


cdef class Caller:
    """One connection: calls of one method out, what came of them in. Its socket does not block.

    ``known``: the headers of all calls but the first are the same bytes; else each has a ``grpc-timeout`` of its own.
    """

    cdef readonly object socket
    cdef readonly str lost
    cdef int descriptor
    cdef bytes first                         # frames of the first call, and of any other; numbers are put in
    cdef bytes other
    cdef size_t data_at, digits_at
    cdef uint8_t *out
    cdef size_t out_at, out_end, out_room
    cdef uint8_t *got
    cdef size_t got_n
    cdef uint8_t *with_data                  # by place of the call
    cdef size_t with_data_room
    cdef size_t calls, sent, over            # those beyond OPEN_MAX wait here, as with any client
    cdef size_t base, place                  # of this load
    cdef size_t answered, refused            # by the last ``_read``

    def __init__(self, address, str path, bytes payload, *, bint known=True):
        self.socket = connect(address, setting(http2.INITIAL_WINDOW_SIZE, http2.WINDOW_MAX))
        self.socket.setblocking(False)
        self.descriptor = self.socket.fileno()
        self.lost = ""
        data = frame(DATA, END_STREAM, 0, message(payload))
        block = http2.NEXT_BLOCK if known else http2.NEXT_BLOCK + http2.literal(b"grpc-timeout", b"5%07du" % 0)
        self.digits_at = 0 if known else <size_t>(HEAD_BYTES + len(block) - TIMEOUT_DIGITS - 1)
        self.first = frame(HEADERS, http2.END_HEADERS, 0, first_block(path)) + data
        self.other = frame(HEADERS, http2.END_HEADERS, 0, block) + data
        self.data_at = <size_t>len(data)     # from the end
        self.got = <uint8_t *>realloc(NULL, READ_BYTES)
        if self.got == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.out)
        free(self.got)
        free(self.with_data)

    def close(self):
        self.socket.close()

    cdef int _call(self, size_t n) except -1:
        """So many more calls; the k-th of a connection is stream ``2 * k + 1``."""
        self.calls += n
        return self._send()

    cdef int _send(self) except -1:
        cdef size_t n = self.calls - self.sent, k, size
        cdef size_t may = OPEN_MAX - (self.sent - self.over)
        cdef bytes each
        cdef uint8_t *at
        if n > may:
            n = may
        if n == 0:
            return 0
        if self.sent + n > self.with_data_room:
            k = 2 * (self.sent + n)
            at = <uint8_t *>realloc(self.with_data, k)
            if at == NULL:
                raise MemoryError
            memset(at + self.with_data_room, 0, k - self.with_data_room)
            self.with_data, self.with_data_room = at, k
        self._room(n * <size_t>PyBytes_GET_SIZE(self.other) + <size_t>PyBytes_GET_SIZE(self.first))
        for k in range(self.sent, self.sent + n):
            each = self.first if k == 0 else self.other
            size = <size_t>PyBytes_GET_SIZE(each)
            at = self.out + self.out_end
            memcpy(at, PyBytes_AS_STRING(each), size)
            _put_32(at + 5, <uint32_t>(2 * k + 1))
            _put_32(at + size - self.data_at + 5, <uint32_t>(2 * k + 1))
            if self.digits_at and k:
                _put_digits(at + self.digits_at, k)
            self.out_end += size
        self.sent += n
        return self._flush()

    cdef int _room(self, size_t more) except -1:
        cdef uint8_t *grown
        if self.out_at:
            memmove(self.out, self.out + self.out_at, self.out_end - self.out_at)
            self.out_end -= self.out_at
            self.out_at = 0
        if self.out_end + more > self.out_room:
            grown = <uint8_t *>realloc(self.out, 2 * (self.out_end + more))
            if grown == NULL:
                raise MemoryError
            self.out, self.out_room = grown, 2 * (self.out_end + more)
        return 0

    cdef int _say(self, bytes text) except -1:
        self._room(<size_t>len(text))
        memcpy(self.out + self.out_end, PyBytes_AS_STRING(text), <size_t>len(text))
        self.out_end += <size_t>len(text)
        return self._flush()

    cdef int _flush(self) except -1:
        """As much as the socket takes."""
        cdef ssize_t n
        while self.out_at < self.out_end and not self.lost:
            n = send(self.descriptor, self.out + self.out_at, self.out_end - self.out_at, MSG_NOSIGNAL)
            if n < 0:
                if errno == EINTR:
                    continue
                if errno != EAGAIN:
                    self.lost = (<bytes>strerror(errno)).decode()
                break
            self.out_at += <size_t>n
        if self.out_at == self.out_end:
            self.out_at = self.out_end = 0
        return 0

    cdef int _read(self, Calls *calls) except -1:
        """Counts what was answered and refused; where ``calls`` is given, notes when."""
        cdef ssize_t n = recv(self.descriptor, self.got + self.got_n, READ_BYTES - self.got_n, 0)
        cdef const uint8_t *at = self.got
        cdef const uint8_t *end
        cdef size_t length, k
        cdef int64_t now_ns
        cdef int kind
        self.answered = self.refused = 0
        if n <= 0:
            if n == 0:
                self.lost = "closed by the service"
            elif errno != EAGAIN and errno != EINTR:
                self.lost = (<bytes>strerror(errno)).decode()
            return 0
        now_ns = _now_ns() - calls.began_ns if calls != NULL else 0
        end = at + self.got_n + n
        while end - at >= HEAD_BYTES:
            length = (<size_t>at[0] << 16) | (<size_t>at[1] << 8) | at[2]
            if length > READ_BYTES - HEAD_BYTES:
                self.lost = f"a frame of {length} bytes"
                return 0
            if <size_t>(end - at) < HEAD_BYTES + length:
                break
            kind = at[3]
            k = ((<size_t>at[5] & 0x7F) << 24 | <size_t>at[6] << 16 | <size_t>at[7] << 8 | at[8]) >> 1
            if kind == DATA:
                if k < self.with_data_room:
                    self.with_data[k] = 1
            elif kind == HEADERS and at[4] & END_STREAM or kind == RST_STREAM:
                if kind == HEADERS and k < self.with_data_room and self.with_data[k]:
                    self.answered += 1
                    self._note(calls, k, now_ns, 1)
                else:
                    self.refused += 1
                    self._note(calls, k, now_ns, 0)
            elif (kind == SETTINGS or kind == PING) and not at[4] & ACK:
                self._say(frame(kind, ACK, 0, b"" if kind == SETTINGS else at[HEAD_BYTES:HEAD_BYTES + length]))
            elif kind == GOAWAY:
                self.lost = f"GOAWAY {at[HEAD_BYTES:HEAD_BYTES + length]!r}"
            at += HEAD_BYTES + length
        self.got_n = <size_t>(end - at)
        memmove(self.got, at, self.got_n)
        self.over += self.answered + self.refused
        return self._send()

    cdef int _note(self, Calls *calls, size_t k, int64_t now_ns, uint8_t good) except -1:
        if calls != NULL and k >= self.base:
            k = (k - self.base) * calls.step + self.place
            if k < calls.n:
                calls.done_ns[k], calls.good[k] = now_ns, good
        return 0

    cdef int _must_live(self) except -1:
        if self.lost:
            raise ConnectionError(f"the service ended a connection of the load: {self.lost}")
        return 0


def closed_loop(list callers, Py_ssize_t in_flight, double seconds):
    """``in_flight`` calls under way, over all connections, the next as soon as one is over."""
    cdef pollfd polled[CALLERS_MAX]
    cdef Py_ssize_t n = _watch(callers, polled), k
    cdef int64_t began_ns = _now_ns(), end_ns = began_ns + <int64_t>(seconds * 1e9)
    cdef size_t answered = 0, refused = 0, sent = 0, over, open_ = 0
    cdef bint going_on
    cdef Caller caller
    for k in range(n):
        caller = callers[k]
        over = <size_t>(in_flight // n + (k < in_flight % n))
        sent += over
        caller._call(over)
    open_ = sent
    while open_:
        if not _wait(polled, n, <int64_t>(ANSWER_S * 1e9)):
            break
        going_on = _now_ns() < end_ns
        for k in range(n):
            caller = callers[k]
            if polled[k].revents:
                caller._read(NULL)
                caller._must_live()
                answered += caller.answered
                refused += caller.refused
                over = caller.answered + caller.refused
                open_ -= over
                if over and going_on:
                    caller._call(over)
                    sent += over
                    open_ += over
            caller._flush()
    nothing = np.zeros(0)
    return Load(
        (_now_ns() - began_ns) / 1e9, sent, answered, refused, open_, nothing, nothing, nothing, nothing
    )


def open_loop(list callers, double rate, double seconds, seed):
    """Calls at random instants (Poisson), ``rate`` a second on average, whatever becomes of those before.

    What has become due within 100 us leaves in one write, as clients at such rates send it; that wait is part of latencies.
    """
    rng = np.random.default_rng(seed)
    due = np.cumsum(rng.exponential(1e9 / rate, max(1, int(rate * seconds)))).astype(np.int64)
    done, left, good = np.zeros(len(due), np.int64), np.zeros(len(due), np.int64), np.zeros(len(due), np.uint8)
    cdef int64_t[::1] due_ns = due
    cdef int64_t[::1] done_ns = done
    cdef int64_t[::1] left_ns = left
    cdef uint8_t[::1] is_good = good
    cdef pollfd polled[CALLERS_MAX]
    cdef size_t n = <size_t>len(due), sent = 0, over = 0, i, place
    cdef size_t k = <size_t>_watch(callers, polled)
    cdef int64_t now_ns, wait_ns, last_ns = due_ns[n - 1], tick_ns = 0
    cdef Calls calls
    cdef Caller caller
    calls.done_ns, calls.good, calls.n, calls.step = &done_ns[0], &is_good[0], n, k
    for place in range(k):
        caller = callers[place]
        caller.base, caller.place = caller.calls, place
    calls.began_ns = _now_ns()
    while over < n:
        now_ns = _now_ns() - calls.began_ns
        i = sent
        if now_ns >= tick_ns:
            while i < n and due_ns[i] <= now_ns:
                left_ns[i] = now_ns
                i += 1
        if i > sent:
            tick_ns = now_ns + TICK_NS
            for place in range(k):
                caller = callers[place]
                caller._call((i + k - 1 - place) // k - (sent + k - 1 - place) // k)
            sent = i
        if sent < n:
            wait_ns = max(<int64_t>0, max(due_ns[sent], tick_ns) - (_now_ns() - calls.began_ns) - SPIN_NS)
        else:
            wait_ns = NS // 10
            if now_ns > last_ns + <int64_t>(ANSWER_S * 1e9):
                break
        _wait(polled, <Py_ssize_t>k, wait_ns)
        for place in range(k):
            caller = callers[place]
            if polled[place].revents:
                caller._read(&calls)
                caller._must_live()
                over += caller.answered + caller.refused
            caller._flush()
    ended, answered = done > 0, good.astype(np.bool_)
    latency = done - due
    return Load(
        (_now_ns() - calls.began_ns) / 1e9,
        int(n),
        int(np.count_nonzero(ended & answered)),
        int(np.count_nonzero(ended & ~answered)),
        int(n - np.count_nonzero(ended)),
        latency[ended & answered],
        latency[ended & ~answered],
        left - due,
        due[ended & answered],
        calls.began_ns,
    )


cdef Py_ssize_t _watch(list callers, pollfd *polled) except -1:
    cdef Py_ssize_t n = len(callers), k
    if not 0 < n <= CALLERS_MAX:
        raise ValueError(f"callers: between 1 and {CALLERS_MAX} connections, not {n}")
    for k in range(n):
        polled[k].fd, polled[k].events, polled[k].revents = (<Caller>callers[k]).descriptor, POLLIN, 0
    return n


cdef int _wait(pollfd *polled, Py_ssize_t n, int64_t wait_ns) except -1:
    """How many sockets have something to read."""
    cdef timespec wait
    cdef int ready
    cdef Py_ssize_t k
    wait.tv_sec, wait.tv_nsec = wait_ns // NS, wait_ns % NS
    with nogil:
        ready = ppoll(polled, <unsigned long>n, &wait, NULL)
    PyErr_CheckSignals()
    if ready < 0:
        for k in range(n):
            polled[k].revents = 0
        return 0
    return ready


cdef int64_t _now_ns() noexcept:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * NS + now.tv_nsec


cdef void _put_32(uint8_t *into, uint32_t value) noexcept:
    into[0], into[1], into[2], into[3] = value >> 24, value >> 16 & 0xFF, value >> 8 & 0xFF, value & 0xFF


cdef void _put_digits(uint8_t *into, size_t value) noexcept:
    cdef int k
    for k in range(TIMEOUT_DIGITS - 1, -1, -1):
        into[k] = <uint8_t>(48 + value % 10)
        value //= 10
