"""Successive halving: measure all cells briefly, keep the better half, measure it longer, repeat.

The rounds share a budget of time equally, so that each round spends twice as much on a cell as the
one before (Karnin, Koren and Somekh, "Almost Optimal Exploration in Multi-Armed Bandits", ICML
2013). Within a round the cells take turns (A B C A B C): what slows the machine for a while slows
all of them. A cell's figure is the mean logarithm of its scores in all rounds, weighted by time.
Cells of one round have been in the same rounds, so their figures are paired.

The budget counts the time of starting servers, too. What early rounds do not use is left for the
last ones.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from loadtest.tune.cells import Cell

# Measures cells one after the other, each for some seconds: requests/s of each, None for a cell
# that must not be chosen.
Measure = Callable[[Sequence[Cell], float], Mapping[Cell, float | None]]

# The whole grid would be measured this often, and halving may take this share of that time.
GRID_TURNS = 5
SHARE = 1 / 3
# The shortest measurement, as a share of the full one.
_SHORTEST = 1 / 3
# After a round, cells this much below the best leave even if they are in the better half. It is far
# more than a measurement errs by.
_FAR_BELOW = 0.8
# Instead of the logarithm of 0 requests/s.
_LEAST = 1e-6


class HalvingStopped(Exception):
    """Raised by `Measure` to end the search with what is known; the text is the reason."""


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
        budget_seconds: Most time of all measurements with their overhead.
        on_round: Called with each finished round.
        rounds: The finished rounds.
        spent_seconds: Time that the measurements were planned to take, with their overhead.
        measured_seconds: The same without the overhead.
        stopped_by: Why the search ended early; None if it did not.
    """

    measure: Measure
    seconds: float
    overhead_seconds: float = 0.0
    servers: int = 1
    budget_seconds: float
    on_round: Callable[[Round], None] = lambda _: None
    rounds: list[Round] = field(default_factory=list)
    spent_seconds: float = 0.0
    measured_seconds: float = 0.0
    stopped_by: str | None = None
    _sums: dict[Cell, float] = field(default_factory=dict)
    _weights: dict[Cell, float] = field(default_factory=dict)
    _left_out: set[Cell] = field(default_factory=set)

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
        for turn in range(turns):
            self._turn([cell for cell in cells if cell not in self._left_out], seconds, turn)
        ranked = self._ranked(cells)
        kept = ranked[: math.ceil(len(ranked) / 2)]
        kept = [cell for cell in kept if self.mean(cell) >= _FAR_BELOW * self.mean(kept[0])]
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

    def _turn(self, cells: Sequence[Cell], seconds: float, turn: int) -> None:
        self.spent_seconds += self._cost(len(cells), seconds, fresh=turn == 0)
        self.measured_seconds += len(cells) * seconds
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
        left = self.budget_seconds - self.spent_seconds
        share = left / max(1, math.ceil(math.log2(max(count, 2))))
        # The most turns of full length, or one turn that is shorter.
        turns = 1
        while self._turns_cost(count, turns + 1, self.seconds) <= share:
            turns += 1
        seconds = self.seconds
        if turns == 1:
            seconds = share / count - self.overhead_seconds
            seconds = min(self.seconds, max(seconds, _SHORTEST * self.seconds))
        if self._turns_cost(count, turns, seconds) > left and self.rounds:
            return 0, 0.0
        return turns, seconds

    def _turns_cost(self, count: int, turns: int, seconds: float) -> float:
        first = self._cost(count, seconds, fresh=True)
        return first + (turns - 1) * self._cost(count, seconds, fresh=False)

    def _cost(self, count: int, seconds: float, *, fresh: bool) -> float:
        started = fresh or count > self.servers
        return count * (seconds + (self.overhead_seconds if started else 0.0))


def budget(count: int, seconds: float, overhead_seconds: float) -> float:
    """Return the budget for a grid: SHARE of the time to measure each cell GRID_TURNS times.

    Args:
        count: Cells of the grid.
        seconds: Length of a full measurement.
        overhead_seconds: Time that a measurement takes in addition.
    """
    return SHARE * GRID_TURNS * count * (seconds + overhead_seconds)
