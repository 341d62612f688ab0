"""A load test of one model on one server: discover the model's inputs, then measure runs."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from msgspec import structs

from loadtest.figures import manifest, published_answers, samples
from loadtest.figures.agreement import Agreement
from loadtest.figures.manifest import Environment
from loadtest.figures.published_answers import Record
from loadtest.figures.samples import Asked, Samples
from loadtest.figures.scoring import Scorer, Scores
from loadtest.generator import start_gate
from loadtest.generator.assignment import Assignment
from loadtest.generator.fleet import Fleet, fleet
from loadtest.generator.recording import Recording
from loadtest.load.plan import Progress
from loadtest.load.scenarios import SettledLoad
from loadtest.report_schema import Report
from loadtest.report_sections_schema import Floor
from loadtest.rows.dataset import Dataset, Source
from loadtest.servers import description
from loadtest.servers.description import ServedModel
from loadtest.session import null_run
from loadtest.session.first_request import FirstRequest, discover
from loadtest.session.report_builder import FinishedRun
from loadtest.session.stolen_time import StolenTime
from loadtest.session.stop_signals import leave_closed_terminal, stop_reason, stop_signals
from loadtest.session.watcher import Beginning, Briefing, Watcher, expected_seconds
from loadtest.settings.config import PLAIN, LoadTestConfig, UsageError
from loadtest.transports.api import CallError


@dataclass(frozen=True)
class Measurement:
    """A run's report and its raw values.

    Attributes:
        report: The report.
        recording: The raw outcome of every request.
        scores: Its answers.
        asked: The images of its requests.
    """

    report: Report
    recording: Recording
    scores: Scores
    asked: Asked

    def samples(self) -> Samples:
        """Return the samples of every request."""
        return samples.collect(self.recording, self.scores, self.asked, self.report.scenario)


class Session:
    """The rows, API and generators that all runs on one model share."""

    def __init__(
        self,
        config: LoadTestConfig,
        *,
        dataset: Dataset,
        agreement: Agreement | None,
        environment: Environment,
        assignment: Assignment,
        generators: Fleet,
        answer: bytes,
        says: ServedModel | None,
    ) -> None:
        """Store the parts that `open_session` created."""
        self._config = config
        self._dataset = dataset
        self._agreement = agreement
        self._environment = environment
        self._assignment = assignment
        self._generators = generators
        self._answer = answer
        self._says = says
        self._queries = assignment.known_queries(len(dataset))
        self._sent_queries = assignment.sent_queries(len(dataset))
        self._scorer = Scorer(assignment.api, self._queries, dataset.labels, agreement)

    async def measure(
        self, config: LoadTestConfig, load: SettledLoad, on_progress: Callable[[Progress], None]
    ) -> Measurement:
        """Run a load until it ends, a signal interrupts it, or the generators abort it.

        Args:
            config: The session's settings; only rate, requests and duration may differ.
            load: The load that follows from the settings.
            on_progress: Called a few times a second.
        """
        started, stolen_time = datetime.now(UTC), StolenTime()
        with self._signals():
            recording = await self._generators.run(replace(load.plan, watched=True), on_progress)
        finished, stolen = datetime.now(UTC), stolen_time.share()
        scores = self._score(recording)
        record = await self._record(scores.versions)
        if isinstance(record, Record) and record.predictions is not None:
            scores = self._score(recording, record)
        run = FinishedRun(
            config=config,
            load=load,
            api=self._assignment.api,
            dataset=self._dataset,
            agreement=self._agreement,
            environment=self._environment,
            recording=recording,
            scores=scores,
            record=record,
            precision=self._precision(scores.versions),
            provider=config.provider or (self._says.provider if self._says else None),
            floor=None,
            request_bytes=self._generators.request_bytes,
            started=started,
            finished=finished,
            stolen=stolen,
        )
        predictions = record.predictions if isinstance(record, Record) else None
        if self._agreement is not None:
            predictions = self._agreement.classes
        asked = Asked(
            queries=self._queries.table[: self._sent_queries],
            labels=self._dataset.labels,
            predictions=predictions,
        )
        return Measurement(run.report(), recording, scores, asked)

    def briefing(self) -> Briefing:
        """Return what a view of the runs needs to score their answers."""
        record: Record | str | None = None
        config, api = self._config, self._assignment.api
        if config.models_dir is not None and self._dataset.labels is not None:
            version = api.parse(self._answer, len(self._queries.image_ids(0))).version
            version = api.served_version if version is None else version
            record = "the version that answers is not known"
            if version is not None:
                precision = self._precision({version})
                record = published_answers.read(
                    config.models_dir, config.model, version, precision, self._dataset
                )
        return Briefing(
            # The other settings, with keys of the connection among them, are not for a view.
            config=replace(config, connection=PLAIN),
            api=api,
            queries=self._queries,
            sent_queries=self._sent_queries,
            rows=len(self._dataset),
            unit=self._dataset.unit,
            labels=self._dataset.labels,
            class_names=self._dataset.class_names,
            record=record,
            agreement=self._agreement,
        )

    def stop(self, reason: str) -> None:
        """Abort the current run.

        Args:
            reason: Explanation for the report.
        """
        self._generators.stop("aborted", reason)

    async def floor(self, load: SettledLoad) -> Floor:
        """Measure the same load on a null server.

        Raises:
            UsageError: The null server does not start.
        """
        return await null_run.measure(
            load.plan,
            self._assignment,
            dataset=self._dataset,
            processes=self._config.processes,
            answer=self._answer,
        )

    def _score(self, recording: Recording, record: Record | None = None) -> Scores:
        return self._scorer.score(
            recording,
            sent_queries=self._sent_queries,
            predictions=record.predictions if record is not None else None,
        )

    async def _record(self, versions: dict[int | None, int]) -> Record | str | None:
        """Return the published record of the version and precision that answered.

        Returns:
            The record, the reason why there is none, or None without --models-dir.
        """
        config = self._config
        if config.models_dir is None:
            return None
        if self._dataset.labels is None:
            return "the rows have no labels, which recorded predictions are found by"
        if set(versions) == {None}:
            # If answers name no version, use the metadata's version if it has not changed.
            served = await self._served_version()
            if served is not None:
                versions = {served: versions[None]}
        if len(versions) != 1 or None in versions:
            seen = ", ".join("unknown" if known is None else str(known) for known in versions)
            return f"versions {seen or 'none'} answered, expected exactly one to compare"
        (version,) = (known for known in versions if known is not None)
        return published_answers.read(
            config.models_dir, config.model, version, self._precision(versions), self._dataset
        )

    def _precision(self, versions: Iterable[int | None]) -> str | None:
        """Return the precision of the graph that answered.

        It is --precision if given, else the precision on the metrics page if the page names the
        version that answered, else None.
        """
        if self._config.precision is not None or self._says is None:
            return self._config.precision
        return self._says.precision if set(versions) <= {self._says.version, None} else None

    async def _served_version(self) -> int | None:
        """Return the version in the server's metadata if it is the same as before the run."""
        before = self._assignment.api.served_version
        with contextlib.suppress(CallError, UsageError):
            if (await discover(self._config)).served_version == before:
                return before
        return None

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Handle `stop_signals`: the first one stops the run, the second cancels its requests.

        After the first signal the requests under way may finish.
        """
        loop = asyncio.get_running_loop()
        signals = stop_signals()
        interrupted = False

        def interrupt(received: signal.Signals) -> None:
            nonlocal interrupted
            leave_closed_terminal()
            if interrupted:
                self._generators.abandon()
            interrupted = True
            self._generators.stop("interrupted", stop_reason(received))

        for number in signals:
            loop.add_signal_handler(number, interrupt, number)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)


@contextlib.asynccontextmanager
async def open_session(
    config: LoadTestConfig, source: Source, load: SettledLoad, *, every_query: bool = False
) -> AsyncIterator[Session]:
    """Discover the model's inputs, send one request, and start the generators.

    Args:
        config: Settings of the runs.
        source: The rows that are sent.
        load: The load that follows from the settings; its batch and connections hold for all runs.
        every_query: Build requests for all rows, instead of only as many as the load sends.

    Raises:
        UsageError: The server cannot be reached, refuses the request (its message is quoted), or
            gives an answer that cannot be scored; or the rows do not fit the model.
    """
    environment = manifest.describe()
    first = await FirstRequest(config, source, load, every_query=every_query).send()
    # Ask after the first request: a server may show no figures before it.
    served = await asyncio.to_thread(description.ask, config.target, config.connection)
    says = served.models.get(config.model)
    gate = start_gate.from_environment()
    async with fleet(
        first.assignment, first.dataset, config.processes, gate, realtime=config.realtime
    ) as generators:
        yield Session(
            config,
            dataset=first.dataset,
            agreement=first.agreement,
            environment=environment,
            assignment=first.assignment,
            generators=generators,
            answer=first.body,
            says=says,
        )


async def run(
    config: LoadTestConfig, load: SettledLoad, source: Source, watcher: Watcher
) -> Measurement:
    """Measure one run.

    Args:
        config: Settings of the run.
        load: The load that follows from the settings, see `scenarios.settle`.
        source: The rows that are sent.
        watcher: Shows the run.

    Raises:
        UsageError: The run cannot start.
    """
    async with open_session(config, source, load) as session:
        await watcher.brief(session.briefing, expected_seconds(load.plan))
        below = await session.floor(load) if config.floor else None
        watcher.begin(Beginning(load=load))
        measurement = await session.measure(config, load, watcher.show)
    return replace(measurement, report=structs.replace(measurement.report, floor=below))
