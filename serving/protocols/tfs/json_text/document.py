"""Parse the JSON of a request: with orjson if possible, otherwise with the slow `reader`.

orjson quickly refuses texts that only TensorFlow Serving accepts (see `reader`). In a single case
it accepts a text and reads something else: if an object repeats a key, orjson keeps the last value,
TensorFlow Serving the first. A colon follows each key, so a text with as many colons as its
document has keys repeats no key. If a text has more colons, most often inside strings, its keys are
counted more closely.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from serving.protocols.tfs.json_text import reader

Json = Any  # any value that a JSON parser returns

# The slow reader takes up to a microsecond per byte: a longer text would block the event loop.
SLOW_IN_LOOP_BYTES = 8 << 10

_BYTES_A_SEARCH = 100
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# The end of a key. It also matches inside a string that contains a quote and a colon.
_END_OF_KEY = re.compile(rb'"[ \t\n\r]*+:')


class SlowError(Exception):
    """A text needs the slow reader, and the caller has not allowed it."""


def load(body: bytes, *, may_be_slow: bool = True, last_inside: bool = False) -> Json:
    """Parse a JSON document by TensorFlow Serving's rules.

    Args:
        body: The text.
        may_be_slow: Whether the slow reader may read a text of more than `SLOW_IN_LOOP_BYTES`.
        last_inside: Whether the last of repeated keys counts in all objects but the outermost;
            otherwise the first counts.

    Raises:
        InvalidInput: the text is not JSON; the message has the offset of the mistake.
        SlowError: the text needs the slow reader, and `may_be_slow` does not allow it.
    """
    is_marked = body.startswith(_BYTE_ORDER_MARK)
    try:
        document = orjson.loads(memoryview(body)[len(_BYTE_ORDER_MARK) :] if is_marked else body)
    except orjson.JSONDecodeError:
        pass
    else:
        if not _may_repeat_keys(body, document):
            return document
        del document
    if not may_be_slow and len(body) > SLOW_IN_LOOP_BYTES:
        raise SlowError
    return reader.read(body, last_inside=last_inside)


def _may_repeat_keys(body: bytes, document: Json) -> bool:
    """Whether an object in a text may have a key twice; also true for some texts without."""
    if type(document) is not dict:
        return False  # the caller refuses a document that is not an object
    if _has_at_most(body, _count_outer_keys(document)):
        return False
    return len(_END_OF_KEY.findall(body)) > _count_keys(document)


def _has_at_most(body: bytes, colons: int) -> bool:
    """Whether a text has at most `colons` colons."""
    # `find` runs at the memory's speed and `count` at a tenth of it, but each call of `find` costs
    # as much as counting in a hundred bytes.
    if len(body) < _BYTES_A_SEARCH * colons:
        return body.count(b":") <= colons
    position = -1
    for _ in range(colons + 1):
        position = body.find(b":", position + 1)
        if position < 0:
            return True
    return False


def _count_outer_keys(document: Mapping[str, Json]) -> int:
    """Count the keys of a document without deeply nested objects: a lower bound, found quickly."""
    count = len(document)
    for value in document.values():
        if type(value) is dict:
            count += len(value)
        elif type(value) is list and value and type(value[0]) is dict:
            count += sum([len(row) for row in value if type(row) is dict])
    return count


def _count_keys(document: Mapping[str, Json]) -> int:
    """Count the keys of all objects in a document."""
    count = 0
    unseen: list[Json] = [document]
    while unseen:
        value = unseen.pop()
        if type(value) is dict:
            count += len(value)
            inner: Any = value.values()
        else:
            inner = value
        types = set(map(type, inner))
        if dict in types or list in types:
            unseen.extend([part for part in inner if type(part) is dict or type(part) is list])
    return count
