"""What happened to every timed request, raw: kept during a run, merged and scored afterwards.

Answers are kept as the bytes that came; equal ones are kept once. A model that answers a request
the same way every time therefore costs no memory beyond the first pass over the images, and nothing
is parsed while the clock runs.
"""

import io
import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

# Failures that say that nobody answers, as opposed to an answer that says no.
CONNECTION_ERRORS = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED"})

_ARRAYS = ("numbers", "due_ns", "sent_ns", "end_ns", "outcomes", "missed_due_ns")

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Raw results, one row a finished request in order of its end; all times on one clock.

    Attributes:
        numbers: int64, shape (n,): number of the request in the run.
        due_ns: int64, shape (n,): when it should have been sent; in a closed loop when it was.
        sent_ns: int64, shape (n,): when it was.
        end_ns: int64, shape (n,): when its answer or error came.
        outcomes: int64, shape (n,): index into `responses`, or ~index (-1, -2, ...) into `errors`.
        responses: Every different answer once, as it came.
        errors: Every kind of error once, with the first message.
        timings: What the server said about where its time went, a text a row; empty if not asked.
        missed_due_ns: int64, shape (m,): due times of the requests that the cap held back.
        sent: Requests sent, the unfinished ones included.
        in_flight_max: Most requests under way at once.
        cpu_seconds: Processor time from the first request to the last one's end, all threads; one
            entry a process.
        warmup_sent: Untimed requests before.
        warmup_failed: Those of them that failed.
        stop: Why it ended early: ("interrupted" or "aborted", reason); None if it did not.
    """

    numbers: Integers
    due_ns: Integers
    sent_ns: Integers
    end_ns: Integers
    outcomes: Integers
    responses: tuple[bytes, ...]
    errors: tuple[tuple[str, str], ...]
    timings: tuple[str, ...]
    missed_due_ns: Integers
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
        """The results as bytes, to be sent to another machine; not the counts of the generator."""
        content = io.BytesIO()
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        lengths = np.array([len(response) for response in self.responses], np.int64)
        joined = np.frombuffer(b"".join(self.responses), np.uint8)
        errors = np.frombuffer(json.dumps(self.errors).encode(), np.uint8)
        np.savez_compressed(content, lengths=lengths, joined=joined, errors=errors, **arrays)
        return content.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Recording":
        """What `to_bytes` gave.

        Raises:
            ValueError: The bytes are none of its.
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
            sent=len(arrays["numbers"]),
            in_flight_max=0,
            cpu_seconds=(0.0,),
            **arrays,
        )


class Recorder:
    """Takes down what happens during a run; appending is all it does, and it needs one thread."""

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
        self._missed_due_ns = array("q")

    @property
    def finished(self) -> int:
        """Requests recorded, failures included."""
        return len(self._numbers)

    @property
    def missed(self) -> int:
        """Requests held back."""
        return len(self._missed_due_ns)

    def answer(self, number: int, due_ns: int, sent_ns: int, end_ns: int, response: bytes) -> None:
        """Keep an answer."""
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
        """Keep a failure: its kind and message."""
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
        """Keep the server's own account of the request recorded last."""
        # Rows without one, such as errors, are filled up when the next one comes.
        self._timings.extend([""] * (len(self._numbers) - 1 - len(self._timings)))
        self._timings.append(text)

    def miss(self, due_ns: int) -> None:
        """Count a request that was due and not sent."""
        self._missed_due_ns.append(due_ns)

    def answered_late(self, limit_ns: int, *, since: int) -> int:
        """How many answers recorded after the first `since` rows took longer than a limit."""
        # A slice is a copy: a view would forbid the array to grow.
        latencies_ns = _integers(self._end_ns[since:]) - _integers(self._due_ns[since:])
        return int(((latencies_ns > limit_ns) & (_integers(self._outcomes[since:]) >= 0)).sum())

    def recording(
        self,
        *,
        in_flight_max: int = 0,
        cpu_seconds: float = 0.0,
        warmup: tuple[int, int] = (0, 0),
        stop: tuple[str, str] | None = None,
    ) -> Recording:
        """Everything up to now, and what only the generator knows (see Recording)."""
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
            missed_due_ns=_integers(self._missed_due_ns),
            sent=self.sent,
            in_flight_max=in_flight_max,
            cpu_seconds=(cpu_seconds,),
            warmup_sent=warmup[0],
            warmup_failed=warmup[1],
            stop=stop,
        )


@dataclass
class _Merger:
    """Gives each different answer, and each kind of error, one number over several recordings."""

    responses: dict[bytes, int] = field(default_factory=dict)
    errors: dict[str, tuple[int, str]] = field(default_factory=dict)

    def outcomes(self, recording: Recording) -> Integers:
        """A recording's outcomes, renumbered."""
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
    """Several processes' recordings of one run as one, nothing lost or rounded.

    Args:
        recordings: At least one; their clocks must be the same (one machine's are).
    """
    merger = _Merger()
    outcomes = np.concatenate([merger.outcomes(recording) for recording in recordings])
    end_ns = np.concatenate([recording.end_ns for recording in recordings])
    order = np.argsort(end_ns, kind="stable")
    timings: list[str] = []
    if any(recording.timings for recording in recordings):
        for recording in recordings:
            timings += recording.timings or [""] * recording.finished
        timings = [timings[row] for row in order]

    def joined(name: str) -> Integers:
        return np.concatenate([getattr(recording, name) for recording in recordings])[order]

    stops = [recording.stop for recording in recordings if recording.stop is not None]
    return Recording(
        numbers=joined("numbers"),
        due_ns=joined("due_ns"),
        sent_ns=joined("sent_ns"),
        end_ns=end_ns[order],
        outcomes=outcomes[order],
        responses=tuple(merger.responses),
        errors=tuple((kind, message) for kind, (_, message) in merger.errors.items()),
        timings=tuple(timings),
        missed_due_ns=np.sort(
            np.concatenate([recording.missed_due_ns for recording in recordings])
        ),
        sent=sum(recording.sent for recording in recordings),
        in_flight_max=sum(recording.in_flight_max for recording in recordings),
        cpu_seconds=tuple(seconds for recording in recordings for seconds in recording.cpu_seconds),
        warmup_sent=sum(recording.warmup_sent for recording in recordings),
        warmup_failed=sum(recording.warmup_failed for recording in recordings),
        stop=stops[0] if stops else None,
    )


def _integers(values: "array[int]") -> Integers:
    return np.array(values, np.int64)
