"""Asks stores again and again in threads of its own, and answers at once with what it knows.

A store that cannot be reached delays nobody but the first to ask about it.
"""

import logging
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from serving.storage.errors import StoreError

logger = logging.getLogger(__name__)

_THREADS = 8
_FORGET_POLLS = 5
_FORGET_SECONDS = 60.0


@dataclass
class _Subject:
    """A question that is asked again and again.

    Attributes:
        asks: Asks the store.
        known: The last answer, as the only element; empty before the first.
        error: Why the last attempt failed; None if it did not.
        asked: Set after the first attempt.
        wanted_at: `time.monotonic()` at which somebody wanted the answer last.
        under_way: Whether a thread is asking now.
        next_at: `time.monotonic()` of the next attempt.
    """

    asks: Callable[[], Any]
    known: list[Any] = field(default_factory=list)
    error: Exception | None = None
    asked: threading.Event = field(default_factory=threading.Event)
    wanted_at: float = 0.0
    under_way: bool = False
    next_at: float = 0.0


class Watcher:
    """Keeps the answers to questions up to date."""

    def __init__(self, poll_seconds: float) -> None:
        """Start without questions, and without threads.

        Args:
            poll_seconds: Time between two attempts to answer a question again.
        """
        self._poll_seconds = poll_seconds
        self._subjects: dict[Hashable, _Subject] = {}
        self._changed = threading.Condition()
        self._pool: ThreadPoolExecutor | None = None
        self._is_closed = False
        self._complaints: dict[str, str] = {}

    def begin(self, key: Hashable, asks: Callable[[], Any]) -> None:
        """Start to ask a question, if nobody has asked it yet, without waiting for the answer."""
        self._subject(key, asks)

    def answer(self, key: Hashable, asks: Callable[[], Any]) -> Any:  # noqa: ANN401 - any answer
        """Return the last answer to a question; blocks before the first.

        Args:
            key: Names the question.
            asks: Asks the store; called in a thread, now and at every poll.

        Raises:
            StoreError, ServingError: no attempt has succeeded yet; what the last one raised.
        """
        subject = self._subject(key, asks)
        subject.asked.wait()
        if subject.known:
            return subject.known[0]
        raise subject.error or AssertionError

    def close(self) -> None:
        """Ask nothing any more; attempts under way end by themselves."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            if self._pool is not None:
                self._pool.shutdown(wait=False, cancel_futures=True)
            for subject in self._subjects.values():
                subject.error = subject.error or InterruptedError("the server is about to stop")
                subject.asked.set()

    def _subject(self, key: Hashable, asks: Callable[[], Any]) -> _Subject:
        with self._changed:
            subject = self._subjects.get(key)
            if subject is None:
                subject = self._subjects[key] = _Subject(asks)
                self._changed.notify_all()
            subject.wanted_at = time.monotonic()
            if self._pool is None and not self._is_closed:
                self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="store")
                threading.Thread(
                    target=self._watch, args=(self._pool,), name="store-watcher", daemon=True
                ).start()
            return subject

    def _watch(self, pool: ThreadPoolExecutor) -> None:
        while True:
            with self._changed:
                if self._is_closed:
                    return
                now = time.monotonic()
                forget = max(_FORGET_SECONDS, _FORGET_POLLS * self._poll_seconds)
                for key, subject in list(self._subjects.items()):
                    if now - subject.wanted_at > forget and not subject.under_way:
                        del self._subjects[key]
                    elif subject.next_at <= now and not subject.under_way:
                        subject.under_way = True
                        pool.submit(self._ask, subject)
                waiting = [s.next_at for s in self._subjects.values() if not s.under_way]
                pause = min(waiting, default=now + self._poll_seconds) - time.monotonic()
                self._changed.wait(min(max(pause, 0.01), self._poll_seconds))

    def _ask(self, subject: _Subject) -> None:
        try:
            answer = subject.asks()
        except Exception as error:  # noqa: BLE001 - whatever a library raises is told
            subject.error = error
            self._complain(error)
        else:
            subject.known[:] = [answer]
            subject.error = None
        with self._changed:
            subject.next_at = time.monotonic() + self._poll_seconds
            subject.under_way = False
            self._changed.notify_all()
        subject.asked.set()

    def _complain(self, error: Exception) -> None:
        """Log why a store cannot be listed, once for each cause."""
        where = str(error.filename) if isinstance(error, StoreError) else type(error).__name__
        cause = str(error.strerror if isinstance(error, StoreError) else error)
        if not self._is_closed and self._complaints.get(where) != cause:
            self._complaints[where] = cause
            logger.error(
                "%s cannot be listed: %s; what is loaded stays, the next attempt is in %g s",
                where,
                cause,
                self._poll_seconds,
            )
