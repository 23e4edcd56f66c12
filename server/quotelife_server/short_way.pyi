from quotelife_server.rpc import Answer

class ShortWay:
    def answer(self, payload: bytes, now_ns: int) -> Answer | None: ...
