"""Where recorded data lies, and what happens when it does not: skipped with one line, refused in CI."""

import os
from pathlib import Path

import pytest

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
