"""The kill switch, the first rule of all; what MiFID II RTS 6 article 12 calls kill functionality.

A kill holds for everybody or for one counterparty, until it is ended by its own name: ending the kill of everybody
leaves those of single counterparties standing. Kills are kept by name, so that they outlive a configuration in which
the name has another place or none; one whose name is gone fits nobody until the name is back.
"""

from enum import IntEnum
from typing import NamedTuple

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free

from quotelife.records cimport OBS_COUNTERPARTY_KILLED, OBS_KILLED, OBS_THROTTLED

# Stands for every counterparty that is not configured, and for requests that name none; no name can be written so.
STRANGERS = "(unknown)"


class KillSource(IntEnum):
    """Who turned a kill on; numbers of the wire and of the journal."""

    RPC = 1
    FILE = 2
    THROTTLE = 3


class KillStatus(NamedTuple):
    """A kill in force; ``counterparty`` ``None``: everybody."""

    counterparty: str | None
    reason: str
    source: KillSource
    since_ns: int


cdef class KillSwitch:
    """``names``: the counterparties in the order of their indices."""

    def __cinit__(self, names):
        self._flags = NULL
        self._kills = {}
        self._turned_on = {}
        self.follow(names)

    def __dealloc__(self):
        free(self._flags)

    def follow(self, names):
        """The counterparties have these names from now on."""
        cdef uint8_t* flags = <uint8_t*>calloc(len(names) + 1, sizeof(uint8_t))
        if flags == NULL:
            raise MemoryError()
        free(self._flags)
        self._flags = flags
        self._names = tuple(names)
        self._counterparties = len(names)
        self._mark()

    def get(self, counterparty):
        """The kill of this name (``None``: everybody), ``None`` when there is none."""
        return self._kills.get(counterparty)

    def set(self, kill):
        self._kills[kill.counterparty] = kill
        self.changes += 1
        self._turned_on[kill.counterparty] = self.changes
        self._mark()

    def end(self, counterparty):
        """Raises ``KeyError`` when it is not in force."""
        del self._kills[counterparty]
        self.changes += 1
        self._mark()

    def kills(self):
        """In force, oldest first."""
        return list(self._kills.values())

    def fits(self, counterparty):
        """Does a kill hold for this index (``None``: not configured)?"""
        cdef uint32_t index = self._counterparties if counterparty is None else counterparty
        return self.observed(index) != 0

    def came_since(self, uint64_t changes, counterparty):
        """Was a kill that fits this name turned on since ``changes`` was as given, whether it has ended or not? A name
        that is not configured is a stranger's."""
        names = (None, counterparty) if counterparty in self._names else (None, counterparty, STRANGERS)
        return any(self._turned_on.get(name, 0) > changes for name in names)

    cdef uint16_t observed(self, uint32_t counterparty) noexcept nogil:
        if counterparty > self._counterparties:
            counterparty = self._counterparties
        return self._everybody | self._flags[counterparty]

    cdef int _mark(self) except -1:
        cdef uint32_t i
        self._everybody = OBS_KILLED if None in self._kills else 0
        for i in range(self._counterparties + 1):
            self._flags[i] = 0
        if len(self._kills) > (None in self._kills):
            for i in range(self._counterparties + 1):
                kill = self._kills.get(self._names[i] if i < self._counterparties else STRANGERS)
                if kill is not None:
                    self._flags[i] = OBS_COUNTERPARTY_KILLED
                    if kill.source == KillSource.THROTTLE:
                        self._flags[i] |= OBS_THROTTLED
        return 0
