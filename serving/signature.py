"""Signatures: which tensors a model takes and gives, by name, dtype and shape.

A signature is TensorFlow Serving's `SignatureDef` without TensorFlow: it maps the names that
clients use (aliases) to the tensors of the ONNX graph. `signature.json` in a model folder holds
them::

    {"signatures": {"serving_default": {
        "method_name": "tensorflow/serving/predict",
        "file": "model.onnx",
        "inputs": {"images": {"dtype": "DT_UINT8", "shape": [-1, 32, 32, 3],
                              "tensor": "images", "graph_name": "serving_default_images:0"}},
        "outputs": {...}}},
     "class_names": ["airplane", ...]}
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np

from serving.errors import InvalidInput

DEFAULT_SIGNATURE_NAME = "serving_default"
PREDICT_METHOD_NAME = "tensorflow/serving/predict"


class DataType(IntEnum):
    """TensorFlow's tensor element types (`tensorflow.DataType`) that NumPy has too."""

    DT_FLOAT = 1
    DT_DOUBLE = 2
    DT_INT32 = 3
    DT_UINT8 = 4
    DT_INT16 = 5
    DT_INT8 = 6
    DT_STRING = 7
    DT_COMPLEX64 = 8
    DT_INT64 = 9
    DT_BOOL = 10
    DT_UINT16 = 17
    DT_COMPLEX128 = 18
    DT_HALF = 19
    DT_UINT32 = 22
    DT_UINT64 = 23

    @property
    def numpy(self) -> np.dtype[Any]:
        """The NumPy dtype; `object` (of bytes) for DT_STRING."""
        return _NUMPY[self]

    @property
    def label(self) -> str:
        """TensorFlow's short name in messages: `float`, `uint8`, `string`, ..."""
        return self.name.removeprefix("DT_").lower()

    @classmethod
    def from_numpy(cls, dtype: np.dtype[Any]) -> "DataType":
        """The element type of a NumPy array; text and bytes of any length are DT_STRING.

        Raises:
            InvalidInput: NumPy's dtype has no TensorFlow counterpart (datetimes, for example).
        """
        if dtype.kind in "OSU":
            return cls.DT_STRING
        try:
            return _FROM_NUMPY[dtype.newbyteorder("=")]
        except KeyError:
            known = ", ".join(sorted(str(known) for known in _FROM_NUMPY))
            msg = f"dtype {dtype} has no tensor type; expected one of {known}, bytes or str"
            raise InvalidInput(msg) from None

    @classmethod
    def from_onnx(cls, name: str) -> "DataType":
        """The element type that ONNX Runtime calls `name`, for example `tensor(float)`.

        Raises:
            ValueError: the type is not a tensor of a supported element type.
        """
        try:
            return _FROM_ONNX[name]
        except KeyError:
            msg = f"ONNX type {name!r} cannot be served; expected one of {', '.join(_FROM_ONNX)}"
            raise ValueError(msg) from None


_NUMPY: dict[DataType, np.dtype[Any]] = {
    DataType.DT_FLOAT: np.dtype(np.float32),
    DataType.DT_DOUBLE: np.dtype(np.float64),
    DataType.DT_INT32: np.dtype(np.int32),
    DataType.DT_UINT8: np.dtype(np.uint8),
    DataType.DT_INT16: np.dtype(np.int16),
    DataType.DT_INT8: np.dtype(np.int8),
    DataType.DT_STRING: np.dtype(object),
    DataType.DT_COMPLEX64: np.dtype(np.complex64),
    DataType.DT_INT64: np.dtype(np.int64),
    DataType.DT_BOOL: np.dtype(np.bool_),
    DataType.DT_UINT16: np.dtype(np.uint16),
    DataType.DT_COMPLEX128: np.dtype(np.complex128),
    DataType.DT_HALF: np.dtype(np.float16),
    DataType.DT_UINT32: np.dtype(np.uint32),
    DataType.DT_UINT64: np.dtype(np.uint64),
}
_FROM_NUMPY = {dtype: data_type for data_type, dtype in _NUMPY.items() if dtype.kind != "O"}
_FROM_ONNX = {
    "tensor(float)": DataType.DT_FLOAT,
    "tensor(double)": DataType.DT_DOUBLE,
    "tensor(int32)": DataType.DT_INT32,
    "tensor(uint8)": DataType.DT_UINT8,
    "tensor(int16)": DataType.DT_INT16,
    "tensor(int8)": DataType.DT_INT8,
    "tensor(string)": DataType.DT_STRING,
    "tensor(int64)": DataType.DT_INT64,
    "tensor(bool)": DataType.DT_BOOL,
    "tensor(uint16)": DataType.DT_UINT16,
    "tensor(float16)": DataType.DT_HALF,
    "tensor(uint32)": DataType.DT_UINT32,
    "tensor(uint64)": DataType.DT_UINT64,
}


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output of a signature.

    Attributes:
        dtype: Element type.
        shape: One entry a dimension, -1 where any size goes; the first is the batch.
        tensor: Name in the ONNX graph.
        graph_name: Name in the SavedModel's graph (`serving_default_images:0`), which
            GetModelMetadata and error messages show; the ONNX name where there is no SavedModel.
    """

    dtype: DataType
    shape: tuple[int, ...]
    tensor: str
    graph_name: str

    @cached_property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The NumPy dtype of `dtype`."""
        return self.dtype.numpy

    @cached_property
    def _fixed_after_batch(self) -> bool:
        return self.shape[:1] == (-1,) and -1 not in self.shape[1:]

    def accepts_shape(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of this shape fits: the same rank, and every fixed dimension equal."""
        if self._fixed_after_batch:  # the usual case, in one comparison
            return bool(shape) and shape[1:] == self.shape[1:]
        return len(shape) == len(self.shape) and all(
            expected in (-1, size) for expected, size in zip(self.shape, shape, strict=True)
        )

    def to_json(self) -> dict[str, Any]:
        """The entry of this tensor in signature.json."""
        return {
            "dtype": self.dtype.name,
            "shape": list(self.shape),
            "tensor": self.tensor,
            "graph_name": self.graph_name,
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "TensorSpec":
        """Read an entry of signature.json.

        Raises:
            KeyError, TypeError, ValueError: a field is missing or of the wrong kind.
        """
        return cls(
            dtype=DataType[entry["dtype"]],
            shape=tuple(int(size) for size in entry["shape"]),
            tensor=str(entry["tensor"]),
            graph_name=str(entry.get("graph_name", entry["tensor"])),
        )


@dataclass(frozen=True, kw_only=True)
class Signature:
    """A named function of a model: what to feed, what comes out.

    Attributes:
        method_name: TensorFlow Serving's method, `tensorflow/serving/predict` for Predict.
        file: ONNX file in the model folder that computes it.
        inputs: Tensor specs by the alias that clients use.
        outputs: Likewise.
    """

    method_name: str
    file: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]

    @cached_property
    def batched(self) -> bool:
        """Whether every tensor's first dimension is the batch: of any size, the same in all."""
        specs = [*self.inputs.values(), *self.outputs.values()]
        return bool(self.inputs) and all(spec.shape[:1] == (-1,) for spec in specs)

    def check_batch(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Refuse inputs of different batch sizes.

        Raises:
            InvalidInput: naming each input's size.
        """
        if self.batched and len({len(array) for array in arrays.values()}) > 1:
            sizes = ", ".join(f"{alias}: {len(array)}" for alias, array in sorted(arrays.items()))
            msg = f"Batching Run() input tensors must have equal 0th-dimension size, got {sizes}"
            raise InvalidInput(msg)

    def check_input(self, alias: str, array: np.ndarray, servable: object) -> None:
        """Refuse a tensor that the model cannot take, before it gets near the model.

        Args:
            alias: Name of an input of this signature.
            array: The tensor as received.
            servable: Prints as `name/version`, for the message.

        Raises:
            InvalidInput: dtype, rank or a dimension differs, or the batch is empty.
        """
        spec = self.inputs[alias]
        if array.dtype != spec.numpy_dtype:
            dtype = DataType.from_numpy(array.dtype)
            position = sorted(self.inputs).index(alias)
            # The first clause is TensorFlow's own wording, which clients may match on.
            msg = (
                f"Expects arg[{position}] to be {spec.dtype.label} but {dtype.label} is provided: "
                f'input "{alias}" of {servable} takes {spec.dtype.name} of shape {spec.shape}; '
                f"convert it with .astype({spec.dtype.numpy.name!r}), or set the tensor's dtype"
            )
            raise InvalidInput(msg)
        if not spec.accepts_shape(array.shape):
            msg = f'input "{alias}" of {servable} has shape {array.shape}, expected {spec.shape}'
            if array.shape == spec.shape[1:]:
                msg += "; add the batch dimension, for example with array[None]"
            raise InvalidInput(msg)
        if array.ndim and spec.shape[0] == -1 and array.shape[0] == 0:
            msg = (
                f'input "{alias}" of {servable} has shape {array.shape}: the batch is empty, '
                "expected at least one row"
            )
            raise InvalidInput(msg)

    def check_input_names(self, names: list[str]) -> None:
        """Refuse a request whose inputs are not exactly those of the signature.

        Messages are TensorFlow Serving's (servables/tensorflow/predict_util.cc): names sorted and
        joined by commas.

        Raises:
            InvalidInput: an input is missing or unknown.
        """
        if len(names) == len(self.inputs) and all(name in self.inputs for name in names):
            return
        sent, expected = sorted(names), sorted(self.inputs)
        if len(sent) != len(expected):
            extra = ",".join(name for name in sent if name not in self.inputs)
            missing = ",".join(name for name in expected if name not in names)
            msg = (
                f"input size does not match signature: {len(sent)}!={len(expected)} "
                f"len({{{','.join(sent)}}}) != len({{{','.join(expected)}}}). "
                f"Sent extra: {{{extra}}}. Missing but required: {{{missing}}}."
            )
            raise InvalidInput(msg)
        absent = next(name for name in expected if name not in names)
        msg = (
            f"Signature input alias: {absent}(feed name: {self.inputs[absent].graph_name}) "
            "not found in request and no default value provided. Inputs expected to be in the "
            f"request {{{','.join(sent)}}}, or default input alias set: "
        )
        raise InvalidInput(msg)

    def select_outputs(self, output_filter: list[str]) -> list[str]:
        """The aliases to compute: those asked for, or all of them.

        Raises:
            InvalidInput: an alias is unknown or asked for twice.
        """
        if not output_filter:
            return list(self.outputs)
        for position, alias in enumerate(output_filter):
            if alias not in self.outputs:
                msg = (
                    f"output tensor alias not found in signature: {alias} Outputs expected to be "
                    f"in the set {{{','.join(sorted(self.outputs))}}}."
                )
                raise InvalidInput(msg)
            if alias in output_filter[:position]:
                msg = f"duplicate output tensor alias: {alias}"
                raise InvalidInput(msg)
        return output_filter

    def to_json(self) -> dict[str, Any]:
        """The entry of this signature in signature.json."""
        return {
            "method_name": self.method_name,
            "file": self.file,
            "inputs": {alias: spec.to_json() for alias, spec in self.inputs.items()},
            "outputs": {alias: spec.to_json() for alias, spec in self.outputs.items()},
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "Signature":
        """Read an entry of signature.json.

        Raises:
            KeyError, TypeError, ValueError: a field is missing or of the wrong kind.
        """
        return cls(
            method_name=str(entry["method_name"]),
            file=str(entry["file"]),
            inputs={alias: TensorSpec.from_json(spec) for alias, spec in entry["inputs"].items()},
            outputs={alias: TensorSpec.from_json(spec) for alias, spec in entry["outputs"].items()},
        )
