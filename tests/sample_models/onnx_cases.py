"""The ONNX project's backend node cases, sorted by whether they can be served.

The `onnx` package builds models and data in memory; nothing is downloaded.
"""

import functools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

from serving.engine.runtime import CPU, RuntimeConfig, session_options
from serving.tensors.tensor_spec import DataType

Arrays = Mapping[str, np.ndarray]

NOT_LOADED = "ONNX Runtime does not load the graph"
NOT_RUN = "ONNX Runtime loads the graph and refuses its data"
NO_TENSOR = "an input or output is a sequence or optional"
ELEMENT_TYPE = "an input or output has an element type that no protocol carries"
RANDOM = "the graph gives other values in each run"

# Runs that show whether a graph is random. Two are too few: Dropout repeats its first values once.
RUNS = 4


@dataclass(frozen=True, kw_only=True)
class NodeCase:
    """A graph that can be served, with inputs and ONNX Runtime's outputs for them.

    Attributes:
        name: Name of the case and of its model.
        model: Content of the ONNX file.
        inputs: Arrays by input name; strings are objects of `str`.
        outputs: Arrays by output name; strings are objects of `str`.
    """

    name: str
    model: bytes
    inputs: Arrays
    outputs: Arrays

    def write(self, models_dir: Path) -> None:
        """Write the model into a models folder as version 1."""
        path = models_dir / self.name / "1"
        path.mkdir(parents=True)
        (path / "model.onnx").write_bytes(self.model)


@functools.cache
def node_cases(every: int = 1) -> tuple[dict[str, NodeCase], dict[str, list[str]]]:
    """Return the cases that can be served, by name, and the names of all others by reason.

    Args:
        every: Step through the cases in the order of their names; 1 takes all.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cases overflow and divide by zero on purpose
        made = sorted(load_model_tests(kind="node"), key=lambda test: test.name)[::every]
    cases: dict[str, NodeCase] = {}
    left_out: dict[str, list[str]] = {}
    for test in made:
        ((inputs, _),) = test.data_sets
        case = _case(test.name, test.model, inputs)
        if isinstance(case, str):
            left_out.setdefault(case, []).append(test.name)
        else:
            cases[case.name] = case
    assert len(cases) + sum(map(len, left_out.values())) == len(made)
    return cases, left_out


def _case(name: str, model: onnx.ModelProto, inputs: Sequence[object]) -> NodeCase | str:
    """Return a case that can be served, or the reason why it cannot."""
    content = model.SerializeToString()
    try:
        session = _session(content)
    except Exception:  # noqa: BLE001 - ONNX Runtime's errors share no base class
        return NOT_LOADED
    types = {node.type for node in (*session.get_inputs(), *session.get_outputs())}
    if not all(known.startswith("tensor(") for known in types):
        return NO_TENSOR
    if any(DataType.from_onnx(known) is None for known in types):
        return ELEMENT_TYPE
    names = [node.name for node in session.get_inputs()]
    feeds = dict(zip(names, map(_array, inputs), strict=True))
    try:
        outputs, *others = [_run(session, feeds) for _ in range(RUNS)]
        others.append(_run(_session(content), feeds))
    except Exception:  # noqa: BLE001 - ONNX Runtime's errors share no base class
        return NOT_RUN
    if any(difference(outputs, other) for other in others):
        return RANDOM
    return NodeCase(name=name, model=content, inputs=feeds, outputs=outputs)


def _session(content: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(
        content, session_options(RuntimeConfig(), "fp32"), providers=[CPU]
    )


def _run(session: onnxruntime.InferenceSession, feeds: Arrays) -> dict[str, np.ndarray]:
    names = [node.name for node in session.get_outputs()]
    return dict(zip(names, map(np.asarray, session.run(names, feeds)), strict=True))


def _array(value: object) -> np.ndarray:
    """Return an input as array; the cases also have NumPy scalars and TensorProtos."""
    array = numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value
    array = np.asarray(array)
    return array.astype(object) if array.dtype.kind in "SU" else array


def difference(expected: Arrays, received: Arrays) -> str:
    """Return the first difference in bits between two answers, or ""; all NaNs are equal."""
    if sorted(expected) != sorted(received):  # protobuf's maps have no order
        return f"outputs {sorted(received)}, expected {sorted(expected)}"
    for name, wanted in expected.items():
        array = received[name]
        if (wanted.dtype, wanted.shape) != (array.dtype, array.shape):
            return f"{name} is {array.dtype} {array.shape}, expected {wanted.dtype} {wanted.shape}"
        if _bits(wanted) != _bits(array):
            return f"{name} is {array.tolist()}, expected {wanted.tolist()}"
    return ""


def _bits(array: np.ndarray) -> object:
    """Return the elements in a form that is equal if all bits are; all NaNs are equal."""
    if array.dtype.kind == "O":
        return [value.decode() if isinstance(value, bytes) else value for value in array.flat]
    if array.dtype.kind == "f":
        array = np.where(np.isnan(array), array.dtype.type(np.nan), array)
    return array.tobytes()


def has_json_form(array: np.ndarray) -> bool:
    """Return whether nested lists keep an array's shape; (0, 3) becomes [], which is (0,)."""
    return np.shape(np.empty(array.shape).tolist()) == array.shape
