"""Datagrams by ``recvmmsg`` on a thread of their own, handed to the event loop through a ring.

A datagram protocol on an event loop pays a callback a datagram, and loses them at some 50,000 a second. Here a thread
that never touches a Python object receives up to 64 at a time, straight into the slots of a ring with one writer and
one reader, and wakes the loop only when it has gone to sleep on an empty ring. Where the ring is full the thread
leaves the datagrams to the kernel's buffer; what that drops is counted by the kernel (SO_RXQ_OVFL) and shows as a gap
in the venue's sequence.

Stamps are the kernel's (SO_TIMESTAMPNS), taken when a datagram came from the wire, however late it is read.
"""

import os
import threading

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_REALTIME, clock_gettime, nanosleep, timespec
from posix.unistd cimport write

from quotelife.arena cimport arena_free, arena_new
from quotelife.feed.mold cimport MOLD_HEADER, MoldReceiver
from quotelife.records cimport EventBuffer

cdef extern from *:
    """
    #include <poll.h>
    #include <sys/socket.h>
    #include <sys/uio.h>
    #ifndef SO_RXQ_OVFL
    #define SO_RXQ_OVFL 40
    #endif
    #define load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
    #define load_in_order(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)
    #define store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
    #define store_in_order(p, v) __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)
    #define exchange(p, v) __atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST)
    """
    uint64_t load_acquire(uint64_t*) nogil
    uint64_t load_in_order(uint64_t*) nogil
    int load_flag "load_acquire"(int*) nogil
    void store_release(uint64_t*, uint64_t) nogil
    void store_head "store_in_order"(uint64_t*, uint64_t) nogil
    void store_in_order(int*, int) nogil
    int exchange(int*, int) nogil
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd*, unsigned long, int) nogil
    int POLLIN
    struct iovec:
        void* iov_base
        size_t iov_len
    struct msghdr:
        iovec* msg_iov
        size_t msg_iovlen
        void* msg_control
        size_t msg_controllen
        int msg_flags
    struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len
    struct cmsghdr:
        int cmsg_level
        int cmsg_type
    cmsghdr* CMSG_FIRSTHDR(msghdr*) nogil
    cmsghdr* CMSG_NXTHDR(msghdr*, cmsghdr*) nogil
    unsigned char* CMSG_DATA(cmsghdr*) nogil
    int recvmmsg(int, mmsghdr*, unsigned int, int, timespec*) nogil
    int sendmmsg(int, mmsghdr*, unsigned int, int) nogil
    int setsockopt(int, int, int, const void*, unsigned int) nogil
    int MSG_DONTWAIT
    int MSG_TRUNC
    int SOL_SOCKET
    int SO_TIMESTAMPNS
    int SCM_TIMESTAMPNS
    int SO_RXQ_OVFL

cdef enum:
    CONTROL_BYTES = 128
    PACKETS_A_TURN = 4096      # then the loop gets to do other things
    FULL_NAP_NS = 100_000

cdef struct Workspace:
    mmsghdr[BATCH] headers
    iovec[BATCH] vectors
    uint8_t[BATCH][CONTROL_BYTES] control


cdef inline int64_t wall_ns() noexcept nogil:
    cdef timespec ts
    clock_gettime(CLOCK_REALTIME, &ts)
    return ts.tv_sec * 1_000_000_000 + ts.tv_nsec


cdef inline void nap(int64_t ns) noexcept nogil:
    cdef timespec ts
    ts.tv_sec = 0
    ts.tv_nsec = ns
    nanosleep(&ts, NULL)


cdef class UdpRing:
    """Receives from ``sockets``: (line, file descriptor) of each bound, non-blocking UDP socket.

    ``capacity``: datagrams that may wait for the loop, a power of two. ``nap_ns``: how long the thread lets datagrams
    gather in the kernel while they come fast; 0: never. ``wake_fd`` is readable when there is something to take after
    the ring was empty. The sockets stay their owner's, who closes them after ``stop``.
    """

    def __cinit__(self, sockets, *, int64_t capacity=8192, int64_t nap_ns=0):
        cdef int on = 1
        self.wake_fd = self.stop_fd = -1
        if not 0 < len(sockets) <= SOCKETS_MAX:
            raise ValueError(f"sockets: 1 to {SOCKETS_MAX}, not {len(sockets)}")
        if not 64 <= capacity <= 1 << 20 or capacity & (capacity - 1):
            raise ValueError(f"capacity: a power of two from 64 to 1,048,576, not {capacity}")
        if not 0 <= nap_ns < 1_000_000_000:
            raise ValueError(f"nap_ns: 0 to a second, not {nap_ns}")
        self.slots = <Datagram*>arena_new(capacity * sizeof(Datagram))
        if self.slots == NULL:
            raise MemoryError()
        self.capacity = capacity
        self.nap_ns = nap_ns
        self.wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.stop_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.waiting = 1
        for i, (line, fd) in enumerate(sockets):
            self.sockets[<int>i] = fd
            self.lines[<int>i] = line
            # Without them stamps are the thread's own and the kernel's drops show as gaps alone.
            setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on))
            setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof(on))
        self.n_sockets = len(sockets)

    def __dealloc__(self):
        if self._thread is not None:
            return                             # it still writes there; better to leak than to crash
        arena_free(self.slots, self.capacity * sizeof(Datagram))
        for fd in (self.wake_fd, self.stop_fd):
            if fd >= 0:
                os.close(fd)

    def start(self, str name="udp-receive"):
        """Begin to receive."""
        if self._thread is not None:
            raise RuntimeError("it receives already")
        store_in_order(&self.stopping, 0)
        thread = threading.Thread(target=self._receive, name=name, daemon=True)
        thread.start()
        self._thread = thread

    def stop(self):
        """Stop receiving; the thread has ended when this returns, within milliseconds."""
        if self._thread is None:
            return
        store_in_order(&self.stopping, 1)
        os.eventfd_write(self.stop_fd, 1)
        self._thread.join()
        self._thread = None
        os.eventfd_read(self.stop_fd)

    def fileno(self):
        """Readable when there is something to take."""
        return self.wake_fd

    @property
    def dropped(self):
        """By socket: datagrams that the kernel had no room for."""
        return tuple(self.overflowed[i] for i in range(self.n_sockets))

    def take_fault(self):
        """What was wrong with the last packet refused since the last call, or None."""
        cdef const char* fault = self.fault
        self.fault = NULL
        return None if fault == NULL else f"MoldUDP64 packet: {fault.decode('ascii')}"

    # --- the thread -----------------------------------------------------------------------------------------------

    def _receive(self):
        with nogil:
            self.run()

    cdef void run(self) noexcept nogil:
        cdef Workspace* workspace = <Workspace*>calloc(1, sizeof(Workspace))
        cdef pollfd[SOCKETS_MAX + 1] watched
        cdef int i
        cdef bint first
        cdef int64_t received, most
        if workspace == NULL:
            self.failures += 1
            return
        memset(watched, 0, sizeof(watched))
        for i in range(self.n_sockets):
            watched[i].fd = self.sockets[i]
            watched[i].events = POLLIN
        watched[self.n_sockets].fd = self.stop_fd
        watched[self.n_sockets].events = POLLIN
        while not load_flag(&self.stopping):
            if poll(watched, self.n_sockets + 1, -1) < 0 and errno != EINTR:
                self.failures += 1
                break
            first = True
            while not load_flag(&self.stopping):
                most = 0
                for i in range(self.n_sockets):
                    # Later rounds look at all of them, or a busy line would keep the others waiting.
                    if not first or watched[i].revents:
                        received = self.fill(i, workspace)
                        most = max(most, received)
                first = False
                if most == 0:
                    break                      # nothing is there any more
                if most < BATCH:
                    # They come faster than one by one: let some gather, a system call for each costs more.
                    if most > 1 and self.nap_ns:
                        nap(self.nap_ns)
                    else:
                        break
        free(workspace)

    cdef int64_t fill(self, int place, void* memory) noexcept nogil:
        # What one socket has, as far as the ring has room; how many, 0 when there were none.
        cdef Workspace* workspace = <Workspace*>memory
        cdef uint64_t head = self.head         # nobody else writes it
        cdef int64_t room = self.capacity - <int64_t>(head - load_acquire(&self.tail))
        cdef int i, n = <int>min(room, <int64_t>BATCH), kept = 0
        cdef Datagram* slot
        cdef Datagram* to
        cdef mmsghdr* header
        cdef cmsghdr* control
        cdef timespec stamp
        cdef int64_t now_ns
        if n == 0:
            self.full += 1
            nap(FULL_NAP_NS)
            return 1
        for i in range(n):
            slot = self.slots + ((head + i) & (self.capacity - 1))
            workspace.vectors[i].iov_base = slot.data
            workspace.vectors[i].iov_len = DATAGRAM_BYTES
            header = &workspace.headers[i]
            header.msg_hdr.msg_iov = &workspace.vectors[i]
            header.msg_hdr.msg_iovlen = 1
            header.msg_hdr.msg_control = workspace.control[i]
            header.msg_hdr.msg_controllen = CONTROL_BYTES
            header.msg_hdr.msg_flags = 0
        n = recvmmsg(self.sockets[place], workspace.headers, n, MSG_DONTWAIT, NULL)
        if n <= 0:
            if n < 0 and errno != EAGAIN and errno != EINTR:
                self.failures += 1             # such as an ICMP answer to what was sent: it says nothing of the next
            return 0
        self.calls += 1
        now_ns = wall_ns()
        for i in range(n):
            header = &workspace.headers[i]
            slot = self.slots + ((head + i) & (self.capacity - 1))
            slot.stamp_ns = now_ns
            slot.line = self.lines[place]
            slot.length = header.msg_len
            if header.msg_hdr.msg_flags & MSG_TRUNC:
                self.truncated += 1
                slot.length = 0
            control = CMSG_FIRSTHDR(&header.msg_hdr)
            while control != NULL:
                if control.cmsg_level == SOL_SOCKET:
                    if control.cmsg_type == SCM_TIMESTAMPNS:
                        memcpy(&stamp, CMSG_DATA(control), sizeof(stamp))
                        slot.stamp_ns = stamp.tv_sec * 1_000_000_000 + stamp.tv_nsec
                        self.stamped += 1
                    elif control.cmsg_type == SO_RXQ_OVFL:
                        memcpy(&self.overflowed[place], CMSG_DATA(control), sizeof(uint32_t))
                control = CMSG_NXTHDR(&header.msg_hdr, control)
        self.datagrams += n
        store_head(&self.head, head + n)
        if exchange(&self.waiting, 0):
            self.wakes += 1
            wake(self.wake_fd)
        return n

    # --- the loop -------------------------------------------------------------------------------------------------

    def pump(self, MoldReceiver mold not None, sink, int64_t offset_ns, int64_t now_ns):
        """Hand what has come to ``mold`` and its events to ``sink``; call it when ``fileno()`` is readable.

        ``offset_ns``: added to wall-clock stamps to make them the service's; none is later than ``now_ns``. Returns
        the number of datagrams. After many the rest is left for the next turn of the loop, which is woken for it.
        """
        cdef int64_t taken
        clear(self.wake_fd)
        try:
            taken = self.take_all(mold, sink, offset_ns, now_ns)
        except BaseException:
            wake(self.wake_fd)                 # the rest is still there
            raise
        return taken

    cdef int64_t take_all(self, MoldReceiver mold, object sink, int64_t offset_ns, int64_t now_ns) except -1:
        cdef uint64_t tail = self.tail, head
        cdef int64_t taken = 0, stamp
        cdef Datagram* slot
        cdef const char* fault
        cdef EventBuffer buffer = mold.decoder.buffer
        while True:
            head = load_acquire(&self.head)
            if head == tail:
                store_in_order(&self.waiting, 1)
                if load_in_order(&self.head) == tail:
                    break
                store_in_order(&self.waiting, 0)
                continue
            while tail != head and taken < PACKETS_A_TURN:
                slot = self.slots + (tail & (self.capacity - 1))
                stamp = min(slot.stamp_ns + offset_ns, now_ns)
                fault = "shorter than a header"
                if slot.length >= MOLD_HEADER:
                    fault = mold.take(<int>slot.line, slot.data, slot.length, stamp)
                else:
                    mold.malformed += 1
                if fault != NULL:
                    self.fault = fault
                tail += 1
                taken += 1
                store_release(&self.tail, tail)
                if mold.more or 2 * buffer.count > buffer.capacity:
                    self.hand_over(mold, sink)
            if taken >= PACKETS_A_TURN:
                wake(self.wake_fd)
                break
        self.hand_over(mold, sink)
        return taken

    cdef int hand_over(self, MoldReceiver mold, object sink) except -1:
        cdef EventBuffer buffer = mold.decoder.buffer
        while True:
            if buffer.count:
                try:
                    sink(buffer)
                finally:
                    buffer.clear()
            if not mold.more:
                return 0
            mold.go_on(mold.last_ns)


cdef inline void wake(int fd) noexcept nogil:
    cdef uint64_t one = 1
    write(fd, &one, sizeof(one))


cdef inline void clear(int fd):
    try:
        os.eventfd_read(fd)
    except BlockingIOError:
        pass


def send_all(int fd, const uint8_t[::1] data not None, const int64_t[::1] ends not None):
    """Send ``data`` over a connected UDP socket, cut at ``ends``, as many datagrams a system call as it takes.

    For who must send faster than one call a datagram allows: simulated venues and benchmarks. Returns the datagrams
    that the kernel took. Raises ``ValueError`` when ``ends`` do not rise or leave the data.
    """
    cdef mmsghdr[BATCH] headers
    cdef iovec[BATCH] vectors
    cdef Py_ssize_t total = ends.shape[0], sent = 0
    cdef int64_t at = 0, end
    cdef int i, n
    for end in ends:
        if not at <= end <= data.shape[0]:
            raise ValueError("ends: must rise and stay inside the data")
        at = end
    memset(headers, 0, sizeof(headers))
    with nogil:
        while sent < total:
            n = 0
            while n < BATCH and sent + n < total:
                at = ends[sent + n - 1] if sent + n else 0
                vectors[n].iov_base = <void*>(&data[at])
                vectors[n].iov_len = ends[sent + n] - at
                headers[n].msg_hdr.msg_iov = &vectors[n]
                headers[n].msg_hdr.msg_iovlen = 1
                n += 1
            i = sendmmsg(fd, headers, n, 0)
            if i <= 0:
                break
            sent += i
    return sent
