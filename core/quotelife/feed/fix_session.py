"""FIX 4.4 session layer of an initiator, without I/O: bytes and time in, application messages and bytes to send out.

Framing: a message is ``8=FIX.4.4|9=n|`` n bytes ``10=ccc|``. One whose BodyLength or CheckSum does not hold is
garbled: it is passed over as if it had never come, and the sequence numbers show the hole it leaves.

Sequence: each message must carry the next MsgSeqNum. A higher one is a gap: the counterparty is asked to resend from
the first one missing (35=2, 16=0), and what comes out of turn is dropped, for it comes again. A lower one without
PossDupFlag ends the session. What the counterparty asks us to resend is gap-filled: only administrative messages and
requests for market data leave from here, and neither may be repeated late.

Source: FIX 4.4 with Errata 20030618, volumes 1 and 2.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import NamedTuple

import numpy as np

from quotelife.errors import DecodeError
from quotelife.units import NS_PER_S

SOH = b"\x01"
BEGIN = b"8=FIX.4.4\x019="
TRAILER_BYTES = 7  # 10=ccc and its SOH
LENGTH_DIGITS_MAX = 9
TAG_DIGITS_MAX = 9
SEQUENCE_DIGITS_MAX = 18
HEARTBEAT_S_MAX = 3600
HEADER_BYTES_MAX = 65_536  # what the session needs of a message stands before, or is not looked for
SUMMED_BY_NUMPY = 1024

Field = tuple[int, str | bytes]


class FixSessionError(DecodeError):
    """The session cannot go on, the connection must be closed. Says why, and the mend where there is one."""


class FixMessage(NamedTuple):
    """One application message in its turn."""

    type: str
    data: bytes


class FixNews(Enum):
    """What happened to the session itself."""

    LOGGED_ON = "logged on"
    GAP = "gap"  # messages are missing; they have been asked for
    CAUGHT_UP = "caught up"  # every message up to the last one seen has been told or gap-filled


class FixReader:
    """Framing: chunks of bytes in, whole verified messages out."""

    def __init__(self, message_bytes_max: int = 4 * 1024 * 1024) -> None:
        self._held = bytearray()
        self._bytes_max = message_bytes_max
        self.garbled = 0
        self.last_garbled = ""

    def read(self, data: bytes) -> list[bytes]:
        """Whole messages, in order. Garbled bytes are passed over up to the next BeginString, and counted."""
        held = self._held
        held += data
        out: list[bytes] = []
        start = 0
        while True:
            end = self._end_of(held, start)
            if end == 0:
                break
            if end > 0:
                out.append(bytes(held[start:end]))
                start = end
                continue
            # A garbled message whose end is certain goes as a whole: looked for inside it, one of 4 MB that is full of
            # beginnings would be summed up once for each.
            start = self._next_begin(held, -end if end < -1 else start + 1)
        del held[:start]
        return out

    def _end_of(self, held: bytearray, start: int) -> int:
        """Where the message that begins there ends; 0: not all of it is here; below 0: garbled, and its end negated or,
        where it has none, -1."""
        begin = held[start : start + len(BEGIN)]
        if begin != BEGIN:
            return (
                0 if BEGIN.startswith(begin) else self._garble(f"expected 8=FIX.4.4, found {bytes(begin)!r}")
            )
        digits = start + len(BEGIN)
        soh = held.find(SOH, digits, digits + LENGTH_DIGITS_MAX + 1)
        if soh < 0:
            if len(held) == digits or (len(held) - digits <= LENGTH_DIGITS_MAX and held[digits:].isdigit()):
                return 0
            return self._garble("BodyLength (9) is no number")
        length = held[digits:soh]
        if not length.isdigit():
            return self._garble("BodyLength (9) is no number")
        body = soh + 1
        end = body + int(length) + TRAILER_BYTES
        if end - start > self._bytes_max:
            return self._garble(f"BodyLength (9) is {int(length)}, at most {self._bytes_max} bytes are taken")
        if len(held) < end:
            return 0
        trailer = bytes(held[end - TRAILER_BYTES : end])
        if trailer[:3] != b"10=" or trailer[6:] != SOH or not trailer[3:6].isdigit() or held[end - 8] != 1:
            return self._garble("BodyLength (9) does not lead to CheckSum (10)")
        said, found = int(trailer[3:6]), checksum(memoryview(held)[start : end - TRAILER_BYTES])
        if said != found:
            self._garble(f"CheckSum (10) is {said}, the bytes give {found}")
            return -end
        return end

    def _garble(self, why: str) -> int:
        self.garbled += 1
        self.last_garbled = why
        return -1

    @staticmethod
    def _next_begin(held: bytearray, start: int) -> int:
        at = held.find(BEGIN, start)
        if at >= 0:
            return at
        # The last bytes may be the first ones of a BeginString.
        for n in range(min(len(BEGIN) - 1, len(held) - start), 0, -1):
            if held.endswith(BEGIN[:n]):
                return len(held) - n
        return len(held)


def checksum(data: bytes | bytearray | memoryview) -> int:
    """CheckSum (10): the sum of all bytes before the field, modulo 256."""
    if len(data) < SUMMED_BY_NUMPY:
        return sum(data) & 0xFF
    return int(np.frombuffer(data, np.uint8).sum(dtype=np.uint8))


def encode(fields: Sequence[Field]) -> bytes:
    """A whole message; ``fields`` begin with MsgType (35). BeginString, BodyLength and CheckSum are added."""
    body = b"".join(
        b"%d=%s\x01" % (tag, value if isinstance(value, bytes) else value.encode("ascii"))
        for tag, value in fields
    )
    head = b"%s%d\x01%s" % (BEGIN, len(body), body)
    return b"%s10=%03d\x01" % (head, checksum(head))


def fields_of(message: bytes) -> list[tuple[int, bytes]]:
    """Tags and values in order. Raises ``DecodeError`` for a field that is none.

    A data field (RawData 96 and its like) may hold SOH: where it follows its length, the length counts.
    """
    out: list[tuple[int, bytes]] = []
    at = 0
    while at < len(message):
        equals = message.find(b"=", at)
        tag = message[at:equals] if equals > at else b""
        if not tag.isdigit() or len(tag) > TAG_DIGITS_MAX:
            raise DecodeError(f"byte {at}: expected TAG=VALUE, found {message[at : at + 20]!r}")
        end = message.find(SOH, equals)
        if (
            int(tag) == 96
            and out
            and out[-1][0] == 95
            and out[-1][1].isdigit()
            and len(out[-1][1]) <= LENGTH_DIGITS_MAX
        ):
            end = equals + 1 + int(out[-1][1])
        if end < 0 or message[end : end + 1] != SOH:
            raise DecodeError(f"byte {at}: field {tag.decode()} does not end")
        out.append((int(tag), message[equals + 1 : end]))
        at = end + 1
    return out


def utc_timestamp(t_ns: int) -> str:
    """UTCTimestamp with milliseconds, of ns since 1970."""
    seconds, rest = divmod(t_ns, NS_PER_S)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y%m%d-%H:%M:%S}.{rest // 1_000_000:03d}"


class FixSession:
    """One initiator's session. Times are ns since 1970 by the caller's clock, which must never step: heartbeats and
    time-outs are counted by it, and messages stamped.

    ``connected`` and ``received`` and ``tick`` may leave bytes to send: ``take`` gives them. A ``FixSessionError``
    from any of them means that the connection must be closed, after what ``take`` gives has been sent.
    ``reset_on_logon`` starts both sequences at 1 with each logon (141=Y); without it they go on over connections
    for as long as the object lives. ``logon_fields`` are added to the logon (553, 554, 95, 96, …).
    """

    def __init__(
        self,
        sender: str,
        target: str,
        *,
        heartbeat_s: int = 10,
        reset_on_logon: bool = True,
        logon_timeout_ns: int = 10 * NS_PER_S,
        resend_timeout_ns: int = 10 * NS_PER_S,
        message_bytes_max: int = 4 * 1024 * 1024,
    ) -> None:
        self.sender = sender
        self.target = target
        self.heartbeat_ns = heartbeat_s * NS_PER_S
        self.reset_on_logon = reset_on_logon
        self.logon_timeout_ns = logon_timeout_ns
        self.resend_timeout_ns = resend_timeout_ns
        self._bytes_max = message_bytes_max
        self.next_out = 1
        self.next_in = 1
        self.logged_on = False
        self.garbled = 0
        self.last_garbled = ""
        self.gaps = 0
        self.messages = 0
        self.rejects = 0
        self.last_reject = ""
        self._reader = FixReader(message_bytes_max)
        self._out = bytearray()
        self._sent_ns = 0
        self._received_ns = 0
        self._tested_ns = 0  # a TestRequest is out since then
        self._missing_up_to = 0  # while a gap is open: the highest MsgSeqNum seen
        self._gap_ns = 0
        self._logout_sent = False

    # What the owner calls.

    def connected(self, now_ns: int, logon_fields: Sequence[Field] = ()) -> None:
        """A connection stands: log on."""
        self._reader = FixReader(self._bytes_max)
        self._out.clear()
        self.logged_on = self._logout_sent = False
        self._missing_up_to = self._tested_ns = 0
        self._received_ns = now_ns
        if self.reset_on_logon:
            self.next_out = self.next_in = 1
        fields: list[Field] = [(98, "0"), (108, str(self.heartbeat_ns // NS_PER_S))]
        if self.reset_on_logon:
            fields.append((141, "Y"))
        self._send("A", [*fields, *logon_fields], now_ns)

    def received(self, data: bytes, now_ns: int) -> list[FixMessage | FixNews]:
        """What these bytes bring, in order. Raises ``FixSessionError``; what came before the fault is lost with it."""
        out: list[FixMessage | FixNews] = []
        messages = self._reader.read(data)
        if self._reader.garbled:
            self.garbled += self._reader.garbled
            self.last_garbled = self._reader.last_garbled
            self._reader.garbled = 0
        for message in messages:
            self._received_ns = now_ns
            self._tested_ns = 0
            self.messages += 1
            self._take_in(message, now_ns, out)
        return out

    def tick(self, now_ns: int) -> None:
        """To be called a few times a heartbeat interval. Raises ``FixSessionError`` when the other side is silent."""
        silent_ns = now_ns - self._received_ns
        if not self.logged_on:
            if silent_ns > self.logon_timeout_ns:
                raise FixSessionError(f"no answer to the logon within {self.logon_timeout_ns / NS_PER_S:g} s")
            return
        if self._missing_up_to and now_ns - self._gap_ns > self.resend_timeout_ns:
            raise FixSessionError(
                f"message {self.next_in} was not resent within {self.resend_timeout_ns / NS_PER_S:g} s"
            )
        if self._tested_ns:
            if now_ns - self._tested_ns > self.heartbeat_ns:
                raise FixSessionError(f"no answer to a test request, silent for {silent_ns / NS_PER_S:.1f} s")
        elif silent_ns > self.heartbeat_ns * 6 // 5:  # the interval and a reasonable time of transmission
            self._tested_ns = now_ns
            self._send("1", [(112, f"T{self.next_out}")], now_ns)
        if now_ns - self._sent_ns >= self.heartbeat_ns:
            self._send("0", [], now_ns)

    def send(self, message_type: str, fields: Sequence[Field], now_ns: int) -> None:
        """An application message. Raises ``RuntimeError`` before the logon was answered."""
        if not self.logged_on:
            raise RuntimeError("not logged on")
        self._send(message_type, fields, now_ns)

    def logout(self, now_ns: int, text: str = "") -> None:
        """Say that we go; the connection may be closed once it is sent."""
        if not self._logout_sent:
            self._logout_sent = True
            self._send("5", [(58, text)] if text else [], now_ns)

    def take(self) -> bytes:
        """Bytes to send; they are not given twice."""
        out = bytes(self._out)
        self._out.clear()
        return out

    # What comes in.

    def _take_in(self, message: bytes, now_ns: int, out: list[FixMessage | FixNews]) -> None:
        header = self._header(message)
        kind = header[35].decode("ascii", "replace")
        sequence = int(header[34])
        self._check_names(header, now_ns)
        if kind == "4" and header.get(123) != b"Y":
            self._reset_to(header, now_ns, out)  # a reset counts whatever its own number
            return
        if kind == "A":
            self._on_logon(header, now_ns, out)
        elif not self.logged_on:
            if kind == "5":
                raise FixSessionError(f"logon refused: {_text(header) or 'no reason given'}")
            raise FixSessionError(f"expected a logon (35=A), found 35={kind}")
        if sequence > self.next_in:
            self._gap(kind, header, sequence, now_ns, out)
            return
        if sequence < self.next_in:
            if header.get(43) == b"Y":
                return
            text = f"MsgSeqNum too low, expecting {self.next_in} but received {sequence}"
            self.logout(now_ns, text)
            raise FixSessionError(
                f"{text}; set reset_on_logon: true, or agree on the sequence with the venue"
            )
        self.next_in += 1
        self._process(kind, header, message, now_ns, out)
        self._close_gap(out)

    def _close_gap(self, out: list[FixMessage | FixNews]) -> None:
        if self._missing_up_to and self.next_in > self._missing_up_to:
            self._missing_up_to = 0
            out.append(FixNews.CAUGHT_UP)

    def _header(self, message: bytes) -> Mapping[int, bytes]:
        """The fields before the first repeating group, the first of each tag."""
        # Market data can hold thousands of entries, and its body is the decoder's.
        cut = message.find(b"\x01268=", 0, HEADER_BYTES_MAX)
        if cut < 0 and len(message) > HEADER_BYTES_MAX:
            cut = message.rfind(SOH, 0, HEADER_BYTES_MAX)
        fields: dict[int, bytes] = {}
        try:
            for tag, value in fields_of(message if cut < 0 else message[: cut + 1]):
                fields.setdefault(tag, value)
        except DecodeError as error:
            raise FixSessionError(f"malformed message: {error}") from None
        if 35 not in fields or not _is_sequence(fields.get(34, b"")):
            raise FixSessionError("a message without MsgType (35) or MsgSeqNum (34)")
        return fields

    def _check_names(self, header: Mapping[int, bytes], now_ns: int) -> None:
        for tag, name, expected in ((49, "SenderCompID", self.target), (56, "TargetCompID", self.sender)):
            found = header.get(tag, b"").decode("ascii", "replace")
            if found != expected:
                if self.logged_on:
                    self.logout(now_ns, f"{name} problem")
                raise FixSessionError(f"{name} ({tag}) is {found!r}, expected {expected!r}")

    def _on_logon(self, header: Mapping[int, bytes], now_ns: int, out: list[FixMessage | FixNews]) -> None:
        if header.get(141) == b"Y":
            if self.logged_on:
                # Both sides' numbers begin anew in the middle: nothing proves what was lost.
                out += (FixNews.GAP, FixNews.CAUGHT_UP)
                self.next_out = 1
                self._send("A", [(98, "0"), (108, header.get(108, b"0")), (141, "Y")], now_ns)
            self.next_in = 1
            self._missing_up_to = 0
        if _is_sequence(header.get(108, b"")) and 0 < int(header[108]) <= HEARTBEAT_S_MAX:
            self.heartbeat_ns = int(header[108]) * NS_PER_S  # the acceptor has the last word
        if not self.logged_on:
            self.logged_on = True
            out.append(FixNews.LOGGED_ON)

    def _gap(
        self,
        kind: str,
        header: Mapping[int, bytes],
        sequence: int,
        now_ns: int,
        out: list[FixMessage | FixNews],
    ) -> None:
        if kind == "5":
            raise FixSessionError(f"logged out: {_text(header) or 'no reason given'}")
        if kind == "2":
            self._resend(header, now_ns)  # both sides may miss something: answer first, or neither goes on
        if not self._missing_up_to:
            self.gaps += 1
            self._gap_ns = now_ns
            out.append(FixNews.GAP)
            self._send("2", [(7, str(self.next_in)), (16, "0")], now_ns)
        self._missing_up_to = max(self._missing_up_to, sequence)

    def _reset_to(self, header: Mapping[int, bytes], now_ns: int, out: list[FixMessage | FixNews]) -> None:
        new = header.get(36, b"")
        if not _is_sequence(new) or int(new) < self.next_in:
            self._reject(
                header, 36, "NewSeqNo (36) must be a number, not below the next one expected", now_ns
            )
            return
        if not self._missing_up_to and int(new) > self.next_in:
            self.gaps += 1
            out.append(FixNews.GAP)  # what was skipped will not come any more
            self._missing_up_to = int(new) - 1
        self.next_in = int(new)
        self._close_gap(out)

    def _process(
        self,
        kind: str,
        header: Mapping[int, bytes],
        message: bytes,
        now_ns: int,
        out: list[FixMessage | FixNews],
    ) -> None:
        if kind == "1":
            self._send("0", [(112, header.get(112, b""))], now_ns)
        elif kind == "2":
            self._resend(header, now_ns)
        elif kind == "3":
            self.rejects += 1
            self.last_reject = f"field {header.get(371, b'?').decode('ascii', 'replace')}: {_text(header)}"
        elif kind == "4":
            new = header.get(36, b"")
            if _is_sequence(new) and int(new) >= self.next_in:
                if int(new) > self.next_in and not self._missing_up_to:
                    self.gaps += 1
                    out += (FixNews.GAP, FixNews.CAUGHT_UP)  # unasked: what it steps over was never told
                self.next_in = int(new)
            else:
                self._reject(header, 36, "NewSeqNo (36) must be a number above this MsgSeqNum", now_ns)
        elif kind == "5":
            self.logout(now_ns)
            raise FixSessionError(f"logged out: {_text(header) or 'no reason given'}")
        elif kind not in ("0", "A"):
            out.append(FixMessage(kind, message))

    # What goes out.

    def _resend(self, header: Mapping[int, bytes], now_ns: int) -> None:
        first = header.get(7, b"")
        if not _is_sequence(first) or not 0 < int(first) < self.next_out:
            self._reject(header, 7, "BeginSeqNo (7) must be a number that was sent", now_ns)
            return
        self._send("4", [(123, "Y"), (36, str(self.next_out))], now_ns, again=int(first))

    def _reject(self, header: Mapping[int, bytes], tag: int, text: str, now_ns: int) -> None:
        self._send("3", [(45, header[34]), (371, str(tag)), (372, header[35]), (58, text)], now_ns)

    def _send(self, kind: str, fields: Sequence[Field], now_ns: int, *, again: int = 0) -> None:
        head: list[Field] = [
            (35, kind),
            (49, self.sender),
            (56, self.target),
            (34, str(again or self.next_out)),
        ]
        if again:
            head += [(43, "Y"), (122, utc_timestamp(now_ns))]
        else:
            self.next_out += 1
        self._out += encode([*head, (52, utc_timestamp(now_ns)), *fields])
        self._sent_ns = now_ns


def _text(header: Mapping[int, bytes]) -> str:
    return header.get(58, b"").decode("utf-8", "replace")


def _is_sequence(value: bytes) -> bool:
    return value.isdigit() and len(value) <= SEQUENCE_DIGITS_MAX
