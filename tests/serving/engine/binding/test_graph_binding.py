import numpy as np
import pytest
from sample_models import tiny_models

from serving.engine.binding import graph_binding
from serving.engine.binding.bound_run import BoundRun, BoundSignature
from serving.engine.binding.graph_binding import GraphBinding
from serving.engine.runtime import Runtime, RuntimeConfig, SessionControl

REFUSAL = "all compute graph nodes have not been partitioned to the CUDA EP"
X = np.array([[1, 2, 3]], np.float32)


@pytest.fixture
def graph(tmp_path):
    """A graph on the CPU; `binding` decides for it as if it ran on CUDA."""
    return Runtime(tiny_models.identity(tmp_path) / "model.onnx", RuntimeConfig(device="cpu"))


def never(*_arguments):
    """A run without buffers, which no test here needs."""
    pytest.fail("run without its buffers")


def binding(graph, sizes=(1, 2, 4), *, on_cuda=True, names=("s",)):
    signatures = [BoundSignature(name, graph.inputs, graph.outputs, {}) for name in names]
    return GraphBinding("m/1", graph.sessions, signatures, sizes, on_cuda=on_cuda)


def answer(runs, rows, name="s"):
    prepared = runs[name, rows]
    prepared.inputs["x"][:] = X
    return prepared.run(name, prepared.inputs, ["y"], SessionControl())["y"]


@pytest.fixture
def fails_from(monkeypatch):
    """Make bound runs of at least a number of rows fail; in the place of a GPU without memory.

    The function takes the number of rows and whether only captured runs fail.
    """

    def install(least, *, captured_only=False):
        def make(session, signature, rows, unbound, *, graph_id):
            if rows >= least and (graph_id or not captured_only):
                msg = "Failed to allocate memory"
                raise RuntimeError(msg)
            return BoundRun(session, signature, rows, unbound, graph_id=graph_id)

        monkeypatch.setattr(graph_binding, "BoundRun", make)

    return install


def test_on_the_cpu_batches_have_fixed_buffers(graph):
    """On the CPU each signature gets a run for each size, on the graph's main session."""
    bound = binding(graph, on_cuda=False, names=("s", "t"))
    runs = bound.prepare((), never)

    assert set(runs) == {(name, rows) for name in "st" for rows in (1, 2, 4)}
    assert {run._session for run in runs.values()} == {graph.sessions.main}
    assert answer(runs, 4, "t").tolist() == [X[0].tolist()] * 4
    assert bound.describe() == "fixed buffers on one session (1, 2, 4 rows)"


def test_cuda_graphs_are_the_best_way(graph):
    """If the session captures, each signature and size has its own CUDA graph, from 1 on."""
    graph.sessions.no_graphs = ""
    bound = binding(graph, names=("s", "t"))
    runs = bound.prepare((), never)
    numbers = {run._graph_options.get_run_config_entry("gpu_graph_id") for run in runs.values()}

    assert numbers == {"1", "2", "3", "4", "5", "6"}
    assert {run._session for run in runs.values()} == {graph.sessions.main}
    assert bound.describe() == "CUDA graphs (1, 2, 4 rows)"


def test_without_cuda_graphs_each_size_has_a_session(graph):
    """A graph that refuses CUDA graphs runs each size on a session of its own.

    The sessions are the same for all signatures and threads.
    """
    graph.sessions.no_graphs = REFUSAL
    bound = binding(graph, names=("s", "t"))
    first, second = bound.prepare((), never), bound.prepare((), never)

    assert len({run._session for run in first.values()}) == 3
    assert first["s", 2]._session is first["t", 2]._session is second["s", 2]._session
    assert first["s", 2] is not second["s", 2]
    assert graph.sessions.main not in {run._session for run in first.values()}
    assert answer(first, 2).tolist() == [X[0].tolist()] * 2
    assert bound.describe() == (
        f"a session for each batch size (1, 2, 4 rows); not CUDA graphs ({REFUSAL})"
    )


def test_sessions_that_do_not_fit_share_the_main_one(graph):
    """If the limit of the memory is too small for a session a size, one session runs them all."""
    graph.sessions.no_graphs = REFUSAL
    graph.sessions.mem_limit_bytes = 8 * graph.sessions.file_bytes - 1
    bound = binding(graph)
    runs = bound.prepare((), never)

    assert {run._session for run in runs.values()} == {graph.sessions.main}
    assert "fixed buffers on one session (1, 2, 4 rows)" in bound.describe()
    assert "(4 sessions do not fit in --gpu_mem_limit_bytes=" in bound.describe()


def test_the_limit_of_the_memory_is_divided(graph, monkeypatch):
    """Each session gets its share of the limit, the main one, too."""
    limits = []
    open_session = graph.sessions.open
    monkeypatch.setattr(
        graph.sessions,
        "open",
        lambda limit=None: limits.append(limit) or open_session(limit),
    )
    graph.sessions.no_graphs = REFUSAL
    graph.sessions.mem_limit_bytes = 4_000_000
    runs = binding(graph).prepare((), never)

    assert limits == [1_000_000] * 4
    assert len({run._session for run in runs.values()}) == 3


def test_a_capture_that_fails_leads_to_the_next_way(graph, fails_from):
    """If no CUDA graph can be captured, the main session is replaced, and each size gets its own.

    A failed capture may leave the session unusable.
    """
    graph.sessions.no_graphs = ""
    before = graph.sessions.main
    fails_from(1, captured_only=True)
    bound = binding(graph)
    runs = bound.prepare((), never)

    assert graph.sessions.main is not before
    assert not graph.sessions.captures
    assert len({run._session for run in runs.values()}) == 3
    assert bound.describe() == (
        "a session for each batch size (1, 2, 4 rows); not CUDA graphs (Failed to allocate memory)"
    )


def test_the_sizes_that_worked_are_kept(graph, fails_from, caplog):
    """If a large size cannot be prepared, the smaller ones are kept; one warning names the size."""
    fails_from(4)
    bound = binding(graph, sizes=(1, 2, 4, 8))
    first, second = bound.prepare((), never), bound.prepare((), never)

    assert set(first) == set(second) == {("s", 1), ("s", 2)}
    assert bound.sizes == (1, 2)
    assert [record.message for record in caplog.records] == [
        (
            "m/1: batches of 4 rows cannot be prepared (Failed to allocate memory); batches have "
            "at most 2 rows"
        )
    ]


def test_a_thread_that_gets_less_limits_all(graph, fails_from):
    """The sizes are those that every thread has prepared."""
    bound = binding(graph)
    bound.prepare((), never)
    fails_from(2)
    bound.prepare((), never)

    assert bound.sizes == (1,)


def test_if_nothing_works_nothing_is_bound(graph, fails_from):
    """Without any way that works there are no bound runs, and every reason is told."""
    graph.sessions.no_graphs = REFUSAL
    fails_from(1)
    bound = binding(graph)

    assert bound.prepare((), never) == bound.prepare((), never) == {}
    assert bound.sizes == ()
    assert bound.describe() == (
        f"no fixed buffers; not CUDA graphs ({REFUSAL}); not a session for each batch size (Failed "
        "to allocate memory); not fixed buffers on one session (Failed to allocate memory)"
    )


def test_a_signature_that_refuses_zeros_is_left_out(graph):
    """A signature that took no zeros in the warm-up has no bound runs; the others have."""
    bound = binding(graph, names=("s", "t"))

    assert set(bound.prepare({"s"}, never)) == {("t", rows) for rows in (1, 2, 4)}
    assert binding(graph).prepare({"s"}, never) == {}
