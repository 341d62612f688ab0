"""The name and version under which metadata, traces and metrics present this server."""

from functools import cache
from importlib import metadata

NAME = "onnx-serving"  # also the name of the distribution


@cache
def version() -> str:
    """Return the version of the installed distribution; "unknown" if it is not installed."""
    try:
        return metadata.version(NAME)
    except metadata.PackageNotFoundError:
        return "unknown"
