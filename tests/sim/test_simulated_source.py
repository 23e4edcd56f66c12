"""The simulated market as a source: it ends, it repeats itself, and its headlines come before what they do."""

import pytest

from quotelife.config import Config
from quotelife.engine import Engine
from quotelife.errors import QuotelifeError
from quotelife.inputs import InputTap
from quotelife.replay.run import Replay
from quotelife.sim.source import SimulatedSource, shocks
from quotelife.units import NS_PER_S
from reference.market_kit import CONFIG, START_NS


def inputs(duration_ns: int, seed: int = 1) -> tuple[list[bytes], int]:
    engine, seen = Engine(CONFIG), []
    engine.record_to(InputTap(lambda name, _, *values: seen.append((name, values[0].tobytes()))))
    source = SimulatedSource(engine.instruments, seed=seed, start_ns=START_NS, duration_ns=duration_ns)
    report = Replay(engine, source).run()
    return [raw for name, raw in seen if name == "events"], report.signals


def test_a_span_of_no_whole_number_of_steps_ends_too() -> None:
    events, _ = inputs(NS_PER_S + 1)
    assert len(events) > 100


def test_a_seed_gives_the_same_events_and_another_does_not() -> None:
    first, again, other = (inputs(NS_PER_S, seed)[0] for seed in (1, 1, 2))
    assert first == again and first != other


def test_headlines_come_as_signals() -> None:
    stop = START_NS + 200 * NS_PER_S
    seed = next(seed for seed in range(100) if shocks(seed, START_NS, stop))
    first = shocks(seed, START_NS, stop)[0]
    span = first.start_ns - START_NS + NS_PER_S
    assert inputs(span, seed)[1] >= 1


def test_a_configuration_without_its_instruments_is_told_which() -> None:
    config = Config.model_validate_json(CONFIG.model_dump_json(by_alias=True).replace('"0.01"', '"0.05"'))
    with pytest.raises(QuotelifeError, match=r"symbol ETHUSDT, tick_size 0\.01"):
        SimulatedSource(config.instrument_table(), seed=1, start_ns=START_NS, duration_ns=NS_PER_S)
