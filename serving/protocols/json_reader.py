"""The JSON reader of both REST APIs."""

import json
from typing import Any

import orjson


def loads(body: bytes | memoryview) -> Any:  # noqa: ANN401 - whatever the JSON holds
    """Parse a JSON document; `NaN`, `Infinity` and `-Infinity` count as numbers.

    Args:
        body: UTF-8.

    Raises:
        json.JSONDecodeError: it is no JSON; with the offset of the mistake. orjson's error is one.
        ValueError: a number has too many digits for Python's parser.
        RecursionError: its arrays or objects are nested too deeply for Python's parser.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        # Python's parser takes two to five times as long, but knows NaN and Infinity.
        text = bytes(body)
        if b"NaN" in text or b"Infinity" in text:
            return json.loads(text)
        raise
