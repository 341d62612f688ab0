import threading

import numpy as np
import pytest
from sample_models import tiny_models

from serving.engine.binding import bound_run
from serving.engine.binding.bound_run import BoundRun, BoundSignature
from serving.engine.devices.gpu_turns import TURNS
from serving.engine.runtime import Runtime, RuntimeConfig, SessionControl
from serving.errors import InternalError, InvalidInput
from serving.tensors.tensor_spec import DataType, TensorSpec


def bound(path, rows, *, constants=None, graph_id=0):
    """Return a bound run of all inputs and outputs of a graph."""
    graph = Runtime(path / "model.onnx", RuntimeConfig(device="cpu"))
    signature = BoundSignature("s", graph.inputs, graph.outputs, constants or {})

    def unbound(_signature, inputs, outputs, control):
        return dict(zip(outputs, graph.run(outputs, inputs, control), strict=True))

    return BoundRun(graph.sessions.main, signature, rows, unbound, graph_id=graph_id)


def run(prepared, outputs):
    return prepared.run("s", prepared.inputs, outputs, SessionControl())


def test_a_run_computes_on_the_buffers(tmp_path):
    """The outputs that were asked for come back, in that order, of the content of the buffers."""
    prepared = bound(tiny_models.add(tmp_path), 2)
    prepared.inputs["a"][:] = [5, 6]
    prepared.inputs["b"][:] = [3, 4]

    both = run(prepared, ["difference", "sum"])
    one = run(prepared, ["sum"])

    assert {alias: array.tolist() for alias, array in both.items()} == {
        "difference": [2, 2],
        "sum": [8, 10],
    }
    assert list(both) == ["difference", "sum"]
    assert list(one) == ["sum"]


def test_an_answer_that_is_held_does_not_change(tmp_path):
    """The next run overwrites the buffers, but not the answers of earlier runs."""
    prepared = bound(tiny_models.identity(tmp_path), 3)
    held = []
    for number in range(4):
        prepared.inputs["x"][:] = number
        held.append(run(prepared, ["y"])["y"])

    assert [set(answer.ravel().tolist()) for answer in held] == [{0}, {1}, {2}, {3}]
    assert all(answer.flags.owndata for answer in held)


@pytest.mark.parametrize(
    "datatype",
    [
        *("BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"),
        *("FP16", "FP32", "FP64"),
    ],
)
def test_every_dtype_of_fixed_size_can_be_bound(tmp_path, datatype):
    """Buffers have the dtype of the graph's tensors, and values pass unchanged."""
    prepared = bound(tiny_models.echo(tmp_path, datatype), 2)
    values = np.array([[0, 1], [1, 0]]).astype(prepared.inputs["x"].dtype)
    prepared.inputs["x"][:] = values

    answer = run(prepared, ["y"])["y"]

    assert answer.dtype == values.dtype
    assert answer.tolist() == values.tolist()


def test_outputs_that_the_graph_does_not_compute_are_added(tmp_path):
    """A constant output has its row for each row of the batch."""
    names = TensorSpec(
        dtype=DataType.DT_STRING, shape=(-1, 2), tensor="", graph_name="", constant=("a", "b")
    )
    prepared = bound(tiny_models.identity(tmp_path), 2, constants={"names": names})

    assert run(prepared, ["names"])["names"].tolist() == [[b"a", b"b"], [b"a", b"b"]]


def test_a_graph_that_refuses_a_value_says_so(tmp_path):
    """An error in a bound run is the same as in another run.

    ONNX Runtime does not tell there an invalid argument from a failure, so the batch is run again
    without buffers.
    """
    prepared = bound(tiny_models.lookup(tmp_path), 1)
    prepared.inputs["index"][:] = 7

    with pytest.raises(InvalidInput, match=r"the model cannot take this input: .*idx=7"):
        run(prepared, ["y"])
    prepared.inputs["index"][:] = 2
    assert run(prepared, ["y"])["y"].tolist() == [3]


def test_a_terminated_run_gives_no_answer(tmp_path):
    """The control reaches ONNX Runtime."""
    prepared = bound(tiny_models.identity(tmp_path), 1)
    control = SessionControl()
    control.terminate()

    with pytest.raises(InternalError, match="terminate"):
        prepared.run("s", prepared.inputs, ["y"], control)


def test_an_output_of_another_size_fails_when_it_is_bound(tmp_path):
    """The first run happens at once: a size that the graph does not have is an error there."""
    graph = Runtime(tiny_models.identity(tmp_path) / "model.onnx", RuntimeConfig(device="cpu"))
    (spec,) = graph.outputs.values()
    wrong = TensorSpec(dtype=spec.dtype, shape=(-1, 5), tensor="y", graph_name="y")
    signature = BoundSignature("s", graph.inputs, {"y": wrong}, {})

    with pytest.raises((InternalError, InvalidInput)):
        BoundRun(graph.sessions.main, signature, 2, pytest.fail)


def test_a_cuda_graph_is_captured_alone(tmp_path, monkeypatch):
    """A run with a CUDA graph is first run alone; it fails if other runs go on for too long.

    On the CPU, ONNX Runtime ignores the number of the CUDA graph.
    """
    monkeypatch.setattr(bound_run, "_CAPTURE_SECONDS", 0.01)
    ends, entered = threading.Event(), threading.Event()

    def go_on() -> None:
        with TURNS.shared():
            entered.set()
            ends.wait(20)

    other = threading.Thread(target=go_on, daemon=True)
    other.start()
    assert entered.wait(20)
    path = tiny_models.identity(tmp_path)

    with pytest.raises(TimeoutError, match="other runs used the GPU"):
        bound(path, 1, graph_id=1)
    plain = bound(path, 1)
    ends.set()
    other.join(20)
    captured = bound(path, 1, graph_id=1)

    assert run(plain, ["y"])["y"].tolist() == run(captured, ["y"])["y"].tolist() == [[0, 0, 0]]
