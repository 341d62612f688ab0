"""A simulated session of a load test: runs take no time, and latencies follow from the rate."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import structs
from sample_results.load_reports import report

from loadtest.figures.samples import Asked
from loadtest.figures.scoring import Scorer
from loadtest.generator.recording import Recorder
from loadtest.load.plan import Progress
from loadtest.load.scenarios import SettledLoad
from loadtest.report_schema import Report
from loadtest.rows.images import Queries
from loadtest.session.session import Measurement
from loadtest.session.watcher import Beginning
from loadtest.settings.config import LoadTestConfig


def config_of_a_run(**settings: Any) -> LoadTestConfig:
    """Return the settings of a run; the latency bound is 1 s by default."""
    return LoadTestConfig(
        target="localhost:8500",
        model="simcnn",
        output_dir=Path(),
        name="run",
        **{"slo_ms": 1000, **settings},
    )


def measurement(document: Report, latencies_ns: np.ndarray) -> Measurement:
    """Return a run with these latencies, whose report is `document`."""
    recorder = Recorder()
    for number in range(len(latencies_ns)):
        recorder.answer(number, 0, 0, (number + 1) * 1_000_000, b"")
    queries = Queries(np.arange(len(latencies_ns)), 1)
    scores = Scorer(None, queries, np.zeros(len(latencies_ns))).score(Recorder().recording())
    return Measurement(
        report=document,
        recording=recorder.recording(),
        scores=replace(scores, latency_ns=latencies_ns),
        asked=Asked(queries=queries.table, labels=np.zeros(len(latencies_ns)), predictions=None),
    )


class NoteTaker:
    """A watcher that keeps the runs that began, and the permanent lines."""

    def __init__(self) -> None:
        self.runs: list[Beginning] = []
        self.notes: list[str] = []

    async def brief(self, *_: object) -> None:
        """Ask for nothing."""

    def begin(self, run: Beginning) -> None:
        """Keep a run."""
        self.runs.append(run)

    def show(self, progress: Progress) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Keep a line."""
        self.notes.append(text)


class FastUpTo:
    """A session whose server answers in 1 ms up to a rate, and in 2 s above it.

    Attributes:
        asked: The load of each run.
        reasons: The reasons given to `stop`.
        differing: Number of answers in each run that differ from the record.
        status: The status in each run's report.
    """

    def __init__(self, limit: float = 300, *, differing: int = 0, status: str = "complete") -> None:
        """Take the rate, in requests a second, up to which answers take 1 ms."""
        self.limit = limit
        self.differing = differing
        self.status = status
        self.asked: list[SettledLoad] = []
        self.reasons: list[str] = []

    def stop(self, reason: str) -> None:
        """Record the reason."""
        self.reasons.append(reason)

    def briefing(self) -> None:
        """Return nothing: NoteTaker does not ask."""

    async def floor(self, load: SettledLoad) -> tuple[str, SettledLoad]:
        """Return the load in place of a floor, so that a test finds it in the report."""
        return ("floor", load)

    async def measure(
        self, config: LoadTestConfig, load: SettledLoad, on_progress: Callable[[Progress], None]
    ) -> Measurement:
        """Return a run's report and its latencies at once."""
        self.asked.append(load)
        rate, n = config.rate_per_second, load.plan.requests
        slow = rate is not None and rate > self.limit
        document = report(kind="server", rate=rate or 1, n=n, slo_ms=config.slo_ms, seed=n)
        over = n if slow else 0
        on_progress(Progress(over=min(over, 1)))  # one request over the bound is always allowed
        on_progress(Progress(finished=n, failed=0, missed=0, in_flight=0, over=over))
        latencies_ns = np.full(n, 2_000_000_000 if slow else 1_000_000)
        document = structs.replace(
            document,
            status=self.status,
            slo=structs.replace(document.slo, percentile=load.percentile, over=over, met=not slow),
            mismatches=structs.replace(document.mismatches, differing=self.differing),
            latency_ms=structs.replace(document.latency_ms, p50=2000.0 if slow else 1.0),
        )
        return measurement(document, latencies_ns)
