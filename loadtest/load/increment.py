"""What a generator process recorded since its last report, for a view of the run in progress."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, kw_only=True)
class Increment:
    """The rows, answers and errors that are new since a process' last increment.

    Attributes:
        process: Index of the process, from 0.
        rows: int64, shape (5, n): number, due, sent and end time in nanoseconds, and outcome of
            each finished request. An outcome is an index into all `responses` of the process so
            far, or ~index (-1, -2, ...) into all its `errors`.
        missed_due_ns: int64, shape (m,): due times of the requests that were not sent.
        responses: The new distinct answers as received bytes; None for one that was not handed on.
        errors: (kind, first message) of each new kind of error.
        sent: Requests sent so far.
        cpu_seconds: Processor time of the process since its first timed request.
    """

    process: int
    rows: npt.NDArray[np.int64]
    missed_due_ns: npt.NDArray[np.int64]
    responses: tuple[bytes | None, ...]
    errors: tuple[tuple[str, str], ...]
    sent: int
    cpu_seconds: float
