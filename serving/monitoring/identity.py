"""The name and version under which metadata, traces and metrics present this server."""

from importlib import metadata

NAME = "onnx-serving"  # the distribution's name, too


def version() -> str:
    """The version of the installed distribution."""
    return metadata.version(NAME)
