"""Where recorded data lies, and what happens when it does not: skipped with one line, refused in CI. And which files
come first."""

import os
import signal
from pathlib import Path

import pytest

from reference.longest import LONGEST_FIRST

ROOT = Path(__file__).resolve().parent.parent


def find_data() -> Path | None:
    """``$QUOTELIFE_DATA``, else ``../shared/data`` beside the project."""
    named = os.environ.get("QUOTELIFE_DATA")
    candidates = [Path(named)] if named else [ROOT.parent / "shared" / "data"]
    return next((path for path in candidates if (path / "README.md").is_file()), None)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of recorded market data; tests that take it carry the mark ``realdata``."""
    path = find_data()
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("recorded market data is missing in CI: set QUOTELIFE_DATA")
        pytest.skip("no recorded market data: set QUOTELIFE_DATA")
    return path


def pytest_configure(config: pytest.Config) -> None:
    config.option.loadscopereorder = False  # xdist would hand out files by their number of tests
    # Behind a shell without job control SIGINT is ignored, and children inherit that: those that tests interrupt
    # would go on for ever.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)  # behind pytest-randomly: files of no place keep the order that it gave them
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: none of them is begun when the others are done, and leaves the other cores idle."""
    place = {name: at for at, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path.relative_to(ROOT / "tests").as_posix(), len(place)))
