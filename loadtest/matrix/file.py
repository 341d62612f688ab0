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
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from loadtest.report_schema import RAW_FILE
from loadtest.settings.arguments import parse_capacity, parse_run, target_address
from loadtest.settings.config import UsageError
from training import schemas

AUTO = "auto"
T = TypeVar("T")
_COMMANDS = {"run": parse_run, "find-capacity": parse_capacity}
# Flags that the matrix itself passes to each run.
OWN_FLAGS = frozenset(
    {
        *("target", "model", "version", "precision", "provider", "models-dir", "data-dir"),
        *("seed", "schedule-seed", "output-dir", "name", "json"),
        *("tls", "ca", "cert", "key", "api-key-file", "header"),
    }
)


@dataclass(frozen=True)
class Target:
    """A server, or several servers that differ only in precision.

    Attributes:
        name: Name of the target in the report.
        address: `host:port` of a running server; None to start one with `serve`.
        serve: Flags of `python -m serving`; empty with `address`.
        precisions: Precisions to serve, or AUTO for the server's default; only AUTO with
            `address`.
    """

    name: str
    address: str | None
    serve: tuple[str, ...]
    precisions: tuple[str, ...]


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
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"cannot read a matrix from {path}: {error}"
        raise UsageError(msg) from error
    try:
        return _matrix(Table(schemas.MATRIX.body(document, path), "the file"), path.stem)
    except schemas.SchemaError as error:
        raise UsageError(str(error)) from error
    except UsageError as error:
        msg = f"{path}: {error}"
        raise UsageError(msg) from error


class Table:
    """A TOML table; each key is removed when it is read, so that unread keys can be reported."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self._values = dict(values)
        self.where = where

    def take(self, key: str, kind: type[T], default: T | None = None) -> T | None:
        """Remove a key and return its value, or the default if it is missing.

        Raises:
            UsageError: The value has another type.
        """
        if key not in self._values:
            return default
        value = self._values.pop(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            msg = f"{key} of {self.where} is {value!r}, expected {kind.__name__}"
            raise UsageError(msg)
        return value

    def words(self, key: str) -> tuple[str, ...] | None:
        """Remove a key and return its list of texts, or None if it is missing.

        Raises:
            UsageError: The value is empty or not a list of texts.
        """
        values = self.take(key, list)
        if values is None:
            return None
        if not values or not all(isinstance(value, str) for value in values):
            msg = f"{key} of {self.where} is {values!r}, expected a list of texts"
            raise UsageError(msg)
        return tuple(values)

    def tables(self, key: str) -> "list[Table]":
        """Remove an array of tables and return its tables.

        Raises:
            UsageError: The array is missing or empty.
        """
        tables = self.take(key, list)
        if not tables or not all(isinstance(table, dict) for table in tables):
            msg = f"{self.where} has no [[{key}]], expected at least one"
            raise UsageError(msg)
        return [Table(table, f"{key} {number}") for number, table in enumerate(tables, 1)]

    def rest(self) -> dict[str, Any]:
        """Return the keys that have not been read yet, with their values."""
        return self._values

    def end(self) -> None:
        """Raise UsageError if unread keys are left, such as misspelt ones."""
        if self._values:
            msg = f"{', '.join(self._values)} of {self.where}: unknown keys"
            raise UsageError(msg)


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
    names = [target.name for target in targets]
    if len(set(names)) < len(names):
        msg = f"targets are named {', '.join(names)}, expected different names"
        raise UsageError(msg)
    return matrix


def read_target(table: Table) -> Target:
    """Return the target that a table describes.

    Raises:
        UsageError: A key or value is wrong.
    """
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
            msg = (
                f"precisions of {table.where} cannot be chosen, because the server at {address} "
                "is already running; remove precisions, or use serve instead of address"
            )
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
    if "save-samples" in values:
        msg = (
            f"save-samples of {table.where}: every run would write the same file; leave it out, "
            f"the folder of each run has its samples as {RAW_FILE}"
        )
        raise UsageError(msg)
    if own := OWN_FLAGS & set(values):
        msg = f"{', '.join(sorted(own))} of {table.where}: the matrix itself sets these flags"
        raise UsageError(msg)
    choices = [
        [(key, choice) for choice in (value if isinstance(value, list) else [value])]
        for key, value in values.items()
    ]
    scenarios = [
        MatrixScenario(command, command_flags(combination), models, repeats)
        for combination in itertools.product(*choices)
    ]
    for scenario in scenarios:
        _check(scenario, table.where)
    return scenarios


def command_flags(values: Sequence[tuple[str, Any]]) -> tuple[str, ...]:
    """Return keys and values as flags of a command: true gives the flag alone, false none."""
    flags = []
    for key, value in values:
        if value is True:
            flags.append(f"--{key}")
        elif value is not False:
            flags.append(f"--{key}={value}")
    return tuple(flags)


def _check(scenario: MatrixScenario, where: str) -> None:
    """Parse the flags with the command's own parser, which prints its errors.

    Raises:
        UsageError: The parser refused them.
    """
    try:
        _COMMANDS[scenario.command]([*scenario.flags, "--target=localhost:1", "--model=none"])
    except SystemExit as error:
        msg = f"{where} gives a wrong command line (see the error above): {scenario}"
        raise UsageError(msg) from error
