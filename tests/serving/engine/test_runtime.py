import os

import numpy as np
import onnx
import onnxruntime
import pytest
from sample_models import arithmetic_models, odd_models, tiny_models

from serving.engine import runtime
from serving.engine.runtime import Runtime, RuntimeConfig, SessionControl
from serving.errors import DataLoss, InternalError, InvalidInput
from serving.repository import model_folder


def test_a_graph_tells_its_inputs_and_outputs(tmp_path):
    """Names and the symbolic batch dimension of inputs and outputs come from the graph."""
    graph = Runtime(tiny_models.add(tmp_path) / "model.onnx", RuntimeConfig(device="cpu"))

    assert graph.provider == "CPUExecutionProvider"
    assert {name: spec.shape for name, spec in graph.inputs.items()} == {"a": (-1,), "b": (-1,)}
    assert list(graph.outputs) == ["sum", "difference"]


def test_a_graph_runs(tmp_path):
    """`run` returns the outputs in the order in which they were asked for."""
    graph = Runtime(tiny_models.add(tmp_path) / "model.onnx", RuntimeConfig(device="cpu"))

    difference, total = graph.run(["difference", "sum"], {"a": np.array([5]), "b": np.array([3])})

    assert (difference.tolist(), total.tolist()) == ([2], [8])


def test_a_large_output_does_not_stay_in_the_pool_of_memory(tmp_path):
    """A large output is copied out of ONNX Runtime's memory pool, a small one is not.

    The pool never shrinks: outputs that callers hold at the same time would enlarge it.
    """
    runtime = Runtime(tiny_models.identity(tmp_path) / "model.onnx", RuntimeConfig())
    large = np.ones((1 << 17, 3), np.float32)

    (small_output,) = runtime.run(["y"], {"x": large[:1]})
    (large_output,) = runtime.run(["y"], {"x": large})

    assert small_output.base is not None  # a view of ONNX Runtime's memory
    assert large_output.base is None
    np.testing.assert_array_equal(large_output, large)


def test_an_answer_does_not_depend_on_where_the_input_lies(tmp_path):
    """The answer is the same for every memory alignment of the input.

    ONNX Runtime sums in another order if the first elements are not aligned.
    """
    path = odd_models.mean(tmp_path) / "model.onnx"
    graph = Runtime(path, RuntimeConfig(device="cpu"))
    x = np.random.default_rng(0).normal(size=(64, 999)).astype(np.float32)
    answers = set()
    for offset in range(32):
        message = bytes(offset) + x.tobytes()
        feed = np.frombuffer(message, np.float32, x.size, offset).reshape(x.shape)
        (answer,) = graph.run(["y"], {"x": feed})
        answers.add(answer.tobytes())

    assert len(answers) == 1


@pytest.mark.parametrize("precision", ["fp32", "fp16", "w8", "int8"])
def test_variants_run(tmp_path, precision):
    """A graph of each precision, quantization nodes included, gives its own answer."""
    file = model_folder.variant_file("model.onnx", precision)
    path = arithmetic_models.variants(tmp_path, [precision]) / file
    graph = Runtime(path, RuntimeConfig(device="cpu"), precision)

    (answer,) = graph.run(["y"], {"x": np.ones((1, 3), np.float32)})

    assert answer[0, 0] == pytest.approx(arithmetic_models.VARIANT_ANSWERS[precision], abs=1e-5)


def test_w8_weights_become_floats_when_they_are_loaded(tmp_path, monkeypatch):
    """ONNX Runtime folds the dequantization of w8 weights away when it loads the graph.

    It needs int8's for its integer kernels.
    """
    left = {}
    session_options = onnxruntime.SessionOptions
    for precision in ("w8", "int8"):
        optimized = tmp_path / f"{precision}.onnx"
        options = session_options()
        options.optimized_model_filepath = str(optimized)
        monkeypatch.setattr(runtime.onnxruntime, "SessionOptions", lambda options=options: options)
        file = model_folder.variant_file("model.onnx", precision)
        path = arithmetic_models.variants(tmp_path, [precision], precision) / file
        Runtime(path, RuntimeConfig(device="cpu"), precision)
        left[precision] = {node.op_type for node in onnx.load(optimized).graph.node}

    assert not any("Dequantize" in kind for kind in left["w8"])
    assert left["w8"] <= {"MatMul", "FusedMatMul", "Gemm"}
    assert any("Quantize" in kind or "Integer" in kind for kind in left["int8"])


@pytest.mark.parametrize(
    ("provider", "best"), [("CPUExecutionProvider", "int8"), ("CUDAExecutionProvider", "fp16")]
)
def test_the_fastest_precision_depends_on_the_device(provider, best):
    """The order of precisions depends on the provider; an explicit precision is the only one."""
    assert RuntimeConfig().precisions(provider)[0] == best
    assert sorted(RuntimeConfig().precisions(provider)) == sorted(model_folder.PRECISIONS)
    assert RuntimeConfig(precision="w8").precisions(provider) == ("w8",)


def test_a_graph_that_fails_says_so(tmp_path):
    """A failure inside ONNX Runtime is raised as InternalError with ONNX Runtime's text."""
    graph = Runtime(tiny_models.fragile(tmp_path) / "model.onnx", RuntimeConfig(device="cpu"))

    with pytest.raises(InternalError, match=r"the model failed: .*cannot be reshaped"):
        graph.run(["y"], {"shape": np.array([7])})


def test_values_that_a_graph_refuses_are_the_callers_fault(tmp_path):
    """A value that ONNX Runtime calls an invalid argument is raised as InvalidInput."""
    graph = Runtime(tiny_models.lookup(tmp_path) / "model.onnx", RuntimeConfig(device="cpu"))

    with pytest.raises(InvalidInput, match=r"the model cannot take this input: .*idx=7"):
        graph.run(["y"], {"index": np.array([7])})


def test_a_file_that_is_no_graph_is_refused(tmp_path):
    """A file that is not ONNX is refused with DATA_LOSS; the message names the file."""
    (tmp_path / "model.onnx").write_bytes(b"not a graph")

    with pytest.raises(DataLoss, match=r"model.onnx cannot be loaded"):
        Runtime(tmp_path / "model.onnx", RuntimeConfig(device="cpu"))


def test_only_views_at_odd_addresses_are_copied():
    """Single bytes have no alignment, and arrays that own their memory are aligned already."""
    memory = np.zeros(64, np.uint8)
    start = -memory.ctypes.data % 16
    odd = memory[start + 4 : start + 36].view(np.float32)
    even = memory[start : start + 32].view(np.float32)
    single = memory[start + 1 : start + 9]

    copy = runtime._aligned(odd)

    assert copy is not odd
    assert copy.ctypes.data % 16 == 0
    assert copy.tolist() == odd.tolist()
    assert all(runtime._aligned(array) is array for array in (even, single, memory))


def test_telemetry_is_off():
    """ONNX Runtime's telemetry is switched off before ONNX Runtime is imported."""
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


@pytest.mark.parametrize("shape", [(0, 2, 3), (2, 0, 3)])
def test_inputs_that_would_end_the_process_never_run(tmp_path, shape):
    """Empty inputs of a graph with GRU are refused, because they would end the process.

    ONNX Runtime's GRU throws an exception that nobody can catch if there is nothing to compute.
    """
    graph = Runtime(odd_models.recurrent(tmp_path) / "model.onnx", RuntimeConfig(device="cpu"))

    with pytest.raises(InvalidInput, match="at least one element, because the graph has GRU"):
        graph.run(["y"], {"x": np.zeros(shape, np.float32)})
    assert graph.run(["y"], {"x": np.zeros((2, 2, 3), np.float32)})[0].shape == (2, 4)


@pytest.mark.parametrize("sizes", [(2, 3), (4, 0)])
def test_sizes_that_do_not_go_together_are_the_callers_fault(tmp_path, sizes):
    """Inputs whose sizes cannot be broadcast are InvalidInput, as in TensorFlow.

    ONNX Runtime calls it a failure.
    """
    graph = Runtime(tiny_models.add(tmp_path) / "model.onnx", RuntimeConfig(device="cpu"))

    with pytest.raises(InvalidInput, match=r"the model cannot take this input: .*broadcast"):
        graph.run(
            ["sum"], {alias: np.ones(size, int) for alias, size in zip("ab", sizes, strict=True)}
        )


@pytest.mark.parametrize("text", ["a\0b", "\0", "grün", ""])
def test_text_passes_through_whole(tmp_path, text):
    """Strings with NUL, with umlauts and of length 0 pass through a graph unchanged."""
    graph = Runtime(tiny_models.echo(tmp_path, "BYTES") / "model.onnx", RuntimeConfig(device="cpu"))

    (answer,) = graph.run(["y"], {"x": np.array([[text.encode(), b"x"]], object)})

    assert answer.tolist() == [[text, "x"]]


def test_a_run_that_was_told_to_end_gives_no_answer(tmp_path):
    """The control reaches ONNX Runtime: a terminated one ends a run, a fresh one does not."""
    graph = Runtime(tiny_models.add(tmp_path) / "model.onnx", RuntimeConfig(device="cpu"))
    feeds = {"a": np.array([5]), "b": np.array([3])}
    told_to_end = SessionControl()
    told_to_end.terminate()

    with pytest.raises(InternalError, match="terminate"):
        graph.run(["sum"], feeds, told_to_end)
    assert graph.run(["sum"], feeds, SessionControl()) == [np.array([8])]
