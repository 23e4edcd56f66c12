"""The one error root. Imports nothing, so every layer may raise it."""


class QuotelifeError(Exception):
    """Root of every error that quotelife raises on purpose."""


class ConfigError(QuotelifeError):
    """A configuration was refused; nothing was changed.

    ``problems`` holds one entry per fault, each ``file:line: key: reason``. ``unchecked`` names the sections whose
    values could not be held against others while these faults stand.
    """

    def __init__(self, problems: list[str], unchecked: tuple[str, ...] = ()) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
        self.unchecked = unchecked


class DecodeError(QuotelifeError):
    """Wire bytes do not follow the venue's format."""


class ArtifactError(QuotelifeError):
    """A model artifact is corrupt, of another schema, or fails its self-test."""


class UnknownInstrumentError(QuotelifeError):
    """No instrument of that name is configured."""

    def __init__(self, name: str) -> None:
        super().__init__(f"unknown instrument {name!r}")
        self.name = name


class RequestError(QuotelifeError):
    """A request field is wrong: ``field`` names it, the text says how to mend it."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class JournalError(QuotelifeError):
    """The journal could not be written, or what it holds is damaged; the text names file, place and mend."""
