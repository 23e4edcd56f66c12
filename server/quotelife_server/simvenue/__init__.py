"""The simulated venue on real sockets: Binance's websocket and REST wire, driven by ``quotelife.sim``."""
