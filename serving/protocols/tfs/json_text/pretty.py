"""Write answers in TensorFlow Serving's layout, with the same bytes.

TensorFlow Serving uses RapidJSON's PrettyWriter: four spaces per level, each row of the row form on
one line, and the bracket that closes the list of rows on a line of its own. Floats have six
significant digits if six are exact, otherwise nine (float64: seventeen), so `9000000.0` is written
`9e+06` (WriteDecimal in util/json_tensor.cc). The bytes of strings are written unchanged, UTF-8 or
not.
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
_NON_FINITE = {b"nan": b"NaN", b"inf": b"Infinity", b"-inf": b"-Infinity"}
_DOUBLE_DIGITS, _FLOAT_DIGITS = 17, 9  # C++'s max_digits10 of double and float


def rows(outputs: Mapping[str, np.ndarray], binary: Iterable[str] = ()) -> bytes:
    """Write `{"predictions": [row, ...]}`.

    Args:
        outputs: Arrays by alias, at least one, all with the same number of rows.
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
    """Write `{"outputs": tensor}` or `{"outputs": {alias: tensor, ...}}`; arguments as for `rows`.

    Raises:
        InvalidInput: an output has a dtype without JSON form.
    """
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


def classes(labels: Iterable[Sequence[str]], scores: Iterable[Sequence[float]]) -> bytes:
    """Write `{"results": [[[label, score], ...], ...]}`; scores are float32 values."""
    results = [
        b"[%b]"
        % b", ".join(
            b"[%b, %b]" % (string(label.encode()), score)
            for label, score in zip(names, numbers(np.array(row, np.float32)), strict=True)
        )
        for names, row in zip(labels, scores, strict=True)
    ]
    return _document(b"results", _closed_below(results))


def values(floats: Sequence[float]) -> bytes:
    """Write `{"results": [number, ...]}`; the numbers are float32 values."""
    written = numbers(np.array(floats, np.float32))
    return _document(b"results", b"[%b]" % b", ".join(written))


def numbers(array: np.ndarray) -> list[bytes]:
    """Write floats, each with six digits or, if six are not exact, with all digits of its type.

    Args:
        array: float32 or float64, shape (n,).
    """
    exact = array.tolist()
    short = [b"%.6g" % value for value in exact]
    with np.errstate(over="ignore"):
        read_back = np.array(list(map(float, short))).astype(array.dtype)
    digits = _DOUBLE_DIGITS if array.dtype == np.float64 else _FLOAT_DIGITS
    for position in np.flatnonzero(read_back != array).tolist():
        short[position] = _NON_FINITE.get(short[position]) or b"%.*g" % (digits, exact[position])
    for position in np.flatnonzero(np.isinf(array)).tolist():
        short[position] = _NON_FINITE[short[position]]
    return [
        written
        if b"." in written or b"e" in written or b"n" in written or b"N" in written
        else written + b".0"
        for written in short
    ]


def string(content: bytes) -> bytes:
    """Write a string in quotes; bytes that are not UTF-8 stay unchanged."""
    return b'"%b"' % _UNSAFE.sub(_escape, content)


def _escape(found: re.Match[bytes]) -> bytes:
    return _SHORT.get(found[0]) or b"\\u%04X" % found[0][0]


class _Column:
    """Writes one tensor: its values one by one, then the lists around them."""

    def __init__(self, alias: str, array: np.ndarray, *, is_binary: bool, level: int) -> None:
        """Prepare to write a tensor.

        Args:
            alias: Alias of the output, for error messages.
            array: The tensor.
            is_binary: Whether strings are written in base64.
            level: Indentation level of the tensor, or of one row of it.
        """
        self._alias, self._array, self._is_binary = alias, array, is_binary
        self._level = level

    def rows(self) -> list[bytes]:
        """Write each row on one line.

        Raises:
            InvalidInput: the dtype has no JSON form.
        """
        sizes = list(self._array.shape)
        values = self._values(self._level + len(sizes) - 1)
        while len(sizes) > 1:
            values = [b"[%b]" % b", ".join(group) for group in _groups(values, sizes)]
            sizes.pop()
        return values

    def whole(self) -> bytes:
        """Write the tensor with one value per line.

        Raises:
            InvalidInput: the dtype has no JSON form.
        """
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
            # float16 values are written like float32 values, which hold them exactly.
            floats = array if array.dtype == np.float64 else array.astype(np.float32)
            return numbers(floats.ravel())
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
            "call a signature without this output, or call over gRPC"
        )
        raise InvalidInput(msg)


def _groups(values: Sequence[bytes], sizes: Sequence[int]) -> Iterable[Sequence[bytes]]:
    """Yield the lists of the innermost dimension: groups of as many values as its size."""
    size = sizes[-1]
    for position in range(math.prod(sizes[:-1])):
        yield values[position * size : (position + 1) * size]


def _content(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _closed_below(items: Sequence[bytes]) -> bytes:
    """Write a list on one line, with the closing bracket on the next line."""
    if not items:
        return b"[]"
    return _wrap(b", ".join(items), 1)


def _wrap(items: bytes, level: int) -> bytes:
    return b"[%b\n%b]" % (items, _INDENT * level) if items else b"[]"


def _document(key: bytes, value: bytes) -> bytes:
    return b'{\n%b"%b": %b\n}' % (_INDENT, key, value)
