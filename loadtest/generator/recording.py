"""The raw outcome of every timed request: recorded during a run, merged and scored afterwards.

Answers are stored as the received bytes, equal ones once. If a model always answers a request with
the same bytes, memory does not grow after the first pass over the images. Nothing is parsed during
the run.
"""

import io
import itertools
import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt

# Kinds of failures without an answer from the server; all other kinds are error answers.
CONNECTION_ERRORS = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED"})

Integers = npt.NDArray[np.int64]

K = TypeVar("K")
V = TypeVar("V")

_ARRAYS = (
    *("numbers", "due_ns", "sent_ns", "end_ns", "outcomes"),
    *("missed_numbers", "missed_due_ns"),
    *("unfinished_numbers", "unfinished_due_ns", "unfinished_sent_ns"),
)


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Raw results: one row for each finished request, in order of its end; all times on one clock.

    Attributes:
        numbers: int64, shape (n,): index of the request in the run.
        due_ns: int64, shape (n,): time at which the request was due; in a closed loop the time at
            which it was sent.
        sent_ns: int64, shape (n,): time at which the request was sent.
        end_ns: int64, shape (n,): time at which its answer or error came.
        outcomes: int64, shape (n,): index into `responses`, or ~index (-1, -2, ...) into `errors`.
        responses: The distinct answers, as received bytes.
        errors: (kind, first message) of each kind of error.
        timings: The server's own timings, one text for each row; empty if not requested.
        missed_numbers: int64, shape (m,): index of each request that was not sent because the
            maximum was under way.
        missed_due_ns: int64, shape (m,): their due times, in ascending order.
        unfinished_numbers: int64, shape (u,): index of each request that was given up under way:
            the run was interrupted, or the request outlived its deadline.
        unfinished_due_ns: int64, shape (u,): their due times.
        unfinished_sent_ns: int64, shape (u,): the times at which they were sent.
        sent: Requests sent, including unfinished ones.
        in_flight_max: Most requests under way at once.
        cpu_seconds: CPU time of each process' threads from the first request to the end of the
            last one; one entry for each process.
        warmup_sent: Untimed requests sent before the run.
        warmup_failed: Untimed requests that failed.
        stop: ("interrupted" or "aborted", reason) if the run ended early; None if it did not.
    """

    numbers: Integers
    due_ns: Integers
    sent_ns: Integers
    end_ns: Integers
    outcomes: Integers
    responses: tuple[bytes, ...]
    errors: tuple[tuple[str, str], ...]
    timings: tuple[str, ...]
    missed_numbers: Integers
    missed_due_ns: Integers
    unfinished_numbers: Integers
    unfinished_due_ns: Integers
    unfinished_sent_ns: Integers
    sent: int
    in_flight_max: int
    cpu_seconds: tuple[float, ...]
    warmup_sent: int = 0
    warmup_failed: int = 0
    stop: tuple[str, str] | None = None

    @property
    def finished(self) -> int:
        """Requests with an answer or an error."""
        return len(self.numbers)

    def to_bytes(self) -> bytes:
        """Serialise the rows, responses and errors, to send them to another machine.

        Timings, CPU time and the other counts of the generator are left out.
        """
        content = io.BytesIO()
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        lengths = np.array([len(response) for response in self.responses], np.int64)
        joined = np.frombuffer(b"".join(self.responses), np.uint8)
        errors = np.frombuffer(json.dumps(self.errors).encode(), np.uint8)
        np.savez_compressed(content, lengths=lengths, joined=joined, errors=errors, **arrays)
        return content.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Recording":
        """Parse the bytes that `to_bytes` returned.

        Raises:
            ValueError: The bytes are not a NumPy archive.
        """
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            ends = np.cumsum(archive["lengths"]).tolist()
            joined = archive["joined"].tobytes()
            arrays = {name: archive[name] for name in _ARRAYS}
            errors = json.loads(archive["errors"].tobytes())
        return cls(
            responses=tuple(
                joined[start:end] for start, end in zip([0, *ends], ends, strict=False)
            ),
            errors=tuple((kind, message) for kind, message in errors),
            timings=(),
            sent=len(arrays["numbers"]) + len(arrays["unfinished_numbers"]),
            in_flight_max=0,
            cpu_seconds=(0.0,),
            **arrays,
        )


class Recorder:
    """Collects the rows of a Recording during a run by appending; used from one thread only."""

    def __init__(self) -> None:
        self.sent = 0
        self.connection_failures_in_a_row = 0
        self.failed = 0
        self._numbers = array("q")
        self._due_ns = array("q")
        self._sent_ns = array("q")
        self._end_ns = array("q")
        self._outcomes = array("q")
        self._responses: dict[bytes, int] = {}
        self._errors: dict[str, tuple[int, str]] = {}
        self._timings: list[str] = []
        self._missed_numbers = array("q")
        self._missed_due_ns = array("q")
        self._unfinished_numbers = array("q")
        self._unfinished_due_ns = array("q")
        self._unfinished_sent_ns = array("q")

    @property
    def finished(self) -> int:
        """Requests recorded, including failures."""
        return len(self._numbers)

    @property
    def missed(self) -> int:
        """Requests that were due and not sent."""
        return len(self._missed_due_ns)

    def answer(self, number: int, due_ns: int, sent_ns: int, end_ns: int, response: bytes) -> None:
        """Record an answer."""
        self._numbers.append(number)
        self._due_ns.append(due_ns)
        self._sent_ns.append(sent_ns)
        self._end_ns.append(end_ns)
        responses = self._responses
        self._outcomes.append(responses.setdefault(response, len(responses)))
        self.connection_failures_in_a_row = 0

    def error(
        self, number: int, due_ns: int, sent_ns: int, end_ns: int, failure: tuple[str, str]
    ) -> None:
        """Record a failure: its kind and message."""
        kind, message = failure
        self._numbers.append(number)
        self._due_ns.append(due_ns)
        self._sent_ns.append(sent_ns)
        self._end_ns.append(end_ns)
        index, _ = self._errors.setdefault(kind, (len(self._errors), message))
        self._outcomes.append(~index)
        self.failed += 1
        self.connection_failures_in_a_row = (
            self.connection_failures_in_a_row + 1 if kind in CONNECTION_ERRORS else 0
        )

    def timing(self, text: str) -> None:
        """Record the server's own timings of the request recorded last."""
        # Rows without timings, such as errors, get an empty text when the next timing comes.
        self._timings.extend([""] * (len(self._numbers) - 1 - len(self._timings)))
        self._timings.append(text)

    def miss(self, number: int, due_ns: int) -> None:
        """Record a request that was due and not sent."""
        self._missed_numbers.append(number)
        self._missed_due_ns.append(due_ns)

    def give_up(self, number: int, due_ns: int, sent_ns: int) -> None:
        """Record a request that was sent and whose outcome will not be known."""
        self._unfinished_numbers.append(number)
        self._unfinished_due_ns.append(due_ns)
        self._unfinished_sent_ns.append(sent_ns)

    def answered_late(self, limit_ns: int, *, since: int) -> int:
        """Count the answers after the first `since` rows that took longer than `limit_ns`."""
        # A slice copies the values; an array with an exported view could not grow.
        latencies_ns = _integers(self._end_ns[since:]) - _integers(self._due_ns[since:])
        return int(((latencies_ns > limit_ns) & (_integers(self._outcomes[since:]) >= 0)).sum())

    def rows(self, since: int) -> Integers:
        """Return the rows after the first `since`: number, due, sent, end and outcome of each.

        Returns:
            int64, shape (5, n).
        """
        columns = (self._numbers, self._due_ns, self._sent_ns, self._end_ns, self._outcomes)
        return np.stack([_integers(column[since:]) for column in columns])

    def missed_due_ns(self, since: int) -> Integers:
        """Return the due times of the missed requests after the first `since`."""
        return _integers(self._missed_due_ns[since:])

    def newest_responses(self, since: int) -> list[bytes]:
        """Return the distinct answers after the first `since`, in order of their first arrival."""
        return _after(self._responses, since)

    def newest_errors(self, since: int) -> list[tuple[str, str]]:
        """Return (kind, first message) of the kinds of error after the first `since`."""
        return [(kind, self._errors[kind][1]) for kind in _after(self._errors, since)]

    def recording(
        self,
        *,
        in_flight_max: int = 0,
        cpu_seconds: float = 0.0,
        warmup: tuple[int, int] = (0, 0),
        stop: tuple[str, str] | None = None,
    ) -> Recording:
        """Return the rows so far as a Recording, with the generator's counts (see Recording)."""
        timings = self._timings + [""] * (len(self._numbers) - len(self._timings))
        return Recording(
            numbers=_integers(self._numbers),
            due_ns=_integers(self._due_ns),
            sent_ns=_integers(self._sent_ns),
            end_ns=_integers(self._end_ns),
            outcomes=_integers(self._outcomes),
            responses=tuple(self._responses),
            errors=tuple((kind, message) for kind, (_, message) in self._errors.items()),
            timings=tuple(timings) if self._timings else (),
            missed_numbers=_integers(self._missed_numbers),
            missed_due_ns=_integers(self._missed_due_ns),
            unfinished_numbers=_integers(self._unfinished_numbers),
            unfinished_due_ns=_integers(self._unfinished_due_ns),
            unfinished_sent_ns=_integers(self._unfinished_sent_ns),
            sent=self.sent,
            in_flight_max=in_flight_max,
            cpu_seconds=(cpu_seconds,),
            warmup_sent=warmup[0],
            warmup_failed=warmup[1],
            stop=stop,
        )


@dataclass
class _Merger:
    """Gives the distinct answers and kinds of error of several recordings common numbers."""

    responses: dict[bytes, int] = field(default_factory=dict)
    errors: dict[str, tuple[int, str]] = field(default_factory=dict)

    def outcomes(self, recording: Recording) -> Integers:
        """Return a recording's outcomes with the common numbers."""
        responses = [
            self.responses.setdefault(response, len(self.responses))
            for response in recording.responses
        ]
        errors = [
            ~self.errors.setdefault(kind, (len(self.errors), message))[0]
            for kind, message in recording.errors
        ]
        # Negative outcomes count from the end of the table: ~0 is its last entry.
        table = np.array([*responses, *reversed(errors)], np.int64)
        return table[recording.outcomes] if len(table) else recording.outcomes


def merge(recordings: Sequence[Recording]) -> Recording:
    """Merge several processes' recordings of one run without loss or rounding.

    Args:
        recordings: One or more; all must use the same clock, as processes of one machine do.
    """
    merger = _Merger()
    outcomes = np.concatenate([merger.outcomes(recording) for recording in recordings])

    def joined(name: str) -> Integers:
        return np.concatenate([getattr(recording, name) for recording in recordings])

    order = np.argsort(joined("end_ns"), kind="stable")
    missed = np.argsort(joined("missed_due_ns"), kind="stable")
    unfinished = np.argsort(joined("unfinished_due_ns"), kind="stable")
    timings: list[str] = []
    if any(recording.timings for recording in recordings):
        for recording in recordings:
            timings += recording.timings or [""] * recording.finished
        timings = [timings[row] for row in order]

    stops = [recording.stop for recording in recordings if recording.stop is not None]
    return Recording(
        numbers=joined("numbers")[order],
        due_ns=joined("due_ns")[order],
        sent_ns=joined("sent_ns")[order],
        end_ns=joined("end_ns")[order],
        outcomes=outcomes[order],
        responses=tuple(merger.responses),
        errors=tuple((kind, message) for kind, (_, message) in merger.errors.items()),
        timings=tuple(timings),
        missed_numbers=joined("missed_numbers")[missed],
        missed_due_ns=joined("missed_due_ns")[missed],
        unfinished_numbers=joined("unfinished_numbers")[unfinished],
        unfinished_due_ns=joined("unfinished_due_ns")[unfinished],
        unfinished_sent_ns=joined("unfinished_sent_ns")[unfinished],
        sent=sum(recording.sent for recording in recordings),
        in_flight_max=sum(recording.in_flight_max for recording in recordings),
        cpu_seconds=tuple(seconds for recording in recordings for seconds in recording.cpu_seconds),
        warmup_sent=sum(recording.warmup_sent for recording in recordings),
        warmup_failed=sum(recording.warmup_failed for recording in recordings),
        stop=stops[0] if stops else None,
    )


def _after(mapping: dict[K, V], since: int) -> list[K]:
    """Return the keys after the first `since`, without walking over those."""
    return list(itertools.islice(reversed(mapping), len(mapping) - since))[::-1]


def _integers(values: "array[int]") -> Integers:
    return np.array(values, np.int64)
