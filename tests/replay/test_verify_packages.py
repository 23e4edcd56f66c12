"""Packages in a journal come out again byte for byte, both ways, and what does not follow is found."""

from pathlib import Path
from typing import Any

import pytest

from quotelife.journal.records import Record, decode_decision
from quotelife.records import DecisionCode, DecisionRecord, RequestFlags, RequestRecord, SignalCode
from quotelife.replay import verify as module
from quotelife.replay.verify import verify
from quotelife.units import NS_PER_MS, NS_PER_S
from reference.market_kit import CONFIG, START_NS, market
from reference.session_kit import Session

PACKAGE = RequestFlags.LEG | RequestFlags.LAST_LEG


class PackageSession(Session):
    """Now and then a package instead: by its legs' books, by greeks of the request or published ones."""

    def __init__(self, *folders: Path, **settings: Any) -> None:
        super().__init__(*folders, CONFIG, start_ns=START_NS, **settings)
        self.routes: set[int] = set()

    def decide(self, now_ns: int) -> None:
        rng, engine = self.rng, self.engine
        if rng.random() < 0.5:
            super().decide(now_ns)
            return
        greeks = rng.random() < 0.6
        if rng.random() < 0.1:
            engine.on_signal(SignalCode.DELTA_GAMMA, receive_ns=now_ns, source_ns=now_ns, instrument=1,
                             value=rng.uniform(-1, 1), ttl_ns=rng.choice([0, NS_PER_S]))  # fmt: skip
            self.figures.signals += 1
        common = {
            "counterparty": self._place(len(engine.policy.counterparty_names)),
            "desk": self._place(len(engine.policy.desk_names)),
            "size_lots": rng.choice([None, 10.0]),
            "package_edge": rng.choice([None, 0.2, 1.0, -0.1]),
            "priced_at_ns": now_ns - rng.randrange(300 * NS_PER_MS) if rng.random() < 0.5 else None,
            "posture": rng.choice([0, 0, 0, 1, 2, 3]),
        }
        legs = [
            RequestRecord(
                rng.randrange(2), rng.choice((1, -1)), now_ns=now_ns, ratio=rng.choice([1.0, 2.0]), **common,
                **({"delta": rng.uniform(-1, 1), "gamma": 0.01, "vega": rng.uniform(0, 2), "underlying": 0}
                   if greeks else {}),
            )
            for _ in range(rng.randint(1, 4))
        ]  # fmt: skip
        decisions = [DecisionRecord() for _ in range(len(legs) + 1)]
        requests = engine.decide_package(legs, decisions)
        self.figures.decisions += len(requests)
        for request, decision in zip(requests, decisions, strict=False):
            self.routes.add(
                int(request.flags & (PACKAGE | RequestFlags.ON_UNDERLYING | RequestFlags.RESIDUAL))
            )
            self.figures.kinds.add(DecisionCode(decision.kind))


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PackageSession]:
    folder = tmp_path_factory.mktemp("packages")
    run = PackageSession(folder / "journal", folder / "capture", seed=3)
    run.work(market(60), 1500, 0.15)
    run.close()
    return folder, run


def test_the_session_takes_every_route(day: tuple[Path, PackageSession]) -> None:
    last, under, residual = RequestFlags.LAST_LEG, RequestFlags.ON_UNDERLYING, RequestFlags.RESIDUAL
    assert {0, RequestFlags.LEG, last, last | under, last | residual} <= day[1].routes
    assert set(DecisionCode) <= day[1].figures.kinds


def test_both_ways_every_record_of_a_package_is_equal(day: tuple[Path, PackageSession]) -> None:
    folder, run = day
    for report in (verify(folder / "journal"), verify(folder / "journal", folder / "capture")):
        assert report.mismatches == []
        assert (report.decisions, report.equal) == (run.figures.decisions, run.figures.decisions)
        assert report.complete


def test_a_request_that_does_not_follow_is_found(
    day: tuple[Path, PackageSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A weight that was changed leaves every decision what it is, but it is not the one of that package."""

    def bent(record: Record) -> tuple[RequestRecord, DecisionRecord]:
        request, decision = decode_decision(record)
        if request.flags & RequestFlags.LEG:
            raw = bytearray(request.canonical())
            raw[136] ^= 1  # the last bit of the weight
            request = RequestRecord.from_bytes(bytes(raw))
        return request, decision

    monkeypatch.setattr(module, "decode_decision", bent)
    folder, _ = day
    from_market = verify(folder / "journal", folder / "capture")
    assert from_market.decisions - from_market.equal > 0
    assert any("request" in field for each in from_market.mismatches for field in each.fields)
