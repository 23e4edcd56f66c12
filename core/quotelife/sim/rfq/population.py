"""Who asks for quotes, and what each wants to do with them. Every cause draws from a stream of its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import exp

from quotelife.sim.streams import RandomStream
from quotelife.units import NS_PER_MS, NS_PER_S


class Aim(IntEnum):
    """What whoever asks will do with the quotes."""

    NONE = 0  # look and not trade
    ACCEPT = 1  # trade when it has made up its mind
    SNIPE = 2  # trade once the price has passed the threshold against the dealer, and only then


@dataclass(frozen=True, slots=True)
class Intent:
    """Drawn before any dealer quotes, so that every dealer meets the same client.

    ``response_ns`` is the age of the quote at which an ACCEPT sends its order, ``latency_ns`` how long an order is on
    its way. ``walks_away``: it sends none where the price has moved by the threshold in the dealer's favour, because
    others quote better then. ``everywhere``: to all dealers at once; otherwise the best price first, equals in the
    order that ``first`` in [0, 1) gives, and the next one when it is refused. ``asks_again_ns`` after it was refused
    everywhere it asks anew, with the intent ``then``.
    """

    aim: Aim
    response_ns: int = 0
    latency_ns: int = 0
    walks_away: bool = False
    everywhere: bool = False
    first: float = 0.0
    asks_again_ns: int | None = None
    then: "Intent | None" = None


@dataclass(frozen=True, slots=True)
class Inquiry:
    """One request for quote. ``side`` is the desk's: +1 it buys, −1 it sells. ``again``: one that was refused before.
    ``dealers``: who is asked, ``None``: everybody."""

    number: int
    at_ns: int
    symbol: int
    side: int
    client: str
    size_lots: int
    intent: Intent
    again: bool = False
    dealers: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Client:
    """One counterparty. Response times are lognormal; with probability ``informed_share`` its request is a sniper's.

    ``weight`` is its share of all requests against the others', ``taker_sigma`` the spread of the log of a sniper's
    latency, ``walks_away`` and ``asks_again`` are probabilities.
    """

    name: str
    weight: float = 1.0
    size_lots: int = 1000
    hit_probability: float = 0.35
    response_median_ns: int = 700 * NS_PER_MS
    response_sigma: float = 0.8
    latency_ns: int = 20 * NS_PER_MS
    walks_away: float = 0.5
    informed_share: float = 0.1
    taker_latency_ns: int = 8 * NS_PER_MS
    taker_sigma: float = 0.4
    asks_again: float = 0.5
    asks_again_ns: int = 250 * NS_PER_MS

    def __post_init__(self) -> None:
        for name in ("hit_probability", "walks_away", "informed_share", "asks_again"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{self.name}: {name} must lie in [0, 1]")
        for name in ("weight", "size_lots", "response_median_ns"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{self.name}: {name} must be above 0")
        for name in ("response_sigma", "latency_ns", "taker_latency_ns", "taker_sigma", "asks_again_ns"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{self.name}: {name} must not be below 0")


CLIENTS = (
    Client("alpine-pension", weight=0.5, hit_probability=0.5, response_median_ns=900 * NS_PER_MS,
           walks_away=0.3, informed_share=0.02),
    Client("borealis-macro", informed_share=0.15),
    Client("cobalt-treasury", walks_away=0.7, informed_share=0.05),
    Client("delta-family-office", weight=0.5, hit_probability=0.4, response_median_ns=1500 * NS_PER_MS,
           informed_share=0.05),
    Client("corvid-arbitrage", hit_probability=0.2, response_median_ns=300 * NS_PER_MS, walks_away=0.9,
           informed_share=0.8, taker_latency_ns=3 * NS_PER_MS, asks_again=0.0),
)  # fmt: skip
"""The counterparties of ``configs/demo``, from the one who never knows anything to the one who always does."""


class Population:
    """Requests at the times of a Poisson process, ``per_second`` over all symbols together.

    The inquiries depend on the arguments alone, not on what dealers do with them.
    """

    def __init__(
        self,
        clients: Sequence[Client],
        *,
        symbols: int,
        seed: int,
        start_ns: int,
        stop_ns: int,
        per_second: float = 4.0,
    ) -> None:
        if not clients:
            raise ValueError("clients: name at least one")
        if len({client.name for client in clients}) != len(clients):
            raise ValueError("clients must differ by name")
        if not per_second > 0:
            raise ValueError("per_second must be above 0")
        self.clients = tuple(clients)
        self._symbols = symbols
        self._seed = seed
        self._start_ns = start_ns
        self._stop_ns = stop_ns
        self._gap_ns = NS_PER_S / per_second

    def inquiries(self) -> Iterator[Inquiry]:
        """In order of time, until ``stop_ns``."""
        times = RandomStream(self._seed, "rfq.times")
        whose = RandomStream(self._seed, "rfq.clients")
        intents = {client.name: RandomStream(self._seed, f"rfq.{client.name}") for client in self.clients}
        total = sum(client.weight for client in self.clients)
        at = self._start_ns
        number = 0
        while (at := at + 1 + int(times.exponential() * self._gap_ns)) < self._stop_ns:
            number += 1
            left = whose.uniform() * total
            client = self.clients[-1]
            for each in self.clients:
                left -= each.weight
                if left < 0:
                    client = each
                    break
            symbol = int(whose.uniform() * self._symbols)
            side = 1 if whose.uniform() < 0.5 else -1
            intent = draw_intent(client, intents[client.name])
            yield Inquiry(number, at, symbol, side, client.name, client.size_lots, intent)


def draw_intent(client: Client, stream: RandomStream) -> Intent:
    """Always as many draws, whatever comes of them: so a changed share leaves all other draws as they were."""
    informed = stream.uniform() < client.informed_share
    hits = stream.uniform() < client.hit_probability
    walks = stream.uniform() < client.walks_away
    again = stream.uniform() < client.asks_again
    first = stream.uniform()
    response = round(client.response_median_ns * exp(client.response_sigma * stream.normal()))
    second = round(client.response_median_ns * exp(client.response_sigma * stream.normal()))
    reach = round(client.taker_latency_ns * exp(client.taker_sigma * stream.normal()))
    if informed:
        return Intent(Aim.SNIPE, latency_ns=reach, everywhere=True)
    if not hits:
        return Intent(Aim.NONE)
    then = Intent(Aim.ACCEPT, second, client.latency_ns, walks, first=first)
    return Intent(
        Aim.ACCEPT,
        response,
        client.latency_ns,
        walks,
        first=first,
        asks_again_ns=client.asks_again_ns if again else None,
        then=then if again else None,
    )
