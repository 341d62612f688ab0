"""What a batch did, as the batcher reports it to the metrics."""

from collections.abc import Callable, Sequence
from typing import NamedTuple


class Run(NamedTuple):
    """One run of the model on a batch.

    Attributes:
        rows: Rows of the batch, padding included; None for a request that runs alone, as it is.
        padding: Rows that were added to reach an allowed size.
        started: `time.monotonic()` before it.
        ended: And after.
    """

    rows: int | None
    padding: int
    started: float
    ended: float


class BatchReport(NamedTuple):
    """What became of the requests that were taken from the queue together.

    Attributes:
        signature_name: Which function of the model ran.
        waits: Seconds that each request waited for its run.
        request_rows: Rows of each; None for one that runs alone, as it is.
        runs: The runs of the model: one, or, if the batch failed, one more for each request.
    """

    signature_name: str
    waits: Sequence[float]
    request_rows: Sequence[int | None]
    runs: Sequence[Run]


OnBatch = Callable[[BatchReport], None]
