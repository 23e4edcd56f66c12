"""The recorded sets as datasets, collected once and then read."""

from pathlib import Path

from quotelife.config import load_config
from quotelife.errors import QuotelifeError
from quotelife.learn.backtest import joined
from quotelife.learn.build import build_dataset
from quotelife.learn.collect import CollectSettings
from quotelife.learn.dataset import Decisions
from quotelife.learn.realdata import RECORDINGS, SETS
from quotelife.learn.suite import Progress
from quotelife.learn.units import file_units


def collect_sets(data: Path, work: Path, progress: Progress) -> dict[str, tuple[Decisions, str]]:
    """Each recording's decisions by set, with the digest of the dataset: microprice as the reference, no latency."""
    found: dict[str, tuple[Decisions, str]] = {}
    for name, recording in RECORDINGS.items():
        missing = [each for each in recording.files if not (data / each.rpartition("=")[2]).is_file()]
        if missing:
            raise QuotelifeError(
                f"{data / missing[0].rpartition('=')[2]}: not there; name the folder with --data"
            )
        folder = work / "datasets" / name
        folder.mkdir(parents=True, exist_ok=True)
        text = "version: 1\nmodel: {artifact: first_passage}\ninstruments:\n" + "".join(
            f"  - {each[:-1]}, reference: microprice, warmup: 2s}}\n" for each in recording.instruments
        )
        config = work / "datasets" / f"{name}.yaml"
        config.write_text(text, encoding="utf-8")
        arguments = [
            f"{head}={data / path}" if head else str(data / path)
            for head, _, path in (each.rpartition("=") for each in recording.files)
        ]
        thresholds = tuple(dict.fromkeys(each.threshold for each in SETS if each.recording == name))
        units = file_units(arguments, load_config(config), day=None, continued=True)
        dataset, _ = build_dataset(
            folder,
            units,
            CollectSettings(recording.every_ns, 0, thresholds, "microprice"),
            progress=lambda state, name=name: progress(  # type: ignore[misc]
                f"{name}: {state.span_ns / 3.6e12:.2f} h of market replayed, {state.rows:,} rows kept"
            ),
        )
        for spec in SETS:
            if spec.recording == name:
                pieces = [dataset.decisions(piece) for piece in dataset.of(spec.instrument)]
                found[spec.name] = (joined(pieces), dataset.digest)
    return found
