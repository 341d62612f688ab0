"""The cells of a grid: combinations of the server's flags that decide about its speed."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from loadtest.settings.config import UsageError

# The server's flag for each field of a cell, and the prefix of the server's variables.
FLAGS = {
    "workers": "workers",
    "instances": "instances",
    "threads": "intra_op_threads",
    "batch_limit": "max_batch_size",
    "precision": "precision",
}
_PREFIX = "SERVING_"
# 64 is the server's default on a CPU.
BATCH_LIMITS = (1, 8, 64)


@dataclass(frozen=True, order=True, kw_only=True)
class Cell:
    """One combination of flags of `python -m serving`; FLAGS has their names.

    Attributes:
        workers: Worker processes.
        instances: Runs at the same time of each worker; 0 for the server's choice.
        threads: Threads inside one run; 0 for the server's choice.
        batch_limit: Most rows of one run; 0 for the server's choice.
        precision: Precision of the graph; "auto" for the server's choice.
    """

    workers: int = 1
    instances: int = 0
    threads: int = 0
    batch_limit: int = 0
    precision: str = "auto"

    def __str__(self) -> str:
        """Return the flags as one line of text."""
        return " ".join(self.flags)

    @property
    def values(self) -> dict[str, int | str]:
        """The values by the name of the server's flag."""
        return {flag: getattr(self, name) for name, flag in FLAGS.items()}

    @property
    def flags(self) -> list[str]:
        """The flags of the server, all of them."""
        return [f"--{flag}={value}" for flag, value in self.values.items()]

    @property
    def variables(self) -> dict[str, str]:
        """The server's environment variables with the same meaning as the flags."""
        return {f"{_PREFIX}{flag.upper()}": str(value) for flag, value in self.values.items()}


# The server without any of the flags.
DEFAULTS = Cell()


def read(values: Mapping[str, int | str]) -> Cell:
    """Return the cell with these values by the name of the server's flag; see `Cell.values`."""
    return Cell(**{name: values[flag] for name, flag in FLAGS.items()})  # type: ignore[arg-type]


def grid(
    cores: int,
    precisions: Sequence[str],
    *,
    workers: Sequence[int] | None = None,
    instances: Sequence[int] | None = None,
    threads: Sequence[int] | None = None,
    batch_limits: Sequence[int] = BATCH_LIMITS,
) -> list[Cell]:
    """Return the cells to choose from.

    Workers, instances and threads that are not given are powers of two up to the number of cores,
    and the number of cores itself. Of their combinations those remain that have at least half as
    many threads in all as there are cores, and at most twice as many. Fewer threads leave cores
    idle, even those that the load generator does not need; more threads only compete for them. If
    all three are given, every combination remains.

    Args:
        cores: Cores that the server may use.
        precisions: Precisions of the graphs.
        workers: Numbers of worker processes; None for the powers of two.
        instances: Numbers of runs at the same time of a worker; None for the powers of two.
        threads: Numbers of threads inside a run; None for the powers of two.
        batch_limits: Most rows of a run.

    Raises:
        UsageError: No combination remains.
    """
    counts = sorted({*_powers_of_two(cores), cores})
    low, high = max(1, cores // 2), 2 * cores
    if None not in (workers, instances, threads):
        low, high = 0, 1 << 62
    shapes = [
        shape
        for shape in product(workers or counts, instances or counts, threads or counts)
        if low <= shape[0] * shape[1] * shape[2] <= high
    ]
    if not shapes:
        msg = (
            f"no combination of workers, instances and threads has {low} to {high} threads in all "
            f"for {cores} cores; give --workers, --instances and --threads to measure any"
        )
        raise UsageError(msg)
    return [
        Cell(workers=w, instances=i, threads=t, batch_limit=limit, precision=precision)
        for (w, i, t), limit, precision in product(shapes, batch_limits, precisions)
    ]


def sample(cells: Sequence[Cell], most: int, seed: int) -> list[Cell]:
    """Return at most `most` of the cells in their order, chosen by chance."""
    if len(cells) <= most:
        return list(cells)
    chosen = sorted(random.Random(seed).sample(range(len(cells)), most))  # noqa: S311 - no secret
    return [cells[index] for index in chosen]


def settled(cell: Cell, cores: int, precision: str | None) -> Cell:
    """Return a cell with the server's choices on a CPU in place of 0 and "auto".

    Args:
        cell: The cell.
        cores: Cores that the server may use.
        precision: The precision that the server chose; None if it is not known.
    """
    worker_cores = max(1, cores // cell.workers)
    instances = cell.instances or max(1, worker_cores // (cell.threads or 1))
    return Cell(
        workers=cell.workers,
        instances=instances,
        threads=cell.threads or max(1, worker_cores // instances),
        batch_limit=cell.batch_limit or max(BATCH_LIMITS),
        precision=precision or cell.precision if cell.precision == "auto" else cell.precision,
    )


def differences(cell: Cell, other: Cell) -> dict[str, tuple[int | str, int | str]]:
    """Return the values of two cells by the name of the server's flag, where they differ."""
    mine, yours = cell.values, other.values
    return {flag: (mine[flag], yours[flag]) for flag in mine if mine[flag] != yours[flag]}


def _powers_of_two(most: int) -> Iterator[int]:
    power = 1
    while power <= most:
        yield power
        power *= 2
