"""Builds the report of a finished run from its parts."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from loadtest.figures import bounds, manifest, phases, sections
from loadtest.figures.agreement import Agreement
from loadtest.figures.availability import availability
from loadtest.figures.manifest import Environment
from loadtest.figures.published_answers import Record
from loadtest.figures.scoring import Scores
from loadtest.generator import realtime
from loadtest.generator.recording import Recording
from loadtest.load.replay import Replay
from loadtest.load.scenarios import SettledLoad
from loadtest.load.shapes import Shape
from loadtest.report_data_schema import Checked, Data
from loadtest.report_schema import (
    SCHEMA_VERSION,
    Artefact,
    Manifest,
    Model,
    Report,
    Scenario,
    Status,
)
from loadtest.report_sections_schema import Floor, Requests, Throughput
from loadtest.report_traffic_schema import ReplayedTraffic
from loadtest.rows.dataset import Dataset
from loadtest.session import stolen_time
from loadtest.settings.config import LoadTestConfig
from loadtest.transports.api import DEFAULT_MODEL_INPUT, Api, ModelInput
from loadtest.verdict import changing_load, validity

# Figures of single classes and matrices of more classes would fill pages.
_MOST_CLASSES = 20


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """The parts of a finished run.

    Attributes:
        config: Settings of the run.
        load: The load that follows from the settings.
        api: The API that was used.
        dataset: The rows that were sent.
        agreement: The recorded answers, but for those of a published record; None without any.
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
        stolen: Share of the cores' time that the hypervisor took meanwhile; None if unknown.
    """

    config: LoadTestConfig
    load: SettledLoad
    api: Api
    dataset: Dataset
    agreement: Agreement | None
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
    stolen: float | None

    def report(self) -> Report:
        """Return the report, without gates and capacity."""
        config, load, recording, scores = self.config, self.load, self.recording, self.scores
        open_loop = load.loop == "open"
        kind, reason = recording.stop or ("complete", None)
        requests = self._requests()
        latency = sections.latency(scores.latency_ns)
        throughput = sections.throughput(recording, scores, open_loop=open_loop)
        names = self.dataset.class_names
        names = names if len(names) <= _MOST_CLASSES else ()
        accuracy = sections.accuracy(scores, self.record, names)
        mismatches = sections.mismatches(recording, scores)
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
            errors=sections.errors(scores, mismatches, self.dataset.unit),
            latency_ms=latency,
            throughput=throughput,
            slo=slo,
            goodput=goodput,
            availability=availability(recording, scores, open_loop=open_loop),
            accuracy=accuracy,
            mismatches=mismatches,
            checked=self._checked(),
            server=sections.server_times(recording, scores),
            client=client,
            windows=sections.windows(recording, scores),
            phases=phases.phases(recording, scores, load.plan, config.slo_ms),
            floor=self.floor,
            validity=validity.judge(
                load,
                stop_reason=reason,
                images=len(self.dataset),
                unit=self.dataset.unit,
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
        config = self.config
        known, *further = map(_input, self.api.inputs or (DEFAULT_MODEL_INPUT,))
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
            input=known,
            further_inputs=further,
            output=self.scores.output,
        )

    def _checked(self) -> Checked:
        """Return what the answers were checked against."""
        labelled, agreement, record = self.dataset.labels is not None, self.agreement, self.record
        origin = rule = None
        if agreement is not None:
            origin, rule = agreement.source, agreement.rule
        elif isinstance(record, Record) and record.predictions is not None:
            origin, rule = "models-dir", record.predictions.rule
        return Checked(
            labels=labelled,
            no_labels=None if labelled else "the rows have no labels",
            record=origin,
            rule=rule,
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
            stolen_share=None if self.stolen is None else round(self.stolen, 4),
            data=Data(
                images=len(self.dataset),
                sha256=self.dataset.sha256(),
                source=self.dataset.source,
                variant=known.data_variant if known is not None else None,
                unit=self.dataset.unit,
            ),
            artefact=(
                None
                if known is None
                else Artefact(file=known.file, sha256=known.sha256, bytes=known.bytes)
            ),
            settings=manifest.settings(self.config),
        )

    def _warnings(self, throughput: Throughput) -> list[str]:
        scores, dataset = self.scores, self.dataset
        about_load = changing_load.note(self.load.plan)
        warnings = [*dataset.notes, *([about_load] if about_load else [])]
        checked = self._checked()
        if not checked.labels and checked.record is None:
            warnings.append(f"the answers were checked against {checked.text}")
        images = int(scores.used.sum())
        distinct = len({*scores.images[scores.used].tolist()})
        if images > distinct and dataset.labels is not None:
            warnings.append(
                f"{images:,} answers to {distinct:,} different {dataset.unit}: the interval of "
                f"top-1 counts each {dataset.unit.removesuffix('s')} once"
            )
        if images and distinct < len(dataset) and dataset.labels is not None:
            what = "test images" if dataset.unit == "images" else "rows"
            warnings.append(f"{distinct:,} of {len(dataset):,} {what} answered: top-1 is a sample")
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
        if self.config.realtime and (about_priority := realtime.note()):
            warnings.append(about_priority)
        if about_machine := stolen_time.note(self.stolen):
            warnings.append(about_machine)
        return warnings


def _input(known: ModelInput) -> dict[str, Any]:
    """Return an input as the report has it."""
    return {
        "name": known.name,
        "dtype": known.dtype,
        "shape": None if known.shape is None else list(known.shape),
    }


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
