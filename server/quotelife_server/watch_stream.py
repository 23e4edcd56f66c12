"""One call of WatchQuotes: what an owner says of its quotes, and what waits to be said to it."""

from collections import deque
from collections.abc import Callable

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quotelife.errors import QuotelifeError
from quotelife.records import QuoteStateCode
from quotelife.units import NS_PER_MS, NS_PER_S
from quotelife_server import watch_bytes
from quotelife_server import watch_messages as wire
from quotelife_server.rpc import Answer, Code, Deferred, RpcError, StreamCall
from quotelife_server.watch_messages import Said
from quotelife_server.watching import Owner, Watching, Withdrawal

UNREAD_NS = 100 * NS_PER_MS  # what waits for longer is held up by the reader
AT_ONCE = 32  # messages of a batch that are worked off before other calls have their turn

AnswerQuote = Callable[[expiry.GetExpiryRequest, int], Answer | RpcError]
"""Decides one request as GetExpiry would, at a time of the service's clock."""


class WatchStream:
    """One call of WatchQuotes. What waits to be written is bounded by ``Watching.queue_max`` and by time: when the
    oldest message has waited as long as a silence may last, the client does not read and the stream is lost."""

    def __init__(
        self,
        call: StreamCall,
        hub: Watching,
        *,
        answer: AnswerQuote,
        admit: Callable[[], None],
        release: Callable[[], None],
        as_rpc_error: Callable[[BaseException], RpcError],
    ) -> None:
        """``admit`` raises ``RpcError`` when a quote may not be decided now; otherwise ``release`` follows."""
        self._call = call
        self._hub = hub
        self._answer = answer
        self._admit = admit
        self._release = release
        self._as_rpc_error = as_rpc_error
        self._owner: Owner | None = None
        self._over = False
        self._outgoing: deque[tuple[int, Said | Withdrawal]] = deque()
        self._writing = False
        self._sequence = 0
        self._read: deque[tuple[int, int]] = (
            deque()
        )  # sequences of heartbeats that the client has not shown to have read
        self._shows_reading = False
        self._beat_ns = 0
        self.heartbeat_ns = (
            hub.engine.config.watch.heartbeat_ns
        )  # as it was opened with, whatever a reload says
        self._missed = hub.engine.config.watch.heartbeats_missed
        self._interval_ns = 0  # the client's; 0: the service's own
        self.lease_ns = hub.engine.config.watch.lease_ns
        self.since_ns = self.heard_ns = hub.clock.now_ns()
        hub.came(self)

    # --- what the client says ---------------------------------------------------------------------------------------

    def on_message(self, payload: bytes) -> Deferred | None:
        if self._over:
            return None
        self.heard_ns = self._hub.clock.now_ns()
        try:
            messages = wire.requests_of(payload)
            if len(messages) <= AT_ONCE:
                for message in messages:
                    self._take(message)
                return None
        except Exception as error:  # its quotes are withdrawn now, not once the transport has let go
            self.end(self._as_rpc_error(error), "sent what is wrong")
            return None
        done = Deferred()
        self._take_some(deque(messages), done)
        return done

    def _take_some(self, messages: deque[expiry.WatchQuotesRequest], done: Deferred) -> None:
        try:
            for _ in range(min(AT_ONCE, len(messages))):
                self._take(messages.popleft())
        except Exception as error:
            self.end(self._as_rpc_error(error), "sent what is wrong")
            messages.clear()
        if messages and not self._over:
            self._hub.schedule.soon(lambda: self._take_some(messages, done))
        else:
            done.resolve(b"")

    def _take(self, message: expiry.WatchQuotesRequest) -> None:
        kind = message.WhichOneof("message")
        if self._over:
            return
        if self._owner is None:
            if kind != "open":
                raise RpcError(Code.FAILED_PRECONDITION, "open: is missing; it comes first on a stream")
            self._open(message.open)
        elif kind == "register":
            self._register(message.register)
        elif kind == "acknowledge":
            self._acknowledge(message.acknowledge)
        elif kind == "update":
            self._update(message.update)
        elif kind == "heartbeat":
            self._heartbeat(message.heartbeat)
        elif kind == "open":
            raise RpcError(Code.FAILED_PRECONDITION, "open: comes once on a stream")
        # else: of a version to come, or empty: a sign of life

    def _open(self, message: expiry.WatchOpen) -> None:
        wire.check_open(message)
        hub, config = self._hub, self._hub.engine.config.watch
        now_ns = hub.clock.now_ns()
        self._interval_ns = message.heartbeat_interval_ns
        self.lease_ns = message.lease_ns or config.lease_ns
        self._owner = hub.open(self, message.owner, resume=message.resume, now_ns=now_ns)
        self._beat_ns = now_ns
        self.put(
            wire.opened(
                message.owner,
                hub.boot_id,
                now_ns,
                interval_ns=self.heartbeat_ns,
                silence_ns=self.heartbeat_ns * self._missed,
                client_silence_ns=self.interval_ns * self._missed,
                lease_ns=self.lease_ns,
                repeat_ns=config.repeat_ns,
            ),
            now_ns,
        )
        if message.resume:
            for each in wire.resumed(hub.resumed(self._owner)):
                self.put(each, now_ns)
        for withdrawal in self._owner.withdrawals.values():
            withdrawal.again_ns = now_ns + config.repeat_ns
            self.withdraw(withdrawal, now_ns)

    def _register(self, message: expiry.WatchRegister) -> None:
        hub, owner = self._hub, self._owner
        assert owner is not None
        now_ns = hub.clock.now_ns()
        try:
            wire.check_register(message, owner.name, now_ns)
        except RpcError as error:
            self._refuse(message.quote_id, expiry.WATCH_REFUSAL_INVALID, error.message, error)
            return
        if message.HasField("quote"):
            self._register_whole(message, now_ns)
            return
        name = message.quote_id
        recent = hub.recent.find(message.decision_id)
        known = owner.names.get(name)
        if known is not None and recent is not None and known not in owner.withdrawals:
            status = hub.engine.live_quote(known)
            if status is not None and status.decisions == tuple(d.input_sequence for d in recent.parts):
                self.put(Said(registered=wire.registered(hub.engine, status)), now_ns)  # said twice
                return
        if recent is None:
            self._refuse(
                name,
                expiry.WATCH_REFUSAL_UNKNOWN_DECISION,
                "no recent firm decision of this boot has that id; register the whole quote",
            )
            return
        if recent.expiry_ns <= now_ns:
            self._refuse(name, expiry.WATCH_REFUSAL_ENDED, "its life is over")
            return
        if hub.engine.killed(hub.engine.policy.counterparty_index(recent.counterparty)):
            self._refuse(name, expiry.WATCH_REFUSAL_KILLED, "a kill is in force: do not be firm")
            return
        reason = hub.refusal(owner.name, name)
        if not reason and hub.ledger.refusing:
            reason = expiry.WATCH_REFUSAL_UNAVAILABLE
        if reason:
            self._refuse(name, reason, _REFUSALS[reason])
            return
        try:
            quote = hub.watch(now_ns, owner.name, name, recent.part_requests, recent.parts, recent.rfq_id)
        except QuotelifeError as error:
            self._refuse(name, expiry.WATCH_REFUSAL_FULL, str(error))
            return
        self._registered(quote)

    def _registered(self, quote: int) -> None:
        """Said once it is recorded as the configuration asks for."""
        hub = self._hub
        status = hub.engine.live_quote(quote)
        assert status is not None
        message = Said(registered=wire.registered(hub.engine, status))
        try:
            answer = hub.ledger.acknowledge(b"")
        except RpcError as error:
            self._give_up(quote, status.name, error)
            return
        if not isinstance(answer, Deferred):
            self.put(message, hub.clock.now_ns())
            return

        def came(outcome: bytes | BaseException) -> None:
            if isinstance(outcome, BaseException):
                self._give_up(quote, status.name, outcome)
            else:
                self.put(message, hub.clock.now_ns())

        answer.then(came)

    def _give_up(self, quote: int, name: str, error: BaseException) -> None:
        """A registration that could not be recorded."""
        self._hub.unanswered(quote)
        self._refuse(name, expiry.WATCH_REFUSAL_UNAVAILABLE, self._as_rpc_error(error).message)

    def _register_whole(self, message: expiry.WatchRegister, now_ns: int) -> None:
        assert self._owner is not None
        name, owner = message.quote_id, self._owner.name
        request = expiry.GetExpiryRequest()
        request.CopyFrom(message.quote)
        request.watch, request.watch_owner, request.quote_id = True, owner, name

        explained = request.explain  # as much work as some dozens of decisions: it takes a place of its own
        if explained:
            try:
                self._admit()
            except RpcError as refusal:
                self._refuse(name, expiry.WATCH_REFUSAL_UNAVAILABLE, refusal.message, refusal)
                return

        def answered() -> None:
            # Whether anybody is left to hear it or not.
            if explained:
                self._release()

        def came(outcome: bytes | BaseException) -> None:
            if isinstance(outcome, BaseException):
                error = self._as_rpc_error(outcome)
                self._refuse(
                    name, _REASONS.get(error.code, expiry.WATCH_REFUSAL_INVALID), error.message, error
                )
                return
            response = expiry.GetExpiryResponse.FromString(outcome)
            quote = self._hub.engine.watching.find(owner, name)
            status = self._hub.engine.live_quote(quote) if quote else None
            if response.watched and status is not None:
                registered = wire.registered(self._hub.engine, status)
                registered.response.CopyFrom(response)
                self.put(Said(registered=registered), self._hub.clock.now_ns())
                return
            reason = response.watch_refusal or expiry.WATCH_REFUSAL_ENDED
            refused = wire.refused(name, reason, _REFUSALS[reason])
            refused.response.CopyFrom(response)
            self._hub.figures.refused += 1
            self.put(Said(refused=refused), self._hub.clock.now_ns())

        answer = self._answer(request, now_ns)
        if isinstance(answer, Deferred):

            def settled(_: bytes | BaseException) -> None:
                try:
                    answered()
                finally:
                    try:
                        came(answer.leaving())
                    except BaseException as error:
                        came(error)

            answer.then(settled)
        else:
            answered()
            came(answer)

    def _refuse(self, name: str, reason: int, text: str, error: RpcError | None = None) -> None:
        self._hub.figures.refused += 1
        self.put(Said(refused=wire.refused(name, reason, text, error)), self._hub.clock.now_ns())

    def _acknowledge(self, message: expiry.WatchAcknowledge) -> None:
        hub, owner = self._hub, self._owner
        assert owner is not None
        quote = owner.names.get(message.quote_id, 0)
        withdrawal = owner.withdrawals.get(quote)
        if withdrawal is None or withdrawal.repeated < 0:
            return  # acknowledged before, or none was said: a repeat may have crossed the first acknowledgement
        if message.sequence and not 0 < withdrawal.sequence <= message.sequence:
            return  # of what was said before of another quote of that name
        hub.engine.watch_acknowledged(hub.clock.now_ns(), quote, withdrawal.word.number)
        hub.ended(quote)

    def _update(self, message: expiry.WatchUpdate) -> None:
        hub, owner = self._hub, self._owner
        assert owner is not None
        name = message.quote_id
        quote = owner.names.get(name) or hub.engine.watching.find(owner.name, name)
        status = hub.engine.live_quote(quote) if quote else None
        if status is None:
            return  # it is over and forgotten
        try:
            lots = wire.remaining_lots(message, hub.engine, status)
        except RpcError as error:
            self._refuse(name, expiry.WATCH_REFUSAL_UPDATE, error.message, error)
            return
        state = hub.engine.watch_updated(hub.clock.now_ns(), quote, int(message.state), lots)
        if (
            state not in (0, QuoteStateCode.LIVE, QuoteStateCode.PARTLY_FILLED)
            and message.state >= QuoteStateCode.FILLED
        ):
            hub.ended(quote)

    def _heartbeat(self, message: expiry.WatchHeartbeat) -> None:
        wire.check_heartbeat(message)
        if message.interval_ns:
            self._interval_ns = message.interval_ns
        if message.sequence:
            self._shows_reading = True
            while self._read and self._read[0][0] <= message.sequence:
                self._read.popleft()

    def on_half_close(self) -> None:
        self.end(None, "ended by the client")

    def on_cancel(self) -> None:
        self.end(None, "the connection is gone")

    # --- what is said to it -----------------------------------------------------------------------------------------

    @property
    def interval_ns(self) -> int:
        return self._interval_ns or self.heartbeat_ns

    @property
    def waiting(self) -> int:
        return len(self._outgoing)

    def put(self, message: Said, now_ns: int) -> None:
        self._queue(message, now_ns)

    def withdraw(self, withdrawal: Withdrawal, now_ns: int) -> None:
        """Behind what waits already."""
        if not withdrawal.queued:
            withdrawal.queued = True
            if not withdrawal.again_ns:
                withdrawal.again_ns = now_ns + self._hub.engine.config.watch.repeat_ns
            self._queue(withdrawal, now_ns)

    def _queue(self, item: Said | Withdrawal, now_ns: int) -> None:
        if self._over:
            return
        self._outgoing.append((now_ns, item))
        # What one turn brought may be more than that, as far as quotes_max goes; what has waited has not been read.
        if len(self._outgoing) > self._hub.queue_max and now_ns - self._outgoing[0][0] > UNREAD_NS:
            self._slow(f"{len(self._outgoing)} messages wait to be read")
        elif not self._writing:
            self._writing = True
            self._call.send(self._leaving)

    def _leaving(self) -> bytes:
        """Called by the transport when nothing else is left to do than to send it: all that waits, as far as one
        message takes it."""
        messages: list[bytes] = []
        outgoing, sequence, instruments = self._outgoing, self._sequence, self._hub.engine.instruments
        while outgoing and len(messages) < wire.MESSAGES_MAX:
            _, item = outgoing.popleft()
            sequence += 1
            if isinstance(item, Withdrawal):
                item.queued = False
                item.repeated += 1
                item.sequence = item.sequence or sequence
                word = item.word
                name = instruments[word.instrument].name if word.instrument < len(instruments) else ""
                messages.append(
                    watch_bytes.withdraw(sequence, item.name, word, item.expiry_ns, item.repeated, name)
                )
            else:
                item.sequence = sequence
                messages.append(item.SerializeToString())
        self._sequence = sequence
        self._writing = bool(outgoing)
        if self._writing:
            self._call.send(self._leaving)
        if len(messages) == 1:
            return messages[0]
        return watch_bytes.batch(messages) if messages else b""

    def look(self, now_ns: int) -> None:
        """Is the client alive, and is it told that we are?"""
        silence_ns = self.heartbeat_ns * self._missed
        client_ns = self.interval_ns * self._missed
        if now_ns - self.heard_ns > client_ns:
            text = f"nothing was heard for {(now_ns - self.heard_ns) / NS_PER_S:.3f} s"
            self.end(RpcError(Code.DEADLINE_EXCEEDED, f"heartbeat: {text}"), text)
        elif self._outgoing and now_ns - self._outgoing[0][0] > silence_ns:
            self._slow(f"a message has waited for {(now_ns - self._outgoing[0][0]) / NS_PER_S:.3f} s")
        elif self._shows_reading and self._read and now_ns - self._read[0][1] > max(client_ns, silence_ns):
            self._slow("its heartbeats show that it does not read ours")
        elif now_ns - self._beat_ns >= self.heartbeat_ns // 2:  # a late one is no miss
            self._beat(now_ns)

    def renew(self, now_ns: int) -> None:
        """Quotes live by the heartbeats: two for each lease, looked after four times."""
        if self._owner is not None and now_ns - self._beat_ns >= self.lease_ns * 7 // 16:
            self._beat(now_ns)

    def _beat(self, now_ns: int) -> None:
        # Behind what waits it would say that a client is up to date which is not.
        if self._over or self._outgoing:
            return
        self._beat_ns = now_ns
        self._queue(wire.heartbeat(now_ns, self.heartbeat_ns), now_ns)
        if len(self._read) < 1024:
            self._read.append((self._sequence + 1, now_ns))

    def _slow(self, why: str) -> None:
        self._hub.figures.slow_consumers += 1
        self.end(RpcError(Code.RESOURCE_EXHAUSTED, f"the client does not read: {why}"), why)

    def end(self, error: RpcError | None, why: str) -> None:
        """Once, for whatever reason: the quotes of its owner are withdrawn."""
        if self._over:
            return
        self._over = True
        self._hub.gone(self)
        self._outgoing.clear()
        owner, self._owner = self._owner, None
        if owner is not None:
            self._hub.lost(owner, why, self._hub.clock.now_ns())
        self._call.finish(error)


_REFUSALS: dict[int, str] = {
    expiry.WATCH_REFUSAL_NO_STREAM: "the owner has no open stream; open one first",
    expiry.WATCH_REFUSAL_UNKNOWN_DECISION: "no recent decision of this boot has that id; register the whole quote",
    expiry.WATCH_REFUSAL_NOT_FIRM: "the decision is not a QUOTE: do not be firm",
    expiry.WATCH_REFUSAL_ENDED: "its life is over",
    expiry.WATCH_REFUSAL_NAME_IN_USE: "the owner has a live quote of that id; a new quote takes a new id",
    expiry.WATCH_REFUSAL_FULL: "as many quotes are watched as watch.quotes_max allows; end some, or raise it",
    expiry.WATCH_REFUSAL_INVALID: "fields are wrong",
    expiry.WATCH_REFUSAL_UNAVAILABLE: "the service cannot decide or record now; try again, or elsewhere",
    expiry.WATCH_REFUSAL_KILLED: "a kill is in force: do not be firm",
    expiry.WATCH_REFUSAL_UPDATE: "fields are wrong; the quote is as it was before",
}
_REASONS = {
    Code.UNAVAILABLE: expiry.WATCH_REFUSAL_UNAVAILABLE,
    Code.RESOURCE_EXHAUSTED: expiry.WATCH_REFUSAL_UNAVAILABLE,
    Code.INTERNAL: expiry.WATCH_REFUSAL_UNAVAILABLE,
}
