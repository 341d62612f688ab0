"""Inputs of a signature with TensorFlow's answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Inputs of one request, and TensorFlow's answer to that request alone.

    Attributes:
        signature: Name of the signature.
        inputs: Input arrays by alias.
        outputs: Output arrays by alias.
    """

    signature: str
    inputs: Mapping[str, npt.NDArray[Any]]
    outputs: Mapping[str, npt.NDArray[Any]]
