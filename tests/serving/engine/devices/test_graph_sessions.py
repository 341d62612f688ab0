import numpy as np
import onnxruntime
import pytest
from sample_models import tiny_models

from serving.engine.devices import graph_sessions
from serving.engine.devices.cuda_options import CudaChoices
from serving.engine.devices.graph_sessions import GraphSessions
from serving.engine.devices.runtime_config import RuntimeConfig
from serving.errors import DataLoss

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
REFUSAL = (
    "This session cannot use the CUDA Graph feature as requested by the user  as all compute "
    "graph nodes have not been partitioned to the CUDA EP."
)


class Cuda:
    """Stands in for ONNX Runtime with CUDA: real sessions on the CPU, and a note of the options.

    Attributes:
        asked: The options of CUDA that each session was asked for.
        refuses: Whether it refuses CUDA graphs, as for a graph with nodes on the CPU.
    """

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.refuses = False
        self._session = onnxruntime.InferenceSession

    def __call__(self, path, options, *, providers, provider_options, enable_fallback):
        """Make a session like `InferenceSession`, on the CPU."""
        of_cuda, of_cpu = provider_options
        assert (providers, of_cpu, enable_fallback) == ([CUDA, CPU], {}, 0)
        self.asked.append(of_cuda)
        if self.refuses and "enable_cuda_graph" in of_cuda:
            raise RuntimeError(REFUSAL)
        return self._session(path, options, providers=[CPU], enable_fallback=0)


@pytest.fixture
def cuda(monkeypatch):
    """ONNX Runtime with `Cuda` in the place of its sessions."""
    made = Cuda()
    monkeypatch.setattr(graph_sessions, "choose_providers", lambda _device: ([CUDA, CPU], ""))
    monkeypatch.setattr(onnxruntime, "InferenceSession", made)
    return made


@pytest.fixture
def file(tmp_path):
    return tiny_models.identity(tmp_path) / "model.onnx"


def test_the_main_session_captures_cuda_graphs(cuda, file):
    """On CUDA the main session is asked for CUDA graphs, and for the limit of the memory."""
    sessions = GraphSessions(file, RuntimeConfig(gpu_mem_limit_bytes=1 << 30), "fp32")

    assert sessions.captures
    assert [each["enable_cuda_graph"] for each in cuda.asked] == ["1"]
    assert [each["gpu_mem_limit"] for each in cuda.asked] == [str(1 << 30)]


def test_a_graph_that_refuses_cuda_graphs_runs_without(cuda, file):
    """If ONNX Runtime refuses CUDA graphs, the session is made without, and the reason is kept."""
    cuda.refuses = True
    sessions = GraphSessions(file, RuntimeConfig(), "fp32")
    (answer,) = sessions.main.run(["y"], {"x": np.ones((2, 3), np.float32)})

    assert sessions.no_graphs == " ".join(REFUSAL.split())
    assert ["enable_cuda_graph" in each for each in cuda.asked] == [True, False]
    assert answer.shape == (2, 3)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"cuda": CudaChoices(graphs=False)}, "--cuda_graphs is off"),
        ({"io_binding": "off"}, "batches do not run on fixed buffers on CUDA"),
    ],
)
def test_cuda_graphs_can_be_switched_off(cuda, file, settings, reason):
    """Without --cuda_graphs, or without fixed buffers, no session captures."""
    sessions = GraphSessions(file, RuntimeConfig(**settings), "fp32")

    assert sessions.no_graphs == reason
    assert ["enable_cuda_graph" in each for each in cuda.asked] == [False]


def test_further_sessions_have_a_limit_of_their_own(cuda, file):
    """A session for one batch size captures nothing and has the given limit; 0 is no limit."""
    sessions = GraphSessions(file, RuntimeConfig(gpu_mem_limit_bytes=1 << 30), "fp32")
    cuda.asked.clear()
    sessions.open(1 << 20)
    sessions.open(0)
    sessions.open()

    assert [each.get("gpu_mem_limit") for each in cuda.asked] == [
        *(str(1 << 20), None, str(1 << 30))
    ]
    assert not any("enable_cuda_graph" in each for each in cuda.asked)


def test_the_main_session_can_be_replaced(cuda, file):
    """After a failed capture the main session is opened again without CUDA graphs."""
    sessions = GraphSessions(file, RuntimeConfig(), "fp32")
    sessions.reopen_main("the capture failed")
    (answer,) = sessions.main.run(["y"], {"x": np.ones((1, 3), np.float32)})

    assert (sessions.captures, sessions.no_graphs) == (False, "the capture failed")
    assert answer.tolist() == [[1, 1, 1]]


def test_a_file_that_is_no_graph_is_refused_on_cuda_too(cuda, tmp_path):
    """A broken file is DATA_LOSS with its path, not a fallback to the CPU."""
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no graph")

    with pytest.raises(DataLoss, match=r"model.onnx cannot be loaded"):
        GraphSessions(path, RuntimeConfig(), "fp32")


def test_on_the_cpu_a_session_has_no_options(file):
    """On the CPU no session captures, and the size of the graph's files is known."""
    (file.parent / "model.onnx.data").write_bytes(bytes(100))
    sessions = GraphSessions(file, RuntimeConfig(device="cpu", io_binding="on"), "fp32")

    assert not sessions.captures
    assert sessions.main.get_providers() == [CPU]
    assert sessions.file_bytes == file.stat().st_size + 100
