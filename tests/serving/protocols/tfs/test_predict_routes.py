import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from calling.rest_client import Http
from onnx import TensorProto, helper
from sample_models import tiny_models

from serving.client import PredictClient
from serving.engine.batching.batcher import Batcher


@pytest.fixture
def rest(target) -> Http:
    """The REST API of a server with every tiny model."""
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
    """Rows are answered as rows and columns as columns; a single output has no name."""
    assert rest.post(f"/v1/models/{model}:predict", document) == (200, answer)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/identity:predict",
        "/v1/models/identity/versions/1:predict",
        "/v1/models/identity/versions/001:predict",
        "/v1/models/%69dentity:predict",
        "/V1/Models/identity:predict",
        "/v1/models/identity:predict?key=value",
    ],
)
def test_paths_may_have_a_version_and_a_query(rest, path):
    """Paths may have a version, percent-encoded names, capital letters and a query."""
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
            f"/v1/models/identity/versions/{'9' * 5000}:predict",
            ONE,
            400,
            f"Failed to convert version: {'9' * 64}... to numeric.",
        ),
        (
            f"/v1/models/identity/versions/{'0' * 5000}7:predict",
            ONE,
            404,
            "Servable not found for request: Specific(identity, 7)",
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
        ("/elsewhere", ONE, 404, "Not found: POST /elsewhere; the APIs are under /v1/ and /v2"),
    ],
)
def test_mistakes_have_tensorflow_servings_codes_and_messages(
    rest, path, document, status, message
):
    """Each mistake is answered `{"error": message}`, and the next request is answered."""
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
        ("/v1/models/versions/1", 400, "Missing model name in request."),
        (ANY_PATH, 400, f"Malformed request: GET {ANY_PATH}"),
    ],
)
def test_mistakes_in_get_requests(rest, path, status, message):
    """GET of an unknown model or version, or of a malformed path, has its status and message."""
    answered, answer = rest.get(path)

    assert answered == status
    assert answer["error"].startswith(message)


def test_the_list_of_models_has_versions_and_labels(tmp_path, running_server):
    """A model whose only version cannot be loaded is listed, with the reason."""
    tiny_models.identity(tmp_path)
    broken = tmp_path / "broken" / "1"
    broken.mkdir(parents=True)
    (broken / "model.onnx").write_bytes(b"none")
    models = tmp_path / "models.config"
    models.write_text(
        "model_config_list {"
        f'config {{ name: "identity" base_path: "{tmp_path / "identity"}" '
        'model_platform: "tensorflow" version_labels { key: "stable" value: 1 } } '
        f'config {{ name: "broken" base_path: "{broken.parent}" model_platform: "tensorflow" }} }}'
    )

    with running_server(None, model_config_file=models) as address:
        status, answer = Http(address).get("/v1/models")

    assert status == 200
    first, second = sorted(answer["models"], key=lambda model: model["name"])
    assert second == {
        "name": "identity",
        "model_version_status": [
            {
                "version": "1",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ],
        "version_labels": {"stable": "1"},
    }
    assert first["name"] == "broken"
    assert first["version_labels"] == {}
    assert first["model_version_status"][0]["state"] == "END"
    assert "model.onnx" in first["model_version_status"][0]["status"]["error_message"]


@pytest.mark.parametrize("suffix", ["", "/versions/1", "/labels/any"])
def test_status_lists_the_versions(rest, suffix):
    """The status has the version as a string and the state as a name; a label is ignored."""
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
    """The status of a failed version has the code's name and the message of its load."""
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
    """Metadata has sizes as strings, the SavedModel's tensor names and the resolved version."""
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


def test_the_content_type_is_ignored(rest):
    """A body is parsed whatever its content type: curl sends forms by default."""
    status, _ = rest.post(ANY_PATH, ONE, content_type="application/x-www-form-urlencoded")

    assert status == 200


def save_strings(models_dir) -> None:
    """Save a model whose outputs `text` and `text_bytes` copy its string input `x`."""
    tiny_models.save(
        models_dir / "strings" / "1" / "model.onnx",
        [helper.make_node("Identity", ["x"], [name]) for name in ("text", "text_bytes")],
        [helper.make_tensor_value_info("x", TensorProto.STRING, ["batch"])],
        [
            helper.make_tensor_value_info(name, TensorProto.STRING, ["batch"])
            for name in ("text", "text_bytes")
        ],
    )


def test_strings_are_text_or_base64(tmp_path, running_server):
    """String inputs are text or base64; outputs whose name ends in `_bytes` are base64."""
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
    """A run beyond --rest_api_timeout_in_ms is answered 504; the batcher knows the deadline."""
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


def test_any_mix_of_batches_answers_bit_by_bit_like_single_runs(tmp_path, running_server):
    """1,000 concurrent requests over REST and gRPC get the same bits as their rows alone."""
    tiny_models.identity(tmp_path)
    random = np.random.default_rng(7)
    requests = [
        random.standard_normal((int(size), 3), np.float32)
        for size in random.integers(1, 9, size=1000)
    ]

    with running_server(tmp_path) as address, PredictClient(address) as client:

        def over_rest(rows: np.ndarray) -> np.ndarray:
            # `str` of a float32 is the shortest decimal number that rounds to it.
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


@pytest.mark.parametrize("path", ["/v1/models/versions/1", "/v1/models/labels/stable/metadata"])
def test_a_path_without_a_model_is_told_so(rest, path):
    """A path with a version or a label and no model is answered 400."""
    status, answer = rest.get(path)

    assert status == 400
    assert answer["error"].startswith("Missing model name")
