"""Order flow and book of one symbol: market makers around a latent price, limits, cancels, market orders.

The book in here is the oracle: tests hold a decoder and its book to it.
"""

from dataclasses import dataclass
from math import ceil, exp, floor, tanh

from quotelife.sim.streams import RandomStream
from quotelife.sim.updates import BookSnapshot, DepthUpdate, TopUpdate, TradeUpdate, VenueUpdate
from quotelife.units import NS_PER_S

LIMIT_SHARE = 0.50  # of all arriving orders; the rest, after cancels, are market orders
CANCEL_SHARE = 0.44
TRADE_THROUGH = 0.45  # a stale quote is taken by a market order this often, otherwise its maker cancels it
REACH_TICKS = 6.0  # mean distance from the touch of limits and cancels that are not at it
AT_TOUCH = 0.30  # share of limits and cancels at the touch
HYSTERESIS_TICKS = 0.6  # makers leave a quote that is this much off: no flicker on every wiggle
SWEEP_LEVELS = 6  # a market order takes at most so many levels
SIZE_SPREAD = 0.7  # standard deviation of log sizes
TILT = 0.60  # how strongly the hidden signal leans on sizes


@dataclass(slots=True)
class FlowState:
    """What the market makers of one symbol see in one step."""

    half_bid: float = 0.25  # ticks between latent price and bid
    half_ask: float = 0.25
    signal: float = 0.0  # hidden order-flow signal, > 0: buyers
    flow: float = 1.0  # multiplies the arrival rate


class SymbolFlow:
    """One symbol's book and the orders that change it. Prices in ticks, sizes in lots."""

    def __init__(
        self,
        *,
        index: int,
        stream: RandomStream,
        flow_per_second: float,
        level_lots: float,
        levels: int,
        id_stride: int,
        start_ns: int,
        start_ticks: float,
        size_spread: float = SIZE_SPREAD,
        tilt: float = TILT,
    ) -> None:
        self._index = index
        self._random = stream
        self._ns_between = NS_PER_S / flow_per_second
        self._level_lots = level_lots
        self._levels = levels
        self._size_spread = size_spread
        self._tilt = tilt
        self._id_stride = id_stride
        self._bids: dict[int, int] = {}
        self._asks: dict[int, int] = {}
        self._best_bid = floor(start_ticks - 0.5)
        self._best_ask = self._best_bid + 1
        self._far_bid = self._best_bid + 1  # lowest populated bid; above the best: none yet
        self._far_ask = self._best_ask - 1
        self._changed_bids: dict[int, int] = {}
        self._changed_asks: dict[int, int] = {}
        self._changed_ns = start_ns
        self._update_id = 1_000_000 * (index + 1)
        self._first_id = 0  # first id of the open batch, 0: none yet
        self._batch_id = self._update_id
        self._trade_id = 0
        self._top = (0, 0, 0, 0)
        self._next_ns = start_ns
        self._lean = 1.0  # how much larger bids are than usual, and asks smaller
        self._now_ns = start_ns
        self._deepen()
        self._next_ns = start_ns + int(stream.exponential() * self._ns_between)
        # The opening book is nobody's news: streams start from it.
        self._batch_id = self._update_id
        self._changed_bids.clear()
        self._changed_asks.clear()
        self._first_id = 0

    # ------------------------------------------------------------------ one step

    def step(self, begin: int, end: int, latent: float, state: FlowState, out: list[VenueUpdate]) -> None:
        """All orders of one step, appended to ``out`` in time order."""
        self._lean = exp(self._tilt * max(-3.0, min(3.0, state.signal)))
        uniform = self._random.uniform
        reprice_ns = begin + int(uniform() * (end - begin))
        between = self._ns_between / state.flow
        while self._next_ns < end:
            if reprice_ns <= self._next_ns:
                self._reprice(reprice_ns, latent, state, out)
                reprice_ns = end
            self._order(self._next_ns, state, out)
            self._next_ns += 1 + int(self._random.exponential() * between)
        if reprice_ns < end:
            self._reprice(reprice_ns, latent, state, out)

    def take_batch(self, now_ns: int) -> DepthUpdate | None:
        """Close the batch of changes; ``None`` when nothing changed."""
        if not self._first_id:
            return None
        batch = DepthUpdate(
            now_ns,
            self._index,
            self._changed_ns,
            self._first_id,
            self._update_id,
            self._batch_id,
            tuple(sorted(self._changed_bids.items(), reverse=True)),
            tuple(sorted(self._changed_asks.items())),
        )
        self._batch_id = self._update_id
        self._first_id = 0
        self._changed_bids.clear()
        self._changed_asks.clear()
        return batch

    def snapshot(self, now_ns: int, limit: int) -> BookSnapshot:
        bids = sorted(self._bids.items(), reverse=True)[:limit]
        asks = sorted(self._asks.items())[:limit]
        return BookSnapshot(now_ns, self._index, self._update_id, tuple(bids), tuple(asks))

    # ------------------------------------------------------------------ orders

    def _order(self, now_ns: int, state: FlowState, out: list[VenueUpdate]) -> None:
        random = self._random
        self._now_ns = now_ns
        kind = random.uniform()
        lean = 0.5 + 0.22 * tanh(state.signal)
        if kind < LIMIT_SHARE:
            bid = random.uniform() < lean
            distance = self._distance()
            if bid:
                # Not above what makers hold fair: nobody gives an edge away on purpose.
                price = min(self._best_bid - distance, self._best_ask - 1)
                self._set_bid(price, self._bids.get(price, 0) + self._size(distance, 0.5 * self._lean))
            else:
                price = max(self._best_ask + distance, self._best_bid + 1)
                self._set_ask(price, self._asks.get(price, 0) + self._size(distance, 0.5 / self._lean))
        elif kind < LIMIT_SHARE + CANCEL_SHARE:
            bid = random.uniform() >= lean
            distance = self._distance()
            share = random.uniform()
            # The last part of a level is pulled as a whole: dust does not stay.
            keep = 1.0 - share if share < 0.7 else 0.0
            if bid and len(self._bids) > self._levels // 2:
                price = self._best_bid - distance
                lots = self._bids.get(price, 0)
                if lots:
                    self._set_bid(price, int(lots * keep))
            elif not bid and len(self._asks) > self._levels // 2:
                price = self._best_ask + distance
                lots = self._asks.get(price, 0)
                if lots:
                    self._set_ask(price, int(lots * keep))
        else:
            lots = self._size(0, 0.45)
            if random.uniform() < lean:
                self._take_asks(now_ns, lots, out)
            else:
                self._take_bids(now_ns, lots, out)
        self._settle(now_ns, out)

    def _reprice(self, now_ns: int, latent: float, state: FlowState, out: list[VenueUpdate]) -> None:
        """Makers follow the latent price: quotes that are off go (taken or cancelled), missing ones come."""
        random = self._random
        self._now_ns = now_ns
        bid_limit = latent - state.half_bid
        ask_limit = latent + state.half_ask
        if self._best_bid > bid_limit + HYSTERESIS_TICKS:
            last = floor(bid_limit)
            taken = random.uniform() < TRADE_THROUGH
            for price in range(self._best_bid, max(last, self._far_bid - 1), -1):
                lots = self._bids.get(price)
                if lots:
                    if taken:
                        self._trade(now_ns, price, lots, True, out)
                    self._set_bid(price, 0)
        if self._best_ask < ask_limit - HYSTERESIS_TICKS:
            last = ceil(ask_limit)
            taken = random.uniform() < TRADE_THROUGH
            for price in range(self._best_ask, min(last, self._far_ask + 1)):
                lots = self._asks.get(price)
                if lots:
                    if taken:
                        self._trade(now_ns, price, lots, False, out)
                    self._set_ask(price, 0)
        fair_bid = floor(bid_limit)
        fair_ask = max(ceil(ask_limit), fair_bid + 1)
        if self._asks:
            fair_bid = min(fair_bid, self._best_ask - 1)
        if not self._bids:
            self._best_bid = fair_bid
            self._far_bid = fair_bid + 1
        elif self._best_bid < fair_bid:
            for price in range(max(self._best_bid + 1, fair_bid - self._levels), fair_bid + 1):
                self._set_bid(price, self._size(0, 0.8 * self._lean))
        if self._bids:
            fair_ask = max(fair_ask, self._best_bid + 1)
        if not self._asks:
            self._best_ask = max(fair_ask, self._best_bid + 1)
            self._far_ask = self._best_ask - 1
        elif self._best_ask > fair_ask:
            for price in range(min(self._best_ask - 1, fair_ask + self._levels), fair_ask - 1, -1):
                self._set_ask(price, self._size(0, 0.8 / self._lean))
        self._deepen()
        self._settle(now_ns, out)

    def _take_bids(self, now_ns: int, lots: int, out: list[VenueUpdate]) -> None:
        for _ in range(min(SWEEP_LEVELS, len(self._bids) - self._levels // 2)):
            price = self._best_bid
            there = self._bids[price]
            done = min(lots, there)
            self._trade(now_ns, price, done, True, out)
            self._set_bid(price, there - done)
            lots -= done
            if not lots:
                break

    def _take_asks(self, now_ns: int, lots: int, out: list[VenueUpdate]) -> None:
        for _ in range(min(SWEEP_LEVELS, len(self._asks) - self._levels // 2)):
            price = self._best_ask
            there = self._asks[price]
            done = min(lots, there)
            self._trade(now_ns, price, done, False, out)
            self._set_ask(price, there - done)
            lots -= done
            if not lots:
                break

    def _trade(
        self, now_ns: int, price: int, lots: int, seller_is_aggressor: bool, out: list[VenueUpdate]
    ) -> None:
        self._trade_id += 1
        out.append(TradeUpdate(now_ns, self._index, self._trade_id, price, lots, seller_is_aggressor))

    # ------------------------------------------------------------------ book

    def _set_bid(self, price: int, lots: int) -> None:
        self._next_id()
        self._changed_bids[price] = lots
        if lots:
            self._bids[price] = lots
            if price > self._best_bid:
                self._best_bid = price
            if price < self._far_bid:
                self._far_bid = price
        else:
            del self._bids[price]
            if price == self._best_bid:
                while price >= self._far_bid and price not in self._bids:
                    price -= 1
                self._best_bid = price

    def _set_ask(self, price: int, lots: int) -> None:
        self._next_id()
        self._changed_asks[price] = lots
        if lots:
            self._asks[price] = lots
            if price < self._best_ask:
                self._best_ask = price
            if price > self._far_ask:
                self._far_ask = price
        else:
            del self._asks[price]
            if price == self._best_ask:
                while price <= self._far_ask and price not in self._asks:
                    price += 1
                self._best_ask = price

    def _next_id(self) -> None:
        # Futures ids jump (they are shared by all symbols of the venue); spot ids count.
        if self._id_stride == 1:
            self._update_id += 1
        else:
            self._update_id += 1 + int(self._random.uniform() ** 2 * self._id_stride)
        self._changed_ns = self._now_ns
        if not self._first_id:
            self._first_id = self._update_id

    def _deepen(self) -> None:
        """Keep the far ends: levels come where the book has become short, and go where it has become long."""
        levels = self._levels
        while self._best_bid - self._far_bid < levels - 1:
            self._set_bid(self._far_bid - 1, self._size(self._best_bid - self._far_bid + 1, 0.8 * self._lean))
        while self._far_ask - self._best_ask < levels - 1:
            self._set_ask(self._far_ask + 1, self._size(self._far_ask - self._best_ask + 1, 0.8 / self._lean))
        while self._best_bid - self._far_bid > 2 * levels:
            if self._far_bid in self._bids:
                self._set_bid(self._far_bid, 0)
            self._far_bid += 1
        while self._far_ask - self._best_ask > 2 * levels:
            if self._far_ask in self._asks:
                self._set_ask(self._far_ask, 0)
            self._far_ask -= 1

    def _settle(self, now_ns: int, out: list[VenueUpdate]) -> None:
        """After one order: tell the world when the best price or size changed."""
        top = (self._best_bid, self._bids[self._best_bid], self._best_ask, self._asks[self._best_ask])
        if top != self._top:
            self._top = top
            out.append(TopUpdate(now_ns, self._index, self._update_id, *top))

    # ------------------------------------------------------------------ draws

    def _distance(self) -> int:
        if self._random.uniform() < AT_TOUCH:
            return 0
        return min(int(self._random.exponential() * REACH_TICKS), self._levels - 1)

    def _size(self, distance: int, scale: float) -> int:
        """Lots of one order: lognormal, larger away from the touch."""
        shape = 0.5 + 0.08 * min(distance, 20)
        return 1 + int(self._level_lots * scale * shape * exp(self._size_spread * self._random.normal()))
