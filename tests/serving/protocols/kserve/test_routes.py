from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest
from calling.kserve_connection import ADD, INFER, Connection, X
from running.kserve_stub import EXTENSIONS
from sample_models import arithmetic_models, odd_models, tiny_models

from serving.protocols.kserve import tensor_bytes


@pytest.fixture(scope="module")
def own_target(tmp_path_factory, running_server) -> Iterator[str]:
    """Address of a server with a model for each datatype, and one with two signatures."""
    folder = tmp_path_factory.mktemp("kserve_models")
    for datatype in tiny_models.ECHO_TYPES:
        tiny_models.echo(folder, datatype)
    arithmetic_models.calculator(folder)
    with running_server(folder) as address:
        yield address


@pytest.fixture
def own_connection(own_target) -> Iterator[Connection]:
    opened = Connection(own_target)
    yield opened
    opened.close()


def test_server_answers(connection):
    """The server answers liveness, readiness and its metadata."""
    status, metadata = connection.get("/v2")

    assert connection.get("/v2/health/live") == (200, {"live": True})
    assert connection.get("/v2/health/ready") == (200, {"ready": True})
    assert status == 200
    assert metadata["name"] == "onnx-serving"
    assert metadata["version"]
    assert set(metadata["extensions"]) == EXTENSIONS


@pytest.mark.parametrize("path", ["/v2/models/add", "/v2/models/add/versions/1"])
def test_model_metadata(connection, path):
    """Metadata has names, datatypes and shapes of serving_default, with or without a version."""
    status, metadata = connection.get(path)

    tensors = {
        side: [(tensor["name"], tensor["datatype"], tensor["shape"]) for tensor in metadata[side]]
        for side in ("inputs", "outputs")
    }
    assert status == 200
    assert (metadata["name"], metadata["versions"]) == ("add", ["1"])
    assert metadata["platform"] == "onnxruntime_onnx"
    assert metadata["parameters"] == {
        "execution_provider": "CPUExecutionProvider",
        "precision": "fp32",
        "batched": "true",
        "row_independence": "rows answer the same together, permuted, split and alone, in 45 "
        "made-up batches of 1, 2, 3, 7 and 64 rows",
    }
    assert tensors["inputs"] == [("a", "INT64", [-1]), ("b", "INT64", [-1])]
    assert tensors["outputs"] == [("sum", "INT64", [-1]), ("difference", "INT64", [-1])]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/models/add/ready", 200),
        ("/v2/models/add/versions/1/ready", 200),
        ("/v2/models/add/versions/2/ready", 404),
        ("/v2/models/add/versions/one/ready", 400),
        ("/v2/models/nope/ready", 404),
        ("/v2/models/nope", 404),
        ("/v2/models/add/versions/2", 404),
        ("/v2/models/", 400),
        ("/v2/nope", 400),
    ],
)
def test_get_has_status_codes(connection, path, status):
    """A model or version that is not served is 404, and every error has a message."""
    answered, body = connection.get(path)

    assert answered == status
    assert ("error" in body) == (status != 200)
    if status == 200:
        assert body == {"name": "add", "ready": True}


def test_the_answer_says_who_answered(connection):
    """The answer has name, version and id, and each output's datatype, shape and flat data."""
    answer = connection.post(INFER, {"id": "request 7", "inputs": [X]})

    assert answer == (
        200,
        {
            "id": "request 7",
            "model_name": "identity",
            "model_version": "1",
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}],
        },
    )


def test_no_id_is_answered_with_none(connection):
    """A request without an id is answered without an id."""
    _, answer = connection.post("/v2/models/identity/versions/1/infer", {"inputs": [X]})

    assert "id" not in answer


def test_json_floats_round_trip_exactly(connection):
    """FP32 values are the same bits after JSON in both directions."""
    values = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)
    values[0] = [np.finfo(np.float32).tiny, np.finfo(np.float32).max, 1e-45]
    document = {"inputs": [{**X, "shape": [500, 3], "data": values.tolist()}]}

    _, answer = connection.post(INFER, document)

    received = np.array(answer["outputs"][0]["data"], np.float32)
    assert received.tobytes() == values.tobytes()


@pytest.mark.parametrize("form", ["json", "binary"])
@pytest.mark.parametrize("datatype", tiny_models.ECHO_TYPES)
def test_every_datatype_travels_in_both_forms(own_connection, datatype, form):
    """JSON requests get JSON answers; requests for binary output get binary answers."""
    dtype = tensor_bytes.to_data_type(datatype).numpy
    array = np.array([[b"gr\xc3\xbcn", b""]] if datatype == "BYTES" else [[1, 0]], dtype)
    path = f"/v2/models/echo_{datatype}/infer"
    tensor = {"name": "x", "datatype": datatype, "shape": [1, 2]}

    if form == "json":
        data = ["grün", ""] if datatype == "BYTES" else array[0].tolist()
        status, answer = own_connection.post(path, {"inputs": [{**tensor, "data": data}]})
        received = answer["outputs"][0].pop("data")
        expected = data
    else:
        expected = tensor_bytes.encode_raw(array)
        tensor["parameters"] = {"binary_data_size": len(expected)}
        document = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
        status, answer, received = own_connection.post_binary(path, document, expected)
        assert answer["outputs"][0].pop("parameters") == {"binary_data_size": len(expected)}

    assert status == 200
    assert answer["outputs"] == [{"name": "y", "datatype": datatype, "shape": [1, 2]}]
    assert received == expected


def test_real_images_in_both_forms_get_predicts_answer(connection, client, sample_images):
    """JSON and binary requests with real images get the bits of PredictClient."""
    expected = client.predict("brightness", {"images": sample_images})
    path = "/v2/models/brightness/infer"
    tensor = {"name": "images", "datatype": "UINT8", "shape": sample_images.shape}
    content = sample_images.tobytes()
    binary = {**tensor, "parameters": {"binary_data_size": len(content)}}

    _, from_json = connection.post(path, {"inputs": [{**tensor, "data": sample_images.tolist()}]})
    _, from_binary, data = connection.post_binary(
        path, {"inputs": [binary], "parameters": {"binary_data_output": True}}, content
    )

    for output, other in zip(from_json["outputs"], from_binary["outputs"], strict=True):
        array = expected[output["name"]]
        size = other["parameters"]["binary_data_size"]
        assert output["shape"] == other["shape"] == list(array.shape)
        np.testing.assert_array_equal(np.array(output["data"], array.dtype), array.ravel())
        assert data[:size] == array.tobytes()
        data = data[size:]
    assert data == b""


def test_binary_data_is_shared_out_in_the_order_of_the_inputs(connection):
    """Binary data is read in the order of the inputs; JSON and binary tensors may be mixed."""
    binary_b = {k: v for k, v in ADD[1].items() if k != "data"}
    binary_b["parameters"] = {"binary_data_size": 8}
    document = {
        "inputs": [ADD[0], binary_b],
        "outputs": [
            {"name": "difference"},
            {"name": "sum", "parameters": {"binary_data": True}},
        ],
    }

    status, answer, data = connection.post_binary(
        "/v2/models/add/infer", document, (3).to_bytes(8, "little")
    )

    assert status == 200
    assert [output["name"] for output in answer["outputs"]] == ["difference", "sum"]
    assert answer["outputs"][0]["data"] == [2]
    assert answer["outputs"][1]["parameters"] == {"binary_data_size": 8}
    assert data == (8).to_bytes(8, "little")


def test_an_output_may_refuse_the_binary_default(connection):
    """binary_data of an output overrides the request's binary_data_output."""
    header = {
        "inputs": ADD,
        "outputs": [{"name": "sum", "parameters": {"binary_data": False}}, {"name": "difference"}],
        "parameters": {"binary_data_output": True},
    }

    _, answer, data = connection.post_binary("/v2/models/add/infer", header, b"")

    assert answer["outputs"][0]["data"] == [8]
    assert answer["outputs"][1]["parameters"] == {"binary_data_size": 8}
    assert data == (2).to_bytes(8, "little")


def test_the_parameter_signature_name_picks_a_signature(own_connection):
    """The parameter signature_name chooses the signature; the default is serving_default."""
    inputs = [{"name": "x", "datatype": "INT64", "shape": [1], "data": [5]}]
    path = "/v2/models/calculator/infer"

    _, doubled = own_connection.post(path, {"inputs": inputs})
    _, squared = own_connection.post(
        path, {"inputs": inputs, "parameters": {"signature_name": "square"}}
    )

    assert doubled["outputs"][0]["data"] == [10]
    assert squared["outputs"][0]["data"] == [25]


def test_metadata_names_the_tensors_of_unknown_rank(tmp_path, running_server):
    """A tensor of unknown rank has shape [] and is listed in the parameter unknown_rank.

    The protocol has no form for an unknown rank.
    """
    odd_models.any_rank(tmp_path)
    odd_models.scalar(tmp_path)
    with running_server(tmp_path) as address, closing(Connection(address)) as connected:
        _, unknown = connected.get("/v2/models/any_rank")
        _, scalar = connected.get("/v2/models/scalar")

    assert [tensor["shape"] for tensor in unknown["inputs"] + scalar["inputs"]] == [[], []]
    assert unknown["parameters"]["unknown_rank"] == "x,y"
    assert "unknown_rank" not in scalar["parameters"]
