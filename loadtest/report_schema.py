"""The report of one run and of several runs, as report.json holds them (schema version 2).

This module defines a report as a whole: what was sent to which model, the search for the highest
rate, and the conditions of the measurement. `report_sections_schema` defines what was measured, and
the conventions for units, times and unknown values, `report_data_schema` which rows were sent and
what their answers were checked against. `report_file` reads reports. The structs are also published
as `report.schema.json`, which `python -m loadtest.commands.schema` writes.
"""

from typing import Annotated, Any, Final, Literal

from msgspec import Struct

from loadtest.report_data_schema import Checked, Data
from loadtest.report_sections_schema import (
    Accuracy,
    Availability,
    Client,
    ErrorKind,
    Floor,
    Gate,
    Goodput,
    Latency,
    Mismatches,
    Requests,
    ServerTimes,
    Slo,
    Throughput,
    Validity,
    Window,
    means,
)
from loadtest.report_traffic_schema import LoadPhase, MixTotals, ReplayedTraffic

SCHEMA_VERSION: Final = 2
REPORT_FILE = "report.json"
# The file beside report.json with the samples of every request, as a NumPy archive.
RAW_FILE = "raw.npz"

Status = Literal["complete", "interrupted", "aborted"]
ScenarioKind = Literal["single-stream", "multi-stream", "server", "offline", "users"]
Loop = Literal["open", "closed"]
CapacityLimit = Literal["slo", "client", "steps", "time", "answers", "interrupted"]
Phase = Literal["probe", "bisect", "confirm"]
Transport = Literal["tfs-grpc", "tfs-rest", "kserve-grpc", "kserve-rest", "kserve-rest-binary"]
Compression = Literal["gzip", "deflate"]


class Scenario(Struct, frozen=True, kw_only=True):
    """The load: what was sent, and when."""

    kind: Annotated[
        ScenarioKind,
        means('MLPerf\'s scenarios in small letters; "users" is N callers that wait for answers.'),
    ]
    loop: Annotated[
        Loop,
        means(
            '"open": requests are sent at times set beforehand, and latency counts from those. '
            '"closed": the next request waits for an answer, so a slow server receives fewer '
            "requests and no rate is offered."
        ),
    ]
    description: Annotated[str, means('Kind and loop in words: "closed loop, 32 users".')]
    plan: Annotated[str, means('What ends the run, in words: "each of 10,000 test images once".')]
    offered_rate_per_second: Annotated[
        float | None, means("Mean rate of the arrivals; null in a closed loop.")
    ]
    shape: Annotated[
        str | None,
        means("How the planned rate changes, with its rates, in words; null for a constant one."),
    ] = None
    replay: Annotated[ReplayedTraffic | None, means("Null unless traffic was replayed.")] = None
    stream: Annotated[
        str | None,
        means("Name of the run in a mix of runs at the same time; null if it was alone."),
    ] = None
    mix: Annotated[str | None, means("All streams of the mix, in words; null as `stream`.")] = None
    users: Annotated[
        int | None, means('Callers of the scenario "users"; null for other scenarios.')
    ]
    in_flight_cap: Annotated[
        int,
        means(
            "Most requests in flight. Open loop: a request that is due while this many are in "
            "flight is not sent and counts as missed. Closed loop: always this many."
        ),
    ]
    connections: Annotated[int, means("Connections over all processes.")]
    batch: Annotated[int, means("Images in a request; the last request of a pass may hold fewer.")]
    duration_seconds: Annotated[float | None, means("--duration; null without this limit.")]
    requests: Annotated[int | None, means("--requests; null without this limit.")]
    warmup_requests: Annotated[int, means("Untimed requests sent before the run.")]
    slo_ms: Annotated[float | None, means("Latency bound; null if none was set.")]
    slo_percentile: Annotated[
        float, means("The percentile of latency that the bound and the validity rules apply to.")
    ]
    timeout_seconds: Annotated[float, means("Deadline of a request.")]
    seeds: Annotated[
        dict[str, int],
        means('"order" decides the order of the images, "schedule" the arrival times.'),
    ]
    request_bytes: Annotated[
        tuple[int, int],
        means("Size of the smallest and largest request; over gRPC before its compression."),
    ]


class Model(Struct, frozen=True, kw_only=True):
    """The requested model, and the versions that answered."""

    name: Annotated[str, means("Model name.")]
    version_asked_for: Annotated[
        int | None, means("Requested version; null if the latest was requested.")
    ]
    version_label: Annotated[
        str | None, means("Requested version label; null if none was requested.")
    ] = None
    answers_by_version: Annotated[
        dict[str, int],
        means('Answered requests by version; key "unknown" if the server named no version.'),
    ]
    precision: Annotated[
        str | None,
        means(
            'Precision of the artefact ("fp32", "int8") by --precision, the server\'s metrics page '
            "or the record; null if none of them names it."
        ),
    ]
    provider: Annotated[
        str | None,
        means(
            'Execution provider that runs the model ("CPUExecutionProvider") by --provider or the '
            "server's metrics page; null if neither names it."
        ),
    ]
    input: Annotated[
        dict[str, Any],
        means(
            "Name, dtype (NumPy's name) and shape of the sent tensor, as the server's metadata "
            "asks for it."
        ),
    ]
    further_inputs: Annotated[
        list[dict[str, Any]], means("The same of the model's other inputs, by name.")
    ] = []
    output: Annotated[str | None, means("Name of the scored output; null before the first answer.")]


class CapacityStep(Struct, frozen=True, kw_only=True):
    """One rate that the search tried."""

    phase: Annotated[Phase, means('"probe" (doubling), "bisect" or "confirm".')]
    offered_rate_per_second: Annotated[float, means("Mean rate of the Poisson arrivals.")]
    passed: Annotated[bool, means("Whether bound and gates were met and the run was valid.")]
    reason: Annotated[str, means("Why it failed; empty if it passed.")]
    client_limited: Annotated[
        bool, means("Whether it failed because of the load generator, not of the server.")
    ]
    n: Annotated[int, means("Scheduled requests.")]
    answered: Annotated[int, means("See Requests.")]
    failed: Annotated[int, means("See Requests.")]
    missed: Annotated[int, means("See Requests.")]
    over: Annotated[int, means("See Slo.")]
    p50_ms: Annotated[float | None, means("Median latency; null if the requests are too few.")]
    percentile_ms: Annotated[
        float | None,
        means("Latency at the percentile of the bound; null if the requests are too few."),
    ]
    goodput_per_second: Annotated[float | None, means("See Goodput.per_second.")]
    top1: Annotated[float | None, means("See Accuracy.")]
    wrong: Annotated[int, means("See Requests.")]
    client_cpu_share: Annotated[float, means("See Client.cpu_share.")]
    lag_p99_ms: Annotated[float | None, means("See Lag.")]
    seconds: Annotated[float, means("Duration of the step, warm-up included.")]
    cut_short: Annotated[
        bool,
        means(
            "Whether it ended early, normally as soon as it could no longer pass; its latencies "
            "and rates are then of the first seconds of an overload. False in reports of older "
            "versions."
        ),
    ] = False


class Capacity(Struct, frozen=True, kw_only=True):
    """The highest Poisson rate that meets the latency bound (`find-capacity`).

    The other sections of the report are those of the confirmation run; if no rate passed, of the
    last run.
    """

    rate_per_second: Annotated[
        float | None,
        means(
            "The confirmed rate; if none was confirmed, the highest rate that passed a short step "
            "below all that failed; null if none passed."
        ),
    ]
    confirmed: Annotated[bool, means("Whether a longer run at that rate passed as well.")]
    limited_by: Annotated[
        CapacityLimit,
        means(
            '"slo"; "client": the load generator reached its limit; "steps" or "time": the search '
            'ended first; "answers": answers were wrong, so the search stopped; "interrupted".'
        ),
    ]
    failed_rate_per_second: Annotated[
        float | None, means("The lowest failed rate above the reported one; null if none failed.")
    ]
    slo_ms: Annotated[float, means("The latency bound.")]
    percentile: Annotated[float, means("The percentile of latency that the bound applies to.")]
    min_accuracy: Annotated[
        float | None, means("Lowest top-1 with which a step passes; null if none was set.")
    ]
    steps: Annotated[list[CapacityStep], means("Every run of the searches, in order.")]
    seconds: Annotated[float, means("Duration of the searches and the confirmation.")]
    searches: Annotated[
        list[float | None],
        means(
            "The highest rate that passed a short step in each search; the confirmation began at "
            "their median. Empty in reports of older versions, which searched once."
        ),
    ] = []


class Artefact(Struct, frozen=True, kw_only=True):
    """The model file that answered, as its record names it."""

    file: Annotated[str | None, means("File name.")]
    sha256: Annotated[str | None, means("Digest of the file.")]
    bytes: Annotated[int | None, means("Size of the file.")]


class Manifest(Struct, frozen=True, kw_only=True):
    """The conditions of the measurement."""

    started_utc: Annotated[str, means("ISO 8601.")]
    finished_utc: Annotated[str, means("ISO 8601.")]
    git_commit: Annotated[
        str | None,
        means('Commit of the load generator; "-dirty" if its files differ from the commit.'),
    ]
    versions: Annotated[dict[str, str], means("Versions of Python and libraries by name.")]
    cpu: Annotated[str | None, means("The processor's name.")]
    cores: Annotated[int | None, means("Cores that the load generator may use.")]
    cgroup_cpu_quota_cores: Annotated[
        float | None, means("Processor time that the control group allows; null without a limit.")
    ]
    machine: Annotated[str, means("Architecture.")]
    load_average_1_min_at_start: Annotated[
        float | None, means("If it is above the number of cores, other programs were running.")
    ]
    stolen_share: Annotated[
        float | None,
        means(
            "Share of the time of all cores during the run that the hypervisor gave to other "
            "virtual machines, 0 to 1; null where the system does not tell."
        ),
    ] = None
    data: Data
    artefact: Annotated[
        Artefact | None,
        means("The model file; null if --models-dir was not given or has no record."),
    ]
    settings: Annotated[dict[str, Any], means("Every setting of the command line.")]


class Report(Struct, frozen=True, kw_only=True):
    """The report of one run."""

    schema_version: Literal[2]
    name: Annotated[str, means("Label of the run.")]
    status: Annotated[
        Status,
        means('"complete"; "interrupted" by a signal; "aborted" because going on was pointless.'),
    ]
    stop_reason: Annotated[str | None, means("Why the run ended early; null if it is complete.")]
    target: Annotated[str, means("`host:port` of the server.")]
    transport: Annotated[Transport, means("API of the requests.")]
    tls: Annotated[bool, means("Whether the connections used TLS.")] = False
    compression: Annotated[
        Compression | None, means("How requests were compressed; null if they were not.")
    ] = None
    model: Model
    scenario: Scenario
    requests: Requests
    errors: Annotated[
        dict[str, ErrorKind],
        means(
            "Errors by gRPC status name, HTTP_<code>, BAD_RESPONSE (the answer cannot be scored) "
            "or WRONG_ANSWER (see `mismatches`), most frequent first."
        ),
    ]
    latency_ms: Latency
    throughput: Throughput
    slo: Annotated[Slo | None, means("Null if no latency bound was set.")]
    goodput: Annotated[Goodput | None, means("Null if no latency bound was set.")]
    availability: Annotated[
        Availability | None,
        means("Good answers over all requests, and outages; null in reports of older versions."),
    ] = None
    accuracy: Annotated[Accuracy, means("Accuracy of the same answers.")]
    mismatches: Annotated[Mismatches | None, means("Null if there are no recorded answers.")]
    checked: Annotated[
        Checked | None,
        means("What the answers were checked against; null in reports of older versions."),
    ] = None
    server: Annotated[
        ServerTimes | None,
        means("Null unless --server-timing was given and answers carried the metadata."),
    ]
    client: Client
    windows: Annotated[list[Window], means("Every bucket of the run's time, in order.")]
    phases: Annotated[
        list[LoadPhase], means("The parts of a shape, in order; empty for all other loads.")
    ] = []
    floor: Annotated[Floor | None, means("Null unless it was measured (--floor).")]
    validity: Validity
    gates: Annotated[
        list[Gate],
        means("The gates that were set; if any failed, the program ends with exit code 1."),
    ]
    capacity: Annotated[Capacity | None, means("Null except for `find-capacity`.")]
    manifest: Manifest
    warnings: Annotated[list[str], means("Facts that a reader should know and that break no rule.")]


class Gpu(Struct, frozen=True, kw_only=True):
    """The GPU as nvidia-smi describes it."""

    name: str
    driver: str
    memory_used_bytes: Annotated[int, means("Memory used by all processes of the GPU.")]


class ServerProcess(Struct, frozen=True, kw_only=True):
    """A server that the load test started itself, on the same machine, during one run."""

    flags: Annotated[list[str], means("Its command line without the model folder and the ports.")]
    cpu_seconds: Annotated[
        float, means("Processor time of the server and its workers, warm-up requests included.")
    ]
    cpu_us_per_request: Annotated[
        float | None, means("The same over all requests; null if none was finished.")
    ]
    memory_bytes: Annotated[int, means("Resident memory after the run, workers included.")]
    gpu: Annotated[Gpu | None, means("Null if the server uses none.")]


class Result(Struct, frozen=True, kw_only=True):
    """One run of a collection, and the server that it measured."""

    target: Annotated[
        str, means("Name of the server in the matrix file; without one, its address.")
    ]
    folder: Annotated[
        str | None,
        means(
            "Folder of the run's own files: in report.json relative to the file; in memory as the "
            "reader resolved it. Null if unknown."
        ),
    ]
    report: Report
    server_versions: Annotated[
        dict[str, str], means("Versions of the server and its libraries by name, if it says so.")
    ]
    server_process: Annotated[
        ServerProcess | None, means("Null for a server that the load test did not start.")
    ]


class Collection(Struct, frozen=True, kw_only=True):
    """The report of several runs."""

    schema_version: Literal[2]
    name: Annotated[str, means("Label of the collection.")]
    stop_reason: Annotated[str | None, means("Why it ended early; null if it is complete.")]
    results: Annotated[list[Result], means("The runs in the order in which they were measured.")]
    not_measured: Annotated[list[str], means("What was not measured and why, in words.")]
    mixes: Annotated[
        list[MixTotals], means("Totals of streams that ran at the same time, for each repeat.")
    ] = []
