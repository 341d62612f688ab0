"""A bound run: fixed buffers for one batch size, bound to a session, in one worker thread."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from serving.engine.batching.prepared_runs import RunBatch
from serving.engine.batching.request_queue import Arrays
from serving.engine.devices import pinned_memory
from serving.engine.devices.gpu_turns import TURNS
from serving.engine.devices.graph_sessions import GRAPH_ID
from serving.engine.devices.library import onnxruntime
from serving.engine.devices.provider import CUDA
from serving.engine.runtime import SessionControl, run_error
from serving.errors import ServingError
from serving.tensors.tensor_spec import TensorSpec

# Time that a capture waits for the runs of other threads to end.
_CAPTURE_SECONDS = 5.0
# Time limit of the first run; a captured one has no loops.
_FIRST_RUN_SECONDS = 60.0


class BoundSignature(NamedTuple):
    """A signature whose batches can run on fixed buffers.

    Attributes:
        name: Name of the signature.
        inputs: Specs of the inputs by alias; all sizes except for the first are fixed.
        outputs: Specs of the computed outputs by alias, with fixed sizes likewise.
        constants: Specs of the outputs that the graph does not compute.
    """

    name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    constants: Mapping[str, TensorSpec]

    def __str__(self) -> str:
        return self.name


class BoundRun:
    """Fixed buffers of a signature for one batch size, bound to a session.

    On CUDA, the inputs are copied from page-locked host memory to fixed device memory, and the
    outputs once from the device. On the CPU, the session reads the input buffers themselves. All
    calls must come from one thread: ONNX Runtime keeps CUDA graphs and cuDNN handles by thread.

    Attributes:
        inputs: Host buffers of the inputs by alias, shape (rows, ...).
    """

    inputs: Mapping[str, np.ndarray]

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        signature: BoundSignature,
        rows: int,
        unbound: RunBatch,
        *,
        graph_id: int = 0,
    ) -> None:
        """Allocate the buffers, bind them, and run once on zeros.

        Args:
            session: The session; it captures CUDA graphs if there is a `graph_id`.
            signature: The signature.
            rows: Number of rows.
            unbound: Runs a batch without the buffers.
            graph_id: Number of the CUDA graph in the session, from 1 on; 0: no CUDA graph.

        Raises:
            InvalidInput, InternalError: the graph refuses zeros, or the first run failed.
            TimeoutError: other runs used the GPU for too long to capture a CUDA graph.
        """
        self._rows = rows
        self._unbound = unbound
        self._session = session
        self._constants = signature.constants
        self._on_cuda = session.get_providers()[0] == CUDA
        self._graph_options = _graph_options(graph_id) if graph_id else None
        try:
            with TURNS.shared():
                self._allocate(signature)
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise run_error(error) from error
        # ONNX Runtime runs twice without a capture, then captures, in this one call.
        with TURNS.alone(_CAPTURE_SECONDS) if graph_id else TURNS.shared():
            control = SessionControl()
            with control.within(_FIRST_RUN_SECONDS):
                self._run(control)

    def _allocate(self, signature: BoundSignature) -> None:
        binding = self._session.io_binding()
        self.inputs = {}
        # The copies from host to device before each run.
        self._copies: list[tuple[np.ndarray, onnxruntime.OrtValue]] = []
        for alias, spec in signature.inputs.items():
            host, value = self._input_buffer(spec)
            host.fill(0)
            self.inputs[alias] = host
            binding.bind_ortvalue_input(spec.tensor, value)
        values: dict[str, onnxruntime.OrtValue] = {}
        for spec in signature.outputs.values():
            if spec.tensor not in values:
                values[spec.tensor] = self._device_buffer(spec)
                binding.bind_ortvalue_output(spec.tensor, values[spec.tensor])
        self._outputs = {alias: values[spec.tensor] for alias, spec in signature.outputs.items()}
        # On the CPU an output's memory can be read without a call of ONNX Runtime.
        self._views = {} if self._on_cuda else _views(self._outputs)
        self._binding = binding

    def _input_buffer(self, spec: TensorSpec) -> tuple[np.ndarray, onnxruntime.OrtValue]:
        """Return the host buffer of an input, and the value that is bound."""
        shape = (self._rows, *spec.known_shape[1:])
        if not self._on_cuda:
            host = np.empty(shape, spec.numpy_dtype)
            return host, onnxruntime.OrtValue.ortvalue_from_numpy(host)
        host, value = pinned_memory.empty(shape, spec.numpy_dtype), self._device_buffer(spec)
        self._copies.append((host, value))
        return host, value

    def _device_buffer(self, spec: TensorSpec) -> onnxruntime.OrtValue:
        """Return memory of the session's pool, so that its limit includes the buffers."""
        shape = [self._rows, *spec.known_shape[1:]]
        return self._session.create_ortvalue_from_shape_and_type(
            shape, spec.numpy_dtype.type, "cuda" if self._on_cuda else "cpu"
        )

    def run(
        self,
        signature_name: str,
        inputs: Arrays,
        outputs: Sequence[str],
        control: SessionControl,
    ) -> dict[str, np.ndarray]:
        """Run on the content of `inputs`.

        A batch that fails is run again without the buffers: ONNX Runtime's errors in a bound run do
        not tell whether the model refuses a value or failed.

        Args:
            signature_name: Name of the signature.
            inputs: `inputs` of this object.
            outputs: Output aliases to return.
            control: Terminates the run from another thread; a CUDA graph always runs to its end.

        Returns:
            Arrays by output alias, which later runs do not change.

        Raises:
            InvalidInput, InternalError: see `Runtime.run`.
        """
        try:
            if not self._on_cuda:
                self._run(control)
                return {alias: self._answer(alias) for alias in outputs}
            with TURNS.shared():
                self._run(control)
                return {alias: self._answer(alias) for alias in outputs}
        except ServingError:
            if control.terminated:
                raise
        copies = {alias: array.copy() for alias, array in inputs.items()}
        return self._unbound(signature_name, copies, outputs, control)

    def _run(self, control: SessionControl) -> None:
        options = self._graph_options or control.without_graph()
        try:
            for host, value in self._copies:
                value.update_inplace(host)
            self._session.run_with_iobinding(self._binding, options)
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise run_error(error) from error

    def _answer(self, alias: str) -> np.ndarray:
        if alias in self._constants:
            return self._constants[alias].constant_rows(self._rows)
        if alias in self._views:
            return self._views[alias].copy()
        array: np.ndarray = self._outputs[alias].numpy()
        return array  # a copy, because it comes from the device or has strings


def _views(values: Mapping[str, onnxruntime.OrtValue]) -> dict[str, np.ndarray]:
    """Return arrays that share the memory of values on the CPU; none for values that cannot."""
    arrays = {alias: value.numpy() for alias, value in values.items()}
    return {alias: array for alias, array in arrays.items() if not array.flags.owndata}


def _graph_options(graph_id: int) -> onnxruntime.RunOptions:
    options = onnxruntime.RunOptions()
    options.add_run_config_entry(GRAPH_ID, str(graph_id))
    return options
