"""The document of a request: by orjson where that reads what TensorFlow Serving reads, else slowly.

orjson refuses what only TensorFlow Serving takes (see `reader`), and is quick about it. In one case
alone it reads something else in silence: of repeated keys it lets the last count. Each key of a
text has a colon behind it, so a text with as many colons as its document has keys repeats none; one
with more, most often inside strings, is looked at more closely.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from serving.protocols.tfs.json_text import reader

Json = Any  # whatever a JSON parser gives

# The slow reader takes a microsecond for a byte at worst: longer texts are no work for the loop.
SLOW_IN_LOOP_BYTES = 8 << 10

_BYTES_A_SEARCH = 100
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# What every key ends with; a string may, too, have a quote and a colon in it.
_END_OF_KEY = re.compile(rb'"[ \t\n\r]*+:')


class SlowError(Exception):
    """A text takes the slow reader, and was not to be read with it here."""


def load(body: bytes, *, may_be_slow: bool = True, last_inside: bool = False) -> Json:
    """Parse a JSON document by TensorFlow Serving's rules.

    Args:
        body: The text.
        may_be_slow: Whether a text of more than `SLOW_IN_LOOP_BYTES` may take the slow reader.
        last_inside: Of keys that are repeated, the last counts in every object but the outermost.

    Raises:
        InvalidInput: it is no JSON, with the offset of the mistake.
        SlowError: see `may_be_slow`.
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
    """Whether an object of a text may have a key twice; true too if that would be hard to say."""
    if type(document) is not dict:
        return False  # it is refused anyhow
    if _has_at_most(body, _count_outer_keys(document)):
        return False
    return len(_END_OF_KEY.findall(body)) > _count_keys(document)


def _has_at_most(body: bytes, colons: int) -> bool:
    """Whether a text has no more colons than a number."""
    # Searching runs at the memory's speed, counting at a tenth of it; each search costs as much as
    # to count in a hundred bytes.
    if len(body) < _BYTES_A_SEARCH * colons:
        return body.count(b":") <= colons
    position = -1
    for _ in range(colons + 1):
        position = body.find(b":", position + 1)
        if position < 0:
            return True
    return False


def _count_outer_keys(document: Mapping[str, Json]) -> int:
    """The keys of a document, but for those deep inside: at most as many as it has."""
    count = len(document)
    for value in document.values():
        if type(value) is dict:
            count += len(value)
        elif type(value) is list and value and type(value[0]) is dict:
            count += sum([len(row) for row in value if type(row) is dict])
    return count


def _count_keys(document: Mapping[str, Json]) -> int:
    """All keys of all objects of a document."""
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
