"""The JSON reader of the KServe REST API; for TensorFlow Serving's API see `tfs.json_text`."""

import json
from typing import Any

import orjson


def loads(body: bytes | memoryview) -> Any:  # noqa: ANN401 - any JSON value
    """Parse a JSON document; `NaN`, `Infinity` and `-Infinity` count as numbers.

    Args:
        body: The document in UTF-8.

    Raises:
        json.JSONDecodeError: the document is not JSON; the error has the offset of the mistake.
            orjson's error is a subclass.
        ValueError: a number has too many digits for Python's parser.
        RecursionError: arrays or objects are nested too deeply for Python's parser.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        # Python's parser takes two to five times as long, but accepts NaN and Infinity.
        text = bytes(body)
        if b"NaN" in text or b"Infinity" in text:
            return json.loads(text)
        raise
