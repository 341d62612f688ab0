"""Admission of tensors: a limit check after a tensor's shape is known and before it is decoded."""

import math
from collections.abc import Callable, Sequence
from typing import Protocol

from serving.errors import InvalidInput
from serving.tensors.tensor_spec import DataType

# Decoders call this function with a tensor's shape and element type. It returns if the tensor may
# be decoded; otherwise it raises the error for the caller.
Admit = Callable[[Sequence[int], DataType], None]


class Account(Protocol):
    """Counts the bytes of a request against the server's byte budget."""

    def take(self, count: int) -> None:
        """Count bytes, until the request is answered.

        Raises:
            InvalidInput: this request alone would exceed the byte budget.
            Unavailable: all requests in flight together would exceed the byte budget.
        """
        ...


def admit_all(shape: Sequence[int], data_type: DataType) -> None:
    """Admit any tensor; used by clients and tests."""


def byte_count(shape: Sequence[int], data_type: DataType) -> int:
    """Return the memory of a tensor's elements in bytes; a string counts as its reference."""
    return math.prod(shape) * data_type.numpy.itemsize


class TensorAdmission:
    """Admits the tensors of one request within its limits."""

    __slots__ = ("_account", "_max_rows")

    def __init__(self, account: Account | None, max_rows: int | None) -> None:
        """Create the admission of one request.

        Args:
            account: Counts the bytes; None: no limit of bytes.
            max_rows: Most rows (`--max_rows_per_request`); None if the first dimension does not
                count rows.
        """
        self._account = account
        self._max_rows = max_rows

    def admit(self, shape: Sequence[int], data_type: DataType) -> None:
        """Count a tensor that is about to be decoded.

        Raises:
            InvalidInput: the tensor has too many rows, or this request alone would exceed the byte
                budget.
            Unavailable: all requests in flight together would exceed the byte budget.
        """
        if self._max_rows is not None and len(shape) and shape[0] > self._max_rows:
            msg = (
                f"tensor of shape {tuple(shape)} has {shape[0]} rows, expected at most "
                f"{self._max_rows} per request; send smaller batches or raise the server's "
                "--max_rows_per_request"
            )
            raise InvalidInput(msg)
        if self._account is not None:
            self._account.take(byte_count(shape, data_type))
