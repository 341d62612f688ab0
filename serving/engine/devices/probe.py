"""The probe of CUDA: one convolution, run once in each process.

ONNX Runtime's GPU package offers CUDA on every machine. If a library or the driver is missing, it
makes sessions that run on the CPU, and writes about it to standard error. The probe finds this out
before any model is loaded, and turns what was written into one message. A convolution needs cuDNN,
which ONNX Runtime loads only then.
"""

import functools
import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

import numpy as np

from serving.engine.devices.library import onnxruntime
from serving.protos.onnx_graph_pb2 import ModelProto, ValueInfoProto

_CUDA = "CUDAExecutionProvider"
_FLOAT = 1  # TensorProto.DataType
_IR_VERSION, _OPSET = 9, 17  # every ONNX Runtime that this server runs on knows them
_MISSING = re.compile(r"(\S+): cannot open shared object file")
_LARGEST_TEXT = 300
_DRIVER = "libcuda.so"
_LEAST_DRIVER = {"12": "525", "13": "580"}  # of NVIDIA's driver on Linux, by CUDA version


@functools.cache
def cuda_failure() -> str:
    """Return why CUDA does not work here, and the way out; empty if it works.

    The first call runs the probe; later calls return its result.
    """
    with _native_errors() as written, redirect_stdout(io.StringIO()):
        # The CUDA libraries are in Python packages, where the dynamic linker does not search.
        onnxruntime.preload_dlls()
        reason = run([_CUDA, "CPUExecutionProvider"])
    if not reason:
        return ""
    return explain(f"{written[0]} {reason}", getattr(onnxruntime, "cuda_version", ""))


def run(providers: list[str]) -> str:
    """Run a convolution on the first of some execution providers.

    Returns:
        Why it did not run there; empty if it did.
    """
    try:
        # Without a fallback, which would print and go on with the CPU.
        session = onnxruntime.InferenceSession(graph(), providers=providers, enable_fallback=0)
        used = session.get_providers()[0]
        if used != providers[0]:
            return f"ONNX Runtime chose {used}"
        (answer,) = session.run(["y"], {"x": np.full((1, 1, 2, 2), 3, np.float32)})
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no base class
        return str(error)
    return "" if (answer == 6).all() else f"3 * 2 gave {answer.ravel().tolist()}"


def explain(text: str, cuda_version: str) -> str:
    """Return the reason of a failed probe as one sentence with the way out.

    Args:
        text: What ONNX Runtime wrote and raised.
        cuda_version: CUDA's version that ONNX Runtime was built for, for example "13.0".
    """
    major = cuda_version.partition(".")[0] or "13"
    driver = f"NVIDIA's driver {_LEAST_DRIVER.get(major, '580')} or later for CUDA {major}"
    missing = _MISSING.search(text)
    if missing and not missing[1].startswith(_DRIVER):
        return (
            f"the library {missing[1]} is missing; install CUDA's libraries with "
            "pip install 'onnxruntime-gpu[cuda,cudnn]'"
        )
    if missing:
        return (
            f"{missing[1]} is missing, which is part of NVIDIA's driver; run on a machine with an "
            f"NVIDIA GPU and {driver} (in a container: with --gpus all)"
        )
    reason = " ".join(text.split())
    reason = reason if len(reason) <= _LARGEST_TEXT else f"{reason[:_LARGEST_TEXT]} ..."
    return f"{reason}; check the GPU with nvidia-smi, it needs {driver}"


def graph() -> bytes:
    """Return an ONNX file: `y` is `x`, float32 (1, 1, 2, 2), convolved with the kernel [[2]]."""
    model = ModelProto(ir_version=_IR_VERSION)
    model.opset_import.add(domain="", version=_OPSET)
    part = model.graph
    part.name = "probe"
    part.node.add(op_type="Conv", input=["x", "two"], output=["y"])
    kernel = np.full((1, 1, 1, 1), 2, np.float32)
    part.initializer.add(name="two", dims=kernel.shape, data_type=_FLOAT, raw_data=kernel.tobytes())
    for value in (part.input.add(name="x"), part.output.add(name="y")):
        _declare(value, (1, 1, 2, 2))
    return model.SerializeToString()


def _declare(value: ValueInfoProto, shape: tuple[int, ...]) -> None:
    value.type.tensor_type.elem_type = _FLOAT
    for size in shape:
        value.type.tensor_type.shape.dim.add(dim_value=size)


@contextmanager
def _native_errors() -> Iterator[list[str]]:
    """Collect what the block writes to file descriptor 2, where ONNX Runtime's C++ code writes.

    Yields:
        A list that holds the text after the block.
    """
    written: list[str] = []
    sys.stderr.flush()
    original = os.dup(2)
    # In memory, because a container may have no folder to write to.
    with os.fdopen(os.memfd_create("stderr"), "w+b") as file:
        os.dup2(file.fileno(), 2)
        try:
            yield written
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)
            file.seek(0)
            written.append(file.read().decode(errors="replace"))
