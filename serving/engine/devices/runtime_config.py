"""Settings of the runtimes, and the options of ONNX Runtime's sessions.

Settings on CPU: one inter-op thread and sequential execution, because the graphs are chains. An
explicit intra-op thread count, because ONNX Runtime otherwise sizes its pool by the host's cores
and sets thread affinities, which a container may forbid. No spinning, because the event loop needs
the same cores.
"""

from dataclasses import dataclass, field
from typing import Literal

from serving.engine.devices.cuda_options import CudaChoices
from serving.engine.devices.library import onnxruntime
from serving.engine.devices.provider import CUDA, Device
from serving.repository.model_folder import Precision

IoBinding = Literal["auto", "on", "off"]
# Fastest precision first. A version has an int8 graph only if it is faster than the fp32 graph on
# CPUs. CPUs compute fp16 in float32, between two casts. The int8 graphs are not made for CUDA.
_FASTEST_ON_CPU: tuple[Precision, ...] = ("int8", "fp32", "w8", "fp16")
_FASTEST_ON_CUDA: tuple[Precision, ...] = ("fp16", "fp32", "w8", "int8")


@dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """Settings of the runtimes.

    Attributes:
        device: `auto` uses CUDA if it works, `cuda` requires it, `cpu` does not use it.
        instances: Number of concurrent runs of one model.
        intra_op_threads: Threads inside one run; `instances * intra_op_threads` should not exceed
            the number of cores.
        gpu_mem_limit_bytes: Limit of ONNX Runtime's memory pool on the GPU, in bytes per graph; the
            memory of CUDA itself is not included. 0: no limit.
        precision: Which variant of each graph to load; `auto` loads the fastest one in the folder.
        io_binding: Whether batches run on fixed buffers: `auto` on CUDA only, `on` everywhere.
        cuda: See `CudaChoices`.
        saved_model_tags: Tags of the graph to load from a SavedModel.
    """

    device: Device = "auto"
    instances: int = 1
    intra_op_threads: int = 1
    gpu_mem_limit_bytes: int = 0
    precision: Precision | Literal["auto"] = "auto"
    io_binding: IoBinding = "auto"
    cuda: CudaChoices = field(default_factory=CudaChoices)
    saved_model_tags: tuple[str, ...] = ("serve",)

    def precisions(self, provider: str) -> tuple[Precision, ...]:
        """Return the precisions to look for on an execution provider, the preferred one first."""
        if self.precision != "auto":
            return (self.precision,)
        return _FASTEST_ON_CUDA if provider == CUDA else _FASTEST_ON_CPU

    def binds(self, provider: str) -> bool:
        """Return whether batches on an execution provider run on fixed buffers."""
        return self.io_binding == "on" or (self.io_binding == "auto" and provider == CUDA)


def session_options(config: RuntimeConfig, precision: Precision) -> onnxruntime.SessionOptions:
    """Return the ONNX Runtime session options for a graph.

    Args:
        config: See `RuntimeConfig`.
        precision: Precision of the graph.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = config.intra_op_threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4  # fatal only: errors reach us as exceptions
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if precision == "w8":
        # Converts the weights to float32 when the graph is loaded; otherwise every run would.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return options
