"""ONNX Runtime behind one small class: a graph on an execution provider.

Settings and their reasons, for CPU: one inter-op thread and sequential execution (the graphs are
chains); an explicit intra-op thread count, because ONNX Runtime otherwise sizes its pool by the
host's cores and sets their affinity, which a container may forbid; no spinning, because the event
loop wants the same cores.
"""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Protocol

# ONNX Runtime reports usage over the network from 1.29 on unless this is set before its import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnxruntime

from serving.engine import graph_tensors, onnx_graph
from serving.errors import DataLoss, InternalError, InvalidInput, ServingError
from serving.repository.model_folder import Precision
from serving.tensors.tensor_spec import TensorSpec

Device = Literal["auto", "cpu", "cuda"]
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_CUDA_OPTIONS = {
    # The default, EXHAUSTIVE, tunes every convolution anew for each new batch size.
    "cudnn_conv_algo_search": "HEURISTIC",
    # The default doubles the memory pool whenever it grows, and the pool never shrinks.
    "arena_extend_strategy": "kSameAsRequested",
}
_ALIGNMENT = 16  # bytes
_LARGE_OUTPUT_BYTES = 1 << 20
# How messages about a run begin.
REFUSED, FAILED = "the model cannot take this input: ", "the model failed: "
# Operators whose kernels end the process, not the run, on a tensor without elements, and on one of
# another rank than they expect: found by running all of ONNX's node cases on odd shapes.
_ENDED_BY_NOTHING = frozenset({"GRU", "LSTM"})
_ENDED_BY_RANK = _ENDED_BY_NOTHING | {"DFT", "GridSample", "ReverseSequence", "STFT"}
# ONNX Runtime reports sizes that do not go together as a failure of its own.
_MISMATCHES = (
    "Attempting to broadcast an axis by a dimension other than 1",
    "Can broadcast 0 by 0 or 1",
    "operand cannot broadcast on dim",
    "MatMul dimension mismatch",
)
# Fastest first. A version only has an int8 graph if that is faster than the fp32 one on CPUs, which
# compute fp16 in float32, between two casts. The int8 graphs are not made for CUDA.
_FASTEST_ON_CPU: tuple[Precision, ...] = ("int8", "fp32", "w8", "fp16")
_FASTEST_ON_CUDA: tuple[Precision, ...] = ("fp16", "fp32", "w8", "int8")


@dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """How graphs are run.

    Attributes:
        device: `auto` takes CUDA where it works, `cuda` insists on it, `cpu` avoids it.
        instances: Runs that may go on at the same time on one model.
        intra_op_threads: Threads inside one run; `instances * intra_op_threads` should not exceed
            the cores.
        gpu_mem_limit_bytes: Most memory that ONNX Runtime's pool on the GPU may take, for each
            graph; what CUDA itself needs comes on top. 0: no limit.
        precision: Which variant of each graph; `auto` takes the fastest that there is.
        saved_model_tags: Of the graph to load from a SavedModel.
    """

    device: Device = "auto"
    instances: int = 1
    intra_op_threads: int = 1
    gpu_mem_limit_bytes: int = 0
    precision: Precision | Literal["auto"] = "auto"
    saved_model_tags: tuple[str, ...] = ("serve",)

    def precisions(self, provider: str) -> tuple[Precision, ...]:
        """The precisions that will do on an execution provider, the best one first."""
        if self.precision != "auto":
            return (self.precision,)
        return _FASTEST_ON_CUDA if provider == CUDA else _FASTEST_ON_CPU


class DeviceError(Exception):
    """The device asked for cannot be used."""


def available_providers() -> list[str]:
    """The execution providers that this ONNX Runtime was built with."""
    providers: list[str] = onnxruntime.get_available_providers()
    return providers


def choose_providers(device: Device) -> tuple[list[str], str]:
    """The execution providers to ask for, and the reason in words for the log.

    Raises:
        DeviceError: `cuda` was asked for and this ONNX Runtime has no CUDA provider.
    """
    offered = available_providers()
    if device == "cpu":
        return [CPU], "--device cpu"
    if CUDA in offered:
        # The CUDA libraries come as Python packages without a search path of their own.
        onnxruntime.preload_dlls()
        return [CUDA, CPU], f"--device {device}"
    if device == "cuda":
        msg = (
            f'device "cuda" requested but ONNX Runtime offers only {", ".join(offered)}; '
            "install the serve-gpu extra or pass --device auto"
        )
        raise DeviceError(msg)
    return [CPU], "no CUDA provider in this ONNX Runtime"


def session_options(config: RuntimeConfig, precision: Precision) -> onnxruntime.SessionOptions:
    """ONNX Runtime's options for a graph.

    Args:
        config: How to run it.
        precision: Of the graph.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = config.intra_op_threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4  # fatal only: errors reach us as exceptions
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if precision == "w8":
        # Turns the weights into float32 once and for all; otherwise every run would do it.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return options


class TextError(InvalidInput):
    """A string is not UTF-8, as ONNX's strings are.

    Attributes:
        tensor: The graph's input that has it.
        reason: What is wrong with it, and the way out.
    """

    def __init__(self, tensor: str, error: UnicodeDecodeError) -> None:
        self.tensor = tensor
        self.reason = (
            f"has a string that is not UTF-8, as ONNX strings are: {error}; send text in UTF-8, "
            "or bytes as base64 text if the model decodes it"
        )
        super().__init__(f"tensor {tensor} {self.reason}")


class SessionControl:
    """What ends a run of a session from another thread, between two nodes of its graph.

    Attributes:
        options: For `InferenceSession.run`.
        seconds: What a run may take, for what cannot be told to end; None for no limit.
    """

    def __init__(self) -> None:
        self.options = onnxruntime.RunOptions()
        self.seconds: float | None = None

    @property
    def terminated(self) -> bool:
        """Whether the run was told to end."""
        return bool(self.options.terminate)

    def terminate(self) -> None:
        """Tell the run to end."""
        self.options.terminate = True

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Tell whatever runs in the block to end after so many seconds."""
        self.seconds = seconds
        timer = threading.Timer(seconds, self.terminate)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


class GraphRuntime(Protocol):
    """A graph that is loaded and ready to run from any thread, whichever library runs it.

    The attributes and the method are those of `Runtime`.
    """

    @property
    def provider(self) -> str: ...  # noqa: D102 - see `Runtime`, like all below
    @property
    def platform(self) -> str: ...  # noqa: D102
    @property
    def inputs(self) -> Mapping[str, TensorSpec]: ...  # noqa: D102
    @property
    def outputs(self) -> Mapping[str, TensorSpec]: ...  # noqa: D102
    @property
    def needs_ranks(self) -> bool: ...  # noqa: D102
    @property
    def row_mixing(self) -> Mapping[str, str]: ...  # noqa: D102

    def run(  # noqa: D102
        self,
        output_tensors: Sequence[str],
        feeds: Mapping[str, np.ndarray],
        control: SessionControl | None = None,
    ) -> list[np.ndarray]: ...


class Runtime:
    """One ONNX graph, loaded and ready to run from any thread.

    Attributes:
        provider: The execution provider in use, as ONNX Runtime names it.
        platform: What KServe's metadata calls a model of this kind.
        inputs: Specs of the graph's inputs by tensor name.
        outputs: Likewise for its outputs.
        needs_ranks: Whether a tensor of an unexpected rank could end the process.
        row_mixing: What mixes the rows of a signature by its definition, by signature name, as far
            as the runtime knows; empty here, because `row_independence` looks into the file.
    """

    platform: ClassVar[str] = "onnxruntime_onnx"
    row_mixing: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self, onnx_file: Path, config: RuntimeConfig, precision: Precision = "fp32"
    ) -> None:
        """Load a graph.

        Args:
            onnx_file: The graph.
            config: How to run it.
            precision: Of the graph.

        Raises:
            DataLoss: the file is no ONNX graph that ONNX Runtime can run.
            Unsupported: an input or output is of a type that cannot be served.
            DeviceError: `cuda` was asked for and the graph did not get it.
        """
        options = session_options(config, precision)
        providers, _ = choose_providers(config.device)
        cuda_options = dict(_CUDA_OPTIONS)
        if config.gpu_mem_limit_bytes:
            cuda_options["gpu_mem_limit"] = str(config.gpu_mem_limit_bytes)
        try:
            self._session = onnxruntime.InferenceSession(
                str(onnx_file),
                options,
                providers=providers,
                provider_options=[cuda_options if name == CUDA else {} for name in providers],
            )
        except Exception as error:  # ONNX Runtime's errors share no base class
            msg = f"{onnx_file} cannot be loaded: {error}"
            raise DataLoss(msg) from error
        self.inputs = graph_tensors.specs("input", self._session.get_inputs(), onnx_file)
        self.outputs = graph_tensors.specs("output", self._session.get_outputs(), onnx_file)
        delicate = onnx_graph.find_operators(onnx_file, _ENDED_BY_RANK)
        self.needs_ranks = bool(delicate)
        self._ended_by_nothing = sorted(delicate & _ENDED_BY_NOTHING)
        self.provider: str = self._session.get_providers()[0]
        if config.device == "cuda" and self.provider != CUDA:
            # ONNX Runtime falls back to the CPU without an error when CUDA fails to start.
            msg = (
                f'device "cuda" requested but {onnx_file} runs on {self.provider}; check the '
                "driver and the CUDA libraries, or pass --device auto"
            )
            raise DeviceError(msg)

    def run(
        self,
        output_tensors: Sequence[str],
        feeds: Mapping[str, np.ndarray],
        control: SessionControl | None = None,
    ) -> list[np.ndarray]:
        """Compute output tensors.

        Args:
            output_tensors: Names of graph outputs.
            feeds: Arrays by graph input name, of the dtypes and shapes in `inputs`.
            control: What can end the run from another thread; None for nothing.

        Returns:
            One array an output, in the order asked for.

        Raises:
            InvalidInput: the graph cannot take these values or sizes, or a string is not UTF-8.
            InternalError: the graph failed.
        """
        if self._ended_by_nothing:
            self._require_elements(feeds)
        feeds = {
            tensor: _to_text(tensor, array) if array.dtype.kind == "O" else _aligned(array)
            for tensor, array in feeds.items()
        }
        try:
            options = None if control is None else control.options
            arrays: list[np.ndarray] = self._session.run(output_tensors, feeds, options)
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise _run_error(error) from error
        return [_of_its_own(array) for array in arrays]

    def _require_elements(self, feeds: Mapping[str, np.ndarray]) -> None:
        """Refuse what would take the server down.

        Raises:
            InvalidInput: an array has no element.
        """
        for tensor, array in feeds.items():
            if not array.size:
                msg = (
                    f"{REFUSED}tensor {tensor} has shape {array.shape}, expected at least one "
                    f"element, because the graph has {' and '.join(self._ended_by_nothing)}"
                )
                raise InvalidInput(msg)


def _of_its_own(array: np.ndarray) -> np.ndarray:
    """A large output in memory of its own.

    As it comes it lies in ONNX Runtime's pool, which never shrinks: of a burst of large answers the
    memory would be kept for ever.
    """
    return array.copy() if array.nbytes >= _LARGE_OUTPUT_BYTES else array


def _aligned(array: np.ndarray) -> np.ndarray:
    """An array that begins where a SIMD register may be loaded, copied if need be.

    ONNX Runtime computes on the array's own memory. Some of its kernels (ReduceMean, Einsum and
    others) add the elements before the first aligned one apart, so the last bit of a sum would
    depend on where the elements lie in the request's bytes.
    """
    # An array of its own is aligned, as NumPy allocates it; asking for the address takes 1 µs.
    if array.base is None or array.itemsize == 1 or array.ctypes.data % _ALIGNMENT == 0:
        return array
    return array.copy()


def _to_text(tensor: str, array: np.ndarray) -> np.ndarray:
    """An array of `bytes` as one of `str`: ONNX Runtime takes b"x" for the text "b'x'"."""
    text = np.empty(array.size, dtype=object)
    try:
        text[:] = [
            element.decode() if isinstance(element, bytes) else element for element in array.flat
        ]
    except UnicodeDecodeError as error:
        raise TextError(tensor, error) from error
    return text.reshape(array.shape)


def _run_error(error: Exception) -> ServingError:
    text = str(error)
    if type(error).__name__ == "InvalidArgument" or any(known in text for known in _MISMATCHES):
        return InvalidInput(f"{REFUSED}{text}")
    return InternalError(f"{FAILED}{text}")
