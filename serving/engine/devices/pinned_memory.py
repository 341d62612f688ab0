"""Page-locked host memory, from which the GPU copies faster than from other memory.

ONNX Runtime's Python interface does not allocate it, so CUDA's runtime library does, which
`onnxruntime.preload_dlls` has loaded.
"""

import ctypes
import math
import weakref
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from serving.engine.devices.library import onnxruntime


def empty(shape: Sequence[int], dtype: np.dtype[Any]) -> np.ndarray:
    """Return an uninitialized array in page-locked memory; in other memory if CUDA gives none.

    Args:
        shape: Shape of the array, with at least one element.
        dtype: A dtype without objects.
    """
    library = _cuda_runtime()
    size = math.prod(shape) * dtype.itemsize
    address = ctypes.c_void_p()
    if (
        library is None
        or library.cudaHostAlloc(ctypes.byref(address), ctypes.c_size_t(size), 0)
        or address.value is None
    ):
        return np.empty(shape, dtype)
    memory = (ctypes.c_char * size).from_address(address.value)
    # Views of the array hold `memory`, too; it is freed when the last one is gone.
    freeing = weakref.finalize(memory, library.cudaFreeHost, address)
    freeing.atexit = False  # CUDA has ended by then
    return np.frombuffer(memoryview(memory), dtype).reshape(shape)


@cache
def _cuda_runtime() -> ctypes.CDLL | None:
    """Return CUDA's runtime library; None if it is not loaded."""
    major = str(getattr(onnxruntime, "cuda_version", "")).partition(".")[0]
    try:
        return ctypes.CDLL(f"libcudart.so.{major}")
    except OSError:
        return None
