"""Figures of the runs of a signature that Triton's statistics have and the histograms lack.

A run has three stages: a worker thread gathers the rows of a batch, the model runs, and the event
loop gets the outputs. Like Triton, the statistics have each stage twice: over requests, where each
request of a batch counts the whole stage, and over runs, by the size of the batch.

Each batch is counted when it ends, in the event loop, in about a microsecond; a request costs
nothing.
"""

from collections.abc import Iterable
from typing import NamedTuple

from serving.engine.batching.batch_report import BatchReport

# Most batch sizes that are counted apart. A version has more of them only if --max_batch_size is
# above this.
MAX_SIZES = 1024
# The size under which all further sizes are counted.
OTHER_SIZES = 0


class StageTotals(NamedTuple):
    """The seconds of each stage, summed over requests or over runs.

    Attributes:
        number: Number of requests or runs.
        gathering: Seconds from taking a batch out of the queue to its run.
        running: Seconds of the run.
        delivering: Seconds from the run's end until the event loop has the outputs.
    """

    number: int
    gathering: float
    running: float
    delivering: float


class _OfSize:
    """The runs of one size, and what the further requests in them add to the stages."""

    __slots__ = (
        "delivering",
        "gathering",
        "more",
        "more_delivering",
        "more_gathering",
        "more_running",
        "running",
        "runs",
    )

    def __init__(self) -> None:
        self.runs = self.more = 0
        self.gathering = self.running = self.delivering = 0.0
        self.more_gathering = self.more_running = self.more_delivering = 0.0


class RunStatistics:
    """The figures of one signature; runs that failed count nothing.

    Attributes:
        rows: Rows of the runs without padding; a request that cannot share a run has one row,
            whatever its shape.
        last: `time.monotonic()` when the newest batch was taken out of the queue; 0: none was.
    """

    __slots__ = ("_sizes", "last", "rows")

    def __init__(self) -> None:
        self._sizes: dict[int, _OfSize] = {}
        self.rows = 0
        self.last = 0.0

    def batch(self, report: BatchReport) -> None:
        """Count a batch."""
        _, waits, _, runs, self.last, delivered = report
        gathering = runs[0].started - self.last
        delivering = delivered - runs[-1].ended
        # After a failed batch, each request runs alone.
        more = len(waits) - 1 if len(runs) == 1 else 0
        for rows, padding, started, ended, failed in runs:
            if failed:
                continue
            size = 1 if rows is None else rows - padding
            self.rows += size
            running = ended - started
            one = self._sizes.get(size) or self._add(size)
            one.runs += 1
            one.gathering += gathering
            one.running += running
            one.delivering += delivering
            if more:
                one.more += more
                one.more_gathering += more * gathering
                one.more_running += more * running
                one.more_delivering += more * delivering

    def _add(self, size: int) -> _OfSize:
        if len(self._sizes) >= MAX_SIZES:
            size = OTHER_SIZES
        return self._sizes.setdefault(size, _OfSize())

    @property
    def requests(self) -> StageTotals:
        """The stages over requests."""
        ones = self._sizes.values()
        return StageTotals(
            number=sum(one.runs + one.more for one in ones),
            gathering=sum(one.gathering + one.more_gathering for one in ones),
            running=sum(one.running + one.more_running for one in ones),
            delivering=sum(one.delivering + one.more_delivering for one in ones),
        )

    @property
    def runs(self) -> int:
        """Number of runs."""
        return sum(one.runs for one in self._sizes.values())

    @property
    def sizes(self) -> Iterable[tuple[int, StageTotals]]:
        """The stages over runs, by rows without padding; `OTHER_SIZES` is not among them."""
        return [
            (size, StageTotals(one.runs, one.gathering, one.running, one.delivering))
            for size, one in self._sizes.items()
            if size != OTHER_SIZES
        ]
