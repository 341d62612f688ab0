"""Options of ONNX Runtime's CUDA provider, and the division of the memory limit."""

from dataclasses import dataclass

# Bytes that a session must get for each byte of its graph's files: the weights, and as much again
# for the tensors of a run.
_BYTES_A_FILE_BYTE = 2


@dataclass(frozen=True, kw_only=True)
class CudaChoices:
    """What the settings choose about CUDA.

    Attributes:
        graphs: Whether to capture a CUDA graph for each batch size.
        tf32: Whether float32 products may use TensorFloat-32, which has 10 bits of mantissa.
        prefer_nhwc: Whether convolutions use the layout NHWC.
    """

    graphs: bool = True
    tf32: bool = True
    prefer_nhwc: bool = False


def provider_options(
    choices: CudaChoices, *, captures: bool, mem_limit_bytes: int
) -> dict[str, str]:
    """Return the options of the CUDA provider for a session.

    Args:
        choices: See `CudaChoices`.
        captures: Whether the session is to capture CUDA graphs.
        mem_limit_bytes: Limit of the session's memory pool, in bytes; 0: no limit.
    """
    options = {
        # The default, EXHAUSTIVE, tunes every convolution for each new batch size.
        "cudnn_conv_algo_search": "HEURISTIC",
        # The default doubles the memory pool whenever it grows, and the pool never shrinks.
        "arena_extend_strategy": "kSameAsRequested",
        "use_tf32": str(int(choices.tf32)),
    }
    if choices.prefer_nhwc:
        options["prefer_nhwc"] = "1"
    if captures:
        options["enable_cuda_graph"] = "1"
    if mem_limit_bytes:
        options["gpu_mem_limit"] = str(mem_limit_bytes)
    return options


def share_of_memory(mem_limit_bytes: int, *, sessions: int, graph_bytes: int) -> int | None:
    """Return the memory limit of each session if a graph has several.

    Args:
        mem_limit_bytes: Limit for all sessions of the graph together, in bytes; 0: no limit.
        sessions: Number of sessions.
        graph_bytes: Size of the graph's files, in bytes.

    Returns:
        The limit in bytes, 0 for no limit; None if the sessions would not fit.
    """
    share = mem_limit_bytes // sessions
    if mem_limit_bytes and share < _BYTES_A_FILE_BYTE * graph_bytes:
        return None
    return share
