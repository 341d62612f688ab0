import http.client
import json
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import odd_models
import pytest
import tiny_models

from serving.protocols.kserve import tensor_bytes

INFER = "/v2/models/identity/infer"
X = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
BINARY_X = {
    "name": "x",
    "datatype": "FP32",
    "shape": [1, 3],
    "parameters": {"binary_data_size": 12},
}
CONTENT = np.array([1, 2, 3], np.float32).tobytes()
ADD = [
    {"name": "a", "datatype": "INT64", "shape": [1], "data": [5]},
    {"name": "b", "datatype": "INT64", "shape": [1], "data": [3]},
]


class Connection:
    """An HTTP connection that sends requests and parses their answers."""

    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=10)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def send(self, method: str, path: str, body: bytes = b"", **headers: str):
        """Send a request; return status, headers and body of its answer."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, path, body, named)
        response = self._connection.getresponse()
        return response.status, response.headers, response.read()

    def get(self, path: str) -> tuple[int, dict]:
        """Send a GET; return status and JSON of its answer."""
        status, _, body = self.send("GET", path)
        return status, json.loads(body)

    def post(self, path: str, document: object) -> tuple[int, dict]:
        """Send a JSON request; return status and JSON of its answer."""
        status, headers, body = self.send("POST", path, json.dumps(document).encode())
        assert headers["content-type"] == "application/json"
        return status, json.loads(body)

    def post_binary(self, path: str, document: object, content: bytes):
        """Send a request with binary data; return status, JSON and binary data of its answer."""
        header = json.dumps(document).encode()
        status, headers, body = self.send(
            "POST", path, header + content, Inference_Header_Content_Length=str(len(header))
        )
        end = int(headers.get("Inference-Header-Content-Length", len(body)))
        return status, json.loads(body[:end]), body[end:]


@pytest.fixture
def connection(target) -> Iterator[Connection]:
    opened = Connection(target)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def own_target(tmp_path_factory, running_server) -> Iterator[str]:
    """Address of a server with a model for each datatype, and one with two signatures."""
    folder = tmp_path_factory.mktemp("kserve_models")
    for datatype in tiny_models.ECHO_TYPES:
        tiny_models.echo(folder, datatype)
    tiny_models.calculator(folder)
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
    assert metadata["extensions"] == ["binary_tensor_data"]


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


@pytest.mark.parametrize(
    ("document", "status", "message"),
    [
        ([], 400, "request is JSON of kind list, expected an object"),
        ({}, 400, '"inputs" of the request is missing, expected a list'),
        ({"inputs": X}, 400, '"inputs" of the request is object, expected a list'),
        ({"inputs": [5]}, 400, '"inputs" of the request has integer, expected only objects'),
        ({"inputs": [{}]}, 400, '"name" of an input is missing, expected a string'),
        ({"inputs": [X], "id": 7}, 400, '"id" of the request is integer, expected a string'),
        ({"inputs": [X], "parameters": []}, 400, '"parameters" of the request is list, expected'),
        ({"inputs": [X], "outputs": {}}, 400, '"outputs" of the request is object, expected'),
        ({"inputs": [X], "outputs": [{}]}, 400, '"name" of an output is missing'),
        ({"inputs": [X], "outputs": [{"name": "z"}]}, 400, "output tensor alias not found in"),
        ({"inputs": [X, X]}, 400, 'input "x" is given twice'),
        ({"inputs": []}, 400, "input size does not match signature: 0!=1"),
        (
            {"inputs": [{**X, "datatype": "FLOAT"}]},
            400,
            "tensor parsing error: x: datatype 'FLOAT' is unknown; expected one of BOOL",
        ),
        (
            {"inputs": [{**X, "datatype": 1}]},
            400,
            'tensor parsing error: x: "datatype" of input "x" is integer, expected a string',
        ),
        (
            {"inputs": [{**X, "shape": [1, 3.0]}]},
            400,
            "tensor parsing error: x: shape has fraction, expected only integers",
        ),
        (
            {"inputs": [{**X, "shape": [True, 3]}]},
            400,
            "tensor parsing error: x: shape has boolean, expected only integers",
        ),
        (
            {"inputs": [{**X, "data": [1, 2]}]},
            400,
            "tensor parsing error: x: data has 2 elements, expected 3 for shape (1, 3)",
        ),
        (
            {"inputs": [{**X, "data": None}]},
            400,
            'tensor parsing error: x: "data" of input "x" is null, expected a list',
        ),
        (
            {"inputs": [{**X, "datatype": "INT32"}]},
            400,
            "Expects arg[0] to be float but int32 is provided",
        ),
        (
            {"inputs": [BINARY_X]},
            400,
            (
                'binary_data_size of input "x" is 12, but 0 bytes of binary data are left; they '
                "follow the JSON part, whose length the header Inference-Header-Content-Length "
                "gives"
            ),
        ),
        (
            {"inputs": [{**X, "parameters": {"binary_data_size": "12"}}]},
            400,
            '"binary_data_size" of input "x" is string, expected an integer',
        ),
        (
            {"inputs": [{**X, "parameters": {"shared_memory_region": "r"}}]},
            501,
            'input "x" has the parameter shared_memory_region, which this server does not support',
        ),
        (
            {"inputs": [X], "outputs": [{"name": "y", "parameters": {"classification": 3}}]},
            501,
            'output "y" has the parameter classification',
        ),
        (
            {"inputs": [X], "outputs": [{"name": "y", "parameters": {"binary_data": 1}}]},
            400,
            '"binary_data" of output "y" is integer, expected true or false',
        ),
        (
            {"inputs": [X], "parameters": {"binary_data_output": "yes"}},
            400,
            '"binary_data_output" of the request is string, expected true or false',
        ),
        (
            {"inputs": [X], "parameters": {"signature_name": 7}},
            400,
            "parameter signature_name is 7, expected a string",
        ),
        (
            {"inputs": [X], "parameters": {"signature_name": "train"}},
            400,
            'Serving signature key "train" not found.',
        ),
    ],
)
def test_bad_requests_get_a_clear_answer_and_the_server_goes_on(
    connection, document, status, message
):
    """Each mistake has its status and a message with both sides; the next request works."""
    answered, body = connection.post(INFER, document)

    assert (answered, list(body)) == (status, ["error"])
    assert body["error"].startswith(message)
    assert connection.post(INFER, {"inputs": [X]})[0] == 200


@pytest.mark.parametrize(
    ("body", "headers", "message"),
    [
        (b"{", {}, "request is not JSON: unexpected end of data"),
        (b"\xff", {}, "request is not JSON: str is not valid UTF-8"),
        (b"[" * 100_000, {}, "request is not JSON: depth limit exceeded"),
        (b"9" * 5000, {}, "request is not JSON: number is infinity when parsed as double"),
        (
            json.dumps({"inputs": [BINARY_X]}).encode() + CONTENT,
            {},
            "binary tensor data after it needs the header Inference-Header-Content-Length",
        ),
        (
            b"{}",
            {"Inference_Header_Content_Length": "3"},
            (
                "Inference-Header-Content-Length is '3', expected the length of the JSON part, at "
                "most the body's 2 bytes"
            ),
        ),
        (b"{}", {"Inference_Header_Content_Length": "-1"}, "Content-Length is '-1'"),
        (b"{}", {"Inference_Header_Content_Length": "9" * 5000}, "Content-Length is '999"),
    ],
)
def test_bodies_that_cannot_be_read_are_refused(connection, body, headers, message):
    """Malformed JSON and contradictory headers are 400 with the way out."""
    answered, _, answer = connection.send("POST", INFER, body, **headers)

    assert answered == 400
    assert message in json.loads(answer)["error"]


@pytest.mark.parametrize(
    ("tensor", "content", "message"),
    [
        (
            BINARY_X,
            CONTENT[:-1],
            'binary_data_size of input "x" is 12, but 11 bytes of binary data are left',
        ),
        (
            BINARY_X,
            CONTENT + b"!",
            "request has 13 bytes of binary data, expected 12, the sum of the inputs'",
        ),
        (
            {**BINARY_X, "parameters": {"binary_data_size": -1}},
            CONTENT,
            'binary_data_size of input "x" is -1, but 12 bytes',
        ),
        (
            {**BINARY_X, "shape": [2, 3]},
            CONTENT,
            "tensor parsing error: x: raw content has 12 bytes, expected 24 for shape (2, 3)",
        ),
        (
            {**BINARY_X, "datatype": "BYTES", "shape": [1]},
            b"\x09\0\0\0" + bytes(8),
            "tensor parsing error: x: BYTES element 0 announces 9 bytes, but 8 are left",
        ),
        (
            {**BINARY_X, "data": [1, 2, 3]},
            CONTENT,
            "tensor parsing error: x: input has both data and binary_data_size",
        ),
    ],
)
def test_malformed_binary_data_is_refused(connection, tensor, content, message):
    """Binary data whose sizes do not add up is refused; the message has both sizes."""
    status, answer, _ = connection.post_binary(INFER, {"inputs": [tensor]}, content)

    assert status == 400
    assert answer["error"].startswith(message)


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
