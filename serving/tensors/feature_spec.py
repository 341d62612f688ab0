"""Feature specs: which features of a tf.Example the server reads into a model's inputs.

TensorFlow parses tf.Examples inside its graphs; ONNX has no operator for it. A signature that takes
serialized tf.Examples therefore has a feature spec for each input of the ONNX graph::

    "feature_spec": {
      "age":    {"kind": "fixed", "key": "age", "default": [0.0],
                 "dtype": "DT_FLOAT", "shape": [-1, 1], "tensor": "age"},
      "words":  {"kind": "variable", "key": "words", "default": [{"b64": ""}],
                 "dtype": "DT_STRING", "shape": [-1, -1], "tensor": "words"},
      "images": {"kind": "image", "key": "image", "orientation": "exif",
                 "dtype": "DT_UINT8", "shape": [-1, 32, 32, 3], "tensor": "images"}}
"""

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from serving.tensors.tensor_spec import DataType, TensorSpec

Default = tuple[float | bytes, ...]
_EXIF = "exif"


class FeatureKind(StrEnum):
    """How the values of a feature become a row of a tensor.

    FIXED: the feature has exactly as many values as a row has elements (TensorFlow's
    FixedLenFeature). VARIABLE: the feature has any number of steps, and rows are padded to the
    longest row of the request (FixedLenSequenceFeature). IMAGE: the feature holds the bytes of one
    image (`image_decoder`), whose pixels become a row of values from 0 to 255.
    """

    FIXED = "fixed"
    VARIABLE = "variable"
    IMAGE = "image"


@dataclass(frozen=True, kw_only=True)
class FeatureSpec:
    """The feature that one input of a model is read from.

    Attributes:
        tensor: Spec of the input. Its dtype is DT_FLOAT, DT_INT64 or DT_STRING, the only types of
            tf.Examples; or, for images, DT_UINT8 or DT_FLOAT with one channel (grey) or three
            (RGB). The first dimension is the batch; the second dimension of a variable feature is
            -1; all others are fixed. Its ONNX name is empty if
            the graph does not use the feature; examples must have the feature nevertheless.
        key: Name of the feature. An image has two features, of which an example must have one:
            `<key>/encoded` (a PNG or JPEG file) or `<key>/raw` (height * width * channels bytes).
        kind: See `FeatureKind`.
        default: Fixed: the values of a missing feature's row, flat; None: the feature is required.
            Variable: one value for padding; None: zeros, or empty strings.
        upright: Image: whether it is turned as its EXIF data says. TensorFlow does not do that, so
            it is a rule of models that were trained on upright pictures.
    """

    tensor: TensorSpec
    key: str
    kind: FeatureKind = FeatureKind.FIXED
    default: Default | None = None
    upright: bool = False

    def __post_init__(self) -> None:
        """Check that kind, dtype, shape and default fit together.

        Raises:
            ValueError: they do not fit.
        """
        dtype, shape = self.tensor.dtype, self.tensor.known_shape
        image = self.kind is FeatureKind.IMAGE
        dtypes = (
            (DataType.DT_UINT8, DataType.DT_FLOAT)
            if image
            else (DataType.DT_FLOAT, DataType.DT_INT64, DataType.DT_STRING)
        )
        free = 2 if self.kind is FeatureKind.VARIABLE else 1
        fits = shape[:free] == (-1,) * free and all(size > 0 for size in shape[free:])
        if dtype not in dtypes or not fits or (image and not _is_picture(shape)):
            expected = " or ".join(known.name for known in dtypes)
            shapes = {1: "(-1, fixed sizes...)", 2: "(-1, -1, fixed sizes...)"}
            msg = (
                f"{self.kind} feature {self.key!r} is {dtype.name} {shape}, expected {expected} "
                f"{'(-1, height, width, 3 or 1)' if image else shapes[free]}"
            )
            raise ValueError(msg)
        wanted = self.elements if self.kind is FeatureKind.FIXED else 1
        if self.default is not None and (image or len(self.default) != wanted):
            msg = (
                f"{self.kind} feature {self.key!r} has {len(self.default)} default values, "
                f"expected {'none' if image else wanted}"
            )
            raise ValueError(msg)

    @cached_property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one example's row; it begins with -1 for a variable feature."""
        return self.tensor.known_shape[1:]

    @cached_property
    def elements(self) -> int:
        """Number of values in a row, or in one step of a variable feature."""
        return math.prod(size for size in self.row_shape if size != -1)

    @cached_property
    def shape_text(self) -> str:
        """`row_shape` in TensorFlow's notation: `[2,3]`, `[?]`."""
        return f"[{','.join('?' if size == -1 else str(size) for size in self.row_shape)}]"

    def to_json(self) -> dict[str, Any]:
        """Return the entry of this feature in signature.json."""
        entry = {"kind": self.kind.value, "key": self.key, **self.tensor.to_json()}
        if self.upright:
            entry["orientation"] = _EXIF
        if self.default is not None:
            entry["default"] = [
                {"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
                for value in self.default
            ]
        return entry

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "FeatureSpec":
        """Read an entry of signature.json.

        Raises:
            KeyError, TypeError, ValueError: a field is missing or invalid.
        """
        default = entry.get("default")
        return cls(
            tensor=TensorSpec.from_json(entry),
            key=str(entry["key"]),
            kind=FeatureKind(entry["kind"]),
            upright=_is_upright(entry.get("orientation")),
            default=None if default is None else tuple(_value(value) for value in default),
        )


def _is_upright(orientation: object) -> bool:
    """Read the field `orientation`.

    Raises:
        ValueError: it has an unknown value.
    """
    if orientation not in (None, _EXIF):
        msg = f"orientation is {orientation!r}, expected {_EXIF!r} or nothing"
        raise ValueError(msg)
    return orientation == _EXIF


def _is_picture(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[-1] in {1, 3}


def _value(value: float | dict[str, str]) -> float | bytes:
    return base64.b64decode(value["b64"], validate=True) if isinstance(value, dict) else value
