"""What TensorFlow, tf2onnx, onnx and ONNX Runtime raise, as one line that names the way out."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from export.errors import ExportError

WITH_TENSORFLOW = (
    "rewrite the function, or serve the SavedModel with TensorFlow itself (the extra tensorflow)"
)
_MOST_CHARACTERS = 300
# Lines of TensorFlow's messages that say where in its own code something was noticed.
_PLACES = re.compile(
    r"(Graph execution error:|Detected at node|Node: |Original stack trace|Original error:"
    r"|Restoring from checkpoint failed|\[\[|File \"|in user code:|==> Context)"
)


def reason(error: BaseException) -> str:
    """The first line of an error's message that says what went wrong.

    Args:
        error: Of any library.

    Returns:
        At most 300 characters, and never nothing: the type's name stands for an empty message.
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
    """Turn whatever a library raises meanwhile into an ExportError of one line.

    Our own errors pass, and so do those of the file system, which the publication explains.

    Args:
        what: What was tried, as in "TensorFlow cannot load saved".
        way_out: What to do about it.
    """
    try:
        yield
    except (ExportError, OSError):
        raise
    except Exception as error:
        msg = f"{what} ({type(error).__name__}: {reason(error)}); {way_out}"
        raise ExportError(msg) from error
