"""Whether a tensor may be decoded: asked when its shape is known and before it takes memory."""

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Protocol

from serving.errors import InvalidInput
from serving.tensors.tensor_spec import DataType

# Asked by decoders; returns, or raises what the caller is answered.
Admit = Callable[[Sequence[int], DataType], None]


class Account(Protocol):
    """Where a request's bytes are counted."""

    @property
    def caller(self) -> Hashable:
        """Whose request it is; None if nobody knows."""
        ...

    def take(self, count: int) -> None:
        """Count bytes until the request is answered.

        Raises:
            InvalidInput: the request would take more than all of them may.
            Unavailable: all of them together would.
        """
        ...


def admit_all(shape: Sequence[int], data_type: DataType) -> None:
    """Any tensor, for clients and for tests."""


def byte_count(shape: Sequence[int], data_type: DataType) -> int:
    """What the elements take in memory (bytes); a string counts as its reference."""
    return math.prod(shape) * data_type.numpy.itemsize


class TensorAdmission:
    """Admits the tensors of one request within its limits."""

    __slots__ = ("_account", "_max_rows")

    def __init__(self, account: Account | None, max_rows: int | None) -> None:
        """Prepare.

        Args:
            account: Where the bytes are counted; None: nowhere.
            max_rows: Most rows (`--max_rows_per_request`); None if the first dimension is no batch.
        """
        self._account = account
        self._max_rows = max_rows

    def admit(self, shape: Sequence[int], data_type: DataType) -> None:
        """Count a tensor that is about to be decoded.

        Raises:
            InvalidInput: it has too many rows, or takes more bytes than all requests may.
            Unavailable: all requests together would take more.
        """
        if self._max_rows is not None and len(shape) and shape[0] > self._max_rows:
            msg = (
                f"tensor of shape {tuple(shape)} has {shape[0]} rows, expected at most "
                f"{self._max_rows} a request; send smaller batches or raise the server's "
                "--max_rows_per_request"
            )
            raise InvalidInput(msg)
        if self._account is not None:
            self._account.take(byte_count(shape, data_type))
