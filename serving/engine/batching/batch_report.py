"""The report of a batch, which the batcher passes to the metrics."""

from collections.abc import Callable, Sequence
from typing import NamedTuple


class Run(NamedTuple):
    """One run of the model on a batch.

    Attributes:
        rows: Rows of the batch, padding included; None for a request that cannot share a run.
        padding: Rows that were added to reach an allowed batch size.
        started: `time.monotonic()` before the run.
        ended: `time.monotonic()` after the run.
        failed: Whether the run raised an error.
    """

    rows: int | None
    padding: int
    started: float
    ended: float
    failed: bool = False


class BatchReport(NamedTuple):
    """Figures of one batch.

    Attributes:
        signature_name: Name of the signature that ran.
        waits: Seconds that each request waited until the first run started.
        request_rows: Rows of each request; None for a request that cannot share a run.
        runs: The runs of the model: one for the batch and, if that failed, one for each request.
        taken: `time.monotonic()` when a worker thread had the batch and began to gather its rows.
        delivered: `time.monotonic()` when the event loop had the outputs.
    """

    signature_name: str
    waits: Sequence[float]
    request_rows: Sequence[int | None]
    runs: Sequence[Run]
    taken: float
    delivered: float


OnBatch = Callable[[BatchReport], None]
