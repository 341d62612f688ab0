"""Read JSON by the rules of TensorFlow Serving's reader, which accepts more than JSON.

TensorFlow Serving reads with RapidJSON 1.1.0 and the flags kParseIterativeFlag,
kParseNanAndInfFlag and kParseStopWhenDoneFlag (util/json_tensor.cc). Therefore

- if an object repeats a key, the first value counts;
- `NaN`, `Inf` and `Infinity` are numbers, with or without a minus;
- a byte order mark before the document and any text after it are ignored, and a zero byte ends
  the text;
- lists and objects may be nested 512,000 deep; RapidJSON has no limit but memory;
- strings are bytes: they need not be UTF-8;
- integers beyond 64 bits are floats, and a number too large for a double is refused.

Errors have RapidJSON's texts and offsets. The time grows linearly with the text and is about ten
times orjson's, so `document` uses this reader only if orjson refuses a text or would misread it.
"""

import math
import re
from typing import Any, NoReturn

import orjson

from serving.errors import InvalidInput

Json = Any  # any value that a JSON parser returns

_BYTE_ORDER_MARK = (b"\xef", b"\xbb", b"\xbf")

_EMPTY = "The document is empty."
_NO_NAME = "Missing a name for object member."
_NO_COLON = "Missing a colon after a name of object member."
_NO_COMMA_IN_OBJECT = "Missing a comma or '}' after an object member."
_NO_COMMA_IN_LIST = "Missing a comma or ']' after an array element."
_INVALID_VALUE = "Invalid value."
_WRONG_HEX = r"Incorrect hex digit after \u escape in string."
_WRONG_SURROGATE = "The surrogate pair in string is invalid."
_WRONG_ESCAPE = "Invalid escape character in string."
_NO_QUOTE = "Missing a closing quotation mark in string."
_TOO_BIG = "Number too big to be stored in double."
_NO_FRACTION = "Miss fraction part in number."
_NO_EXPONENT = "Miss exponent in number."

_SPACE = re.compile(rb"[ \t\n\r]*+")
# A list of only numbers, true, false and null: nearly all of a tensor's text.
_FLAT_LIST = re.compile(rb'\[[^\[\]{}"]*+\]')
_NUMBER_IN_LIST = (
    rb"-?(?:(?:0|[1-9][0-9]{0,17})(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,2})?|NaN|Inf(?:inity)?)"
)
_NUMBERS = re.compile(rb"\[\s*+%b\s*+(?:,\s*+%b\s*+)*+\]" % (_NUMBER_IN_LIST, _NUMBER_IN_LIST))
_INTEGER = re.compile(rb"\s*+-?[0-9]++\s*+\Z")
_NUMBER = re.compile(
    rb"-?(?:(0|[1-9][0-9]*+)(?:\.([0-9]++))?(?:[eE]([+-]?[0-9]++))?|(NaN|Inf(?:inity)?))"
)
_STRING = re.compile(rb'"(?:[^"\\\x00-\x1f]++|\\["\\/bfnrtu])*+"')
_UNESCAPED = re.compile(rb'[^"\\\x00-\x1f]*+')
_HEX = re.compile(rb"[0-9A-Fa-f]{4}")
_ESCAPES = {
    b'"': b'"',
    b"\\": b"\\",
    b"/": b"/",
    b"b": b"\b",
    b"f": b"\f",
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
}
_WORDS: dict[bytes, tuple[bytes, bool | None]] = {
    b"n": (b"null", None),
    b"t": (b"true", True),
    b"f": (b"false", False),
}
_OPENED = object()
_MAX_DEPTH = 512_000  # a level takes a hundred times as much memory as its bracket
_MAX_INTEGER, _MIN_INTEGER = 2**64 - 1, -(2**63)
_MAX_INTEGER_DIGITS = 20
_MAX_EXPONENT = 308
_LONG_EXPONENT = 9  # digits; only 100 million leading zeros in a fraction would make up for it
_SIGNIFICANT_DIGITS = 17  # RapidJSON ignores further digits of a fraction


def read(body: bytes, *, last_inside: bool = False) -> Json:
    """Parse the first JSON value of a text.

    Args:
        body: The text; strings in it may hold any bytes.
        last_inside: Whether the last of repeated keys counts in all objects but the outermost;
            otherwise the first counts.

    Returns:
        Objects as dictionaries, numbers as int or float. A byte that is not UTF-8 becomes a lone
        surrogate in its string (error handler `surrogateescape`).

    Raises:
        InvalidInput: the text is not JSON; the message has the offset of the mistake in bytes.
    """
    end = body.find(b"\0")
    return _Reader(body if end < 0 else body[:end], last_inside=last_inside).read()


class _Reader:
    """Reads one text. Keeps the position, and the lists and objects that are open at it."""

    def __init__(self, text: bytes, *, last_inside: bool) -> None:
        self._text = text
        self._last_inside = last_inside
        self._position = 0
        self._open: list[Json] = []  # lists and objects, the outermost first
        self._keys: list[str] = []  # for each of `_open`, the key of its next value; "" for lists

    def read(self) -> Json:
        for part in _BYTE_ORDER_MARK:
            self._position += self._text.startswith(part, self._position)
        self._position = _skip_space(self._text, self._position)
        if self._next() in {b"", b"]", b"}", b",", b":"}:
            _fail(_EMPTY, self._position)
        while True:
            value = self._begin_value()
            if value is not _OPENED:
                whole = self._end_value(value)
                if whole is not _OPENED:
                    return whole

    def _next(self) -> bytes:
        return self._text[self._position : self._position + 1]

    def _begin_value(self) -> Json:
        """Read the value at the position.

        Returns:
            The value; `_OPENED` for a list or an object whose first value comes next.

        Raises:
            InvalidInput: the text has no value here.
        """
        text, first = self._text, self._next()
        if first == b"[":
            return self._begin_list()
        if first == b"{":
            return self._begin_object()
        if first == b'"':
            string, self._position = _read_string(text, self._position)
            return string
        if first in _WORDS:
            word, self._position = _read_word(text, self._position)
            return word
        number, self._position = _read_number(text, self._position)
        return number

    def _begin_list(self) -> Json:
        flat = _FLAT_LIST.match(self._text, self._position)
        values = _read_flat_list(flat[0]) if flat else None
        if flat and values is not None:
            self._position = flat.end()
            return values
        self._position = _skip_space(self._text, self._position + 1)  # an empty list is flat
        self._enter([], "")
        return _OPENED

    def _begin_object(self) -> Json:
        self._position = _skip_space(self._text, self._position + 1)
        if self._next() == b"}":
            self._position += 1
            return {}
        key, self._position = _read_key(self._text, self._position)
        self._enter({}, key)
        return _OPENED

    def _enter(self, empty: Json, key: str) -> None:
        if len(self._open) == _MAX_DEPTH:
            _fail(f"Nested deeper than {_MAX_DEPTH} levels, unlike any tensor", self._position)
        self._open.append(empty)
        self._keys.append(key)

    def _end_value(self, value: Json) -> Json:
        """Put a value into the innermost open list or object, and close those that end here.

        Returns:
            The document if it is complete; `_OPENED` if another value comes next.

        Raises:
            InvalidInput: neither a comma nor the end of the list or object follows.
        """
        while self._open:
            parent = self._open[-1]
            is_list = type(parent) is list
            if is_list:
                parent.append(value)
            elif self._keys[-1] not in parent or (self._last_inside and len(self._open) > 1):
                parent[self._keys[-1]] = value
            self._position = _skip_space(self._text, self._position)
            following = self._next()
            if following == b",":
                self._position = _skip_space(self._text, self._position + 1)
                if not is_list:
                    self._keys[-1], self._position = _read_key(self._text, self._position)
                return _OPENED
            if following != (b"]" if is_list else b"}"):
                _fail(_NO_COMMA_IN_LIST if is_list else _NO_COMMA_IN_OBJECT, self._position)
            self._position += 1
            value = self._open.pop()
            self._keys.pop()
        return value


def _skip_space(text: bytes, position: int) -> int:
    # Most often the text has no white space here.
    if text[position : position + 1] > b" ":
        return position
    found = _SPACE.match(text, position)
    return found.end() if found else position


def _fail(reason: str, offset: int) -> NoReturn:
    msg = f"JSON Parse error: {reason} at offset: {offset}"
    raise InvalidInput(msg)


def _read_key(text: bytes, position: int) -> tuple[str, int]:
    """Read a key and its colon; return the key and the position of its value."""
    if text[position : position + 1] != b'"':
        _fail(_NO_NAME, position)
    key, position = _read_string(text, position)
    position = _skip_space(text, position)
    if text[position : position + 1] != b":":
        _fail(_NO_COLON, position)
    return key, _skip_space(text, position + 1)


def _read_flat_list(text: bytes) -> list[Json] | None:
    """Read a list of numbers and words at once; None if it must be read value by value."""
    try:
        values: list[Json] = orjson.loads(text)
    except orjson.JSONDecodeError:
        if not _NUMBERS.fullmatch(text):
            return None
        return [
            int(word) if _INTEGER.match(word) else float(word) for word in text[1:-1].split(b",")
        ]
    return values


# Words and numbers


def _read_word(text: bytes, position: int) -> tuple[Json, int]:
    """Read `null`, `true` or `false`; return its value and its end position."""
    word, value = _WORDS[text[position : position + 1]]
    length = _common_length(text, position, word)
    if length < len(word):
        _fail(_INVALID_VALUE, position + length)
    return value, position + length


def _read_number(text: bytes, position: int) -> tuple[float, int]:
    """Read a number; return its value and its end position."""
    found = _NUMBER.match(text, position)
    if found is None:
        _fail(_INVALID_VALUE, _end_of_no_number(text, position))
    integer, fraction, exponent, name = found.groups()
    end = found.end()
    following = text[end : end + 1]
    if name == b"Inf" and following == b"i":
        _fail(_INVALID_VALUE, end + _common_length(text, end, b"inity"))
    if name is not None:
        return float(found[0]), end
    is_integer = fraction is None and exponent is None
    if is_integer and following == b".":
        _fail(_NO_FRACTION, end + 1)
    if exponent is None and following in {b"e", b"E"}:
        _fail(_NO_EXPONENT, end + 1 + (text[end + 1 : end + 2] in {b"+", b"-"}))
    if is_integer and len(integer) <= _MAX_INTEGER_DIGITS:
        number = int(found[0])
        if _MIN_INTEGER <= number <= _MAX_INTEGER:
            return number, end
    if _is_too_big(integer, fraction or b"", exponent or b""):
        _fail(_TOO_BIG, position)
    return float(found[0]), end


def _is_too_big(integer: bytes, fraction: bytes, exponent: bytes) -> bool:
    """Whether RapidJSON refuses a number, which it decides while it reads the exponent."""
    if math.isinf(float(integer)):
        return True
    if exponent.startswith(b"-"):
        return False
    digits = exponent.lstrip(b"+0")
    return len(digits) >= _LONG_EXPONENT or int(digits or b"0") > _limit(integer, fraction)


def _limit(integer: bytes, fraction: bytes) -> int:
    """Return the largest exponent for these digits: each digit of the fraction allows one more."""
    is_zero = integer == b"0"
    leading = len(fraction) - len(fraction.lstrip(b"0")) if is_zero else 0
    room = _SIGNIFICANT_DIGITS - (0 if is_zero else len(integer))
    return _MAX_EXPONENT + leading + min(len(fraction) - leading, max(0, room))


def _end_of_no_number(text: bytes, position: int) -> int:
    """Return the position at which RapidJSON notices that the text is not a number."""
    position += text.startswith(b"-", position)
    for name in (b"NaN", b"Inf"):
        position += _common_length(text, position, name)
    return position


def _common_length(text: bytes, position: int, word: bytes) -> int:
    """Count the bytes of a word that the text has at a position."""
    length = 0
    while length < len(word) and text.startswith(word[: length + 1], position):
        length += 1
    return length


# Strings


def _read_string(text: bytes, position: int) -> tuple[str, int]:
    """Read a string; return its value and its end position."""
    found = _STRING.match(text, position)
    if found:
        try:
            value: str = orjson.loads(found[0])
        except orjson.JSONDecodeError:
            pass  # not UTF-8, or a wrong escape
        else:
            return value, found.end()
    return _read_bytes(text, position)


def _read_bytes(text: bytes, position: int) -> tuple[str, int]:
    """Read a string of any bytes piece by piece; return its value and its end position."""
    pieces = bytearray()
    position += 1
    while True:
        run = _UNESCAPED.match(text, position)
        if run:
            pieces += run[0]
            position = run.end()
        byte = text[position : position + 1]
        if byte == b'"':
            return pieces.decode("utf-8", "surrogateescape"), position + 1
        if not byte:
            _fail(_NO_QUOTE, position)
        if byte != b"\\":
            _fail(_WRONG_ESCAPE, position)  # RapidJSON's message for a control character
        escape = text[position + 1 : position + 2]
        if escape == b"u":
            code_point, following = _read_code_point(text, position)
            # A low surrogate alone becomes three bytes that are not UTF-8.
            pieces += chr(code_point).encode("utf-8", "surrogatepass")
            position = following
        elif escape in _ESCAPES:
            pieces += _ESCAPES[escape]
            position += 2
        else:
            _fail(_WRONG_ESCAPE, position)


def _read_code_point(text: bytes, position: int) -> tuple[int, int]:
    r"""Read `\uXXXX` or a surrogate pair; return the code point and its end position."""
    high = _read_hex(text, position + 2, position)
    if not 0xD800 <= high <= 0xDBFF:
        return high, position + 6
    if text[position + 6 : position + 8] != rb"\u":
        _fail(_WRONG_SURROGATE, position)
    low = _read_hex(text, position + 8, position)
    if not 0xDC00 <= low <= 0xDFFF:
        _fail(_WRONG_SURROGATE, position)
    return ((high - 0xD800) << 10 | (low - 0xDC00)) + 0x10000, position + 12


def _read_hex(text: bytes, position: int, escape: int) -> int:
    found = _HEX.match(text, position)
    if found is None:
        _fail(_WRONG_HEX, escape)
    return int(found[0], 16)
