"""Headlines scored off the decision path: one thread, one at a time, a bounded number waiting."""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue

from quotelife.news import Scorer, checked_score
from quotelife_server.log import get_logger

_log = get_logger(__name__)

WAITING_MAX = 64
SCORE_S = 5.0

_Asked = tuple[str, str, "asyncio.Future[float | None]"]


class ScorerBusyError(Exception):
    """Too many headlines wait for the scorer."""


class ScorerFailedError(Exception):
    """The scorer raised, took too long, or gave what is no score."""


class NewsScoring:
    """Runs scorers for the event loop on a daemon thread: one that hangs holds up nobody but later headlines."""

    def __init__(self, find: Callable[[str], Scorer], *, score_s: float = SCORE_S) -> None:
        """``find`` looks a scorer up by name, on the thread and once a name: its import may take its time."""
        self._find = find
        self._score_s = score_s
        self._scorers: dict[str, Scorer] = {}
        self._asked: SimpleQueue[_Asked] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._waiting = 0
        self.counts = {"scored": 0, "failed": 0, "busy": 0}

    async def score(self, name: str, headline: str) -> float | None:
        """What the scorer of that name says of it; ``None``: no opinion.

        Raises ``ScorerBusyError``, ``ScorerFailedError``.
        """
        if self._waiting >= WAITING_MAX:
            self.counts["busy"] += 1
            raise ScorerBusyError
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="news-scorer", daemon=True)
            self._thread.start()
        answer: asyncio.Future[float | None] = asyncio.get_running_loop().create_future()
        self._waiting += 1
        self._asked.put((name, headline, answer))
        try:
            async with asyncio.timeout(self._score_s):
                score = await answer
        except Exception as error:
            self.counts["failed"] += 1
            _log.error("a headline was not scored", scorer=name, exc_info=error)
            raise ScorerFailedError from None
        self.counts["scored"] += 1
        return score

    def _work(self) -> None:
        while True:
            name, headline, answer = self._asked.get()
            outcome: float | Exception | None
            try:
                outcome = self._scored(name, headline) if not answer.done() else None
            except Exception as error:
                outcome = error
            try:
                answer.get_loop().call_soon_threadsafe(self._done, answer, outcome)
            except RuntimeError:  # the loop has closed
                return

    def _scored(self, name: str, headline: str) -> float | None:
        if name not in self._scorers:
            self._scorers[name] = self._find(name)
        return checked_score(self._scorers[name], headline)

    def _done(self, answer: "asyncio.Future[float | None]", outcome: float | Exception | None) -> None:
        self._waiting -= 1
        if answer.done():  # given up meanwhile
            return
        if isinstance(outcome, Exception):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)
