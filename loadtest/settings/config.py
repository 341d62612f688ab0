"""Settings of a load test; `arguments` reads them from the command line."""

from dataclasses import dataclass, field
from pathlib import Path

from loadtest.report_schema import ScenarioKind, Transport

DEFAULT_TARGET = "localhost:8500"
DEFAULT_TIMEOUT_SECONDS = 10.0
DEFAULT_WARMUP_REQUESTS = 100


class LoadTestError(Exception):
    """An error that ends the program with exit code 2."""


class UsageError(LoadTestError):
    """The run cannot start because of a setting, the data or the target."""


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """The gates of a run; if one is missed, the program ends with exit code 1.

    Attributes:
        strict: The run must be VALID, and within the latency bound if one is set.
        min_accuracy: Lowest top-1, 0 to 1; None for no limit.
        max_error_rate: Highest share of requests that failed or were missed, 0 to 1.
        max_wrong_answers: Highest number of images whose answer differs from the record. A few may
            differ because another processor resolves a tie differently; a server that mixes up
            answers has many.
        baseline: An earlier report to compare with; None for no comparison.
        tolerance_percent: How much worse than the baseline latency and throughput may be, in
            percent.
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
    """Settings of one run. None selects the scenario's default if it has one.

    Attributes:
        target: `host:port` of the server.
        model: Model name.
        version: Version number; None for the latest.
        precision: Precision of the graph that answers, to find its record; None for the one on the
            server's metrics page, or the only one recorded.
        provider: Execution provider of the server, as a label for the report; None for the one on
            the server's metrics page.
        transport: API and protocol of the requests.
        scenario: Name of the scenario; None for "server" if there is a rate, else "users".
        users: Callers of the scenario "users"; None for 1.
        rate_per_second: Mean rate of the scenario "server".
        batch: Images in a request.
        in_flight: Requests under way: the maximum of "server", the fixed number of "offline".
        connections: Connections of all processes; None for one for each request under way, at most
            16.
        requests: Timed requests to send; None for no limit.
        duration_seconds: Time to keep sending; None for no limit. If `requests` is None as well,
            every test image is sent exactly once.
        warmup_requests: Untimed requests before the run; every connection sends at least one.
        slo_ms: Latency bound; None for no bound.
        percentile: Latency percentile that the bound and the rules of validity apply to.
        timeout_seconds: Deadline of a request.
        seed: Seed of the order of the images.
        schedule_seed: Seed of the arrival times of "server".
        processes: Number of generator processes.
        server_timing: Ask the server for its own timings.
        floor: Before the run, measure the same load on a server that answers at once.
        data_dir: Folder or archive of the test images; None to use $CIFAR10_DIR.
        models_dir: The server's model folder, to compare with the recorded predictions; None for no
            comparison.
        output_dir: Folder for the report.
        name: Label of the run.
        print_json: Print the report as the last line of standard output, as JSON.
        gates: Gates of the run.
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
        run: Settings of every step. `slo_ms` must be set; the search chooses `rate_per_second`.
        start_rate_per_second: Rate of the first step; None for half of the rate that a single
            caller reaches.
        step_seconds: Shortest time that a step sends; it also sends as many requests as a verdict
            needs.
        confirm_seconds: Shortest time that the confirmation sends.
        resolution_percent: The search ends when the lowest failed rate is at most this many percent
            above the highest passed one.
        max_steps: Highest number of steps, not counting the confirmation.
        max_seconds: No step starts after this time.
    """

    run: LoadTestConfig
    start_rate_per_second: float | None = None
    step_seconds: float = 10.0
    confirm_seconds: float = 30.0
    resolution_percent: float = 5.0
    max_steps: int = 24
    max_seconds: float = 600.0
