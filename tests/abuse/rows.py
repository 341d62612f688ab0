"""The rows of the abuse suite: each has an attack and the settings of the attacked server."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

SERVED = ("identity", "mlp")
# For rows whose large bodies are within the limit on a message: together they may take 128 MiB.
_BOUNDED = ("--max_buffered_bytes=134217728",)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One attack on one server.

    Attributes:
        id: Name of the row, and of its attack if `attack` is empty.
        what: Description of the attack for the table, in one line.
        attack: Name of the attack.
        seconds: Duration of one round of the attack.
        rounds: Number of rounds; the ratio of latencies is the median over them.
        burns: Whether each round is compared with a process that burns the attacker's CPU.
        flags: Further flags of the server.
        models: Names of the served models.
        soft_files: The server's soft limit on open files; None: the limit of the suite.
        expected: Counts that the attack must report.
        one_line_log: Whether every line of the log must have the format of the server's lines.
        kills_supervisor: Whether the row ends with SIGKILL to the supervisor instead of SIGTERM.
        stuck_run: Model with a run that may last longer than the drain. The exit code may then be 1
            if a log line names the run.
        run_mb: Memory of one run of the attacked model (MB), added to the limits on memory.
        only_reported: Whether missed criteria are only shown in the table, without failing a test.
    """

    id: str
    what: str
    attack: str = ""
    seconds: float = 2.5
    rounds: int = 3
    burns: bool = True
    flags: tuple[str, ...] = ()
    models: tuple[str, ...] = SERVED
    soft_files: int | None = None
    expected: Mapping[str, int] = field(default_factory=dict)
    one_line_log: bool = False
    kills_supervisor: bool = False
    stuck_run: str = ""
    run_mb: float = 0.0
    only_reported: bool = False

    @property
    def attack_name(self) -> str:
        """Name of the attack to start."""
        return self.attack or self.id

    def short(self, seconds: float) -> "Row":
        """Return the row with one round and no comparison, for a usual test run."""
        return replace(self, rounds=1, burns=False, seconds=seconds)


_ALL = (
    # Connections
    Row(id="idle_1200", what="1,200 idle connections, 1,024 files", soft_files=1024),
    Row(id="idle_5000", what="5,000 idle connections, 1,024 files", soft_files=1024),
    Row(id="preface_only", what="500 connections that only greet"),
    Row(id="garbage", what="300 connections with half a TLS greeting or noise"),
    Row(id="slow_preface", what="300 connections that greet byte by byte"),
    Row(id="disconnects", what="10,000 disconnects in the middle of a request", seconds=4),
    # HTTP/2
    Row(id="hpack_many_headers", what="175 kB of small headers on each of 10 connections"),
    Row(id="hpack_indexed", what="a large header, indexed 15,000 times a request"),
    Row(id="continuation_flood", what="header blocks without an end"),
    Row(id="ping_flood", what="PING frames"),
    Row(id="settings_flood", what="SETTINGS frames"),
    Row(id="rapid_reset", what="requests reset by the next frame"),
    Row(id="window_overflow", what="windows over 2^31 - 1"),
    Row(id="zero_window_metrics", what="60 connections, 200 pages of metrics each, none taken"),
    Row(
        id="zero_window_predict",
        what="20 connections, 100 answers of 120 kB each, none taken",
        models=("identity", "wide"),
    ),
    # HTTP/1.1
    Row(
        id="smuggling",
        what="requests with two ends",
        expected={"smuggled": 0},
    ),
    Row(id="websocket", what="1,000 WebSocket handshakes"),
    Row(id="h2c_upgrade", what="1,000 upgrades to HTTP/2"),
    Row(
        id="version_digits",
        what="version numbers of 5,000 digits",
        expected={"status 5xx": 0},
    ),
    # The console
    Row(id="zero_window_console", what="60 connections, 200 pages of the console each, none taken"),
    Row(id="console_flood", what="20 connections that ask for all documents of the console"),
    Row(
        id="rebinding",
        what="requests to the console under another host, from another origin, or in a frame",
        expected={"let in": 0},
    ),
    # Bodies
    Row(id="slow_bodies", what="200 bodies, a byte in two seconds", rounds=1, seconds=8),
    Row(id="gzip_rest", what="50 gzip bodies of 61 kB that hold 62 MiB", flags=_BOUNDED),
    Row(id="gzip_grpc", what="50 compressed messages that hold 62 MiB", flags=_BOUNDED),
    Row(id="bad_json", what="two broken JSON bodies of 62 MiB", seconds=4, flags=_BOUNDED),
    Row(id="nested_json", what="JSON lists 1,500,000 deep"),
    Row(
        id="jpeg_scans",
        what="JPEGs with 800 scans",
        models=("identity", "pictures"),
    ),
    Row(
        id="png_bomb",
        what="PNGs of 144 million pixels, or with 62 MiB of text",
        models=("identity", "pictures"),
    ),
    # Tensors
    Row(
        id="decoded_uint8",
        what="a gigabyte of pixels in 50 bytes",
        models=("identity", "pictures"),
    ),
    Row(id="decoded_many", what="60 Predicts at once, a gigabyte in 36 bytes each"),
    Row(id="decoded_kserve", what="huge shapes over KServe, typed, raw and JSON"),
    Row(id="template_makers", what="two Predicts of 360 kB of equal bytes", rounds=1, seconds=8),
    Row(id="oversize", what="requests with more rows than a queue holds"),
    # Models
    Row(
        id="endless",
        what="a Loop of 2^62 trips, a new version of it, then SIGTERM",
        rounds=1,
        seconds=15,
        models=("identity", "endless"),
        flags=("--file_system_poll_wait_seconds=0.2",),
        expected={"new version available": 1},
    ),
    Row(
        id="long_node",
        what="one MatMul of ten seconds and more, then SIGTERM",
        rounds=1,
        seconds=4,  # SIGTERM must come while the first run goes on
        models=("identity", "long"),
        stuck_run="long",
        run_mb=150,
    ),
    Row(id="cancelled", what="calls cancelled while they run", models=("identity", "slow")),
    Row(
        id="names",
        what="line breaks and control characters in names",
        models=("identity", "fragile"),
        one_line_log=True,
    ),
    Row(
        id="publishes",
        what="50 new versions of a model under load",
        rounds=1,
        seconds=10,
        flags=("--file_system_poll_wait_seconds=0.2",),
    ),
    # Processes
    Row(
        id="workers_idle_1200",
        what="two workers: 1,200 idle connections, 1,024 files",
        attack="idle_1200",
        soft_files=1024,
        flags=("--workers=2",),
    ),
    Row(
        id="workers_orphaned",
        what="two workers: SIGKILL to the supervisor",
        attack="nothing",
        rounds=1,
        burns=False,
        seconds=1,
        flags=("--workers=2",),
        kills_supervisor=True,
    ),
    Row(
        id="grpcio_rapid_reset",
        what="front grpcio: requests reset by the next frame",
        attack="rapid_reset",
        flags=("--front=grpcio",),
        only_reported=True,
    ),
)
ROWS = {row.id: row for row in _ALL}
# Rows that a usual test run includes, each in less than 20 s.
QUICK = tuple(
    ROWS[name].short(seconds)
    for name, seconds in (
        ("idle_1200", 2.5),
        ("decoded_uint8", 2.0),
        ("gzip_rest", 2.5),
        ("gzip_grpc", 2.5),
        ("endless", 6.0),
        ("console_flood", 2.0),
        ("rebinding", 1.5),
    )
)
