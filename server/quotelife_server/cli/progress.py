"""How far a long command has come, on the terminal."""

import sys
import time

INTERVAL_S = 0.2


class Progress:
    """One line on the terminal, written anew at most five times a second and gone at the end."""

    def __init__(self, *, show: bool = True) -> None:
        self._show = show and sys.stderr.isatty()
        self._next_s = 0.0 if self._show else float("inf")

    def due(self) -> bool:
        return time.monotonic() >= self._next_s

    def __call__(self, text: str) -> None:
        if self.due():
            self._next_s = time.monotonic() + INTERVAL_S
            sys.stderr.write(f"\r\033[K{text} ")
            sys.stderr.flush()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._show:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
