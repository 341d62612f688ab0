"""Increments of a recorder: copies of what is new since the last one, without parsing."""

from loadtest.generator.recording import Recorder
from loadtest.load.increment import Increment

# Limits of an increment. Four of them come in a second, so a view parses at most 2,000 new answers
# a second of each process; if there are more, its accuracy is that of a sample.
MOST_RESPONSES = 500
MOST_BYTES = 1 << 20


class Increments:
    """Takes increments from a recorder. A taking copies 40 bytes for each new request."""

    def __init__(self, recorder: Recorder, process: int) -> None:
        """Start at the recorder's first row.

        Args:
            recorder: The recorder of a run in this process.
            process: Index of the process, from 0.
        """
        self._recorder = recorder
        self._process = process
        self._rows = 0
        self._missed = 0
        self._responses = 0
        self._errors = 0

    def take(self, cpu_seconds: float) -> Increment:
        """Return what is new since the last call.

        Args:
            cpu_seconds: Processor time of this process since its first timed request.
        """
        recorder = self._recorder
        new = recorder.newest_responses(self._responses)
        increment = Increment(
            process=self._process,
            rows=recorder.rows(self._rows),
            missed_due_ns=recorder.missed_due_ns(self._missed),
            responses=_limited(new),
            errors=tuple(recorder.newest_errors(self._errors)),
            sent=recorder.sent,
            cpu_seconds=cpu_seconds,
        )
        self._rows += increment.rows.shape[1]
        self._missed += len(increment.missed_due_ns)
        self._responses += len(new)
        self._errors += len(increment.errors)
        return increment


def _limited(responses: list[bytes]) -> tuple[bytes | None, ...]:
    """Return the responses with None for those beyond the limits."""
    limited: list[bytes | None] = []
    left = MOST_BYTES
    for response in responses[:MOST_RESPONSES]:
        left -= len(response)
        limited.append(response if left >= 0 else None)
    return (*limited, *[None] * (len(responses) - len(limited)))
