"""The outputs of a batch, encoded once for all its requests; each answer is cut out of them."""

from collections.abc import Callable, Sequence

import numpy as np

# Below this size, copying the elements is faster than making a view of them.
_LARGE_BYTES = 16 << 10


class EncodedBatch:
    """The bytes of a batch's outputs, from which the answers of its requests are joined."""

    __slots__ = ("_before", "_contents", "_describe")

    def __init__(
        self,
        contents: Sequence[tuple[bytes | memoryview, int]],
        describe: Callable[[int], Sequence[bytes]],
    ) -> None:
        """Describe a batch.

        Args:
            contents: For each output, its bytes and the number of them in a row.
            describe: Returns for each output what an answer with so many rows has before the
                output's bytes.
        """
        self._contents = contents
        self._describe = describe
        self._before: dict[int, Sequence[bytes]] = {}

    def answer(self, head: bytes, start: int, end: int) -> bytes:
        """Return the answer of a request.

        Args:
            head: The bytes with which the answer begins.
            start: Number of the request's first row in the batch.
            end: Number of the row behind its last one; the request has at least one row.
        """
        rows = end - start
        before = self._before.get(rows)
        if before is None:
            before = self._before[rows] = self._describe(rows)
        parts: list[bytes | memoryview] = [head]
        for described, (whole, width) in zip(before, self._contents, strict=True):
            parts += (described, whole[width * start : width * end])
        return b"".join(parts)


def bytes_of(array: np.ndarray) -> bytes | memoryview:
    """Return the bytes of an array's elements in C order; for a large array a view of them."""
    if array.nbytes >= _LARGE_BYTES and array.flags.c_contiguous:
        return array.reshape(-1).view(np.uint8).data
    return array.tobytes()
