"""The report of one run as report.json holds it (schema version 2), and reading it back.

Here stand the report as a whole, what was sent to which model, the search for the highest rate and
the conditions of the measurement; `report_sections_schema` has what was measured. Units are in the
names; times are from the first due request of the run unless a name says UTC. A value that cannot
be known is None, never 0: the version behind a server that does not name it, for example. Lists and
tuples are JSON arrays.
"""

import json
from pathlib import Path
from typing import Any, Final, Literal, TypedDict, cast

from loadtest.report_sections_schema import (
    Accuracy,
    Check,
    Client,
    ErrorKind,
    Floor,
    Goodput,
    Latency,
    Mismatches,
    Requests,
    ServerTimes,
    Slo,
    Throughput,
    Validity,
    Window,
)

SCHEMA_VERSION: Final = 2
REPORT_FILE = "report.json"
# Beside it: every request's times and answers, as a NumPy archive.
RAW_FILE = "raw.npz"

Status = Literal["complete", "interrupted", "aborted"]
ScenarioKind = Literal["single-stream", "multi-stream", "server", "offline", "users"]
Loop = Literal["open", "closed"]
CapacityLimit = Literal["slo", "client", "steps", "time", "answers", "interrupted"]
Transport = Literal["tfs-grpc", "tfs-rest", "kserve-grpc"]


class Scenario(TypedDict):
    """What was sent, and when.

    Attributes:
        kind: MLPerf's scenarios in small letters; "users" is N callers that wait for answers.
        loop: "open": requests leave at times set beforehand, and latency counts from those.
            "closed": the next request waits for an answer, so a slow server is asked less often
            and no rate is offered.
        description: Kind and loop in words, for people ("closed loop, 32 users").
        plan: What ends the run, in words ("each of 10,000 test images once").
        offered_rate_per_second: Mean rate of the Poisson arrivals; None in a closed loop.
        users: Callers of a closed loop ("users"), else None.
        in_flight_cap: Requests under way at most. Open loop: a request that is due while so many
            are under way is not sent and counts as missed. Closed loop: always so many.
        connections: Connections over all processes.
        batch: Images a request (the last one of a pass may hold fewer).
        duration_seconds: As asked for; None: no such limit.
        requests: As asked for; None: no such limit.
        warmup_requests: Untimed requests sent before.
        slo_ms: Latency bound; None: none was set.
        slo_percentile: The percentile of latency that the bound and the validity rules are about.
        timeout_seconds: Deadline of a request.
        seeds: "order" decides the order of the images, "schedule" the arrival times.
        request_bytes: Smallest and largest request.
    """

    kind: ScenarioKind
    loop: Loop
    description: str
    plan: str
    offered_rate_per_second: float | None
    users: int | None
    in_flight_cap: int
    connections: int
    batch: int
    duration_seconds: float | None
    requests: int | None
    warmup_requests: int
    slo_ms: float | None
    slo_percentile: float
    timeout_seconds: float
    seeds: dict[str, int]
    request_bytes: tuple[int, int]


class Model(TypedDict):
    """What was asked, and what answered.

    Attributes:
        name: Model name.
        version_asked_for: None: the latest.
        answers_by_version: Answered requests by version; key "unknown": the server did not say.
        precision: Of the artefact ("fp32", "int8"): as --precision, the server's metrics page or
            the record says; None: nobody did.
        provider: What runs the model ("CPUExecutionProvider"), likewise.
        input: Name, dtype (NumPy's name) and shape of what was sent, as the server's metadata
            asks for it.
        output: Name of the output that was scored; None before the first answer.
    """

    name: str
    version_asked_for: int | None
    answers_by_version: dict[str, int]
    precision: str | None
    provider: str | None
    input: dict[str, Any]
    output: str | None


class CapacityStep(TypedDict):
    """One rate that was tried.

    Attributes:
        phase: "probe" (doubling), "bisect" or "confirm".
        offered_rate_per_second: Mean rate of the Poisson arrivals.
        passed: Bound and gates met, and valid.
        reason: Why not; empty if it passed.
        client_limited: It failed because of the load generator, not of the server.
        n: Scheduled requests.
        answered: See Requests, as are the next two.
        failed: Likewise.
        missed: Likewise.
        over: See Slo.
        p50_ms: Latency; None where there are too few requests.
        percentile_ms: Latency at the percentile of the bound, likewise.
        goodput_per_second: See Goodput.
        top1: See Accuracy.
        wrong: See Requests.
        client_cpu_share: See Client.
        lag_p99_ms: See Lag.
        seconds: How long it took, warm-up included.
    """

    phase: Literal["probe", "bisect", "confirm"]
    offered_rate_per_second: float
    passed: bool
    reason: str
    client_limited: bool
    n: int
    answered: int
    failed: int
    missed: int
    over: int
    p50_ms: float | None
    percentile_ms: float | None
    goodput_per_second: float | None
    top1: float | None
    wrong: int
    client_cpu_share: float
    lag_p99_ms: float | None
    seconds: float


class Capacity(TypedDict):
    """The highest Poisson rate that meets the bound (`find-capacity`).

    The report around it is that of the confirmation run, or of the last run if no rate passed.

    Attributes:
        rate_per_second: The highest rate that passed and was confirmed; None: none did.
        confirmed: Whether a longer run at that rate passed as well.
        limited_by: "slo"; "client": the load generator could not do more; "steps" or "time": the
            search ended first; "answers": they were wrong, so it was given up; "interrupted".
        failed_rate_per_second: The lowest rate that failed; None: none did.
        slo_ms: The bound.
        percentile: Of which latency.
        min_accuracy: Top-1 that a step had to reach; None: none was set.
        steps: Every run of the search, in order.
        seconds: How long the search took.
    """

    rate_per_second: float | None
    confirmed: bool
    limited_by: CapacityLimit
    failed_rate_per_second: float | None
    slo_ms: float
    percentile: float
    min_accuracy: float | None
    steps: list[CapacityStep]
    seconds: float


class Data(TypedDict):
    """The test images.

    Attributes:
        images: How many there are.
        sha256: Of pixels and labels, see training's Split.sha256.
        source: Last part of the path they were read from.
        variant: Their form ("cifar-10-binary") if the model's record is of the same images.
    """

    images: int
    sha256: str
    source: str | None
    variant: str | None


class Artefact(TypedDict):
    """The model file that answered, as its record names it.

    Attributes:
        file: Its name.
        sha256: Digest of the file.
        bytes: Its size.
    """

    file: str | None
    sha256: str | None
    bytes: int | None


class Manifest(TypedDict):
    """What the figures were measured with, and from.

    Attributes:
        started_utc: ISO 8601.
        finished_utc: ISO 8601.
        git_commit: Of the load generator; "-dirty" if its files were changed since.
        versions: Python and libraries by name.
        cpu: The processor's name.
        cores: Cores that this process may use.
        cgroup_cpu_quota_cores: Processor time allowed by the control group; None: no limit.
        machine: Architecture.
        load_average_1_min_at_start: Above the number of cores, something else was running too.
        data: The images.
        artefact: The model file; None if --models-dir was not given or has no record.
        settings: Every setting of the command line, as it was in force.
    """

    started_utc: str
    finished_utc: str
    git_commit: str | None
    versions: dict[str, str]
    cpu: str | None
    cores: int | None
    cgroup_cpu_quota_cores: float | None
    machine: str
    load_average_1_min_at_start: float | None
    data: Data
    artefact: Artefact | None
    settings: dict[str, Any]


class Report(TypedDict):
    """One run.

    Attributes:
        schema_version: 2.
        name: Label of the run.
        status: "complete"; "interrupted" by a signal; "aborted" because going on was pointless.
        stop_reason: Why it did not complete; None if it did.
        target: `host:port`.
        transport: API that was spoken.
        model: See Model, and so on for each section.
        scenario: What was sent.
        requests: Counts.
        errors: By gRPC status name, HTTP_<code>, BAD_RESPONSE (not scorable) or WRONG_ANSWER (see
            `mismatches`), most frequent first.
        latency_ms: Percentiles and histogram.
        throughput: Rates.
        slo: None if no bound was set, as goodput.
        goodput: Rates of good answers.
        accuracy: Of the same answers.
        mismatches: None where no recorded prediction of the artefact is known.
        server: None unless --server-timing was given and answers carried it.
        client: The load generator.
        windows: Second by second.
        floor: None unless it was measured (--floor).
        validity: VALID or not, and why.
        gates: Those that were asked for; any failed one ends the program with exit code 1.
        capacity: None except for `find-capacity`.
        manifest: What it was measured with.
        warnings: What a reader should know and no rule forbids.
    """

    schema_version: Literal[2]
    name: str
    status: Status
    stop_reason: str | None
    target: str
    transport: Transport
    model: Model
    scenario: Scenario
    requests: Requests
    errors: dict[str, ErrorKind]
    latency_ms: Latency
    throughput: Throughput
    slo: Slo | None
    goodput: Goodput | None
    accuracy: Accuracy
    mismatches: Mismatches | None
    server: ServerTimes | None
    client: Client
    windows: list[Window]
    floor: Floor | None
    validity: Validity
    gates: list[Check]
    capacity: Capacity | None
    manifest: Manifest
    warnings: list[str]


class Gpu(TypedDict):
    """The GPU as nvidia-smi names it; memory of all its processes together."""

    name: str
    driver: str
    memory_used_bytes: int


class ServerProcess(TypedDict):
    """A server that the load test started itself, on the same machine, over one result.

    Attributes:
        flags: Its command line without the model folder and the ports.
        cpu_seconds: Processor time of it and its workers, warm-up requests included.
        cpu_us_per_request: The same over all requests; None if none was finished.
        memory_bytes: Resident memory afterwards, workers included.
        gpu: None if it runs on none.
    """

    flags: list[str]
    cpu_seconds: float
    cpu_us_per_request: float | None
    memory_bytes: int
    gpu: Gpu | None


class ReportError(ValueError):
    """A file is no report that this version can read."""


def read(path: Path) -> Report:
    """Read the report.json of one run.

    Args:
        path: The file, or the folder that holds it.

    Raises:
        ReportError: It cannot be read, is no report, or has another schema version.
    """
    return cast("Report", read_document(path / REPORT_FILE if path.is_dir() else path))


def read_document(file: Path) -> dict[str, Any]:
    """Read a report.json, be it of one run or of several, and check its schema version.

    Raises:
        ReportError: It cannot be read, is no report, or has another schema version.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"cannot read a report from {file}: {error}"
        raise ReportError(msg) from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION:
        msg = (
            f"{file} has schema_version {version}, expected {SCHEMA_VERSION}; "
            "measure again with this version"
        )
        raise ReportError(msg)
    return cast("dict[str, Any]", document)
