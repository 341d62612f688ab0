"""A matrix file: a run for every combination of targets, models, precisions and scenarios.

schema_version = 1       # may be left out
name = "both models"
repeats = 3              # rounds over all runs, so that drift of the machine affects all equally
max_seconds = 540        # time limit of all runs together
models = ["simcnn"]      # default: all models that the targets serve

[[targets]]
name = "cpu"
serve = ["--device=cpu"] # start a server with these flags of `python -m serving`; or
# address = "host:8500"  # use a running server
precisions = ["auto"]    # one server for each

[defaults]               # flags of every run below, without the leading --
warmup-requests = 200

[[scenarios]]
scenario = "offline"
batch = [1, 8, 32]       # a list gives one run for each value
models = ["simcnn"]      # default: all

[[scenarios]]
command = "find-capacity"
repeats = 1              # default: the matrix's
slo-ms = 15
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtest.plans import tables
from loadtest.plans.run_flags import (
    command_flags,
    parse_flags,
    refuse_own_flags,
    refuse_sample_files,
)
from loadtest.plans.tables import Table, check_names
from loadtest.plans.targets import Target, read_target
from loadtest.settings.arguments import parse_capacity, parse_run
from loadtest.settings.config import UsageError
from training import schemas

_COMMANDS = {"run": parse_run, "find-capacity": parse_capacity}


@dataclass(frozen=True)
class MatrixScenario:
    """One load, for every model or for some.

    Attributes:
        command: "run" or "find-capacity".
        flags: Flags of the command, without those that the matrix passes itself.
        models: Names of the models; None for all.
        repeats: In how many rounds it is run; None for all.
    """

    command: str
    flags: tuple[str, ...]
    models: tuple[str, ...] | None
    repeats: int | None = None

    def __str__(self) -> str:
        """Return the command line."""
        return " ".join([self.command, *self.flags])


@dataclass(frozen=True)
class Matrix:
    """The content of a matrix file.

    Attributes:
        name: Name of the matrix.
        repeats: Rounds over all runs.
        max_seconds: Time limit of all runs together; None for no limit.
        models: Names of the models; None for all that the targets serve.
        targets: Servers to measure.
        scenarios: Loads to send.
    """

    name: str
    repeats: int
    max_seconds: float | None
    models: tuple[str, ...] | None
    targets: tuple[Target, ...]
    scenarios: tuple[MatrixScenario, ...]


def read(path: Path) -> Matrix:
    """Read a matrix file and check the command line of every run.

    Raises:
        UsageError: The file cannot be read, or a key or value is wrong.
    """
    return tables.read_file(path, "a matrix", schemas.MATRIX, _matrix)


def _matrix(table: Table, name: str) -> Matrix:
    repeats = table.take("repeats", int, 1) or 0
    max_seconds = table.take("max_seconds", int)
    if repeats < 1 or (max_seconds is not None and max_seconds < 1):
        msg = f"repeats {repeats}, max_seconds {max_seconds} received, expected 1 or more"
        raise UsageError(msg)
    defaults = table.take("defaults", dict) or {}
    targets = tuple(read_target(entry) for entry in table.tables("targets"))
    scenarios = [
        scenario for entry in table.tables("scenarios") for scenario in _scenarios(entry, defaults)
    ]
    matrix = Matrix(
        name=table.take("name", str) or name,
        repeats=repeats,
        max_seconds=max_seconds,
        models=table.words("models"),
        targets=targets,
        scenarios=tuple(scenarios),
    )
    table.end()
    check_names([target.name for target in targets], "targets")
    return matrix


def _scenarios(table: Table, defaults: Mapping[str, Any]) -> list[MatrixScenario]:
    """Return a table's scenarios: one for each combination of the values in its lists."""
    command = table.take("command", str) or "run"
    if command not in _COMMANDS:
        msg = f"command of {table.where} is {command!r}, expected {' or '.join(_COMMANDS)}"
        raise UsageError(msg)
    models = table.words("models")
    repeats = table.take("repeats", int)
    if repeats is not None and repeats < 1:
        msg = f"repeats of {table.where} is {repeats}, expected 1 or more"
        raise UsageError(msg)
    values = {**defaults, **table.rest()}
    refuse_sample_files(values, table.where, "run")
    refuse_own_flags(values, table.where, "matrix")
    choices = [
        [(key, choice) for choice in (value if isinstance(value, list) else [value])]
        for key, value in values.items()
    ]
    scenarios = [
        MatrixScenario(command, command_flags(combination), models, repeats)
        for combination in itertools.product(*choices)
    ]
    for scenario in scenarios:
        line = [command, *scenario.flags]
        parse_flags(_COMMANDS[command], line, model="none", where=table.where)
    return scenarios
