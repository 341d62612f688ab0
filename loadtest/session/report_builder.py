"""Builds the report of a finished run from its parts."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from loadtest.figures import bounds, manifest, phases, sections
from loadtest.figures.availability import availability
from loadtest.figures.manifest import Environment
from loadtest.figures.published_answers import Record
from loadtest.figures.scoring import Scores
from loadtest.generator.recording import Recording
from loadtest.load.images import source_name
from loadtest.load.replay import Replay
from loadtest.load.scenarios import SettledLoad
from loadtest.load.shapes import Shape
from loadtest.report_schema import (
    SCHEMA_VERSION,
    Artefact,
    Data,
    Manifest,
    Model,
    Report,
    Scenario,
    Status,
)
from loadtest.report_sections_schema import Floor, Requests, Throughput
from loadtest.report_traffic_schema import ReplayedTraffic
from loadtest.settings.config import LoadTestConfig
from loadtest.transports.api import Api
from loadtest.verdict import changing_load, validity
from training.data.cifar10 import Split


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """The parts of a finished run.

    Attributes:
        config: Settings of the run.
        load: The load that follows from the settings.
        api: The API that was used.
        split: The test images.
        environment: Environment of the load generator before the run.
        recording: Raw results.
        scores: The scored answers.
        record: The published record, the reason why there is none, or None if no comparison was
            requested.
        precision: Precision of the graph that answered; None if unknown.
        provider: Execution provider of the server; None if unknown.
        floor: Figures of the same load on the null server; None if not measured.
        request_bytes: Sizes of the smallest and the largest request.
        started: When the run began.
        finished: When it ended.
    """

    config: LoadTestConfig
    load: SettledLoad
    api: Api
    split: Split
    environment: Environment
    recording: Recording
    scores: Scores
    record: Record | str | None
    precision: str | None
    provider: str | None
    floor: Floor | None
    request_bytes: tuple[int, int]
    started: datetime
    finished: datetime

    def report(self) -> Report:
        """Return the report, without gates and capacity."""
        config, load, recording, scores = self.config, self.load, self.recording, self.scores
        open_loop = load.loop == "open"
        kind, reason = recording.stop or ("complete", None)
        requests = self._requests()
        latency = sections.latency(scores.latency_ns)
        throughput = sections.throughput(recording, scores, open_loop=open_loop)
        accuracy = sections.accuracy(scores, self.record)
        mismatches = sections.mismatches(recording, scores, self.record)
        client = sections.client(recording, open_loop=open_loop)
        slo = goodput = None
        if config.slo_ms is not None:
            slo = bounds.slo(recording, scores, config.slo_ms, load.percentile)
            goodput = bounds.goodput(recording, scores, config.slo_ms)
        return Report(
            schema_version=SCHEMA_VERSION,
            name=config.name,
            status=cast("Status", kind),
            stop_reason=reason,
            target=config.target,
            transport=config.transport,
            tls=config.connection.tls,
            compression=config.connection.compression,
            model=self._model(),
            scenario=self._scenario(),
            requests=requests,
            errors=sections.errors(scores, mismatches),
            latency_ms=latency,
            throughput=throughput,
            slo=slo,
            goodput=goodput,
            availability=availability(recording, scores, open_loop=open_loop),
            accuracy=accuracy,
            mismatches=mismatches,
            server=sections.server_times(recording, scores),
            client=client,
            windows=sections.windows(recording, scores),
            phases=phases.phases(recording, scores, load.plan, config.slo_ms),
            floor=self.floor,
            validity=validity.judge(
                load,
                stop_reason=reason,
                images=len(self.split),
                requests=requests,
                latency=latency,
                throughput=throughput,
                accuracy=accuracy,
                slo=slo,
                client=client,
                thirds=sections.thirds(recording, scores),
                wrong_images=0 if mismatches is None else mismatches.differing,
                alike=phases.alike(recording, scores, load.plan),
            ),
            gates=[],
            capacity=None,
            manifest=self._manifest(),
            warnings=self._warnings(throughput),
        )

    def _requests(self) -> Requests:
        recording, scores = self.recording, self.scores
        missed = len(recording.missed_due_ns)
        return Requests(
            scheduled=recording.sent + missed,
            sent=recording.sent,
            missed=missed,
            answered=scores.answered,
            failed=scores.failed,
            unfinished=recording.sent - recording.finished,
            wrong=int(scores.wrong.sum()),
            warmup=recording.warmup_sent,
            warmup_failed=recording.warmup_failed,
        )

    def _scenario(self) -> Scenario:
        config, load, course = self.config, self.load, self.load.plan.course
        return Scenario(
            kind=load.kind,
            loop=load.loop,
            description=load.description,
            plan=load.ends,
            offered_rate_per_second=load.plan.rate_per_second,
            shape=course.words if isinstance(course, Shape) else None,
            replay=(
                ReplayedTraffic(
                    file=course.source,
                    sha256=course.sha256,
                    speed=course.speed,
                    left_out=course.left_out,
                )
                if isinstance(course, Replay)
                else None
            ),
            stream=config.stream,
            mix=config.mix,
            users=load.users,
            in_flight_cap=load.in_flight,
            connections=load.connections,
            batch=load.batch,
            duration_seconds=config.duration_seconds,
            requests=config.requests,
            warmup_requests=self.recording.warmup_sent,
            slo_ms=config.slo_ms,
            slo_percentile=load.percentile,
            timeout_seconds=config.timeout_seconds,
            seeds={"order": config.seed, "schedule": config.schedule_seed},
            request_bytes=self.request_bytes,
        )

    def _model(self) -> Model:
        config, known = self.config, self.api.model_input
        precision = self.precision
        if precision is None and isinstance(self.record, Record):
            precision = self.record.precision
        return Model(
            name=config.model,
            version_asked_for=config.version,
            version_label=config.version_label,
            answers_by_version=sections.answers_by_version(self.scores.versions),
            precision=precision,
            provider=self.provider,
            input={
                "name": known.name,
                "dtype": known.dtype,
                "shape": None if known.shape is None else list(known.shape),
            },
            output=self.scores.output,
        )

    def _manifest(self) -> Manifest:
        environment, record = self.environment, self.record
        known = record if isinstance(record, Record) else None
        return Manifest(
            started_utc=_utc(self.started),
            finished_utc=_utc(self.finished),
            git_commit=environment.git_commit,
            versions=environment.versions,
            cpu=environment.cpu,
            cores=environment.cores,
            cgroup_cpu_quota_cores=environment.cgroup_cpu_quota_cores,
            machine=environment.machine,
            load_average_1_min_at_start=environment.load_average_1_min_at_start,
            data=Data(
                images=len(self.split),
                sha256=self.split.sha256(),
                source=source_name(self.config.data_dir),
                variant=known.data_variant if known is not None else None,
            ),
            artefact=(
                None
                if known is None
                else Artefact(file=known.file, sha256=known.sha256, bytes=known.bytes)
            ),
            settings=manifest.settings(self.config),
        )

    def _warnings(self, throughput: Throughput) -> list[str]:
        scores = self.scores
        warnings = [text for text in [changing_load.note(self.load.plan)] if text]
        images = int(scores.used.sum())
        distinct = len({*scores.images[scores.used].tolist()})
        if images > distinct:
            warnings.append(
                f"{images:,} answers to {distinct:,} different images: the interval of top-1 "
                "counts each image once"
            )
        if images and distinct < len(self.split):
            warnings.append(
                f"{distinct:,} of {len(self.split):,} test images answered: top-1 is a sample"
            )
        if len(scores.versions) > 1:
            warnings.append(f"{len(scores.versions)} model versions answered: the figures mix them")
        offered, asked = (
            throughput.offered_requests_per_second,
            self.load.plan.rate_per_second,
        )
        done = throughput.requests_per_second
        if offered and asked and done and done < 0.9 * offered:
            warnings.append(
                f"{done:,.1f} of {offered:,.1f} requests/s were answered: the server is overloaded"
            )
        cores, busy = self.environment.cores, self.environment.load_average_1_min_at_start
        if cores and busy and busy > cores:
            warnings.append(
                f"load average {busy:g} on {cores} cores before the run: other programs were "
                "running, so tail latencies are unreliable"
            )
        return warnings


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
