"""An acceptor on QuickFIX, for test_quickfix.py: run by a Python that has ``quickfix``, told what to do on stdin.

Commands, one a line: ``change N`` sends N increments, ``skip N`` leaves out N sequence numbers, ``books`` prints the
books as JSON, ``quit``. It prints ``ready`` when it listens.
"""

import json
import random
import sys
import tempfile
import threading
from pathlib import Path

import quickfix as fix

SETTINGS = """[DEFAULT]
ConnectionType=acceptor
FileStorePath={folder}/store
NonStopSession=Y
UseDataDictionary=Y
DataDictionary={dictionary}
SocketAcceptPort={port}
SocketReuseAddress=Y
ResetOnLogon=Y
[SESSION]
BeginString=FIX.4.4
SenderCompID=V
TargetCompID=US
"""


class Venue(fix.Application):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.rng = random.Random(1)
        self.books: dict[str, dict[str, dict[int, int]]] = {
            symbol: {"0": {200: 5, 199: 2}, "1": {202: 7}} for symbol in "AB"
        }
        self.wanted: dict[str, str] = {}
        self.session: fix.SessionID | None = None

    def onCreate(self, session: fix.SessionID) -> None:
        pass

    def onLogon(self, session: fix.SessionID) -> None:
        self.session = fix.SessionID(session.getBeginString().getString(), "V", "US")

    def onLogout(self, session: fix.SessionID) -> None:
        self.wanted.clear()

    def toAdmin(self, message: fix.Message, session: fix.SessionID) -> None:
        pass

    def fromAdmin(self, message: fix.Message, session: fix.SessionID) -> None:
        pass

    def toApp(self, message: fix.Message, session: fix.SessionID) -> None:
        if message.getHeader().isSetField(43):
            raise fix.DoNotSend  # market data is not repeated: QuickFIX fills the gap

    def fromApp(self, message: fix.Message, session: fix.SessionID) -> None:
        if message.getHeader().getField(35) != "V":
            return
        group = fix.Group(146, 55)
        message.getGroup(1, group)
        symbol, request = group.getField(55), message.getField(262)
        with self.lock:
            if message.getField(263) == "2":
                if self.wanted.get(symbol) == request:
                    del self.wanted[symbol]
                return
            self.wanted[symbol] = request
            entries = [
                (None, side, ticks, lots)
                for side, levels in self.books[symbol].items()
                for ticks, lots in levels.items()
            ]
            self.send("W", symbol, request, entries)

    def send(self, kind: str, symbol: str, request: str, entries: list) -> None:
        message = fix.Message()
        message.getHeader().setField(8, "FIX.4.4")
        message.getHeader().setField(35, kind)
        message.setField(262, request)
        if kind == "W":
            message.setField(55, symbol)
        for action, side, ticks, lots in entries:
            group = fix.Group(268, 269 if kind == "W" else 279)
            if action is not None:
                group.setField(279, action)
            group.setField(269, side)
            if kind == "X":
                group.setField(55, symbol)
            group.setField(270, f"{ticks / 2:g}")
            if lots:
                group.setField(271, str(lots))
            message.addGroup(group)
        fix.Session.sendToTarget(message, self.session)

    def change(self) -> None:
        with self.lock:
            symbol = self.rng.choice("AB")
            side = self.rng.choice("01")
            levels = self.books[symbol][side]
            ticks = 200 - self.rng.randrange(20) if side == "0" else 202 + self.rng.randrange(20)
            if ticks in levels and self.rng.random() < 0.5:
                del levels[ticks]
                entry = ("2", side, ticks, 0)
            else:
                entry = ("1" if ticks in levels else "0", side, ticks, self.rng.randrange(1, 99))
                levels[ticks] = entry[3]
            if symbol in self.wanted:
                self.send("X", symbol, self.wanted[symbol], [entry])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "acceptor.cfg"
        dictionary = Path(sys.prefix) / "share" / "quickfix" / "FIX44.xml"
        path.write_text(SETTINGS.format(folder=folder, port=sys.argv[1], dictionary=dictionary))
        settings = fix.SessionSettings(str(path))
        venue = Venue()
        acceptor = fix.SocketAcceptor(venue, fix.MemoryStoreFactory(), settings)
        acceptor.start()
        print("ready", flush=True)
        for line in sys.stdin:
            command, _, argument = line.strip().partition(" ")
            if command == "change":
                for _ in range(int(argument)):
                    venue.change()
            elif command == "skip":
                session = fix.Session.lookupSession(venue.session)
                session.setNextSenderMsgSeqNum(session.getExpectedSenderNum() + int(argument))
            elif command == "books":
                with venue.lock:
                    print(json.dumps(venue.books), flush=True)
            elif command == "quit":
                break
        acceptor.stop(True)


main()
