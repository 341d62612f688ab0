"""Reads the TOML file of a plan; every error names the file and the place in it."""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from loadtest.settings.config import UsageError
from training.schemas import Schema, SchemaError

T = TypeVar("T")


def read_file(path: Path, kind: str, schema: Schema, parse: Callable[["Table", str], T]) -> T:
    """Read a TOML file.

    Args:
        path: The file.
        kind: The kind of file with its article, such as "a matrix", for the message.
        schema: The schema versions of this kind of file.
        parse: Turns the file's table, and the file's name without suffix, into the result.

    Raises:
        UsageError: The file cannot be read, has another schema version, or `parse` refused it.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"cannot read {kind} from {path}: {error}"
        raise UsageError(msg) from error
    try:
        return parse(Table(schema.body(document, path), "the file"), path.stem)
    except SchemaError as error:
        raise UsageError(str(error)) from error
    except UsageError as error:
        msg = f"{path}: {error}"
        raise UsageError(msg) from error


class Table:
    """A TOML table; each key is removed when it is read, so that unread keys can be reported.

    Attributes:
        where: Name of the table, for messages.
    """

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

    def number(self, key: str) -> float | None:
        """Remove a key and return its number above 0, or None if it is missing.

        Raises:
            UsageError: The value is no number above 0.
        """
        value = self._values.pop(key, None)
        if value is None:
            return None
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not value > 0:
            msg = f"{key} of {self.where} is {value!r}, expected a number above 0"
            raise UsageError(msg)
        return float(value)

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


def check_names(names: Sequence[str], kind: str) -> None:
    """Check that the entries of a file have different names.

    Args:
        names: The names.
        kind: The entries in the plural, for the message.

    Raises:
        UsageError: Two names are equal.
    """
    if len(set(names)) < len(names):
        msg = f"{kind} are named {', '.join(names)}, expected different names"
        raise UsageError(msg)
