import pytest

from serving.engine.devices.cuda_options import CudaChoices, provider_options, share_of_memory

GIB = 1 << 30
DEFAULT = {
    "cudnn_conv_algo_search": "HEURISTIC",
    "arena_extend_strategy": "kSameAsRequested",
    "use_tf32": "1",
}


@pytest.mark.parametrize(
    ("choices", "settings", "more"),
    [
        ({}, {}, {}),
        ({"tf32": False}, {}, {"use_tf32": "0"}),
        ({"prefer_nhwc": True}, {}, {"prefer_nhwc": "1"}),
        ({}, {"captures": True}, {"enable_cuda_graph": "1"}),
        ({}, {"mem_limit_bytes": GIB}, {"gpu_mem_limit": "1073741824"}),
    ],
)
def test_each_choice_is_an_option_of_cuda(choices, settings, more):
    """The options of the CUDA provider follow from the settings; without a limit there is none."""
    asked = {"captures": False, "mem_limit_bytes": 0} | settings

    assert provider_options(CudaChoices(**choices), **asked) == DEFAULT | more


@pytest.mark.parametrize(
    ("limit", "sessions", "graph_bytes", "share"),
    [
        (0, 10, GIB, 0),
        (10 * GIB, 10, GIB // 2, GIB),
        (10 * GIB, 10, GIB // 2 + 1, None),
        (GIB, 1, 100, GIB),
    ],
)
def test_sessions_share_the_limit_of_the_memory(limit, sessions, graph_bytes, share):
    """Each session gets an equal share; no share if it is less than twice the graph's files."""
    assert share_of_memory(limit, sessions=sessions, graph_bytes=graph_bytes) == share
