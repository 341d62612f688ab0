"""Settings of a load test; `arguments` reads them from the command line."""

from dataclasses import dataclass, field
from pathlib import Path

from loadtest.report_schema import ScenarioKind, Transport

DEFAULT_TARGET = "localhost:8500"
DEFAULT_TIMEOUT_SECONDS = 10.0
DEFAULT_WARMUP_REQUESTS = 100


class LoadTestError(Exception):
    """Nothing can be measured, or reported of what was. Exit code 2."""


class UsageError(LoadTestError):
    """The run cannot start: a setting, the data or the target is at fault."""


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """What a run has to reach; anything missed ends the program with exit code 1.

    Attributes:
        strict: The run must be VALID, and within the latency bound if one is set.
        min_accuracy: Lowest top-1, 0 to 1; None: any.
        max_error_rate: Highest share of requests that failed, were wrong or missed.
        max_wrong_answers: Highest number of images answered otherwise than recorded. Another
            processor may settle a tie the other way; a server that mixes answers up has many.
        baseline: An earlier report to compare with; None: no comparison.
        tolerance_percent: How much worse than the baseline latency and throughput may be.
        accuracy_tolerance_points: How many percentage points top-1 may be below the baseline's.
    """

    strict: bool = False
    min_accuracy: float | None = None
    max_error_rate: float = 0.0
    max_wrong_answers: int = 0
    baseline: Path | None = None
    tolerance_percent: float = 20.0
    accuracy_tolerance_points: float = 0.5


@dataclass(frozen=True, kw_only=True)
class LoadTestConfig:
    """Settings of one run. None stands for the scenario's own default where it has one.

    Attributes:
        target: `host:port` of the server.
        model: Model name.
        version: Version number; None for the latest.
        precision: Which of the model's files answers, to compare with its record; None: what the
            server says on its metrics page, or the record's only one.
        provider: What runs the model there, as a label for the report; None: likewise.
        transport: API to speak.
        scenario: None: "server" if there is a rate, else "users".
        users: Callers of the scenario "users"; None: 1.
        rate_per_second: Mean rate of the scenario "server".
        batch: Images a request.
        in_flight: Requests under way: the cap of "server", the fixed number of "offline".
        connections: Over all processes; None: one for each request under way, 16 at most.
        requests: Timed requests to send; None for no such limit.
        duration_seconds: How long to keep sending; None for no such limit. With neither limit
            every test image is sent exactly once.
        warmup_requests: Untimed requests before; every connection sends at least one.
        slo_ms: Latency bound; None: none.
        percentile: The percentile that the bound and the rules of validity are about.
        timeout_seconds: Deadline of a request.
        seed: Decides the order of the images.
        schedule_seed: Decides the arrival times of "server".
        processes: Generator processes.
        server_timing: Ask the server where the time went.
        floor: Measure the same load on a server that answers at once, before the run.
        data_dir: Where the test images are; None for $CIFAR10_DIR.
        models_dir: The server's model folder, to compare with the recorded predictions.
        output_dir: Where the report is written.
        name: Label of the run.
        print_json: End standard output with the report as one line of JSON.
        gates: What the run has to reach.
    """

    target: str
    model: str
    version: int | None = None
    precision: str | None = None
    provider: str | None = None
    transport: Transport = "tfs-grpc"
    scenario: ScenarioKind | None = None
    users: int | None = None
    rate_per_second: float | None = None
    batch: int | None = None
    in_flight: int | None = None
    connections: int | None = None
    requests: int | None = None
    duration_seconds: float | None = None
    warmup_requests: int = DEFAULT_WARMUP_REQUESTS
    slo_ms: float | None = None
    percentile: float | None = None
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    seed: int = 0
    schedule_seed: int = 0
    processes: int = 1
    server_timing: bool = False
    floor: bool = False
    data_dir: Path | None = None
    models_dir: Path | None = None
    output_dir: Path
    name: str
    print_json: bool = False
    gates: GateConfig = field(default_factory=GateConfig)


@dataclass(frozen=True, kw_only=True)
class CapacityConfig:
    """Settings of the search for the highest rate within a latency bound.

    Attributes:
        run: Settings of every step; `slo_ms` is set, and the rate is the search's business.
        start_rate_per_second: First rate; None: half of what a single caller reaches.
        step_seconds: How long a step sends, at least; as many requests as a verdict needs.
        confirm_seconds: How long the confirmation sends, at least.
        resolution_percent: The search ends when pass and fail are so close.
        max_steps: Steps at most, without the confirmation.
        max_seconds: No step starts later than this.
    """

    run: LoadTestConfig
    start_rate_per_second: float | None = None
    step_seconds: float = 10.0
    confirm_seconds: float = 30.0
    resolution_percent: float = 5.0
    max_steps: int = 24
    max_seconds: float = 600.0
