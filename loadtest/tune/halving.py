"""Successive halving: measure all cells briefly, keep the better half, measure it longer, repeat.

The rounds share a budget of time equally, so that each round spends twice as much on a cell as the
one before (Karnin, Koren and Somekh, "Almost Optimal Exploration in Multi-Armed Bandits", ICML
2013). Within a round the cells take turns (A B C A B C): what slows the machine for a while slows
all of them. A cell's figure is the mean logarithm of its scores in all rounds, weighted by time.
Cells of one round have been in the same rounds, so their figures are paired.

There are two budgets: of measuring, and of measuring and starting servers together. What early
rounds do not use is left for the last ones.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from loadtest.tune.cells import Cell

# Measures cells one after the other, each for some seconds: requests/s of each, None for a cell
# that must not be chosen.
Measure = Callable[[Sequence[Cell], float], Mapping[Cell, float | None]]

# The budget is this share of the time in which every cell could be measured so many times.
BUDGET_SHARE = 1 / 3
GRID_TURNS = 5
# The shortest measurement, as a share of the full one.
_SHORTEST = 1 / 2
# After a round, cells below this share of the best one leave even if they are in the better half.
# Those of the best quarter stay, because on a busy machine a measurement may err by as much.
_FAR_BELOW = 0.7
# In place of 0 requests/s, which has no logarithm.
_LEAST = 1e-6


class HalvingStopped(Exception):
    """Raised by `Measure` to end the search with what is known; the text is the reason."""


@dataclass(frozen=True)
class Budget:
    """Times in seconds.

    Attributes:
        measuring: Time of measurements.
        total: The same with the time that they take in addition, as if each started its server.
    """

    measuring: float
    total: float

    def __add__(self, other: "Budget") -> "Budget":
        return Budget(self.measuring + other.measuring, self.total + other.total)

    def left(self, spent: "Budget", parts: int = 1) -> "Budget":
        """Return what is left, divided into equal parts."""
        return Budget(
            (self.measuring - spent.measuring) / parts, (self.total - spent.total) / parts
        )

    def holds(self, cost: "Budget") -> bool:
        """Return whether a cost fits, up to rounding."""
        slack = 1e-9
        return cost.measuring <= self.measuring + slack and cost.total <= self.total + slack


@dataclass(frozen=True, kw_only=True)
class Round:
    """A round of the search.

    Attributes:
        cells: The cells that were measured.
        turns: How often each was measured.
        seconds: Length of each measurement.
        means: Requests/s of each cell that may be chosen: the weighted geometric mean of all its
            measurements so far.
        kept: The cells of the next round, the best one first.
    """

    cells: tuple[Cell, ...]
    turns: int
    seconds: float
    means: dict[Cell, float]
    kept: tuple[Cell, ...]


@dataclass(kw_only=True)
class Halving:
    """A search and its state.

    Attributes:
        measure: Function that measures cells.
        seconds: Length of a full measurement.
        overhead_seconds: Time that a measurement takes in addition if its server must be started.
        servers: Number of servers that stay started between turns.
        budget: Most time of all measurements.
        on_round: Called with each finished round.
        rounds: The finished rounds.
        spent: Time that the measurements were planned to take.
        stopped_by: Why the search ended early; None if it did not.
    """

    measure: Measure
    seconds: float
    overhead_seconds: float = 0.0
    servers: int = 1
    budget: Budget
    on_round: Callable[[Round], None] = lambda _: None
    rounds: list[Round] = field(default_factory=list)
    spent: Budget = field(default_factory=lambda: Budget(0.0, 0.0))
    stopped_by: str | None = None
    _sums: dict[Cell, float] = field(default_factory=dict)
    _weights: dict[Cell, float] = field(default_factory=dict)
    _left_out: set[Cell] = field(default_factory=set)
    _servers_run: bool = False  # whether the servers of the next round run already

    def run(self, cells: Sequence[Cell]) -> None:
        """Search until one cell is left, the budget is used, or `measure` stops it."""
        kept = list(dict.fromkeys(cells))
        try:
            while len(kept) > 1 or not self.rounds:
                turns, seconds = self._plan(len(kept))
                if not turns:
                    return
                kept = self._round(kept, turns, seconds)
        except HalvingStopped as stopped:
            self.stopped_by = str(stopped)

    @property
    def best(self) -> Cell | None:
        """The best cell of the last round; None if no cell may be chosen, or none was measured."""
        for finished in reversed(self.rounds):
            ranked = self._ranked(finished.cells)
            if ranked:
                return ranked[0]
        ranked = self._ranked(list(self._sums))
        return ranked[0] if ranked else None

    def mean(self, cell: Cell) -> float:
        """Return the weighted geometric mean of a cell's scores, in requests/s."""
        return math.exp(self._sums[cell] / self._weights[cell])

    def _round(self, cells: Sequence[Cell], turns: int, seconds: float) -> list[Cell]:
        self.spent += self._cost(len(cells), turns, seconds)
        for _ in range(turns):
            self._turn([cell for cell in cells if cell not in self._left_out], seconds)
        self._servers_run = len(cells) <= self.servers
        ranked = self._ranked(cells)
        half, quarter = math.ceil(len(ranked) / 2), math.ceil(len(ranked) / 4)
        kept = [
            cell
            for place, cell in enumerate(ranked[:half])
            if place < quarter or self.mean(cell) >= _FAR_BELOW * self.mean(ranked[0])
        ]
        self.rounds.append(
            Round(
                cells=tuple(cells),
                turns=turns,
                seconds=seconds,
                means={cell: self.mean(cell) for cell in ranked},
                kept=tuple(kept),
            )
        )
        self.on_round(self.rounds[-1])
        return kept

    def _turn(self, cells: Sequence[Cell], seconds: float) -> None:
        for cell, score in self.measure(cells, seconds).items():
            if score is None:
                self._left_out.add(cell)
                continue
            self._sums[cell] = self._sums.get(cell, 0.0) + seconds * math.log(max(score, _LEAST))
            self._weights[cell] = self._weights.get(cell, 0.0) + seconds

    def _ranked(self, cells: Sequence[Cell]) -> list[Cell]:
        known = [cell for cell in cells if cell in self._sums and cell not in self._left_out]
        return sorted(known, key=self.mean, reverse=True)

    def _plan(self, count: int) -> tuple[int, float]:
        """Return turns and length of the next round's measurements; no turns if none fits."""
        share = self.budget.left(self.spent, math.ceil(math.log2(max(count, 2))))
        # The most turns of full length, or one turn that is shorter.
        turns = 1
        while share.holds(self._cost(count, turns + 1, self.seconds)):
            turns += 1
        seconds = self.seconds
        if turns == 1:
            rest = self._cost(count, 1, 0.0).total
            seconds = min(share.measuring, share.total - rest) / count
            seconds = min(self.seconds, max(seconds, _SHORTEST * self.seconds))
        if not self.budget.left(self.spent).holds(self._cost(count, turns, seconds)):
            return 0, 0.0
        return turns, seconds

    def _cost(self, count: int, turns: int, seconds: float) -> Budget:
        """Return the time of a round."""
        measuring = count * turns * seconds
        starts = count * turns
        if count <= self.servers:
            starts = 0 if self._servers_run else count
        return Budget(measuring, measuring + starts * self.overhead_seconds)


def budget_of(count: int, seconds: float, overhead_seconds: float) -> Budget:
    """Return the budget for a grid: BUDGET_SHARE of the time of GRID_TURNS turns over all cells.

    Args:
        count: Cells of the grid.
        seconds: Length of a full measurement.
        overhead_seconds: Time that a measurement takes in addition.
    """
    measurements = BUDGET_SHARE * GRID_TURNS * count
    return Budget(measurements * seconds, measurements * (seconds + overhead_seconds))
