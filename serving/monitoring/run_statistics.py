"""Figures of the runs of a signature that Triton's statistics have and the histograms lack.

A run has three stages: a worker thread gathers the rows of a batch, the model runs, and the event
loop gets the outputs. Like Triton, the statistics have each stage twice: over requests, where each
request of a batch counts the whole stage, and over runs, by the size of the batch.

Each batch is counted when it ends, in the event loop; a request costs nothing.
"""

from serving.engine.batching.batch_report import BatchReport

# Most batch sizes that are counted apart; further ones are left out. A version has more of them
# only if --max_batch_size is above this.
MAX_SIZES = 1024


class StageTotals:
    """The seconds of each stage, summed over requests or over runs.

    Attributes:
        count: Number of requests or runs.
        gathering: Seconds from taking a batch out of the queue to its run.
        running: Seconds of the run.
        delivering: Seconds from the run's end until the event loop has the outputs.
    """

    __slots__ = ("count", "delivering", "gathering", "running")

    def __init__(self) -> None:
        self.count = 0
        self.gathering = self.running = self.delivering = 0.0

    def add(self, count: int, gathering: float, running: float, delivering: float) -> None:
        """Add requests or runs that took the same time in each stage."""
        self.count += count
        self.gathering += count * gathering
        self.running += count * running
        self.delivering += count * delivering


class RunStatistics:
    """The figures of one signature; runs that failed count nothing.

    Attributes:
        requests: The stages over requests.
        sizes: The stages over runs, by rows without padding; a request that cannot share a run has
            the size 1, whatever its shape.
        runs: Number of runs.
        rows: Sum of their sizes.
        gathering: Seconds of `gathering` over all requests, whose time in the queue includes it.
        last: `time.monotonic()` when the newest batch was taken out of the queue; 0: none was.
    """

    __slots__ = ("gathering", "last", "requests", "rows", "runs", "sizes")

    def __init__(self) -> None:
        self.requests = StageTotals()
        self.sizes: dict[int, StageTotals] = {}
        self.runs = 0
        self.rows = 0
        self.gathering = 0.0
        self.last = 0.0

    def batch(self, report: BatchReport) -> None:
        """Count a batch."""
        runs, count = report.runs, len(report.waits)
        gathering = runs[0].started - report.taken
        delivering = report.delivered - runs[-1].ended
        self.gathering += count * gathering
        self.last = report.taken
        # After a failed batch, each request runs alone.
        share = count if len(runs) == 1 else 1
        for rows, padding, started, ended, failed in runs:
            if failed:
                continue
            size = 1 if rows is None else rows - padding
            self.runs += 1
            self.rows += size
            self.requests.add(share, gathering, ended - started, delivering)
            totals = self.sizes.get(size)
            if totals is None:
                if len(self.sizes) >= MAX_SIZES:
                    continue
                totals = self.sizes[size] = StageTotals()
            totals.add(1, gathering, ended - started, delivering)
