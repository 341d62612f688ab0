"""Settings of a load test; `arguments` reads them from the command line."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from loadtest.report_schema import Compression, ScenarioKind, Transport
from loadtest.settings.shape_text import ShapeSettings

DEFAULT_TARGET = "localhost:8500"
DEFAULT_REST_TARGET = "localhost:8501"
DEFAULT_TIMEOUT_SECONDS = 10.0
DEFAULT_WARMUP_REQUESTS = 100
DEFAULT_ABORT_AFTER_ERRORS = 100
# The forms of a file of samples, by the end of its name.
SAMPLE_SUFFIXES = (".npz", ".parquet")
# The lowest and the highest speed of a replay.
SPEEDS = (0.5, 4.0)


# Name and value of an HTTP header, or of gRPC metadata.
Header = tuple[str, str]


class LoadTestError(Exception):
    """An error that ends the program with exit code 2."""


class UsageError(LoadTestError):
    """The run cannot start because of a setting, the data or the target."""


@dataclass(frozen=True, kw_only=True)
class ConnectionConfig:
    """Settings of every connection of a load test.

    Attributes:
        tls: Use TLS.
        ca: PEM file of the authorities to trust; None for the system's.
        cert: PEM file of the client's certificate; None for none.
        key: PEM file of its key.
        headers: Names, in lower case, and values of the headers or gRPC metadata of each request.
            They may be secret.
        compression: How requests are compressed, and answers over REST may be; None for neither.
    """

    tls: bool = False
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    headers: tuple[Header, ...] = field(default=(), repr=False, metadata={"secret": True})
    compression: Compression | None = None

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return the settings of TLS for HTTP; None for plain text.

        Raises:
            UsageError: a file cannot be read or is not in PEM format.
        """
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.cert is not None:
                context.load_cert_chain(self.cert, self.key, password="")
        except (OSError, ValueError) as error:
            files = ", ".join(str(file) for file in (self.ca, self.cert, self.key) if file)
            msg = (
                f"cannot use TLS with {files or 'the authorities of the system'}: {error}; "
                "expected certificates and an unencrypted key in PEM format"
            )
            raise UsageError(msg) from error
        return context


# A connection without TLS and headers, as to the servers that the load test starts itself.
PLAIN = ConnectionConfig()


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The rows that a run sends, and the answers that are expected.

    Attributes:
        data_dir: Folder or archive of CIFAR-10's test images; None to use $CIFAR10_DIR. It is not
            used with one of the next three.
        split_seed: Seed by which test pictures are drawn from data that name none; None for the one
            that is recorded with the model, else 0.
        inputs: File or folder of rows, see `loadtest.rows.sources`.
        random: Number of random rows.
        synthetic: Number of synthetic images.
        shapes: Names of inputs, each with the shape of a row, where the metadata leaves it open.
        seed: Seed of random rows and of synthetic images.
        record_answers: Whether to ask the server for its answers before the run, and to compare all
            later ones with them; None if there is nothing else to compare with.
        answer_tolerance: How far a float may be from the recorded one, as a share of the largest
            number in the recorded row.
    """

    data_dir: Path | None = None
    split_seed: int | None = None
    inputs: Path | None = None
    random: int | None = None
    synthetic: int | None = None
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    seed: int = 0
    record_answers: bool | None = None
    answer_tolerance: float = 0.001


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
        connection: TLS and headers of all connections.
        model: Model name.
        version: Version number; None for the latest.
        version_label: Version label of TensorFlow Serving, such as "canary"; None for no label.
        precision: Precision of the graph that answers, to find its record; None for the one on the
            server's metrics page, or the only one recorded.
        provider: Execution provider of the server, as a label for the report; None for the one on
            the server's metrics page.
        transport: API and protocol of the requests.
        scenario: Name of the scenario; None for "server" if there is a rate, else "users".
        users: Callers of the scenario "users"; None for 1.
        rate_per_second: Mean rate of the scenario "server".
        shape: How the rate of "server" changes; None if it is constant.
        replay: File with the times of recorded traffic, which "server" sends again; None for none.
        speed: Speed of the replay, 0.5 to 4; None for 1.
        stream: Name of the run in a mix of runs at the same time; None if it runs alone.
        mix: All streams of the mix, in words.
        batch: Rows (images) in a request.
        in_flight: Requests under way: the maximum of "server", the fixed number of "offline".
        connections: Connections of all processes; None for one for each request under way, at most
            16.
        requests: Timed requests to send; None for no limit.
        duration_seconds: Time to keep sending; None for no limit. If `requests` is None as well,
            every row is sent exactly once.
        warmup_requests: Untimed requests before the run; every connection sends at least one.
        slo_ms: Latency bound; None for no bound.
        percentile: Latency percentile that the bound and the rules of validity apply to.
        timeout_seconds: Deadline of a request.
        abort_after_errors: Requests in a row that do not reach the server, after which a run is
            given up; 0 for never.
        seed: Seed of the order of the rows.
        schedule_seed: Seed of the arrival times of "server".
        processes: Number of generator processes.
        realtime: Whether they get real-time priority, if the kernel allows it.
        server_timing: Ask the server for its own timings.
        floor: Before the run, measure the same load on a server that answers at once.
        data: The rows that are sent.
        models_dir: The server's model folder, to compare with the recorded predictions; None for no
            comparison.
        output_dir: Folder for the report.
        save_samples: File for the samples of every request, in the form of its suffix, one of
            SAMPLE_SUFFIXES; None for only those in the report's folder.
        name: Label of the run.
        print_json: Print the report as the last line of standard output, as JSON.
        plain: Show progress as a line, on a terminal, too.
        gates: Gates of the run.
    """

    target: str
    connection: ConnectionConfig = PLAIN
    model: str
    version: int | None = None
    version_label: str | None = None
    precision: str | None = None
    provider: str | None = None
    transport: Transport = "tfs-grpc"
    scenario: ScenarioKind | None = None
    users: int | None = None
    rate_per_second: float | None = None
    shape: ShapeSettings | None = None
    replay: Path | None = None
    speed: float | None = None
    stream: str | None = None
    mix: str | None = None
    batch: int | None = None
    in_flight: int | None = None
    connections: int | None = None
    requests: int | None = None
    duration_seconds: float | None = None
    warmup_requests: int = DEFAULT_WARMUP_REQUESTS
    slo_ms: float | None = None
    percentile: float | None = None
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    abort_after_errors: int = DEFAULT_ABORT_AFTER_ERRORS
    seed: int = 0
    schedule_seed: int = 0
    processes: int = 1
    realtime: bool = False
    server_timing: bool = False
    floor: bool = False
    data: DataConfig = field(default_factory=DataConfig)
    models_dir: Path | None = None
    output_dir: Path
    save_samples: Path | None = None
    name: str
    print_json: bool = False
    plain: bool = False
    gates: GateConfig = field(default_factory=GateConfig)


@dataclass(frozen=True, kw_only=True)
class CapacityConfig:
    """Settings of the search for the highest rate within a latency bound.

    Attributes:
        run: Settings of every step. `slo_ms` must be set; the search chooses `rate_per_second`.
        start_rate_per_second: Rate of the first step; None for half of the rate that a single
            caller reaches.
        searches: Number of searches; the median of the rates that they find is confirmed.
        step_seconds: Shortest time that a step sends; it also sends as many requests as a verdict
            needs.
        confirm_seconds: Shortest time that the confirmation sends: 60 for a "quick" result, 600 for
            a "full" one by MLPerf's rules. A shorter one confirms nothing.
        resolution_percent: The search ends when the lowest failed rate is at most this many percent
            above the highest passed one.
        max_steps: Highest number of steps of a search, not counting the confirmation.
        max_seconds: No step starts after this time.
    """

    run: LoadTestConfig
    start_rate_per_second: float | None = None
    searches: int = 1
    step_seconds: float = 10.0
    confirm_seconds: float = 60.0
    resolution_percent: float = 5.0
    max_steps: int = 24
    max_seconds: float = 900.0
