"""Parses tf.Examples into arrays by a feature spec, like TensorFlow's ParseExample.

Checks and messages are TensorFlow's (core/util/example_proto_fast_parsing.cc), with two
differences. A feature name that is not UTF-8 is refused. For a string feature with too many values,
the message gives the number of values, where TensorFlow's is "Can't parse serialized Example.".
"""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from google.protobuf.message import DecodeError

from serving.errors import DeadlineExceeded, InvalidInput
from serving.protos.tensorflow_example_pb2 import Example, Feature
from serving.tensors import image_decoder
from serving.tensors.admission import Account
from serving.tensors.feature_spec import FeatureKind, FeatureSpec
from serving.tensors.tensor_spec import MAX_TENSOR_BYTES, DataType

# The field of `Feature` that holds the values, by the dtype of the model's input; an image of any
# dtype is in a `bytes_list`. `_LABELS` and `_VALUES` are TensorFlow's names of the field's element
# type and of its values, for messages.
_DTYPES = {
    DataType.DT_FLOAT: "float_list",
    DataType.DT_INT64: "int64_list",
    DataType.DT_STRING: "bytes_list",
}
_LABELS = {"float_list": "float", "int64_list": "int64", "bytes_list": "string"}
_VALUES = {"float_list": "float", "int64_list": "int64", "bytes_list": "bytes"}
_SHOWN_BYTES = 64
# Up to this size, parsing takes less time than a switch to another thread and back.
_QUICK_BYTES = 16_384


class ExampleParser:
    """Parses tf.Examples into the inputs of one signature."""

    def __init__(self, features: Mapping[str, FeatureSpec]) -> None:
        """Create a parser.

        Args:
            features: The feature specs by model input alias.
        """
        self._features = dict(features)
        self._has_images = any(spec.kind is FeatureKind.IMAGE for spec in features.values())

    def byte_count(self, rows: int) -> int:
        """Return the bytes of the arrays of this many examples, without variable features."""
        return sum(
            rows * spec.elements * spec.tensor.numpy_dtype.itemsize
            for spec in self._features.values()
            if spec.kind is not FeatureKind.VARIABLE
        )

    def is_quick(self, serialized: Sequence[bytes]) -> bool:
        """Return whether parsing is fast enough for the event loop: few bytes and no images."""
        return not self._has_images and sum(map(len, serialized)) <= _QUICK_BYTES

    def parse(
        self, serialized: Sequence[bytes], *, deadline: float | None = None
    ) -> dict[str, np.ndarray]:
        """Parse all examples, each into one row; blocks.

        Args:
            serialized: Serialized tf.Examples, at least one.
            deadline: `time.monotonic()` after which parsing ends; None: no deadline.

        Returns:
            `Parsing.arrays`.

        Raises:
            InvalidInput, DeadlineExceeded: see `Parsing.work`.
        """
        parsing = self.begin(serialized, deadline=deadline)
        while not parsing.work(math.inf):
            pass
        return parsing.arrays

    def begin(self, serialized: Sequence[bytes], *, deadline: float | None = None) -> "Parsing":
        """Start to parse examples; the caller then calls `Parsing.work` until it returns True.

        Args:
            serialized: Serialized tf.Examples, at least one.
            deadline: `time.monotonic()` after which parsing ends; None: no deadline.

        Raises:
            InvalidInput: an array would be larger than `MAX_TENSOR_BYTES`.
        """
        for spec in self._features.values():
            _check_size(spec, len(serialized) * spec.elements)
        return Parsing(self._features, serialized, deadline)


class Parsing:
    """The parsing of one request's examples, which can be interrupted between two examples.

    Attributes:
        arrays: Arrays by model input alias, with the dtypes and shapes of the feature spec and one
            row per example. They are set when `work` returns True.
    """

    arrays: dict[str, np.ndarray]

    def __init__(
        self,
        features: Mapping[str, FeatureSpec],
        serialized: Sequence[bytes],
        deadline: float | None,
    ) -> None:
        self._features = features
        self._serialized = serialized
        self._deadline = deadline
        self._rows: dict[str, list[Any]] = {alias: [] for alias in features}
        self._parsed = 0

    def work(self, seconds: float) -> bool:
        """Parse examples for some time, but at least one example.

        Args:
            seconds: Time after which no further example is begun.

        Returns:
            Whether all examples are parsed.

        Raises:
            InvalidInput: an example cannot be parsed, or lacks a feature, or has a feature of
                another type or size, or an image that cannot be decoded; or an array would be
                larger than `MAX_TENSOR_BYTES`.
            DeadlineExceeded: the deadline passed before the last example was parsed.
        """
        until = time.monotonic() + seconds
        while self._parsed < len(self._serialized):
            if self._deadline is not None and self._deadline < time.monotonic():
                msg = (
                    f"deadline passed after {self._parsed} of {len(self._serialized)} examples "
                    "were parsed"
                )
                raise DeadlineExceeded(msg)
            self._parse_one(self._serialized[self._parsed], self._parsed, self._rows)
            self._parsed += 1
            if time.monotonic() >= until and self._parsed < len(self._serialized):
                return False
        self.arrays = {
            alias: _stack(spec, self._rows[alias])
            for alias, spec in self._features.items()
            if spec.tensor.tensor
        }
        return True

    def _parse_one(self, serialized: bytes, index: int, rows: dict[str, list[Any]]) -> None:
        features = _features(serialized)
        missing = None
        row: Any
        for alias, spec in self._features.items():
            if spec.kind is FeatureKind.IMAGE:
                row = _image(features, spec, index)
            elif (feature := _present(features, spec.key)) is not None:
                row = _values(feature, spec, spec.key, index)
            elif spec.kind is FeatureKind.VARIABLE:
                row = ()
            else:
                row = spec.default
            if row is None:
                missing = missing or spec
            rows[alias].append(row)
        if missing:  # reported last, as TensorFlow does
            _raise_missing(missing)


def _features(serialized: bytes) -> Mapping[str, Feature]:
    try:
        return Example.FromString(serialized).features.feature
    except DecodeError:
        shown = repr(serialized[:_SHOWN_BYTES])[2:-1]
        more = "..." if len(serialized) > _SHOWN_BYTES else ""
        msg = (
            f"Could not parse example input, value: '{shown}{more}'; expected a serialized "
            "tf.Example"
        )
        raise InvalidInput(msg) from None


def _present(features: Mapping[str, Feature], key: str) -> Feature | None:
    """Return a feature; None if it is missing or has no kind, which TensorFlow treats alike."""
    if key not in features:  # `features[key]` would add the key
        return None
    feature = features[key]
    return feature if feature.WhichOneof("kind") else None


def _values(feature: Feature, spec: FeatureSpec, key: str, index: int) -> np.ndarray:
    """Return the values of a feature as a flat array with the dtype of the model's input."""
    field = _DTYPES[spec.tensor.dtype]
    kind = feature.WhichOneof("kind")
    if kind != field:
        _raise_at(
            key,
            index,
            f"Data types don't match. Data type: {_LABELS[str(kind)]} "
            f"but expected type: {_LABELS[field]}",
        )
    values = getattr(feature, field).value
    if spec.kind is FeatureKind.FIXED and len(values) != spec.elements:
        _raise_at(
            key,
            index,
            f"Number of {_VALUES[field]} values != expected.  "
            f"Values size: {len(values)} but output shape: {spec.shape_text}",
        )
    if spec.kind is FeatureKind.VARIABLE and len(values) % spec.elements:
        _raise_at(
            key,
            index,
            f"Number of {_VALUES[field]} values is not a multiple of stride length. "
            f"Saw {len(values)} values but output shape is: {spec.shape_text}",
        )
    array = np.empty(len(values), spec.tensor.numpy_dtype)
    array[:] = values
    return array


def _image(features: Mapping[str, Feature], spec: FeatureSpec, index: int) -> np.ndarray | None:
    """Return the image of an example, uint8, shape (height, width, channels); None if missing."""
    _, height, width, channels = spec.tensor.known_shape
    found: dict[str, bytes] = {}
    for form in ("encoded", "raw"):
        key = f"{spec.key}/{form}"
        feature = _present(features, key)
        if feature is None:
            continue
        if feature.WhichOneof("kind") != "bytes_list" or len(feature.bytes_list.value) != 1:
            values = getattr(feature, str(feature.WhichOneof("kind"))).value
            kind = _LABELS[str(feature.WhichOneof("kind"))]
            reason = (
                f"Data types don't match. Data type: {kind} but expected type: string"
                if kind != "string"
                else f"Number of bytes values != expected.  Values size: {len(values)} "
                "but output shape: []"
            )
            _raise_at(key, index, reason)
        if feature.bytes_list.value[0]:  # an empty string counts as a missing feature
            found[form] = feature.bytes_list.value[0]
    if len(found) > 1:
        _raise_at(
            f"{spec.key}/raw", index, f"{spec.key}/encoded is given too, expected one of the two"
        )
    size = {"height": height, "width": width, "channels": channels}
    for form, data in found.items():
        try:
            if form == "raw":
                return image_decoder.raw(data, **size)
            return image_decoder.decode(data, **size, upright=spec.upright)
        except InvalidInput as error:
            _raise_at(f"{spec.key}/{form}", index, error.message)
    return None


def _stack(spec: FeatureSpec, rows: Sequence[Any]) -> np.ndarray:
    if spec.kind is FeatureKind.IMAGE:
        return np.stack(rows, dtype=spec.tensor.numpy_dtype)
    dtype = spec.tensor.numpy_dtype
    if spec.kind is FeatureKind.FIXED:
        stacked = np.empty((len(rows), spec.elements), dtype)
        for position, row in enumerate(rows):
            stacked[position] = row
        return stacked.reshape(len(rows), *spec.row_shape)
    longest = max(len(row) for row in rows)
    _check_size(spec, len(rows) * longest)
    padding = spec.default[0] if spec.default else b"" if dtype.kind == "O" else 0
    padded = np.full((len(rows), longest), padding, dtype)
    for position, row in enumerate(rows):
        padded[position, : len(row)] = row
    return padded.reshape(len(rows), longest // spec.elements, *spec.row_shape[1:])


def _check_size(spec: FeatureSpec, elements: int) -> None:
    """Refuse arrays that are too large.

    Defaults, padding and images can make the arrays of a small request large.

    Raises:
        InvalidInput: the array would be larger than `MAX_TENSOR_BYTES`.
    """
    size = elements * spec.tensor.numpy_dtype.itemsize
    if size > MAX_TENSOR_BYTES:
        msg = (
            f"feature {spec.key} of these examples takes {size} bytes, expected at most "
            f"{MAX_TENSOR_BYTES}; send smaller batches"
        )
        raise InvalidInput(msg)


def _raise_at(key: str, index: int, reason: str) -> NoReturn:
    msg = f"Name: <unknown>, Key: {key}, Index: {index}.  {reason}"
    raise InvalidInput(msg)


def _raise_missing(spec: FeatureSpec) -> NoReturn:
    image = spec.kind is FeatureKind.IMAGE
    key = f"{spec.key}/encoded" if image else spec.key
    label = _LABELS["bytes_list" if image else _DTYPES[spec.tensor.dtype]]
    msg = (
        f"Name: <unknown>, Feature: {key} (data type: {label}) is required but could not be found."
    )
    if image:
        msg += f" Send a PNG or JPEG file in it, or raw pixels in {spec.key}/raw"
    raise InvalidInput(msg)


def with_context(
    examples: Sequence[bytes], context: bytes, account: Account | None = None
) -> list[bytes]:
    """Add the features of a context to every example that does not have them itself.

    Args:
        examples: Serialized tf.Examples.
        context: A serialized tf.Example. It is put before each example, because parsing two
            concatenated protocol buffer messages merges them, and the later one takes precedence.
        account: Counts the bytes; None: the bytes are not counted.

    Returns:
        The serialized tf.Examples with the context.

    Raises:
        InvalidInput: the copies of the context are together larger than `MAX_TENSOR_BYTES`, or this
            request alone would exceed the byte budget.
        Unavailable: all requests in flight together would exceed the byte budget.
    """
    size = len(context) * len(examples)
    if size > MAX_TENSOR_BYTES:
        msg = (
            f"a context of {len(context)} bytes for {len(examples)} examples takes {size} bytes, "
            f"expected at most {MAX_TENSOR_BYTES}; send smaller batches"
        )
        raise InvalidInput(msg)
    if account is not None:
        account.take(size)
    return [context + example for example in examples]
