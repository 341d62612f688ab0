import asyncio
import gzip
import json
import socket
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import servers
import tiny_models
from onnx import TensorProto, helper
from rest_client import Http

from serving.client import PredictClient
from serving.engine.batcher import Batcher
from serving.errors import StatusCode
from serving.server import ModelServer
from serving.settings.config import ServerConfig
from serving.transport import failures


@pytest.fixture
def rest(target) -> Http:
    """The REST API of the server of every tiny model."""
    return Http(target)


@pytest.mark.parametrize(
    ("model", "document", "answer"),
    [
        ("identity", {"instances": [[1, 2, 3.5]]}, {"predictions": [[1.0, 2.0, 3.5]]}),
        ("identity", {"inputs": [[1, 2, 3.5]]}, {"outputs": [[1.0, 2.0, 3.5]]}),
        ("identity", {"instances": [{"x": [1, 2, 3]}]}, {"predictions": [[1.0, 2.0, 3.0]]}),
        ("identity", {"inputs": {"x": [[1, 2, 3]]}}, {"outputs": [[1.0, 2.0, 3.0]]}),
        (
            "add",
            {"instances": [{"a": 1, "b": 2}, {"a": 5, "b": 3}]},
            {"predictions": [{"sum": 3, "difference": -1}, {"sum": 8, "difference": 2}]},
        ),
        (
            "add",
            {"signature_name": "serving_default", "inputs": {"a": [1, 5], "b": [2, 3]}},
            {"outputs": {"sum": [3, 8], "difference": [-1, 2]}},
        ),
        (
            "brightness",
            {"instances": np.full((1, 32, 32, 3), 255).tolist()},
            {"predictions": [{"probabilities": [0.0, 1.0], "classes": 1}]},
        ),
    ],
)
def test_predict_answers_in_the_form_it_was_asked(rest, model, document, answer):
    """Rows for rows, columns for columns; a single tensor drops its name."""
    assert rest.post(f"/v1/models/{model}:predict", document) == (200, answer)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/identity:predict",
        "/v1/models/identity/versions/1:predict",
        "/v1/models/identity/versions/001:predict",
        "/v1/models/%69dentity:predict",
        "/V1/Models/identity:PREDICT",
        "/v1/models/identity:predict?key=value",
    ],
)
def test_paths_of_predict(rest, path):
    """With and without version, percent-encoded, in any case, with a query."""
    assert rest.post(path, {"instances": [[1, 2, 3]]}) == (200, {"predictions": [[1.0, 2.0, 3.0]]})


ONE = {"instances": [[1, 2, 3]]}
ANY_PATH = "/v1/models/identity:predict"


@pytest.mark.parametrize(
    ("path", "document", "status", "message"),
    [
        ("/v1/models/nope:predict", ONE, 404, "Servable not found for request: Latest(nope)"),
        (
            "/v1/models/identity/versions/7:predict",
            ONE,
            404,
            "Servable not found for request: Specific(identity, 7)",
        ),
        (
            "/v1/models/identity/labels/stable:predict",
            ONE,
            400,
            "Unrecognized servable version label: stable",
        ),
        (
            "/v1/models/identity/versions/99999999999999999999:predict",
            ONE,
            400,
            "Failed to convert version: 99999999999999999999 to numeric.",
        ),
        (
            ANY_PATH,
            ONE | {"signature_name": "other"},
            400,
            'Serving signature name: "other" not found in signature def',
        ),
        (ANY_PATH, b"", 400, "JSON Parse error: The document is empty"),
        (ANY_PATH, b'{"instances": [[1, 2, 3]', 400, "JSON Parse error: "),
        (ANY_PATH, b"[]", 400, "JSON Value: [] Is not object"),
        (ANY_PATH, {}, 400, "Missing 'inputs' or 'instances' key"),
        (
            ANY_PATH,
            {"instances": [[1, 2, 3], [1, 2, "x"]]},
            400,
            (
                "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: "
                'JSON Value: "x" Type: String is not of expected type: float; '
                'input "x" takes DT_FLOAT of shape (-1, 3)'
            ),
        ),
        (
            ANY_PATH,
            {"instances": [[1, 2]]},
            400,
            'input "x" of identity/1 has shape (1, 2), expected (-1, 3)',
        ),
        (
            ANY_PATH,
            {"inputs": [1, 2, 3]},
            400,
            'input "x" of identity/1 has shape (3,), expected (-1, 3); add the batch dimension',
        ),
        (ANY_PATH, {"inputs": []}, 400, 'input "x" of identity/1 has shape (0,), expected'),
        (
            "/v1/models/add:predict",
            {"inputs": {"a": [1], "b": [1, 2]}},
            400,
            "Batching Run() input tensors must have equal 0th-dimension size, got a: 1, b: 2",
        ),
        ("/v1/models/lookup:predict", {"instances": [7]}, 400, "the model cannot take this input"),
        ("/v1/models/fragile:predict", {"inputs": [7]}, 500, "the model failed"),
        (
            "/v1/models/identity:explain",
            ONE,
            400,
            "Malformed request: POST /v1/models/identity:explain",
        ),
        ("/v1/models/identity", ONE, 400, "Malformed request: POST /v1/models/identity"),
        ("/v1/models/:predict", ONE, 400, "Malformed request: POST /v1/models/:predict"),
        ("/elsewhere", ONE, 400, "Malformed request: POST /elsewhere"),
    ],
)
def test_mistakes_have_tensorflow_servings_codes_and_messages(
    rest, path, document, status, message
):
    """Each answer is `{"error": message}`, and the server goes on."""
    answered, answer = rest.post(path, document)

    assert answered == status
    assert list(answer) == ["error"]
    assert answer["error"].startswith(message)
    assert rest.post(ANY_PATH, ONE)[0] == 200


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/v1/models/nope", 404, "Could not find any versions of model nope"),
        ("/v1/models/identity/versions/7", 404, "Could not find version 7 of model identity"),
        ("/v1/models/nope/metadata", 404, "Servable not found for request: Latest(nope)"),
        ("/v1/models", 400, "Missing model name in request."),
        (ANY_PATH, 400, f"Malformed request: GET {ANY_PATH}"),
    ],
)
def test_mistakes_in_get_requests(rest, path, status, message):
    """What is not there, and what is no path."""
    answered, answer = rest.get(path)

    assert answered == status
    assert answer["error"].startswith(message)


@pytest.mark.parametrize("suffix", ["", "/versions/1", "/labels/any"])
def test_status_lists_the_versions(rest, suffix):
    """The version is a string, the state a name; a label is ignored, as on gRPC."""
    assert rest.get(f"/v1/models/identity{suffix}") == (
        200,
        {
            "model_version_status": [
                {
                    "version": "1",
                    "state": "AVAILABLE",
                    "status": {"error_code": "OK", "error_message": ""},
                }
            ]
        },
    )


def test_status_tells_why_a_version_is_not_served(tmp_path, running_server):
    """Code and message of a load that failed are in the status, by name."""
    tiny_models.identity(tmp_path)
    (tmp_path / "identity" / "2").mkdir()
    (tmp_path / "identity" / "2" / "model.onnx").write_bytes(b"no graph")
    with running_server(tmp_path) as address:
        _, answer = Http(address).get("/v1/models/identity/versions/2")

    (status,) = answer["model_version_status"]
    assert (status["state"], status["status"]["error_code"]) == ("END", "DATA_LOSS")
    assert "model.onnx" in status["status"]["error_message"]


@pytest.mark.parametrize("suffix", ["", "/versions/1"])
def test_metadata_is_the_json_of_a_signature_def_map(rest, suffix):
    """Sizes are strings, names are the SavedModel's, the model spec is resolved."""
    status, answer = rest.get(f"/v1/models/brightness{suffix}/metadata")

    assert status == 200
    assert answer["model_spec"] == {"name": "brightness", "signature_name": "", "version": "1"}
    signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["inputs"] == {
        "images": {
            "dtype": "DT_UINT8",
            "tensor_shape": {
                "dim": [{"size": size, "name": ""} for size in ("-1", "32", "32", "3")],
                "unknown_rank": False,
            },
            "name": "serving_default_images:0",
        }
    }
    assert sorted(signature["outputs"]) == ["classes", "probabilities"]


def test_the_content_type_is_not_looked_at(rest):
    """Curl sends forms by default; TensorFlow Serving answers them."""
    status, _ = rest.post(ANY_PATH, ONE, content_type="application/x-www-form-urlencoded")

    assert status == 200


def test_head_answers_without_a_body(rest):
    """The headers are those of GET."""
    status, headers, body = rest.ask("HEAD", "/v1/models/identity")

    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 0


def raw_deflate(content: bytes) -> bytes:
    """What some clients send as `deflate`: without the header and checksum of zlib's format."""
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(content) + compressor.flush()


@pytest.mark.parametrize(
    ("compress", "encoding"),
    [
        (gzip.compress, "gzip"),
        (gzip.compress, "x-gzip"),
        (zlib.compress, "deflate"),
        (raw_deflate, "deflate"),
    ],
)
def test_bodies_may_be_compressed(rest, compress, encoding):
    """What Content-Encoding names is undone."""
    body = compress(json.dumps(ONE).encode())

    assert rest.post(ANY_PATH, body, content_encoding=encoding)[0] == 200


@pytest.mark.parametrize(
    ("body", "encoding", "status", "message"),
    [
        (b"no gzip", "gzip", 400, "gzip body cannot be decompressed"),
        (gzip.compress(b"{}")[:-3], "gzip", 400, "gzip body is truncated"),
        (b"{}", "br", 400, "content-encoding 'br' is not supported; expected gzip"),
        (gzip.compress(b" " * 5000), "gzip", 429, "gzip body inflates to over 1000 bytes"),
        (b"no deflate", "deflate", 400, "deflate body cannot be decompressed"),
        (zlib.compress(b"{}")[:-3], "deflate", 400, "deflate body is truncated"),
        (zlib.compress(b" " * 5000), "deflate", 429, "deflate body inflates to over 1000 bytes"),
        (raw_deflate(b" " * 5000), "deflate", 429, "deflate body inflates to over 1000 bytes"),
        (b" " * 5000, "identity", 429, "request body has over 1000 bytes; send smaller batches"),
    ],
)
def test_large_and_broken_bodies_are_refused(models_dir, body, encoding, status, message):
    """A small body that inflates to a huge one is refused before it has."""
    with servers.in_this_process(models_dir, max_message_bytes=1000) as address:
        answered, answer = Http(address).post(ANY_PATH, body, content_encoding=encoding)

    assert answered == status
    assert answer["error"].startswith(message)


def save_strings(models_dir) -> None:
    """`text` and `text_bytes`, both a copy of `x`: strings."""
    tiny_models.save(
        models_dir / "strings" / "1" / "model.onnx",
        [helper.make_node("Identity", ["x"], [name]) for name in ("text", "text_bytes")],
        [helper.make_tensor_value_info("x", TensorProto.STRING, ["batch"])],
        [
            helper.make_tensor_value_info(name, TensorProto.STRING, ["batch"])
            for name in ("text", "text_bytes")
        ],
    )


def test_strings_and_bytes(tmp_path, running_server):
    """Inputs are text or base64; outputs named `_bytes` are base64."""
    save_strings(tmp_path)
    with running_server(tmp_path) as address:
        answer = Http(address).post(
            "/v1/models/strings:predict", {"instances": ["grün", {"b64": "YWJj"}]}
        )

    assert answer == (
        200,
        {
            "predictions": [
                {"text": "grün", "text_bytes": {"b64": "Z3LDvG4="}},
                {"text": "abc", "text_bytes": {"b64": "YWJj"}},
            ]
        },
    )


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/v1/models/slow:predict", {"instances": [[1.0] * tiny_models.SLOW_SIZE]}),
        (
            "/v2/models/slow/infer",
            {
                "inputs": [
                    {
                        "name": "x",
                        "datatype": "FP32",
                        "shape": [1, tiny_models.SLOW_SIZE],
                        "data": [1.0] * tiny_models.SLOW_SIZE,
                    }
                ]
            },
        ),
    ],
    ids=["tensorflow-serving", "kserve"],
)
def test_a_call_that_takes_too_long_is_504(tmp_path, monkeypatch, running_server, path, document):
    """--rest_api_timeout_in_ms is the deadline of the model's run; the batcher knows it."""
    tiny_models.slow(tmp_path)
    deadlines = []
    run = Batcher.run

    def spy(*args, deadline, **kwargs):
        deadlines.append(deadline)
        return run(*args, deadline=deadline, **kwargs)

    monkeypatch.setattr(Batcher, "run", spy)
    asked = time.monotonic()
    with running_server(tmp_path, rest_api_timeout_in_ms=5) as address:
        status, answer = Http(address).post(path, document)

    assert status == 504
    assert answer["error"].startswith("Timed out after 5 ms; ")
    assert all(asked < deadline < time.monotonic() for deadline in deadlines)
    assert deadlines


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_the_rest_port_is_another_door_to_the_same_server(models_dir):
    """Both ports answer REST and gRPC alike."""
    port = free_port()
    with servers.in_this_process(models_dir, rest_api_port=port) as address:
        by_rest_port = Http(f"127.0.0.1:{port}").post(ANY_PATH, ONE)
        by_port = Http(address).post(ANY_PATH, ONE)
        with PredictClient(f"127.0.0.1:{port}") as client:
            answer = client.predict("identity", {"x": np.ones((1, 3), np.float32)})

    assert by_rest_port == by_port == (200, {"predictions": [[1.0, 2.0, 3.0]]})
    assert answer["y"].tolist() == [[1, 1, 1]]


def test_probes_follow_the_servers_life(models_dir):
    """Alive from the start; ready only once the models are loaded, and no more when stopping."""
    answers = []

    async def live() -> None:
        server = ModelServer(ServerConfig(models_dir=models_dir, host="127.0.0.1", port=0))
        application = server._web_server._application  # before it listens
        answers.append(await ask_application(application, "/healthz"))
        answers.append(await ask_application(application, "/readyz"))
        await server.start()
        answers.append(await ask_application(application, "/readyz"))
        await server.stop()
        answers.append(await ask_application(application, "/readyz"))
        answers.append(await ask_application(application, "/healthz"))

    asyncio.run(live())

    assert [status for status, _ in answers] == [200, 503, 200, 503, 200]
    assert answers[1][1]["status"] == "NOT_SERVING"
    assert "loading its models" in answers[1][1]["error"]


async def ask_application(application, path: str) -> tuple[int, object]:
    """GET a path from an ASGI application."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(event):
        sent.append(event)

    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode()}
    await application(scope | {"headers": []}, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x_request_id": "abc-1"}, "abc-1"),
        ({"request_id": "abc-2"}, "abc-2"),
        ({"x_request_id": "a b\tc" + "d" * 200}, "a?b?c" + "d" * 123),
    ],
)
def test_failed_requests_carry_their_id(rest, headers, expected):
    """The caller's id comes back with the error, made safe for a log line."""
    _, answered, _ = rest.ask(
        "POST", "/v1/models/nope:predict", json.dumps(ONE).encode(), **headers
    )

    assert answered["x-request-id"] == expected


def test_failed_requests_without_an_id_get_one(rest):
    """A new one each time; answers that are OK have none."""
    body = json.dumps(ONE).encode()
    ids = {rest.ask("POST", "/v1/models/nope:predict", body)[1]["x-request-id"] for _ in range(2)}
    _, answered, _ = rest.ask("POST", ANY_PATH, body, x_request_id="mine")

    assert len(ids) == 2
    assert "x-request-id" not in answered


def test_faults_are_logged_with_the_request_id(rest, caplog):
    """A model that fails is the server's trouble; a wrong request is its caller's."""
    rest.post("/v1/models/fragile:predict", {"inputs": [7]}, x_request_id="the-failed-one")
    rest.post("/v1/models/nope:predict", ONE, x_request_id="the-wrong-one")

    (record,) = [r for r in caplog.records if "the-failed-one" in r.getMessage()]
    assert (record.levelname, record.request_id) == ("ERROR", "the-failed-one")
    assert "the-wrong-one" not in caplog.text


def test_times_are_told_on_request(rest):
    """The header x-server-timing: 1 asks for Server-Timing."""
    body = json.dumps(ONE).encode()
    _, asked, _ = rest.ask("POST", ANY_PATH, body, x_server_timing="1")
    _, not_asked, _ = rest.ask("POST", ANY_PATH, body)

    stages = [stage.split(";dur=")[0] for stage in asked["server-timing"].split(", ")]
    assert stages == ["queue", "compute", "total"]
    assert "server-timing" not in not_asked


def test_any_mix_of_batches_answers_bit_by_bit_like_single_runs(tmp_path, running_server):
    """1,000 requests of random sizes, over REST and gRPC at once, each equal to its rows alone."""
    tiny_models.identity(tmp_path)
    random = np.random.default_rng(7)
    requests = [
        random.standard_normal((int(size), 3), np.float32)
        for size in random.integers(1, 9, size=1000)
    ]

    with running_server(tmp_path) as address, PredictClient(address) as client:

        def over_rest(rows: np.ndarray) -> np.ndarray:
            # str of a float32 is the shortest decimal number that rounds to it.
            text = ",".join(f"[{','.join(map(str, row))}]" for row in rows)
            _, answer = Http(address).post(ANY_PATH, f'{{"instances": [{text}]}}'.encode())
            return np.array(answer["predictions"], np.float32)

        def over_grpc(rows: np.ndarray) -> np.ndarray:
            return client.predict("identity", {"x": rows})["y"]

        with ThreadPoolExecutor(8) as threads:
            answers = list(
                threads.map(
                    lambda number: (over_rest if number % 2 else over_grpc)(requests[number]),
                    range(len(requests)),
                )
            )

    assert all(
        answer.tobytes() == rows.tobytes() for answer, rows in zip(answers, requests, strict=True)
    )


def test_an_unknown_gateway_status_is_500():
    """Codes without an HTTP counterpart are server errors."""
    response = failures.error_response(StatusCode.DATA_LOSS, "x")

    assert response.status == 500
