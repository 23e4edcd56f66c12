"""Commands run in this process."""

from reference.cli_kit import run

__all__ = ["run"]
