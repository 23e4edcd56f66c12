from quotelife.engine import Engine
from quotelife.records import RequestRecord

class PlainRequest:
    """A valid request for one side of one instrument, as ``RequestReader.read`` found it.

    It asks for no explanation, no features and no watch.
    """

    record: RequestRecord
    """Equal, byte by byte, to that of ``convert.expiry_request`` with ``watched=False``."""
    request_id: str
    """Empty where none was given; likewise ``counterparty``."""
    counterparty: str
    """As the request names it, configured or not; ``record.counterparty`` is ``NO_INDEX_VALUE`` where it is not."""
    digest: bytes
    """``convert.content_digest`` of the message, 16 bytes; empty where there is no ``request_id``."""
    tick: float
    """Price of one tick of the instrument, in price units."""
    venue_step_ns: int
    """Granularity of the venue session, ns; 1 where none was named."""

class RequestReader:
    """From the bytes of a ``GetExpiryRequest`` to the engine's record, for most requests.

    Keeps what the names in requests stand for, and follows the engine's configuration when that is replaced. Bounded:
    65,536 names of a kind, of which one finds room by taking another's place.
    """

    def __init__(self, engine: Engine) -> None:
        """``engine``: whose ``policy``, ``config`` and ``instruments`` are in force at each ``read``."""
    def read(self, payload: bytes, now_ns: int, synchronised: bool) -> PlainRequest | None:
        """The request in a payload, or ``None``.

        ``None`` says no more than that ``convert.parse_expiry`` and ``convert.expiry_request`` must read it: it asks
        for something beyond one side of one instrument, or something is wrong with it, or it is not written as
        protobuf's libraries write, or a number in it is not certain to come out as theirs. Never raises because of
        what the payload holds.

        ``now_ns``: the service's clock, UTC ns; ``synchronised``: the machine's clock agrees with it.
        """
