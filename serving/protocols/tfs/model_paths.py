"""The paths of TensorFlow Serving's REST API: the model that a URL names."""

import re

from serving.errors import InvalidInput
from serving.inference.request import ModelSpec
from serving.transport.route_table import HttpRequest

_MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_MAX_VERSION = 2**63 - 1


def model_route(suffix: str) -> re.Pattern[str]:
    """The paths of a model, or of a version of it, with something after them, in any case."""
    return re.compile(f"(?i:{_MODEL}{suffix})")


def model_spec(request: HttpRequest) -> ModelSpec:
    """The model that a path names.

    Raises:
        InvalidInput: the version does not fit 64 bits.
    """
    version = request.parameters["version"]
    if version is not None and int(version) > _MAX_VERSION:
        msg = f"Failed to convert version: {version} to numeric."
        raise InvalidInput(msg)
    return ModelSpec(
        name=request.parameters["name"] or "",
        version=None if version is None else int(version),
        version_label=request.parameters["label"],
    )
