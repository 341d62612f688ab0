"""Write JSON values for error messages, in TensorFlow Serving's layout and within its limit.

TensorFlow Serving uses RapidJSON's PrettyWriter, with lists on one line and four spaces per level
of objects, and stops before the first piece that begins beyond 256 bytes.
"""

import contextlib
import json
import re
from decimal import Decimal
from typing import Any

Json = Any  # any value that a JSON parser returns

MAX_QUOTED = 256
_INDENT = "    "
_EXPONENT = re.compile(r"e([+-])0*(\d+)")
# RapidJSON writes numbers in this range without an exponent, Python those from 1e-4 to 1e16.
_SMALLEST_WRITTEN_OUT, _WRITTEN_OUT = 1e-6, 1e21


class _FullError(Exception):
    """The text has reached its limit; the rest of the value is not needed."""


def quote(value: Json) -> str:
    """Return a value as error messages begin with it: `JSON Value: ...`."""
    return f"JSON Value: {text(value)}"


def text(value: Json) -> str:
    """Write a value as JSON, cut after 256 characters; the rest of the value is not visited."""
    pieces = _Pieces()
    with contextlib.suppress(_FullError):
        pieces.write(value, 0)
    written = "".join(pieces.pieces)
    return written if len(written) <= MAX_QUOTED else written[:MAX_QUOTED] + "..."


def printable(name: str) -> str:
    """Return a name for error messages: bytes that are not UTF-8 are replaced."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def type_name(value: Json) -> str:
    """Return the JSON type of a value in TensorFlow Serving's words."""
    return ("True" if value else "False") if type(value) is bool else _TYPES[type(value)]


_TYPES = {
    type(None): "Null",
    int: "Number",
    float: "Number",
    str: "String",
    list: "Array",
    dict: "Object",
}


def string(value: str) -> str:
    """Write a string in quotes, with RapidJSON's escapes."""
    quoted = json.dumps(value, ensure_ascii=False)
    return re.sub(r"\\u00[01][a-f]", lambda found: r"\u" + found[0][2:].upper(), quoted)


class _Pieces:
    """The pieces of text written so far."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self._length = 0

    def _add(self, piece: str) -> None:
        self.pieces.append(piece)
        self._length += len(piece)
        # Each level of lists or objects writes a piece, so the limit also keeps recursion shallow.
        if self._length > MAX_QUOTED:
            raise _FullError

    def write(self, value: Json, level: int) -> None:
        if type(value) is list:
            self._add("[")
            for position, item in enumerate(value):
                if position:
                    self._add(", ")
                self.write(item, level + 1)
            self._add("]")
        elif type(value) is dict:
            self._write_object(value, level)
        elif type(value) is str:
            self._add(string(printable(value[: MAX_QUOTED + 1])))
        else:
            self._add(_number(value) if type(value) is float else json.dumps(value))

    def _write_object(self, members: dict[str, Json], level: int) -> None:
        self._add("{")
        separator = "\n"
        for key, item in members.items():
            name = string(printable(key[: MAX_QUOTED + 1]))
            self._add(f"{separator}{_INDENT * (level + 1)}{name}: ")
            self.write(item, level + 1)
            separator = ",\n"
        self._add(f"\n{_INDENT * level}}}" if members else "}")


def _number(value: float) -> str:
    """Write a float as RapidJSON does: `1e21` instead of `1e+21`, and no exponent below that."""
    written = json.dumps(value)
    if "e" not in written:
        return written
    if _SMALLEST_WRITTEN_OUT <= abs(value) < _WRITTEN_OUT:
        in_full = f"{Decimal(written):f}"
        return in_full if "." in in_full else f"{in_full}.0"
    return _EXPONENT.sub(lambda found: f"e{found[1].replace('+', '')}{found[2]}", written)
