"""The paths of TensorFlow Serving's REST API, and the model that a path names."""

import re

from serving.errors import InvalidInput
from serving.inference.request import ModelSpec
from serving.transport.route_table import HttpRequest

_MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_MAX_VERSION = 2**63 - 1
_MAX_DIGITS = len(str(_MAX_VERSION))
_MAX_SHOWN = 64


def model_route(suffix: str) -> re.Pattern[str]:
    """Compile the pattern of a model's paths: name, optional version or label, then `suffix`.

    The path before `suffix` matches in upper and lower case.
    """
    return re.compile(f"(?i:{_MODEL}){suffix}")


def model_spec(request: HttpRequest) -> ModelSpec:
    """Return the model, and the version or label, that a request's path names.

    Raises:
        InvalidInput: the version does not fit a signed 64-bit integer.
    """
    version = request.parameters["version"]
    return ModelSpec(
        name=request.parameters["name"] or "",
        version=None if version is None else _number(version),
        version_label=request.parameters["label"],
    )


def _number(version: str) -> int:
    """Convert the digits of a version to an integer.

    Raises:
        InvalidInput: the version does not fit a signed 64-bit integer.
    """
    digits = version.lstrip("0") or "0"
    # Python refuses to convert thousands of digits, so the number of digits is checked first.
    if len(digits) <= _MAX_DIGITS and (number := int(digits)) <= _MAX_VERSION:
        return number
    shown = version if len(version) <= _MAX_SHOWN else f"{version[:_MAX_SHOWN]}..."
    msg = f"Failed to convert version: {shown} to numeric."
    raise InvalidInput(msg)
