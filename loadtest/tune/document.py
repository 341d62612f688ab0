"""tune.json: everything that a search measured and decided. docs/tuning.md describes the fields."""

from typing import Final, Literal

import msgspec
from msgspec import Struct

from loadtest.tune.cells import Cell
from loadtest.tune.gain import Gain
from loadtest.tune.halving import Round

TUNE_FILE: Final = "tune.json"

# first: the server without flags, before the search. search: the rounds. gain: the pairs. check:
# random arrivals. grid: a recorded grid.
Phase = Literal["first", "search", "gain", "check", "grid"]


class Measured(Struct, frozen=True, kw_only=True):
    """One measurement of one cell.

    Attributes:
        cell: Index of the cell in `Tuned.cells`.
        phase: The part of the search.
        at_seconds: When it ended, since the start of the search.
        seconds: Length without starting the server and finding the number of callers.
        users: Callers, each waiting for its answer; 0 for random arrivals.
        rate_per_second: Rate of the random arrivals; null for callers.
        goodput_per_second: Right answers within the bound, in requests a second.
        share: The same as a share of all requests.
        requests_per_second: All answers a second.
        p50_ms: Median latency; null without answers.
        percentile_ms: Latency at the percentile of the bound; null without answers.
        answered: Requests with an answer.
        failed: Requests that failed.
        wrong: Images whose answer differs from the record.
        correct: Images classified as labelled.
        images: Images answered.
        client_cpu_share: Processor time of the busiest load generator; 1.0 is one core.
    """

    cell: int
    phase: Phase
    at_seconds: float
    seconds: float
    users: int
    rate_per_second: float | None
    goodput_per_second: float
    share: float
    requests_per_second: float
    p50_ms: float | None
    percentile_ms: float | None
    answered: int
    failed: int
    wrong: int
    correct: int
    images: int
    client_cpu_share: float


class Dropped(Struct, frozen=True, kw_only=True):
    """A cell that is not chosen, and why.

    Attributes:
        cell: Index of the cell.
        reason: One line.
    """

    cell: int
    reason: str


class TuneRound(Struct, frozen=True, kw_only=True):
    """A round of the search; see `halving.Round`.

    Attributes:
        cells: Indices of the cells that were measured.
        turns: How often each was measured.
        seconds: Length of each measurement.
        means: Requests/s of each of these cells; null for a cell that must not be chosen.
        kept: Indices of the cells of the next round, the best one first.
    """

    cells: list[int]
    turns: int
    seconds: float
    means: list[float | None]
    kept: list[int]


class TuneGain(Struct, frozen=True, kw_only=True):
    """The best cell of the search over the server without flags; see `gain.Gain`.

    Attributes:
        ratio: Geometric mean of the pairs' ratios of goodput.
        interval_95: 95 % interval of the ratio.
        p_value: p-value of the exact permutation test.
        pairs: Number of pairs.
        clear: Whether the interval is above 1.
    """

    ratio: float
    interval_95: tuple[float, float]
    p_value: float
    pairs: int
    clear: bool


class Machine(Struct, frozen=True, kw_only=True):
    """Where the search ran; null for what is unknown.

    Attributes:
        cores: Cores of the grid.
        cpu: Name of the processor.
        provider: ONNX Runtime's name of the execution provider.
        load_average_1_min_at_start: Load average before the search.
        versions: Versions of the server, of ONNX Runtime and of the load generator's libraries.
        git_commit: Commit of the load generator.
    """

    cores: int
    cpu: str | None
    provider: str | None
    load_average_1_min_at_start: float | None
    versions: dict[str, str]
    git_commit: str | None


class Tuned(Struct, frozen=True, kw_only=True):
    """The content of tune.json.

    Attributes:
        schema_version: 1.
        started_utc: Start of the search.
        seconds: Its time.
        stop_reason: Why it ended early; null if it did not.
        model: Model name.
        version: Model version.
        slo_ms: Latency bound.
        percentile: Latency percentile of the bound.
        batch: Images in a request.
        measurement_seconds: Length of a full measurement.
        overhead_seconds: Time that the first measurement took in addition.
        server_flags: Flags of every server besides those of its cell.
        machine: Where it ran.
        default_precision: Precision that the server chose without flags; null if unknown.
        top1: Recorded top-1 of each precision, 0 to 1; null if it is not recorded.
        cells: The flags of each cell by name; the first one has the server's defaults.
        grid_cells: Cells of the whole grid; more than `cells` if there was no time for all.
        dropped: Cells that are not chosen, and why.
        rounds: The rounds of the search.
        measurements: Every measurement, in order.
        best: Index of the best cell of the search; null if none was found.
        gain: Its gain; null if it was not measured.
        recommended: Index of the recommended cell; null if there is none.
    """

    schema_version: int
    started_utc: str
    seconds: float
    stop_reason: str | None
    model: str
    version: int
    slo_ms: float
    percentile: float
    batch: int
    measurement_seconds: float
    overhead_seconds: float | None
    server_flags: list[str]
    machine: Machine
    default_precision: str | None
    top1: dict[str, float | None]
    cells: list[dict[str, int | str]]
    grid_cells: int
    dropped: list[Dropped]
    rounds: list[TuneRound]
    measurements: list[Measured]
    best: int | None
    gain: TuneGain | None
    recommended: int | None


def round_of(finished: Round, index: dict[Cell, int]) -> TuneRound:
    """Return a round with the indices of its cells."""
    return TuneRound(
        cells=[index[cell] for cell in finished.cells],
        turns=finished.turns,
        seconds=finished.seconds,
        means=[finished.means.get(cell) for cell in finished.cells],
        kept=[index[cell] for cell in finished.kept],
    )


def gain_of(gain: Gain | None) -> TuneGain | None:
    """Return a gain for the file."""
    if gain is None:
        return None
    return TuneGain(
        ratio=gain.ratio,
        interval_95=gain.interval_95,
        p_value=gain.p_value,
        pairs=gain.pairs,
        clear=gain.is_clear,
    )


def encode(document: Tuned) -> bytes:
    """Return the content of tune.json, indented."""
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def decode(content: bytes) -> Tuned:
    """Parse the content of tune.json.

    Raises:
        msgspec.DecodeError: It is another file.
    """
    return msgspec.json.decode(content, type=Tuned)
