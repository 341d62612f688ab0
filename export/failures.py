"""Errors of TensorFlow, tf2onnx, onnx and ONNX Runtime as one line that names the way out."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from export.errors import ExportError
from training import storage

WITH_TENSORFLOW = (
    "rewrite the function, or serve the SavedModel with TensorFlow itself (the extra tensorflow)"
)
_MOST_CHARACTERS = 300
# Lines of TensorFlow's messages that only name a place in its own code.
_PLACES = re.compile(
    r"(Graph execution error:|Detected at node|Node: |Original stack trace|Original error:"
    r"|Restoring from checkpoint failed|\[\[|File \"|in user code:|==> Context)"
)


def reason(error: BaseException) -> str:
    """Return the first line of an error's message that says what went wrong.

    Args:
        error: An error of any library.

    Returns:
        At most 300 characters; the name of the error's type if the message is empty.
    """
    message = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    lines = [line.strip() for line in message.splitlines()]
    told = [line for line in lines if line and not _PLACES.match(line)]
    text = next(iter(told or filter(None, lines)), type(error).__name__)
    if len(text) > _MOST_CHARACTERS:
        text = f"{text[:_MOST_CHARACTERS]}..."
    return text.rstrip(".;: ")


@contextmanager
def told(what: str, way_out: str = WITH_TENSORFLOW) -> Iterator[None]:
    """Turn any error that a library raises in the block into an ExportError of one line.

    ExportError and OSError pass unchanged; `publishing.new_version.publish` explains an OSError.
    A full disk that a library reports with an error of its own, as TensorFlow does, becomes an
    OSError.

    Args:
        what: The attempt that failed, for example "TensorFlow cannot load saved".
        way_out: What the user can do about it.
    """
    try:
        yield
    except (ExportError, OSError):
        raise
    except Exception as error:
        full = storage.quoted(error)
        if full is not None:
            raise full from error
        msg = f"{what} ({type(error).__name__}: {reason(error)}); {way_out}"
        raise ExportError(msg) from error


def no_counterpart(operations: Iterable[str]) -> ExportError:
    """Return the error for TensorFlow operations that ONNX does not have.

    Args:
        operations: Types of the operations, such as "StringToHashBucketFast".
    """
    names = ", ".join(operations)
    return ExportError(f"ONNX has no counterpart for TensorFlow's {names}; {WITH_TENSORFLOW}")
