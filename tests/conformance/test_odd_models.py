"""Bare ONNX files with one oddity each are answered right over every protocol."""

from collections.abc import Iterator

import numpy as np
import pytest
from calling.every_protocol import PROTOCOLS
from calling.rest_client import Http
from running import servers
from sample_models import odd_models, onnx_cases, tiny_models

INFINITE = [np.inf, -np.inf, np.nan, -0.0]
# Values at the limits of each type; JSON and protobuf carry some types in wider ones.
EDGES = {
    "BOOL": [True, False, True, True],
    **{
        f"{kind}INT{bits}": [low, high, 0, 1]
        for bits in (8, 16, 32, 64)
        for kind, low, high in (
            ("", -(1 << bits - 1), (1 << bits - 1) - 1),
            ("U", 0, (1 << bits) - 1),
        )
    },
    "FP16": [65504, 6e-8, 0.1, 1 / 3],
    "FP32": [3.4028235e38, 1e-45, 0.1, 1 / 3],
    "FP64": [1.7976931348623157e308, 5e-324, 0.1, 1 / 3],
    "BYTES": ["", "é", "a\x00b", '"quoted"'],
}
DTYPES = {
    "BOOL": np.bool_,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": object,
} | {
    f"{kind}INT{bits}": f"{kind}int{bits}".lower() for kind in ("", "U") for bits in (8, 16, 32, 64)
}


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    """Address of a server of the odd models and of two echo models for each element type."""
    models_dir = tmp_path_factory.mktemp("models")
    for build in (
        odd_models.any_rank,
        odd_models.scalar,
        odd_models.no_inputs,
        odd_models.external,
        odd_models.quotient,
        odd_models.nothing,
        odd_models.total,
        odd_models.wrong_shape,
        tiny_models.cast,
    ):
        build(models_dir)
    for datatype in tiny_models.ECHO_TYPES:
        odd_models.echo(models_dir, datatype, "echo", ["a", "b"])
        odd_models.echo(models_dir, datatype, "scalar", [])
    with servers.in_this_process(models_dir) as served:
        yield served


@pytest.fixture(params=PROTOCOLS)
def ask(request, address):
    """The `Ask` function of each protocol in turn."""
    with PROTOCOLS[request.param](address) as asking:
        yield asking


def check(ask, model, inputs, outputs) -> None:
    """Assert that the answer has the expected outputs, bit for bit."""
    answer = ask(model, inputs, outputs)

    assert onnx_cases.difference(outputs, answer) == ""


@pytest.mark.parametrize("shape", [(), (3,), (2, 2), (1, 2, 1, 2)])
def test_a_tensor_of_unknown_rank_takes_any(ask, shape):
    """An input of unknown rank takes any shape; over REST the nesting of the lists gives it."""
    x = np.full(shape, 1.5, np.float32)
    check(ask, "any_rank", {"x": x}, {"y": -x})


def test_many_rows_of_unknown_rank_run_as_one(ask):
    """100 rows, more than the largest batch, come back in order from a model of unknown rank."""
    x = np.arange(300, dtype=np.float32).reshape(100, 3)
    check(ask, "any_rank", {"x": x}, {"y": -x})


def test_a_scalar_has_no_dimension(ask):
    """A scalar input and its output keep shape (), which differs from shape (1,)."""
    x = np.array(2.5, np.float32)
    check(ask, "scalar", {"x": x}, {"y": -x})


def test_a_model_may_take_no_input(ask):
    """A model without inputs answers its constant output."""
    check(ask, "no_inputs", {}, {"y": np.array([[1, 2, 3]], np.float32)})


def test_weights_may_lie_in_another_file(ask):
    """Weights in ONNX's external data file beside the graph are loaded."""
    x = np.array([[1, 0, 2]], np.float32)
    check(ask, "external", {"x": x}, {"y": np.array([[8, 11]], np.float32)})


def test_a_graph_that_refuses_zeros_answers(ask):
    """A graph that fails on zeros is served although its warm-up fails."""
    feeds = {"a": np.array([7, -7]), "b": np.array([2, 2])}
    check(ask, "quotient", feeds, {"y": np.array([3, -3])})


def test_a_declared_zero_is_respected(ask):
    """A dimension declared as 0 is kept; JSON's `[]` gets the sizes after it from the model."""
    x = np.empty((0, 3), np.float32)
    answer = ask("nothing", {"x": x}, {"y": x})

    assert answer["y"].shape in {(0, 3), (0,)}  # JSON's [] has the shape (0,)
    assert answer["y"].dtype == np.float32


def test_no_row_is_answered_by_a_graph_without_a_batch(ask):
    """A graph that sums over its rows answers 0 to a request without rows."""
    check(ask, "total", {"x": np.empty((0, 3), np.float32)}, {"y": np.array(0, np.float32)})


def test_a_wrong_declaration_is_no_obstacle(ask):
    """A graph that declares four columns and computes three is answered with three."""
    x = np.arange(6, dtype=np.float32)
    feeds = {"x": x, "shape": np.array([2, 3])}
    check(ask, "wrong_shape", feeds, {"y": x.reshape(2, 3)})


@pytest.mark.parametrize("datatype", tiny_models.ECHO_TYPES)
def test_every_element_type_keeps_its_values(ask, datatype):
    """Limits of each element type survive in a matrix and in a scalar over every protocol."""
    values = np.array(EDGES[datatype], DTYPES[datatype])
    check(ask, f"echo_{datatype}", {"x": values.reshape(2, 2)}, {"y": values.reshape(2, 2)})
    check(ask, f"scalar_{datatype}", {"x": values[1:2].reshape(())}, {"y": values[1:2].reshape(())})


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
def test_infinities_and_the_sign_of_zero_are_kept(ask, datatype):
    """Infinities, NaN and -0.0 are kept; JSON writes `Infinity`, `-Infinity` and `NaN`."""
    values = np.array(INFINITE, DTYPES[datatype]).reshape(2, 2)
    check(ask, f"echo_{datatype}", {"x": values}, {"y": values})


@pytest.mark.parametrize("document", [{"inputs": {}}, {"instances": [{}]}])
def test_rest_calls_a_model_without_inputs_in_both_forms(address, document):
    """A model without inputs answers `inputs` with `outputs`, `instances` with `predictions`."""
    answer = Http(address).post("/v1/models/no_inputs:predict", document)

    key = "outputs" if "inputs" in document else "predictions"
    assert answer == (200, {key: [[1.0, 2.0, 3.0]]})
