"""Slots: the memory that a protocol process and the owner share, one slot for each request.

A protocol process writes the inputs of a request into a free slot. The owner reads them from there,
and writes the answers of all requests of that process in a batch into the slot of the first of
them, so that one copy moves a batch. A slot is free again when its request is answered.
"""

import mmap
import os
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from serving.errors import InvalidInput

_ALIGNMENT = 64
# Alias, dtype as NumPy's `dtype.str`, and shape.
Tensor = tuple[str, str, Sequence[int]]


def slot_bytes(sizes: Iterable[int]) -> int:
    """Return the size of a slot for arrays of these sizes, in bytes.

    It is an odd number of pages: slots whose distance is a power of two would share the same few
    entries of the caches of address translation.
    """
    pages = -(-sum(map(_aligned, sizes)) // mmap.PAGESIZE)
    return (pages | 1) * mmap.PAGESIZE


def create(count: int, size: int) -> int:
    """Return a descriptor of new memory for slots; pages take memory when they are first used."""
    descriptor = os.memfd_create("one-owner")
    os.ftruncate(descriptor, count * size)
    return descriptor


class Slots:
    """The slots of one protocol process for one servable, mapped into this process."""

    def __init__(self, descriptor: int, count: int, size: int) -> None:
        """Map the memory of `create` and close the descriptor."""
        self._size = size
        self._memory = mmap.mmap(descriptor, count * size)
        os.close(descriptor)

    def write(self, slot: int, arrays: Iterable[np.ndarray]) -> None:
        """Write arrays into a slot, one after another.

        Raises:
            InvalidInput: the arrays are larger than a slot.
        """
        at = slot * self._size
        end = at + self._size
        for array in arrays:
            size = array.nbytes
            if at + size > end:
                msg = f"a request or answer has over {self._size} bytes, the size of a slot"
                raise InvalidInput(msg)
            contiguous = array if array.flags.c_contiguous else np.ascontiguousarray(array)
            if size:
                self._memory[at : at + size] = contiguous
            at += _aligned(size)

    def read(self, slot: int, tensors: Iterable[Tensor]) -> dict[str, np.ndarray]:
        """Return views of the arrays in a slot, by alias, in the order in which they were written.

        The views change when the slot is used again.
        """
        at = slot * self._size
        arrays = {}
        for alias, dtype, shape in tensors:
            array = np.ndarray(shape, dtype, self._memory, at)
            arrays[alias] = array
            at += _aligned(array.nbytes)
        return arrays


def tensors_of(arrays: Mapping[str, np.ndarray]) -> list[Tensor]:
    """Return what `Slots.read` needs to know about arrays that were written to a slot."""
    return [(alias, array.dtype.str, array.shape) for alias, array in arrays.items()]


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
