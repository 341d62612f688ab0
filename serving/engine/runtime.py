"""Runs ONNX graphs, and translates the errors of ONNX Runtime."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from serving.engine import graph_tensors, onnx_graph
from serving.engine.devices.gpu_turns import TURNS
from serving.engine.devices.graph_sessions import GRAPH_ID, NO_GRAPH, GraphSessions
from serving.engine.devices.library import onnxruntime
from serving.engine.devices.provider import (
    CPU,
    CUDA,
    Device,
    DeviceError,
    available_providers,
    choose_providers,
)
from serving.engine.devices.runtime_config import IoBinding, RuntimeConfig, session_options
from serving.errors import InternalError, InvalidInput, ServingError
from serving.repository.model_folder import Precision
from serving.tensors.tensor_spec import TensorSpec

__all__ = [
    "CPU",
    "CUDA",
    "FAILED",
    "REFUSED",
    "Device",
    "DeviceError",
    "GraphRuntime",
    "IoBinding",
    "Runtime",
    "RuntimeConfig",
    "SessionControl",
    "TextError",
    "available_providers",
    "choose_providers",
    "run_error",
    "session_options",
]

_ALIGNMENT = 16  # bytes
_LARGE_OUTPUT_BYTES = 1 << 20
# Prefixes of error messages about a run.
REFUSED, FAILED = "the model cannot take this input: ", "the model failed: "
# Operators whose kernels end the process instead of the run: those of the first set on a tensor
# without elements, those of the second on a tensor of an unexpected rank. They were found by
# running all of ONNX's node tests on unusual shapes.
_ENDED_BY_EMPTY = frozenset({"GRU", "LSTM"})
_ENDED_BY_RANK = _ENDED_BY_EMPTY | {"DFT", "GridSample", "ReverseSequence", "STFT"}
# Messages about mismatched sizes, which ONNX Runtime reports as failures, not as invalid arguments.
_MISMATCHES = (
    "Attempting to broadcast an axis by a dimension other than 1",
    "Can broadcast 0 by 0 or 1",
    "operand cannot broadcast on dim",
    "MatMul dimension mismatch",
)


class TextError(InvalidInput):
    """A string is not UTF-8, which ONNX strings are.

    Attributes:
        tensor: Name of the graph input that holds the string.
        reason: The error and its remedy; the message without the tensor's name.
    """

    def __init__(self, tensor: str, error: UnicodeDecodeError) -> None:
        self.tensor = tensor
        self.reason = (
            f"has a string that is not UTF-8, as ONNX strings are: {error}; send text in UTF-8, "
            "or bytes as base64 text if the model decodes it"
        )
        super().__init__(f"tensor {tensor} {self.reason}")


class SessionControl:
    """Terminates a run of a session from another thread, between two nodes of its graph.

    Attributes:
        options: Run options to pass to `InferenceSession.run`.
        seconds: Time limit of the run, for runtimes that cannot be terminated from another thread;
            None: no limit.
    """

    def __init__(self) -> None:
        self.options = onnxruntime.RunOptions()
        self.seconds: float | None = None
        self._skips_graphs = False

    def without_graph(self) -> onnxruntime.RunOptions:
        """Return the options for a run on CUDA, or on buffers, that captures no CUDA graph.

        Without the entry, ONNX Runtime's Python code raises and catches an exception in each bound
        run, which takes 50 µs; if it is added twice, ONNX Runtime logs a warning.
        """
        if not self._skips_graphs:
            self._skips_graphs = True
            self.options.add_run_config_entry(GRAPH_ID, NO_GRAPH)
        return self.options

    @property
    def terminated(self) -> bool:
        """Whether `terminate` was called."""
        return bool(self.options.terminate)

    def terminate(self) -> None:
        """Make the run end after its current node."""
        self.options.terminate = True

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Terminate the runs of the block after this many seconds."""
        self.seconds = seconds
        timer = threading.Timer(seconds, self.terminate)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


class GraphRuntime(Protocol):
    """A loaded graph that can be run from any thread: the interface of `Runtime`.

    The other implementation is `SavedModelRuntime`.
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
    """A loaded ONNX graph that can be run from any thread.

    Attributes:
        provider: Name of the execution provider in use.
        platform: Platform name in KServe's model metadata.
        inputs: Specs of the graph's inputs by tensor name.
        outputs: Specs of the graph's outputs by tensor name.
        needs_ranks: Whether a tensor of an unexpected rank could end the process.
        row_mixing: For each signature with an operator that mixes rows by its definition, a
            sentence that names the operator. Empty here: `row_independence` reads the ONNX file.
        sessions: The graph's sessions; bound runs use them, too.
    """

    platform: ClassVar[str] = "onnxruntime_onnx"
    row_mixing: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self, onnx_file: Path, config: RuntimeConfig, precision: Precision = "fp32"
    ) -> None:
        """Load a graph.

        Args:
            onnx_file: The graph.
            config: See `RuntimeConfig`.
            precision: Precision of the graph.

        Raises:
            DataLoss: ONNX Runtime cannot load the file.
            Unsupported: an input or output has a type that cannot be served.
            DeviceError: the device is `cuda`, and the graph does not run on it.
        """
        self.sessions = GraphSessions(onnx_file, config, precision)
        session = self.sessions.main
        self.inputs = graph_tensors.specs("input", session.get_inputs(), onnx_file)
        self.outputs = graph_tensors.specs("output", session.get_outputs(), onnx_file)
        delicate = onnx_graph.find_operators(onnx_file, _ENDED_BY_RANK)
        self.needs_ranks = bool(delicate)
        self._ended_by_empty = sorted(delicate & _ENDED_BY_EMPTY)
        self.provider: str = session.get_providers()[0]
        if config.device == "cuda" and self.provider != CUDA:
            # ONNX Runtime falls back to the CPU without an error when CUDA fails to start.
            msg = (
                f'device "cuda" requested but {onnx_file} runs on {self.provider}; check the '
                "driver and the CUDA libraries, or pass --device auto"
            )
            raise DeviceError(msg)
        self._on_cuda = self.provider == CUDA

    def run(
        self,
        output_tensors: Sequence[str],
        feeds: Mapping[str, np.ndarray],
        control: SessionControl | None = None,
    ) -> list[np.ndarray]:
        """Compute output tensors.

        Args:
            output_tensors: Names of graph outputs.
            feeds: Arrays by graph input name, with the dtypes and shapes in `inputs`.
            control: Terminates the run from another thread; None: the run cannot be terminated.

        Returns:
            One array per output, in the order of `output_tensors`.

        Raises:
            InvalidInput: the graph refuses these values or sizes, or a string is not UTF-8.
            InternalError: the run failed or was terminated.
        """
        if self._ended_by_empty:
            self._require_elements(feeds)
        feeds = {
            tensor: _to_text(tensor, array) if array.dtype.kind == "O" else _aligned(array)
            for tensor, array in feeds.items()
        }
        try:
            arrays: list[np.ndarray]
            if self._on_cuda:
                options = (control or SessionControl()).without_graph()
                with TURNS.shared():
                    arrays = self.sessions.main.run(output_tensors, feeds, options)
            else:
                options = None if control is None else control.options
                arrays = self.sessions.main.run(output_tensors, feeds, options)
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise run_error(error) from error
        return [_copy_if_large(array) for array in arrays]

    def _require_elements(self, feeds: Mapping[str, np.ndarray]) -> None:
        """Refuse arrays without elements, which would end the process.

        Raises:
            InvalidInput: an array has no elements.
        """
        for tensor, array in feeds.items():
            if not array.size:
                msg = (
                    f"{REFUSED}tensor {tensor} has shape {array.shape}, expected at least one "
                    f"element, because the graph has {' and '.join(self._ended_by_empty)}"
                )
                raise InvalidInput(msg)


def _copy_if_large(array: np.ndarray) -> np.ndarray:
    """Return a copy of a large output, and a small output as it is.

    ONNX Runtime's outputs lie in its memory pool, which never shrinks: without the copy, the memory
    of a burst of large answers would be kept for ever.
    """
    return array.copy() if array.nbytes >= _LARGE_OUTPUT_BYTES else array


def _aligned(array: np.ndarray) -> np.ndarray:
    """Return the array, or a copy of it if it does not begin at a multiple of 16 bytes.

    ONNX Runtime computes on the array's own memory. Some of its kernels (ReduceMean, Einsum and
    others) sum the elements before the first aligned one separately, and so the last bit of a sum
    would depend on the position of the elements in the request's bytes.
    """
    # NumPy aligns arrays that own their memory. They skip the address check, which takes 1 µs.
    if array.base is None or array.itemsize == 1 or array.ctypes.data % _ALIGNMENT == 0:
        return array
    return array.copy()


def _to_text(tensor: str, array: np.ndarray) -> np.ndarray:
    """Decode an array of `bytes` to an array of `str`: ONNX Runtime would read b"x" as "b'x'".

    Raises:
        TextError: a string is not UTF-8.
    """
    text = np.empty(array.size, dtype=object)
    try:
        text[:] = [
            element.decode() if isinstance(element, bytes) else element for element in array.flat
        ]
    except UnicodeDecodeError as error:
        raise TextError(tensor, error) from error
    return text.reshape(array.shape)


def run_error(error: Exception) -> ServingError:
    """Return the server's error for an error that ONNX Runtime raised in a run."""
    text = str(error)
    if type(error).__name__ == "InvalidArgument" or any(known in text for known in _MISMATCHES):
        return InvalidInput(f"{REFUSED}{text}")
    return InternalError(f"{FAILED}{text}")
