"""The name and version under which metadata, traces and metrics present this server."""

from importlib import metadata

NAME = "onnx-serving"  # the distribution's name, too


def version() -> str:
    """The version of the installed distribution; "unknown" when run from a folder of files."""
    try:
        return metadata.version(NAME)
    except metadata.PackageNotFoundError:
        return "unknown"
