"""The memory of the GPU, as NVIDIA's driver reports it."""

import ctypes


def total_bytes() -> int | None:
    """Return the memory of this process's first GPU in bytes; None without a GPU or a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, count = ctypes.c_int(), ctypes.c_size_t()
    failed = (
        driver.cuInit(0)
        or driver.cuDeviceGet(ctypes.byref(device), 0)
        or driver.cuDeviceTotalMem_v2(ctypes.byref(count), device)
    )
    return None if failed else count.value
