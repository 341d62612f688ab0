"""The interface of a view of runs in progress, and what a session tells it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from loadtest.figures.agreement import Agreement
from loadtest.figures.published_answers import Record
from loadtest.generator.recording import Integers
from loadtest.load.plan import Plan, Progress
from loadtest.load.scenarios import SettledLoad
from loadtest.report_data_schema import Unit
from loadtest.rows.images import Queries
from loadtest.settings.config import LoadTestConfig
from loadtest.transports.api import Api


@dataclass(frozen=True, kw_only=True)
class Briefing:
    """What a view needs to score the answers of a session's runs. It is pickled.

    Attributes:
        config: Settings of the runs.
        api: The API that parses answers.
        queries: The images of each query.
        sent_queries: Number of distinct queries that are sent in turn.
        rows: Number of rows.
        unit: What they are.
        labels: int64, shape (rows,): true class of each row; None if unknown.
        class_names: Names of the classes; empty if unknown.
        record: The record of the version that answered before the run, the reason why there is
            none, or None if no comparison was requested.
        agreement: The recorded answers of the rows; None without.
    """

    config: LoadTestConfig
    api: Api
    queries: Queries
    sent_queries: int
    rows: int
    unit: Unit
    labels: Integers | None
    class_names: tuple[str, ...]
    record: Record | str | None
    agreement: Agreement | None


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """A run that begins now.

    Attributes:
        load: Its load.
        step: Text about the step of a search that the run is; None for a run of its own.
        correlated: Whether the latency bound allows for correlated requests. The short steps of a
            search cannot tell how far requests are correlated.
    """

    load: SettledLoad
    step: str | None = None
    correlated: bool = True


def expected_seconds(plan: Plan) -> float | None:
    """Return how long a plan sends; None for a closed loop with a number of requests."""
    if plan.duration_seconds is None and plan.requests and plan.rate_per_second:
        return plan.requests / plan.rate_per_second
    return plan.duration_seconds


class Watcher(Protocol):
    """Shows runs in progress."""

    async def brief(self, ask: Callable[[], Briefing], expected_seconds: float | None) -> None:
        """Take note of a session that has started, and get ready before its first run.

        Args:
            ask: Returns the session's briefing.
            expected_seconds: How long the runs will take; None if unknown.
        """
        ...

    def begin(self, run: Beginning) -> None:
        """Show a run that begins now."""
        ...

    def show(self, progress: Progress) -> None:
        """Show the progress of the run."""
        ...

    def note(self, text: str) -> None:
        """Show a permanent line."""
        ...
