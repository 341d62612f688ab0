"""A question that TensorFlow has answered."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question, and TensorFlow's answer to it alone.

    Attributes:
        signature: Name of the signature.
        inputs: By alias.
        outputs: Likewise.
    """

    signature: str
    inputs: Mapping[str, npt.NDArray[Any]]
    outputs: Mapping[str, npt.NDArray[Any]]
