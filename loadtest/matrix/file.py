"""What a matrix file asks for: every combination of targets, models, precisions and scenarios.

name = "both models"
repeats = 3              # rounds over everything, so that drift of the machine hits all alike
max_seconds = 540        # no run goes on later
models = ["simcnn"]      # default: all that the targets serve

[[targets]]
name = "cpu"
serve = ["--device=cpu"] # started here with these flags of `python -m serving`; or
# address = "host:8500"
precisions = ["auto"]    # a server for each

[defaults]               # flags of every run below, as `run --help` has them
warmup-requests = 200

[[scenarios]]
scenario = "offline"
batch = [1, 8, 32]       # a list: a run for each
models = ["simcnn"]      # default: all

[[scenarios]]
command = "find-capacity"
slo-ms = 15
"""

import itertools
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from loadtest.settings.arguments import parse_capacity, parse_run, target_address
from loadtest.settings.config import UsageError

AUTO = "auto"
T = TypeVar("T")
_COMMANDS = {"run": parse_run, "find-capacity": parse_capacity}
# What the matrix itself says to each run.
_OWN_FLAGS = frozenset(
    {
        *("target", "model", "version", "precision", "provider", "models-dir", "data-dir"),
        *("seed", "schedule-seed", "output-dir", "name", "json"),
    }
)


@dataclass(frozen=True)
class Target:
    """A server, or several of them that differ in precision.

    Attributes:
        name: For the report.
        address: `host:port` of one that runs already; None: `serve` says how to start it.
        serve: Flags of `python -m serving`.
        precisions: Precisions to serve, AUTO among them; of an address only AUTO.
    """

    name: str
    address: str | None
    serve: tuple[str, ...]
    precisions: tuple[str, ...]


@dataclass(frozen=True)
class MatrixScenario:
    """One load on every model.

    Attributes:
        command: "run" or "find-capacity".
        flags: Of that command, without those that the matrix gives.
        models: Names; None: all.
    """

    command: str
    flags: tuple[str, ...]
    models: tuple[str, ...] | None

    def __str__(self) -> str:
        """The command line."""
        return " ".join([self.command, *self.flags])


@dataclass(frozen=True)
class Matrix:
    """A matrix file.

    Attributes:
        name: Label of the whole.
        repeats: Rounds over everything.
        max_seconds: For all of it; None: no limit.
        models: Names; None: all that the targets serve.
        targets: Servers.
        scenarios: Loads.
    """

    name: str
    repeats: int
    max_seconds: float | None
    models: tuple[str, ...] | None
    targets: tuple[Target, ...]
    scenarios: tuple[MatrixScenario, ...]


def read(path: Path) -> Matrix:
    """Read a matrix file and check every run that it leads to.

    Raises:
        UsageError: It cannot be read, or asks for what there is not.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"cannot read a matrix from {path}: {error}"
        raise UsageError(msg) from error
    try:
        return _matrix(_Table(document, "the file"), path.stem)
    except UsageError as error:
        msg = f"{path}: {error}"
        raise UsageError(msg) from error


class _Table:
    """A TOML table whose keys are taken one by one, so that none is left unread."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self._values = dict(values)
        self.where = where

    def take(self, key: str, kind: type[T], default: T | None = None) -> T | None:
        """A value of a type, or the default."""
        if key not in self._values:
            return default
        value = self._values.pop(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            msg = f"{key} of {self.where} is {value!r}, expected {kind.__name__}"
            raise UsageError(msg)
        return value

    def words(self, key: str) -> tuple[str, ...] | None:
        """A list of texts, or None."""
        values = self.take(key, list)
        if values is None:
            return None
        if not values or not all(isinstance(value, str) for value in values):
            msg = f"{key} of {self.where} is {values!r}, expected a list of texts"
            raise UsageError(msg)
        return tuple(values)

    def tables(self, key: str) -> "list[_Table]":
        """Its tables of a name, at least one."""
        tables = self.take(key, list)
        if not tables or not all(isinstance(table, dict) for table in tables):
            msg = f"{self.where} has no [[{key}]], expected at least one"
            raise UsageError(msg)
        return [_Table(table, f"{key} {number}") for number, table in enumerate(tables, 1)]

    def rest(self) -> dict[str, Any]:
        """Keys nobody has read yet."""
        return self._values

    def end(self) -> None:
        """Raise UsageError if keys are left unread (a typo)."""
        if self._values:
            msg = f"{', '.join(self._values)} of {self.where} mean nothing here"
            raise UsageError(msg)


def _matrix(table: _Table, name: str) -> Matrix:
    repeats = table.take("repeats", int, 1) or 0
    max_seconds = table.take("max_seconds", int)
    if repeats < 1 or (max_seconds is not None and max_seconds < 1):
        msg = f"repeats {repeats}, max_seconds {max_seconds} received, expected 1 or more"
        raise UsageError(msg)
    defaults = table.take("defaults", dict) or {}
    targets = tuple(_target(entry) for entry in table.tables("targets"))
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
    names = [target.name for target in targets]
    if len(set(names)) < len(names):
        msg = f"targets are named {', '.join(names)}, expected different names"
        raise UsageError(msg)
    return matrix


def _target(table: _Table) -> Target:
    address, serve = table.take("address", str), table.take("serve", list)
    if (address is None) == (serve is None):
        msg = f"{table.where} needs either address or serve"
        raise UsageError(msg)
    if serve is not None and not all(isinstance(flag, str) for flag in serve):
        msg = f"serve of {table.where} is {serve!r}, expected a list of flags"
        raise UsageError(msg)
    precisions = table.words("precisions") or (AUTO,)
    if address is not None:
        if precisions != (AUTO,):
            msg = f"precisions of {table.where} cannot be chosen: the server at {address} runs"
            raise UsageError(msg)
        _checked_address(address)
    name = table.take("name", str) or address or table.where
    table.end()
    return Target(name, address, tuple(serve or ()), precisions)


def _checked_address(address: str) -> None:
    try:
        target_address(address)
    except Exception as error:  # argparse's own kind
        raise UsageError(str(error)) from error


def _scenarios(table: _Table, defaults: Mapping[str, Any]) -> list[MatrixScenario]:
    """The table's scenario, or several of them: one for each combination of its lists."""
    command = table.take("command", str) or "run"
    if command not in _COMMANDS:
        msg = f"command of {table.where} is {command!r}, expected {' or '.join(_COMMANDS)}"
        raise UsageError(msg)
    models = table.words("models")
    values = {**defaults, **table.rest()}
    if own := _OWN_FLAGS & set(values):
        msg = f"{', '.join(sorted(own))} of {table.where}: the matrix itself sets them"
        raise UsageError(msg)
    choices = [
        [(key, choice) for choice in (value if isinstance(value, list) else [value])]
        for key, value in values.items()
    ]
    scenarios = [
        MatrixScenario(command, _flags(combination), models)
        for combination in itertools.product(*choices)
    ]
    for scenario in scenarios:
        _check(scenario, table.where)
    return scenarios


def _flags(values: Sequence[tuple[str, Any]]) -> tuple[str, ...]:
    flags = []
    for key, value in values:
        if value is True:
            flags.append(f"--{key}")
        elif value is not False:
            flags.append(f"--{key}={value}")
    return tuple(flags)


def _check(scenario: MatrixScenario, where: str) -> None:
    """Let the command's own parser read the flags, which prints what it does not like."""
    try:
        _COMMANDS[scenario.command]([*scenario.flags, "--target=localhost:1", "--model=none"])
    except SystemExit as error:
        msg = f"{where} makes a command line that is wrong, as said above: {scenario}"
        raise UsageError(msg) from error
