"""Element types and tensor specs (dtype, shape, names)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np

from serving.errors import InvalidInput
from serving.tensors import bfloat16
from serving.tensors.bfloat16 import BFLOAT16

# Limit of one decoded tensor, in bytes.
MAX_TENSOR_BYTES = 1 << 30


class DataType(IntEnum):
    """TensorFlow's element types (`tensorflow.DataType`): those that NumPy has, and bfloat16."""

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
    DT_BFLOAT16 = 14
    DT_UINT16 = 17
    DT_COMPLEX128 = 18
    DT_HALF = 19
    DT_UINT32 = 22
    DT_UINT64 = 23

    @property
    def numpy(self) -> np.dtype[Any]:
        """NumPy dtype: object (each element `bytes`) for DT_STRING, BFLOAT16 for DT_BFLOAT16."""
        return _NUMPY[self]

    @property
    def label(self) -> str:
        """Short name of the type in TensorFlow's messages: `float`, `uint8`, `string`, ..."""
        return self.name.removeprefix("DT_").lower()

    @classmethod
    def from_numpy(cls, dtype: np.dtype[Any]) -> "DataType":
        """Return the element type of a NumPy dtype; text and bytes of any length are DT_STRING.

        Both `BFLOAT16` and the dtype of `ml_dtypes` are DT_BFLOAT16.

        Raises:
            InvalidInput: the dtype has no TensorFlow counterpart (datetimes, for example).
        """
        known_type = _FROM_CHAR.get(dtype.char)
        if known_type is not None:  # the usual case, and much cheaper than hashing a dtype
            return known_type
        if bfloat16.is_foreign(dtype):
            return cls.DT_BFLOAT16
        try:
            return _FROM_NUMPY[dtype.newbyteorder("=")]
        except KeyError:
            known = ", ".join(sorted(str(known) for known in _FROM_NUMPY if known.kind != "V"))
            msg = (
                f"dtype {dtype} has no tensor type; expected one of {known}, bfloat16, bytes or str"
            )
            raise InvalidInput(msg) from None

    @classmethod
    def from_onnx(cls, name: str) -> "DataType | None":
        """Return the element type of ONNX Runtime's type name, for example `tensor(float)`.

        Returns:
            The element type; None if `name` is not a tensor of a supported element type.
        """
        return _FROM_ONNX.get(name)


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
    DataType.DT_BFLOAT16: BFLOAT16,
    DataType.DT_UINT16: np.dtype(np.uint16),
    DataType.DT_COMPLEX128: np.dtype(np.complex128),
    DataType.DT_HALF: np.dtype(np.float16),
    DataType.DT_UINT32: np.dtype(np.uint32),
    DataType.DT_UINT64: np.dtype(np.uint64),
}
_FROM_NUMPY = {dtype: data_type for data_type, dtype in _NUMPY.items() if dtype.kind != "O"}
# The character of a dtype identifies its type in any byte order; O, S and U are objects, bytes and
# text. Records are left out, because all of them have the same character.
_FROM_CHAR = {
    dtype.char: data_type for dtype, data_type in _FROM_NUMPY.items() if dtype.kind != "V"
} | dict.fromkeys("OSU", DataType.DT_STRING)
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
# ONNX's names of the element types that can be served.
ONNX_ELEMENT_TYPES = tuple(name.removeprefix("tensor(").removesuffix(")") for name in _FROM_ONNX)


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output of a signature.

    Attributes:
        dtype: Element type.
        shape: One entry per dimension, -1 for a free size; None if the rank is unknown, so that
            tensors of any rank are accepted.
        tensor: Name in the ONNX graph.
        graph_name: Name in the SavedModel's graph (`serving_default_images:0`), which
            GetModelMetadata and error messages show; the ONNX name if there is no SavedModel.
        constant: Only for an output that the graph does not compute, such as class names: the row
            that is repeated for every row of the batch. `shape` is (-1, length of the row).
        coo_sparse: Only for a sparse tensor of a SavedModel: the names of the tensors with its
            values, indices and dense shape. No protocol of this server carries sparse tensors.
    """

    dtype: DataType
    shape: tuple[int, ...] | None
    tensor: str
    graph_name: str
    constant: tuple[str, ...] = ()
    coo_sparse: tuple[str, str, str] | None = None

    @cached_property
    def numpy_dtype(self) -> np.dtype[Any]:
        """NumPy dtype of `dtype`."""
        return self.dtype.numpy

    @cached_property
    def known_shape(self) -> tuple[int, ...]:
        """`shape` of a tensor whose rank is known.

        Raises:
            ValueError: the rank is unknown.
        """
        if self.shape is None:
            msg = f"tensor {self.tensor} has an unknown rank, expected one entry a dimension"
            raise ValueError(msg)
        return self.shape

    @cached_property
    def shape_text(self) -> str:
        """`shape` for messages."""
        return "of any rank" if self.shape is None else f"of shape {self.shape}"

    @cached_property
    def _after_batch(self) -> tuple[int, ...] | None:
        """Sizes after a free first dimension if all of them are fixed; None for other shapes."""
        shape = self.shape
        if shape is None or shape[:1] != (-1,) or -1 in shape[1:]:
            return None
        return shape[1:]

    def accepts_shape(self, shape: tuple[int, ...]) -> bool:
        """Return whether a shape fits the spec: it has the same rank and all fixed sizes."""
        if self._after_batch is not None:  # the usual case, in one comparison
            return bool(shape) and shape[1:] == self._after_batch
        if self.shape is None:
            return True
        return len(shape) == len(self.shape) and all(
            expected in (-1, size) for expected, size in zip(self.shape, shape, strict=True)
        )

    def constant_rows(self, rows: int) -> np.ndarray:
        """Return a constant output for a batch.

        Returns:
            dtype object, shape (rows, length of `constant`), elements are UTF-8 `bytes`.
        """
        row = np.array([value.encode() for value in self.constant], dtype=object)
        return np.broadcast_to(row, (rows, len(row)))

    def to_json(self) -> dict[str, Any]:
        """Return the entry of this tensor in signature.json."""
        entry = {
            "dtype": self.dtype.name,
            "shape": None if self.shape is None else list(self.shape),
            "tensor": self.tensor,
            "graph_name": self.graph_name,
        }
        return entry | {"constant": list(self.constant)} if self.constant else entry

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "TensorSpec":
        """Read an entry of signature.json.

        Raises:
            KeyError, TypeError, ValueError: a field is missing or invalid.
        """
        shape = entry["shape"]
        spec = cls(
            dtype=DataType[entry["dtype"]],
            shape=None if shape is None else tuple(int(size) for size in shape),
            tensor=str(entry["tensor"]),
            graph_name=str(entry.get("graph_name", entry["tensor"])),
            constant=tuple(str(value) for value in entry.get("constant", ())),
        )
        if spec.constant and (spec.dtype, spec.shape) != (
            DataType.DT_STRING,
            (-1, len(spec.constant)),
        ):
            msg = (
                f"constant of {len(spec.constant)} strings for {spec.dtype.name} {spec.shape}, "
                f"expected DT_STRING {(-1, len(spec.constant))}"
            )
            raise ValueError(msg)
        return spec
