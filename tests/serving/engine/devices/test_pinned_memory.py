import ctypes
import gc

import numpy as np
import pytest

from serving.engine.devices import pinned_memory

FLOAT = np.dtype(np.float32)


class HostLibrary:
    """Stands in for CUDA's runtime library, which needs a driver: memory of the C library.

    Attributes:
        freed: Addresses that were freed.
    """

    def __init__(self, *, works: bool = True) -> None:
        self.freed: list[int] = []
        self._works = works
        self._libc = ctypes.CDLL(None)
        self._libc.malloc.restype = ctypes.c_void_p

    def cudaHostAlloc(self, address, size, _flags):  # noqa: N802 - the name in the library
        """Allocate like the function of the library; 2 is its code for no memory."""
        if not self._works:
            return 2
        address._obj.value = self._libc.malloc(size)
        return 0

    def cudaFreeHost(self, address):  # noqa: N802 - the name in the library
        """Free like the function of the library."""
        self.freed.append(address.value)
        self._libc.free(address)
        return 0


@pytest.fixture
def library(monkeypatch):
    """CUDA's runtime library, or `HostLibrary` in its place."""
    made = HostLibrary()
    monkeypatch.setattr(pinned_memory, "_cuda_runtime", lambda: made)
    return made


def test_page_locked_memory_is_freed_with_its_last_view(library):
    """The memory stays while a view of the array is in use, and is freed once afterwards."""
    array = pinned_memory.empty((4, 3), FLOAT)
    address = array.ctypes.data
    array[:] = 7
    view = array[1:]
    del array
    gc.collect()
    freed = list(library.freed)

    assert freed == []
    assert view.shape == (3, 3)
    assert (view == 7).all()
    del view
    gc.collect()
    assert library.freed == [address]


@pytest.mark.parametrize("broken", [None, HostLibrary(works=False)])
def test_without_page_locked_memory_other_memory_is_used(monkeypatch, broken):
    """Without CUDA's library, or if it has no memory left, the array is an ordinary one."""
    monkeypatch.setattr(pinned_memory, "_cuda_runtime", lambda: broken)
    array = pinned_memory.empty((2, 3), FLOAT)
    array[:] = 1

    assert (array.shape, array.dtype, array.flags.owndata) == ((2, 3), FLOAT, True)
