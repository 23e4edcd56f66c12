"""``quotelife counterparty`` on a running service, by the outcomes that the client reported."""

import asyncio
import json
from pathlib import Path

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quotelife_client import AsyncClient
from reference.cli_kit import Run
from reference.service_kit import running, write_config


async def test_what_was_reported_is_shown(run: Run, tmp_path: Path) -> None:
    async with running(write_config(tmp_path), watch_configuration=False) as app:
        target = app.addresses[0]
        ended = await asyncio.to_thread(run, "counterparty", "list", "--target", target)
        assert (ended.code, ended.out) == (0, "no outcome was reported so far\n")
        async with AsyncClient(target, timeout_s=5.0) as client:
            asked = [
                await client.get_expiry(instrument="BTC-USDT", side="BUY", counterparty="alpha")
                for _ in range(20)
            ]
            outcomes = [
                expiry.Outcome(
                    outcome_id=f"o{k}",
                    decision_id=each.decision_id,
                    kind=expiry.OUTCOME_KIND_HIT if k % 2 else expiry.OUTCOME_KIND_EXPIRED,
                )
                for k, each in enumerate(asked)
            ]
            reply = await client.report_outcomes(outcomes)
            assert (reply.accepted, len(reply.refused)) == (20, 0)
            assert (await client.report_outcomes(outcomes)).repeated_count == 20
            assert (await client.counterparty("alpha")).reported == 20
            assert [each.counterparty for each in (await client.counterparties()).counterparties] == ["alpha"]
        ended = await asyncio.to_thread(run, "counterparty", "show", "alpha", "--json", "--target", target)
        shown = json.loads(ended.out)
        assert (shown["counterparty"], shown["tier"], shown["reported"]) == ("alpha", "strategic", "20")
        assert 9 < shown["fills"] < 10 and shown["configured"]["hit_probability"] == 0.3
        ended = await asyncio.to_thread(run, "counterparty", "show", "alpha", "--target", target)
        assert ended.out.startswith("alpha, tier strategic: 20 outcomes reported\n")
        assert "configured" in ended.out and "60 s" in ended.out
        ended = await asyncio.to_thread(run, "counterparty", "list", "--target", target)
        assert "alpha" in ended.out and "strategic" in ended.out
        ended = await asyncio.to_thread(run, "counterparty", "show", "nobody", "--target", target)
        assert ended.code == 1 and "nobody is not configured" in ended.err
