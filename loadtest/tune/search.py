"""A search on this machine: the server without flags, the rounds, and the gain of the best cell.

Time is limited, and Ctrl-C may come at any moment: what was measured until then is the result.
"""

import contextlib
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from loadtest.servers import description
from loadtest.session import stop_signals
from loadtest.settings.config import UsageError
from loadtest.tune.cells import DEFAULTS, Cell, sample, settled
from loadtest.tune.document import Dropped, Measured, Phase
from loadtest.tune.gain import Gain, compare
from loadtest.tune.halving import (
    BUDGET_SHARE,
    GRID_TURNS,
    Halving,
    HalvingStopped,
    Round,
    budget_of,
)
from loadtest.tune.meter import CellFailed, Interrupted, Meter
from loadtest.tune.search_line import SearchLine
from loadtest.tune.server_pool import ServerPool

# The rate of the Poisson arrivals at the end, as a share of the waiting callers' goodput, and the
# shortest time for which they are sent.
CHECK_SHARE = 0.5
_CHECK_SECONDS = 5.0
# The arrivals at the end may take this much longer than the time limit.
_GRACE_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much a search measures.

    Attributes:
        seconds: Length of a full measurement.
        pairs: Pairs of the best cell and the server without flags.
        max_seconds: Most time of the whole search.
        cores: Cores of the grid.
        server_cores: Cores that the server sees.
        servers: Most servers that are started at a time.
        seed: Seed of the choice of cells if there is no time for all.
    """

    seconds: float
    pairs: int
    max_seconds: float
    cores: int
    server_cores: int
    servers: int
    seed: int


@dataclass(kw_only=True)
class Search:
    """A search and its state; its attributes are valid however it ends.

    Attributes:
        meter: Measures a cell.
        pool: The servers.
        limits: How much to measure.
        line: Says what happens.
        cells: The cells to choose from, in the order of the document; the first is DEFAULTS.
        measurements: Every measurement, in order.
        dropped: The cells that must not be chosen.
        halving: The rounds; None before the first.
        overhead_seconds: Time that the first measurement took in addition.
        default_precision: Precision that the server chooses; None if unknown.
        provider: Execution provider of the server; None if unknown.
        server_versions: Versions of the server.
        gain: Gain of the best cell over the server without flags; None if not measured.
        check: Random arrivals at the recommended cell; None if not measured.
        stop_reason: Why the search ended early; None if it did not.
    """

    meter: Meter
    pool: ServerPool
    limits: Limits
    line: SearchLine
    cells: list[Cell] = field(default_factory=lambda: [DEFAULTS])
    measurements: list[Measured] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    halving: Halving | None = None
    overhead_seconds: float | None = None
    default_precision: str | None = None
    provider: str | None = None
    server_versions: dict[str, str] = field(default_factory=dict)
    gain: Gain | None = None
    check: Measured | None = None
    stop_reason: str | None = None
    _started: float = field(default_factory=time.monotonic)

    @property
    def index(self) -> dict[Cell, int]:
        """Index of each cell in the document."""
        return self.meter.index

    @property
    def clock(self) -> float:
        """Seconds since the search began."""
        return time.monotonic() - self._started

    @property
    def best(self) -> Cell | None:
        """The best cell of the rounds; None if none was measured."""
        return self.halving.best if self.halving is not None else None

    @property
    def is_default(self) -> bool:
        """Whether the best cell is what the server does without flags."""
        on_cpu = (self.provider or "CPU").startswith("CPU")
        cores, precision = self.limits.server_cores, self.default_precision
        return (
            self.best is not None
            and on_cpu
            and settled(self.best, cores, precision) == settled(DEFAULTS, cores, precision)
        )

    @property
    def recommended(self) -> Cell | None:
        """The best cell if it is clearly faster than the defaults, else the defaults.

        None if the two were not compared.
        """
        if self.gain is not None and self.gain.is_clear:
            return self.best
        return DEFAULTS if self.gain is not None or self.is_default else None

    def goodput(self, cell: Cell) -> float:
        """Return a cell's mean goodput in the last phase that measured it, in requests/s.

        The mean is geometric, so that the ratio of two cells' means is the gain; 0 if any is 0.
        """
        index = self.index[cell]
        for phase in ("gain", "search", "first"):
            found = [
                one.goodput_per_second
                for one in self.measurements
                if one.cell == index and one.phase == phase
            ]
            if found:
                return statistics.geometric_mean(found) if min(found) > 0 else 0.0
        return 0.0

    def run(self, cells: Sequence[Cell]) -> None:
        """Search among cells.

        Raises:
            UsageError: The server without flags cannot be measured, or there is no time for a
                search.
        """
        with self._interruptible():
            self._measure_defaults()
            self._halve(cells)
            if self.best is not None and self.stop_reason is None:
                if not self.is_default:
                    self._compare(self.best)
                if self.recommended is not None:
                    # Defaults that are the best cell were measured in the rounds under its flags.
                    measured = self.best if self.is_default else self.recommended
                    self._check_arrivals(self.recommended, CHECK_SHARE * self.goodput(measured))

    def record(self, cells: Sequence[Cell], turns: int) -> None:
        """Measure every cell `turns` times in turns, instead of searching.

        Raises:
            UsageError: The server without flags cannot be measured.
        """
        with self._interruptible():
            self._measure_defaults()
            self._add(cells)
            for turn in range(turns):
                self.line.note(f"turn {turn + 1} of {turns}: {len(cells)} cells")
                self._turn(cells, self.limits.seconds, "grid")

    def _measure_defaults(self) -> None:
        """Measure the server without flags, and with it the time that a start takes.

        Raises:
            UsageError: It cannot be measured.
        """
        began = self.clock
        self.index[DEFAULTS] = 0
        self.line.show("the server without flags")
        try:
            self._measure(DEFAULTS, self.limits.seconds, "first")
        except CellFailed as error:
            msg = f"the server without flags cannot be measured: {error}"
            raise UsageError(msg) from error
        self.overhead_seconds = self.clock - began - self.limits.seconds
        address = self.pool.server(DEFAULTS).address
        says = description.ask(address)
        self.server_versions = says.versions
        model = says.models.get(self.meter.config.model)
        if model is not None:
            self.default_precision, self.provider = model.precision, model.provider

    def _halve(self, cells: Sequence[Cell]) -> None:
        overhead = self.overhead_seconds or 0.0
        each = BUDGET_SHARE * GRID_TURNS * (self.limits.seconds + overhead)
        left = self.limits.max_seconds - self.clock - self._reserved_seconds
        most = int(left / each)
        if most < min(len(cells), 2):
            needed = self.clock + self._reserved_seconds + 2 * each
            msg = (
                f"--max-seconds {self.limits.max_seconds:g} leaves no time to compare two cells; "
                f"expected {needed:.0f} or more, or fewer --pairs or --seconds"
            )
            raise UsageError(msg)
        chosen = sample(cells, most, self.limits.seed)
        if len(chosen) < len(cells):
            self.line.note(
                f"{len(chosen)} of {len(cells)} cells, chosen by chance: --max-seconds "
                f"{self.limits.max_seconds:g} leaves no time for more"
            )
        self._add(chosen)
        self.halving = Halving(
            measure=self._search_turn,
            seconds=self.limits.seconds,
            overhead_seconds=overhead,
            servers=self.limits.servers,
            budget=budget_of(len(chosen), self.limits.seconds, overhead),
            on_round=self._on_round,
        )
        self.halving.run(chosen)
        if self.halving.stopped_by is not None:
            self.line.note(f"the search ends early: {self.halving.stopped_by}")

    def _on_round(self, finished: Round) -> None:
        number = len(self.halving.rounds) if self.halving is not None else 1
        self.line.round(number, finished)

    def _search_turn(self, cells: Sequence[Cell], seconds: float) -> Mapping[Cell, float | None]:
        deadline = self.limits.max_seconds - self._reserved_seconds
        return self._turn(cells, seconds, "search", deadline=deadline)

    def _turn(
        self, cells: Sequence[Cell], seconds: float, phase: Phase, *, deadline: float | None = None
    ) -> dict[Cell, float | None]:
        """Measure cells one after the other; None for one that fails."""
        scores: dict[Cell, float | None] = {}
        for number, cell in enumerate(cells, 1):
            if deadline is not None and self.clock + seconds > deadline:
                msg = f"{self.limits.max_seconds:g} seconds are nearly over"
                raise HalvingStopped(msg)
            self.line.show(f"{number} of {len(cells)}: {cell}")
            try:
                scores[cell] = self._measure(cell, seconds, phase).goodput_per_second
            except CellFailed as error:
                scores[cell] = None
                self.pool.stop(cell)
                self.dropped.append(Dropped(cell=self.index[cell], reason=str(error)))
                self.line.note(f"left out: {cell}: {error}")
        return scores

    def _compare(self, best: Cell) -> None:
        """Measure the best cell and the defaults in pairs; the order changes from pair to pair."""
        self.line.begin("")
        pairs: list[tuple[float, float]] = []
        try:
            for pair in range(self.limits.pairs):
                if self.clock + 2 * self.limits.seconds > self.limits.max_seconds:
                    self.stop_reason = f"{self.limits.max_seconds:g} seconds are over"
                    break
                self.line.show(f"pair {pair + 1} of {self.limits.pairs}")
                order = [best, DEFAULTS] if pair % 2 else [DEFAULTS, best]
                found = {
                    cell: self._measure(cell, self.limits.seconds, "gain").goodput_per_second
                    for cell in order
                }
                pairs.append((found[best], found[DEFAULTS]))
        except CellFailed as error:
            self.stop_reason = f"the comparison with the defaults failed: {error}"
        finally:
            if all(min(pair) > 0 for pair in pairs):
                self.gain = compare([first for first, _ in pairs], [other for _, other in pairs])

    def _check_arrivals(self, cell: Cell, rate: float) -> None:
        """Send Poisson arrivals to a cell."""
        seconds = max(_CHECK_SECONDS, self.limits.seconds)
        if not rate or self.clock + seconds > self.limits.max_seconds + _GRACE_SECONDS:
            return
        self.line.show("random arrivals")
        with contextlib.suppress(CellFailed):
            self.check = self._measure(cell, seconds, "check", rate=rate)

    @property
    def _reserved_seconds(self) -> float:
        """Time that is kept for the comparison and the check."""
        each = self.limits.seconds + min(self.overhead_seconds or 0.0, self.limits.seconds)
        return 2 * self.limits.pairs * each + max(_CHECK_SECONDS, self.limits.seconds)

    def _add(self, cells: Sequence[Cell]) -> None:
        for cell in cells:
            if cell not in self.index:
                self.index[cell] = len(self.cells)
                self.cells.append(cell)

    def _measure(
        self, cell: Cell, seconds: float, phase: Phase, *, rate: float | None = None
    ) -> Measured:
        try:
            measured = self.meter.measure(cell, seconds, phase, rate=rate)
        finally:
            # The measurement has handlers of its own, and leaves those of the system.
            stop_signals.listen(_interrupt)
        self.measurements.append(measured)
        return measured

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        """End the search at a signal, and keep what was measured."""
        with stop_signals.handled(_interrupt):
            try:
                yield
            except (Interrupted, KeyboardInterrupt) as interrupted:
                self.stop_reason = str(interrupted) or "interrupted by SIGINT"
            finally:
                self.line.end()


def _interrupt(reason: str) -> NoReturn:
    raise Interrupted(reason)
