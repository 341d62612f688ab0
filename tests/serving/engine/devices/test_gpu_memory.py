import ctypes

import pytest

from serving.engine.devices import gpu_memory


def test_the_driver_is_asked_where_there_is_one():
    """`total_bytes` is a positive number with a GPU, and None without a driver."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        assert gpu_memory.total_bytes() is None
    else:
        total = gpu_memory.total_bytes()
        if total is None:
            pytest.skip("a driver without a GPU")
        assert total > 1 << 28
