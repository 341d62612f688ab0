"""The memory of the GPU, asked of NVIDIA's driver."""

import ctypes


def total_bytes() -> int | None:
    """Memory of the first GPU that this process sees; None if there is no GPU or no driver."""
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
