from quotelife_server.explaining import Explainer
from quotelife_server.handlers import Service
from quotelife_server.request_reader import RequestReader
from quotelife_server.rpc import Deferred
from quotelife_server.short_way import ShortWay

class PlainAnswers(ShortWay):
    def __init__(self, service: Service, reader: RequestReader, explainer: Explainer) -> None: ...
    def answer(self, payload: bytes, now_ns: int) -> Deferred | None: ...
