"""An initiator on QuickFIX, for test_quickfix_venue.py: run by a Python that has ``quickfix``.

Arguments: port, symbols with commas between. It logs on, subscribes, and keeps books from refreshes and increments,
its data dictionary checking every message. Commands on stdin: ``books`` prints them as JSON with what was refused,
``again`` subscribes anew, ``quit``.
"""

import json
import sys
import tempfile
import threading
from pathlib import Path

import quickfix as fix

SETTINGS = """[DEFAULT]
ConnectionType=initiator
FileStorePath={folder}/store
StartTime=00:00:00
EndTime=00:00:00
UseDataDictionary=Y
DataDictionary={dictionary}
SocketConnectHost=127.0.0.1
SocketConnectPort={port}
HeartBtInt=1
ReconnectInterval=1
ResetOnLogon=Y
[SESSION]
BeginString=FIX.4.4
SenderCompID=QUOTELIFE
TargetCompID=SIM
"""


class Desk(fix.Application):
    def __init__(self, symbols: list[str]) -> None:
        super().__init__()
        self.symbols = symbols
        self.lock = threading.Lock()
        self.books: dict[str, dict[str, dict[str, str]]] = {}
        self.wanted: dict[str, str] = {}  # MDReqID → symbol
        self.session: fix.SessionID | None = None
        self.refused: list[str] = []
        self.logons = 0
        self.requests = 0

    def onCreate(self, session: fix.SessionID) -> None:
        pass

    def onLogon(self, session: fix.SessionID) -> None:
        self.session = fix.SessionID(session.getBeginString().getString(), "QUOTELIFE", "SIM")
        self.logons += 1
        self.subscribe()

    def onLogout(self, session: fix.SessionID) -> None:
        with self.lock:
            self.books.clear()

    def toAdmin(self, message: fix.Message, session: fix.SessionID) -> None:
        if message.getHeader().getField(35) == "3":
            self.refused.append(message.toString().replace("\x01", "|"))

    def fromAdmin(self, message: fix.Message, session: fix.SessionID) -> None:
        pass

    def toApp(self, message: fix.Message, session: fix.SessionID) -> None:
        pass

    def subscribe(self) -> None:
        with self.lock:
            self.books.clear()
            self.wanted.clear()
            for symbol in self.symbols:
                self.requests += 1
                request = f"R{self.requests}"
                self.wanted[request] = symbol
                message = fix.Message()
                message.getHeader().setField(8, "FIX.4.4")
                message.getHeader().setField(35, "V")
                for tag, value in ((262, request), (263, "1"), (264, "0"), (265, "1")):
                    message.setField(tag, value)
                for kind in "012":
                    group = fix.Group(267, 269)
                    group.setField(269, kind)
                    message.addGroup(group)
                group = fix.Group(146, 55)
                group.setField(55, symbol)
                message.addGroup(group)
                fix.Session.sendToTarget(message, self.session)

    def fromApp(self, message: fix.Message, session: fix.SessionID) -> None:
        kind, request = message.getHeader().getField(35), message.getField(262)
        with self.lock:
            symbol = self.wanted.get(request)
            if symbol is None or kind not in "WX":
                return
            if kind == "W":
                self.books[symbol] = {"0": {}, "1": {}}
            for n in range(1, int(message.getField(268)) + 1):
                group = fix.Group(268, 269 if kind == "W" else 279)
                message.getGroup(n, group)
                side = group.getField(269)
                if side == "2" or symbol not in self.books:
                    continue
                levels = self.books[symbol][side]
                if kind == "X" and group.getField(279) == "2":
                    levels.pop(group.getField(270), None)
                else:
                    levels[group.getField(270)] = group.getField(271)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "initiator.cfg"
        dictionary = Path(sys.prefix) / "share" / "quickfix" / "FIX44.xml"
        path.write_text(SETTINGS.format(folder=folder, port=sys.argv[1], dictionary=dictionary))
        desk = Desk(sys.argv[2].split(","))
        initiator = fix.SocketInitiator(desk, fix.MemoryStoreFactory(), fix.SessionSettings(str(path)))
        initiator.start()
        print("ready", flush=True)
        for line in sys.stdin:
            command = line.strip()
            if command == "books":
                with desk.lock:
                    said = {"books": desk.books, "refused": desk.refused, "logons": desk.logons}
                    print(json.dumps(said), flush=True)
            elif command == "again":
                desk.subscribe()
            elif command == "quit":
                break
        initiator.stop(True)


main()
