import re
import struct
import tarfile
import zipfile

import pytest
import zstandard
from gpu.kit import archives, provider


def code(architecture: int, kernel: str, *, compressed: bool) -> bytes:
    """Return an entry of a fat binary, as nvcc writes it: a header and a kernel's code."""
    content = f"\0.text.{kernel}\0".encode() + b"\x90" * 200
    if compressed:
        content = zstandard.ZstdCompressor().compress(content)
    padded = content + bytes(-len(content) % 8)
    size = len(content) if compressed else 0
    header = struct.pack("<HHIQIIII", 2, 0x101, 64, len(padded), size, 0, 0, architecture)
    return header.ljust(64, b"\0") + padded


def fat_binary(*entries: bytes) -> bytes:
    """Return a fat binary with entries, and the padding that follows it."""
    content = b"".join(entries)
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(content)) + content + bytes(8)


def library(section: bytes) -> bytes:
    """Return a 64-bit ELF file whose section .nv_fatbin has this content."""
    names = b"\0.nv_fatbin\0.shstrtab\0"
    headers = 64 + len(section) + len(names)
    elf = struct.pack(
        "<16sHHIQQQIHHHHHH",
        *(b"\x7fELF\x02\x01\x01", 3, 62, 1, 0, 0, headers, 0, 64, 0, 0, 64, 3, 2),
    )
    rows = [(0, 0, 0, 0), (1, 1, 64, len(section)), (12, 3, 64 + len(section), len(names))]
    table = b"".join(
        struct.pack("<IIQQQQIIQQ", name, kind, 0, 0, offset, size, 0, 0, 1, 0)
        for name, kind, offset, size in rows
    )
    return elf + section + names + table


WANTED = code(90, "convolution_kernel", compressed=True)
PLAIN = code(90, "pooling_kernel", compressed=False)
UNUSED = code(90, "flash_fwd_kernel", compressed=True)
OTHER = code(80, "convolution_kernel", compressed=True)
LIBRARY = library(fat_binary(OTHER, WANTED) + fat_binary(UNUSED, PLAIN))


def test_only_the_code_that_the_machine_runs_is_kept():
    """Code of other architectures and of unused kernels is zeros, all other bytes are the same."""
    trimmed = bytearray(LIBRARY)

    result = provider.trim(trimmed, 90, provider.UNUSED_KERNELS)

    assert len(trimmed) == len(LIBRARY)
    assert result.architectures == {80, 90}
    for entry in (WANTED, PLAIN):
        assert bytes(entry) in trimmed
    for entry in (UNUSED, OTHER):
        assert entry not in trimmed
        assert entry[:64] + bytes(len(entry) - 64) in trimmed


def test_all_kernels_are_kept_on_request():
    """Without a pattern of unused kernels, all code of the architecture stays."""
    trimmed = bytearray(LIBRARY)

    result = provider.trim(trimmed, 90, None)

    assert UNUSED in trimmed
    assert result.unused == 0


def test_an_architecture_without_code_is_refused():
    """The message names the architectures that the library has."""
    with pytest.raises(ValueError, match=r"no GPU code for sm_100, only for sm_80, sm_90"):
        provider.trim(bytearray(LIBRARY), 100, None)


def test_the_archive_of_a_wheel_has_what_the_machine_needs(tmp_path):
    """The provider is trimmed, TensorRT's is left out, and the other files are unpacked whole."""
    wheel = tmp_path / "onnxruntime_gpu-1-cp312.whl"
    with zipfile.ZipFile(wheel, "w") as content:
        content.writestr(provider.CUDA_LIBRARY, LIBRARY)
        content.writestr("onnxruntime/capi/libonnxruntime_providers_tensorrt.so", b"x")
        content.writestr("onnxruntime/__init__.py", b"version = 1\n")

    provider.pack_wheel(wheel, tmp_path / "runtime.tar.xz", 90)
    archives.unpack(tmp_path / "runtime.tar.xz", tmp_path / "site")

    found = {str(file.relative_to(tmp_path / "site")) for file in (tmp_path / "site").rglob("*.*")}
    assert found == {provider.CUDA_LIBRARY, "onnxruntime/__init__.py"}
    assert OTHER not in (tmp_path / "site" / provider.CUDA_LIBRARY).read_bytes()


def test_a_wheel_without_a_gpu_is_refused(tmp_path):
    """The wheel of the CPU's package is refused by name."""
    wheel = tmp_path / "onnxruntime-1-cp312.whl"
    with zipfile.ZipFile(wheel, "w") as content:
        content.writestr("onnxruntime/__init__.py", b"")

    with pytest.raises(ValueError, match=re.escape("expected a wheel of onnxruntime-gpu")):
        provider.pack_wheel(wheel, tmp_path / "runtime.tar.xz", 90)

    assert tarfile.is_tarfile(tmp_path / "runtime.tar.xz")  # `pack` renames a finished one only
