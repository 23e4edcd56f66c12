"""Where shipped configuration is found."""

from pathlib import Path

from quotelife.errors import ConfigError, QuotelifeError


def config_path(given: Path | None, name: str) -> Path:
    """The folder given, else ``configs/NAME`` below the working directory or an ancestor of this package.

    Raises ``ConfigError`` when it does not exist, ``QuotelifeError`` when none is found.
    """
    if given is not None:
        if not given.exists():
            raise ConfigError([f"{given}:1: file: there is no such file or folder"])
        return given
    starts = [Path.cwd(), *Path(__file__).resolve().parents]
    for start in starts:
        candidate = start / "configs" / name
        if candidate.is_dir():
            return candidate
    raise QuotelifeError(f"no configs/{name} found from {Path.cwd()}; name a folder with --config")
