"""ONNX Runtime for the rented machine, as one small archive.

The wheel of onnxruntime-gpu has 256 MB, nearly all of it GPU code for a dozen architectures. The
driver chooses an entry of the code by the architecture in the entry's header, so the entries of
other architectures can be zeros, which xz shrinks to nothing. Entries whose kernels are all about
attention or mixtures of experts are zeroed, too: the two models have neither.

The library keeps its size and every offset. That it loads on a GPU must be seen there: the first
step does it.
"""

import io
import re
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import zstandard
from elftools.elf.elffile import ELFFile
from gpu.kit import archives

CUDA_LIBRARY = "onnxruntime/capi/libonnxruntime_providers_cuda.so"
# Kernels of operators that the two models lack.
UNUSED_KERNELS = re.compile(rb"cutlass|flash|paged|[Aa]ttention|llm|[Mm]o[Ee]|moe")
# Files of the wheel that the kit does not use.
_LEFT_OUT = re.compile(
    r"onnxruntime/(capi/libonnxruntime_providers_tensorrt\.so|capi/libonnxruntime\.so"
    r"|tools/|transformers/(models|notebooks)/)"
)
_SECTION = ".nv_fatbin"
_FATBIN_MAGIC = 0xBA55ED50
_FATBIN = struct.Struct("<IHHQ")  # magic, version, header bytes, content bytes
_ENTRY = struct.Struct("<HHIQIIII")  # kind, -, header bytes, size, compressed size, -, -, sm
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_KERNEL = re.compile(rb"\.text\.([A-Za-z0-9_$]+)")
_MOST_CODE_BYTES = 1 << 30


class _Code(NamedTuple):
    """An entry of the section: code for one architecture."""

    start: int
    end: int
    compressed: int
    architecture: int


@dataclass
class Trimmed:
    """What happened to the GPU code of a library, in bytes.

    Attributes:
        kept: Code of the wanted architecture.
        unused: Code of the wanted architecture that was zeroed, because no kernel in it is used.
        others: Code of other architectures, all zeroed.
        architectures: Architectures that the library has code for.
    """

    kept: int = 0
    unused: int = 0
    others: int = 0
    architectures: set[int] = field(default_factory=set)


def trim(library: bytearray, architecture: int, unused: re.Pattern[bytes] | None) -> Trimmed:
    """Zero the GPU code of a library that a machine does not use.

    Args:
        library: The library; it is changed in place.
        architecture: Compute capability x 10 of the machine's GPU.
        unused: Matches the names of kernels that are not used. An entry of the wanted architecture
            is zeroed if the pattern matches all of its kernels. None: no entry is.

    Raises:
        ValueError: the library has no GPU code for the architecture.
    """
    result = Trimmed()
    for code in _codes(library):
        size = code.end - code.start
        result.architectures.add(code.architecture)
        if code.architecture != architecture:
            result.others += size
        elif unused is not None and _is_unused(library, code, unused):
            result.unused += size
        else:
            result.kept += size
            continue
        library[code.start : code.end] = bytes(size)
    if not result.kept:
        has = ", ".join(f"sm_{number}" for number in sorted(result.architectures)) or "none"
        msg = f"the library has no GPU code for sm_{architecture}, only for {has}"
        raise ValueError(msg)
    return result


def _codes(library: bytearray) -> Iterator[_Code]:
    section = ELFFile(io.BytesIO(library)).get_section_by_name(_SECTION)
    if section is None:
        return
    position, end = section["sh_offset"], section["sh_offset"] + section["sh_size"]
    while position < end:
        magic, _, header, content = _FATBIN.unpack_from(library, position)
        if magic != _FATBIN_MAGIC:
            position += 8  # padding between two fat binaries
            continue
        position += header
        stop = position + content
        while position < stop:
            _, _, header, size, compressed, _, _, sm = _ENTRY.unpack_from(library, position)
            start = position + header
            position = start + size
            yield _Code(start, position, compressed, sm)


def _is_unused(library: bytearray, code: _Code, unused: re.Pattern[bytes]) -> bool:
    end = code.start + code.compressed if code.compressed else code.end
    content = bytes(library[code.start : end])
    if content.startswith(_ZSTD_MAGIC):
        decompressor = zstandard.ZstdDecompressor()
        content = decompressor.decompress(content, max_output_size=_MOST_CODE_BYTES)
    kernels = set(_KERNEL.findall(content))
    return bool(kernels) and all(unused.search(kernel) for kernel in kernels)


def pack_wheel(wheel: Path, archive: Path, architecture: int) -> Trimmed:
    """Write the files of an onnxruntime-gpu wheel to an archive, its CUDA provider trimmed.

    Args:
        wheel: The wheel.
        archive: A `.tar.xz` to write.
        architecture: See `trim`.

    Raises:
        ValueError: see `trim`; or the wheel has no CUDA provider.
    """
    trimmed = None
    with zipfile.ZipFile(wheel) as content, archives.create(archive) as target:
        for name in content.namelist():
            if _LEFT_OUT.match(name) or name.endswith("/"):
                continue
            file = content.read(name)
            if name == CUDA_LIBRARY:
                library = bytearray(file)
                trimmed = trim(library, architecture, UNUSED_KERNELS)
                file = bytes(library)
            archives.add(target, name, file)
    if trimmed is None:
        msg = f"{wheel.name} has no {CUDA_LIBRARY}, expected a wheel of onnxruntime-gpu"
        raise ValueError(msg)
    return trimmed


def pack_installed(archive: Path) -> None:
    """Write this environment's own ONNX Runtime to an archive, for a rehearsal on the CPU.

    Args:
        archive: A `.tar.xz` to write.
    """
    distribution = metadata.distribution("onnxruntime")
    with archives.create(archive, preset=0) as target:
        for file in distribution.files or ():
            name, path = file.as_posix(), Path(str(file.locate()))
            unwanted = _LEFT_OUT.match(name) or name.startswith("..") or "__pycache__" in name
            if not unwanted and path.is_file():
                archives.add(target, name, path.read_bytes())
