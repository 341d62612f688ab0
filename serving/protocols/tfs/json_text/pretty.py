"""Answers in TensorFlow Serving's layout, byte by byte.

It writes with RapidJSON's PrettyWriter: four spaces a level, lists of the row form on one line, the
list around them closed on a line of its own. Floats have six significant digits where that is
exact, and nine (float64: seventeen) where it is not, so that `9000000.0` is `9e+06` (WriteDecimal
in util/json_tensor.cc). Strings go out as the bytes they are, UTF-8 or not.
"""

import base64
import math
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from serving.errors import InvalidInput

_INDENT = b"    "
_UNSAFE = re.compile(rb'["\\\x00-\x1f]')
_SHORT = {
    b'"': b'\\"',
    b"\\": b"\\\\",
    b"\b": b"\\b",
    b"\f": b"\\f",
    b"\n": b"\\n",
    b"\r": b"\\r",
    b"\t": b"\\t",
}
_DOUBLE_DIGITS, _FLOAT_DIGITS = 17, 9  # max_digits10 of either type


def rows(outputs: Mapping[str, np.ndarray], binary: Iterable[str] = ()) -> bytes:
    """`{"predictions": [row, ...]}`.

    Args:
        outputs: Arrays by alias, at least one, all with as many rows.
        binary: Aliases of the outputs whose strings are written in base64.

    Raises:
        InvalidInput: an output has a dtype without JSON form.
    """
    level = 2 if len(outputs) == 1 else 3
    columns = {
        alias: _Column(alias, array, is_binary=alias in binary, level=level).rows()
        for alias, array in outputs.items()
    }
    if len(columns) == 1:
        (written,) = columns.values()
        return _document(b"predictions", _closed_below(written))
    keys = [_INDENT * 3 + string(alias.encode()) + b": " for alias in columns]
    items = [
        b"".join(
            (
                b"\n" + _INDENT * 2 + b"{\n",
                b",\n".join(map(bytes.__add__, keys, row)),
                b"\n" + _INDENT * 2 + b"}",
            )
        )
        for row in zip(*columns.values(), strict=True)
    ]
    return _document(b"predictions", _wrap(b",".join(items), 1))


def columns(outputs: Mapping[str, np.ndarray], binary: Iterable[str] = ()) -> bytes:
    """`{"outputs": tensor}` or `{"outputs": {alias: tensor, ...}}`; see `rows`."""
    level = 1 if len(outputs) == 1 else 2
    written = {
        alias: _Column(alias, array, is_binary=alias in binary, level=level).whole()
        for alias, array in outputs.items()
    }
    if len(written) == 1:
        (value,) = written.values()
        return _document(b"outputs", value)
    members = [
        _INDENT * 2 + string(alias.encode()) + b": " + value for alias, value in written.items()
    ]
    return _document(b"outputs", b"{\n" + b",\n".join(members) + b"\n" + _INDENT + b"}")


def classes(labels: Iterable[Sequence[str]], scores: Iterable[Iterable[float]]) -> bytes:
    """`{"results": [[[label, score], ...], ...]}`; scores are float32 values."""
    results = [
        b"[%b]"
        % b", ".join(
            b"[%b, %b]" % (string(label.encode()), number(np.float32(score)))
            for label, score in zip(*row, strict=True)
        )
        for row in zip(labels, scores, strict=True)
    ]
    return _document(b"results", _closed_below(results))


def values(numbers: Iterable[float]) -> bytes:
    """`{"results": [number, ...]}`; the numbers are float32 values."""
    written = b", ".join(number(np.float32(value)) for value in numbers)
    return _document(b"results", b"[%b]" % written)


def number(value: np.floating) -> bytes:
    """A float in the fewest of six or all digits that give it back."""
    if math.isnan(value):
        return b"NaN"
    if math.isinf(value):
        return b"-Infinity" if value < 0 else b"Infinity"
    exact = float(value)
    written = b"%.6g" % exact
    if type(value)(float(written)) != value:
        digits = _DOUBLE_DIGITS if value.dtype == np.float64 else _FLOAT_DIGITS
        written = b"%.*g" % (digits, exact)
    return written if b"." in written or b"e" in written else written + b".0"


def string(content: bytes) -> bytes:
    """A string in quotes; what is not UTF-8 stays as it is."""
    return b'"%b"' % _UNSAFE.sub(_escape, content)


def _escape(found: re.Match[bytes]) -> bytes:
    return _SHORT.get(found[0]) or b"\\u%04X" % found[0][0]


class _Column:
    """The values of one tensor, written one by one, and how they are put into lists."""

    def __init__(self, alias: str, array: np.ndarray, *, is_binary: bool, level: int) -> None:
        """Write the values.

        Raises:
            InvalidInput: the dtype has no JSON form.
        """
        self._alias, self._array, self._is_binary = alias, array, is_binary
        self._level = level

    def rows(self) -> list[bytes]:
        """Each row on one line."""
        sizes = list(self._array.shape)
        values = self._values(self._level + len(sizes) - 1)
        while len(sizes) > 1:
            values = [b"[%b]" % b", ".join(group) for group in _groups(values, sizes)]
            sizes.pop()
        return values

    def whole(self) -> bytes:
        """The tensor with a value a line."""
        sizes = list(self._array.shape)
        values = self._values(self._level + len(sizes))
        while sizes:
            level = self._level + len(sizes) - 1
            line = b"\n" + _INDENT * (level + 1)
            values = [
                _wrap(line + (b"," + line).join(group), level) if group else b"[]"
                for group in _groups(values, sizes)
            ]
            sizes.pop()
        (value,) = values
        return value

    def _values(self, level: int) -> list[bytes]:
        array = self._array
        kind = array.dtype.kind
        if kind == "f":
            # float16 has no form of its own there: what float32 makes of it is exact, too.
            floats = array if array.dtype == np.float64 else array.astype(np.float32)
            return [number(value) for value in floats.ravel()]
        if kind == "b":
            return [b"true" if value else b"false" for value in array.ravel().tolist()]
        if kind in "iu":
            return [b"%d" % value for value in array.ravel().tolist()]
        if kind in "OSU":
            contents = [_content(value) for value in array.ravel().tolist()]
            if not self._is_binary:
                return [string(content) for content in contents]
            opening = b"{\n" + _INDENT * (level + 1) + b'"b64": "'
            closing = b'"\n' + _INDENT * level + b"}"
            return [opening + base64.b64encode(content) + closing for content in contents]
        msg = (
            f"Failed to write JSON value for tensor type: {array.dtype} of output {self._alias}; "
            "leave it out with a signature of its own, or call over gRPC"
        )
        raise InvalidInput(msg)


def _groups(values: Sequence[bytes], sizes: Sequence[int]) -> Iterable[Sequence[bytes]]:
    """Values in groups of the last of some sizes, as many as the others have room for."""
    size = sizes[-1]
    for position in range(math.prod(sizes[:-1])):
        yield values[position * size : (position + 1) * size]


def _content(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _closed_below(items: Sequence[bytes]) -> bytes:
    """A list on one line but for its end."""
    if not items:
        return b"[]"
    return _wrap(b", ".join(items), 1)


def _wrap(items: bytes, level: int) -> bytes:
    return b"[%b\n%b]" % (items, _INDENT * level) if items else b"[]"


def _document(key: bytes, value: bytes) -> bytes:
    return b'{\n%b"%b": %b\n}' % (_INDENT, key, value)
