import os

import numpy as np
import onnxruntime
import pytest
import tiny_models

from serving import runtime
from serving.errors import DataLoss, InternalError, InvalidInput
from serving.runtime import DeviceError, Runtime, RuntimeConfig

NO_CUDA = "CUDAExecutionProvider" not in onnxruntime.get_available_providers()


def test_a_graph_tells_its_inputs_and_outputs(tmp_path):
    """Names, dtypes and the symbolic batch come from the graph."""
    graph = Runtime(tiny_models.add(tmp_path) / "model.onnx", RuntimeConfig(device="cpu"))

    assert graph.provider == "CPUExecutionProvider"
    assert {name: spec.shape for name, spec in graph.inputs.items()} == {"a": (-1,), "b": (-1,)}
    assert list(graph.outputs) == ["sum", "difference"]


def test_a_graph_runs(tmp_path):
    """Outputs come in the order asked for."""
    graph = Runtime(tiny_models.add(tmp_path) / "model.onnx", RuntimeConfig(device="cpu"))

    difference, total = graph.run(["difference", "sum"], {"a": np.array([5]), "b": np.array([3])})

    assert (difference.tolist(), total.tolist()) == ([2], [8])


def test_a_graph_that_fails_says_so(tmp_path):
    """A failure inside ONNX Runtime is an error of ours, with its text."""
    graph = Runtime(tiny_models.fragile(tmp_path) / "model.onnx", RuntimeConfig(device="cpu"))

    with pytest.raises(InternalError, match=r"the model failed: .*cannot be reshaped"):
        graph.run(["y"], {"shape": np.array([7])})


def test_values_that_a_graph_refuses_are_the_callers_fault(tmp_path):
    """What ONNX Runtime calls an invalid argument is answered INVALID_ARGUMENT."""
    graph = Runtime(tiny_models.lookup(tmp_path) / "model.onnx", RuntimeConfig(device="cpu"))

    with pytest.raises(InvalidInput, match=r"the model cannot take this input: .*idx=7"):
        graph.run(["y"], {"index": np.array([7])})


def test_a_file_that_is_no_graph_is_refused(tmp_path):
    """Bytes that are not ONNX are named with their file."""
    (tmp_path / "model.onnx").write_bytes(b"not a graph")

    with pytest.raises(DataLoss, match=r"model.onnx cannot be loaded"):
        Runtime(tmp_path / "model.onnx", RuntimeConfig(device="cpu"))


@pytest.mark.skipif(not NO_CUDA, reason="this ONNX Runtime has CUDA")
def test_cuda_is_never_replaced_silently():
    """Insisting on CUDA fails where there is none, and says the way out."""
    with pytest.raises(DeviceError, match="install the serve-gpu extra or pass --device auto"):
        runtime.choose_providers("cuda")


def test_telemetry_is_off():
    """ONNX Runtime must not report usage over the network."""
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


@pytest.mark.parametrize(
    ("limit", "cores"), [("max 100000", None), ("50000 100000", 1), ("150000 100000", 1)]
)
def test_cores_respect_the_containers_quota(tmp_path, monkeypatch, limit, cores):
    """A CPU quota of the control group cuts the cores down to whole ones, at least one."""
    quota = tmp_path / "cpu.max"
    quota.write_text(limit)
    monkeypatch.setattr(runtime, "_CGROUP_CPU_MAX", quota)

    assert runtime.available_cores() == (cores or len(os.sched_getaffinity(0)))
