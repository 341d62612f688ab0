import json

import grpc
import numpy as np
import pytest
from calling.example_routes import BY_SIGNATURE, CLASSIFY, ONE, REGRESS, binary
from calling.rest_client import Http
from image_files import png
from sample_models import example_models
from sample_models.example_models import example

from serving.protocols.json_process import JsonProcesses
from serving.protos.tensorflow_example_pb2 import Example
from serving.protos.tensorflow_serving_pb2 import (
    ClassificationRequest,
    ClassificationResponse,
    RegressionRequest,
    RegressionResponse,
)

SERVICE = "/tensorflow.serving.PredictionService"
METRICS_PATH = "/monitoring/prometheus/metrics"


def ask_grpc(address, method, model, examples, signature_name):
    """Return the gRPC API's answer to serialized examples."""
    kinds = {
        "Classify": (ClassificationRequest, ClassificationResponse),
        "Regress": (RegressionRequest, RegressionResponse),
    }
    request_type, response_type = kinds[method]
    request = request_type()
    request.model_spec.name = model
    request.model_spec.signature_name = signature_name
    request.input.example_list.examples.extend(map(Example.FromString, examples))
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(f"{SERVICE}/{method}")
        return response_type.FromString(call(request.SerializeToString(), timeout=30))


def test_classify_answers_label_and_score_of_every_class(rest):
    """Each example has one row of [label, score] pairs in class order."""
    answer = rest.post(CLASSIFY, BY_SIGNATURE | {"examples": [ONE, {"x": [0.0, 0.0], "n": 7}]})

    assert answer == (
        200,
        {"results": [[["up", 8.0], ["down", -8.0]], [["up", 7.0], ["down", -7.0]]]},
    )


@pytest.mark.parametrize("signature_name", ["", "serving_default", "column"])
def test_regress_answers_a_number_for_each_example(rest, signature_name):
    """Regress answers one number an example, for outputs of shape (batch,) and (batch, 1)."""
    document = {"signature_name": signature_name, "examples": [ONE, {"x": [0.0, 0.5], "n": [7]}]}

    assert rest.post(REGRESS, document) == (200, {"results": [8.0, 7.5]})


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/numbers/versions/1:regress",
        "/v1/models/numbers/versions/001:regress",
        "/v1/models/%6eumbers:regress",
        "/V1/Models/numbers:regress",
        "/v1/models/numbers:regress?key=value",
    ],
)
def test_paths_may_have_a_version_and_a_query(rest, path):
    """Paths may have a version, percent-encoded names, capital letters and a query."""
    assert rest.post(path, {"examples": [ONE]}) == (200, {"results": [8.0]})


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({"x": [1, 2]}, 8.0),
        ({"x": [1, 2.5]}, 8.5),
        ({"x": [1.0, 2.0], "n": True}, 4.0),
        ({"x": [1.0, 2.0], "n": [False]}, 3.0),
        ({"x": [1.0, 2.0], "n": []}, 8.0),
        ({"x": [1.0, 2.0], "n": -3}, 0.0),
        ({"x": [1.0, 2.0], "unused": ["a", {"b64": "YWJj"}]}, 8.0),
        ({"x": [1e0, 2.0], "grün": 1.5}, 8.0),
    ],
)
def test_json_types_become_features(rest, features, expected):
    """Integers become floats where the model takes floats; an empty list is a missing feature."""
    assert rest.post(REGRESS, {"examples": [features]}) == (200, {"results": [expected]})


def test_the_context_holds_for_examples_without_such_a_feature(rest):
    """A feature of the context is used unless the example has the feature itself."""
    document = {"context": {"x": [1, 2], "n": 10}, "examples": [{}, {"n": 1}, {"x": [0.0, 0.0]}]}

    regressed = rest.post(REGRESS, document)
    classified = rest.post(CLASSIFY, document | BY_SIGNATURE)

    assert regressed == (200, {"results": [13.0, 4.0, 10.0]})
    assert classified[1]["results"][0] == [["up", 13.0], ["down", -13.0]]


def test_an_empty_context_changes_nothing(rest):
    """An empty context is accepted and changes no example."""
    assert rest.post(REGRESS, {"context": {}, "examples": [ONE]}) == (200, {"results": [8.0]})


def test_pictures_are_classified_as_over_grpc(rest, address, sample_images):
    """PNG files and raw pixels in base64 get the labels and bit-equal scores of the gRPC API."""
    files = [png(image) for image in sample_images]
    response = ask_grpc(
        address,
        "Classify",
        "pictures",
        [example(image__encoded=file) for file in files],
        "classify",
    )
    expected = [
        [(entry.label, entry.score) for entry in row.classes]
        for row in response.result.classifications
    ]

    documents = [
        [{"image/encoded": binary(file)} for file in files],
        [{"image/raw": [binary(image.tobytes())]} for image in sample_images],
    ]
    answers = [
        rest.post("/v1/models/pictures:classify", BY_SIGNATURE | {"examples": examples})
        for examples in documents
    ]

    for status, answer in answers:
        assert status == 200
        assert [
            [(label, float(np.float32(score))) for label, score in row] for row in answer["results"]
        ] == expected


def test_numbers_are_those_of_grpc_in_the_fewest_digits(rest, address):
    """JSON numbers are the float32 values of the gRPC API in the fewest digits, such as 0.1."""
    bits = np.random.default_rng(5).integers(0, 2**32, 200, np.uint32)
    numbers = bits.view(np.float32)
    numbers = [0.1, *numbers[np.isfinite(numbers)].tolist()]
    examples = [{"x": [number, 0.0], "n": 0} for number in numbers]

    response = ask_grpc(
        address, "Regress", "numbers", [example(x=[n, 0.0], n=[0]) for n in numbers], ""
    )
    status, _, body = rest.ask("POST", REGRESS, json.dumps({"examples": examples}).encode())
    _, classified = rest.post(CLASSIFY, BY_SIGNATURE | {"examples": examples})

    assert status == 200
    assert body.startswith(b'{"results":[0.1,')
    expected = np.array([entry.value for entry in response.result.regressions], np.float32)
    results = np.array(json.loads(body)["results"], np.float32)
    scores = np.array([row[0][1] for row in classified["results"]], np.float32)
    assert results.tobytes() == expected.tobytes()
    assert scores.tobytes() == expected.tobytes()


def test_nan_and_infinity_are_numbers(rest):
    """NaN and Infinity are read and written as literals, as in TensorFlow Serving."""
    body = b'{"examples": [{"x": [NaN, 0]}, {"x": [Infinity, 0.5]}, {"x": [0.1, 0], "n": 0}]}'
    named = body.replace(b"{", b'{"signature_name": "classify", ', 1)

    _, _, regressed = rest.ask("POST", REGRESS, body)
    _, _, classified = rest.ask("POST", CLASSIFY, named)

    assert regressed == b'{"results":[NaN,Infinity,0.1]}'
    assert classified == (
        b'{"results":[[["up",NaN],["down",NaN]],'
        b'[["up",Infinity],["down",-Infinity]],[["up",0.1],["down",-0.1]]]}'
    )


def test_strings_may_hold_any_bytes(rest):
    """Strings may hold any bytes; a feature name that is not UTF-8 gets replacement characters."""
    body = b'{"examples": [{"x": [NaN, 0], "\\udfff": "\\udfff", "\xff": "\xff"}]}'

    assert rest.ask("POST", REGRESS, body)[2] == b'{"results":[NaN]}'


@pytest.mark.parametrize(
    "examples",
    ['[{"x": [0.0, 1e39]}]', '[{"x": [0, 16777217]}]', '[{"x": [1, Inf]}]', '[{"x": [1, 2]} ] '],
)
def test_any_number_is_a_float(rest, examples):
    """Integers, numbers beyond float32 and Inf are read as float32, rounded as in Predict."""
    status, _, _ = rest.ask("POST", REGRESS, b'{"examples": %b}' % examples.encode())

    assert status == 200


def test_the_last_of_a_repeated_feature_counts(rest):
    """If a feature is repeated in an example, its last value is used.

    If a key of the request is repeated, its first value is used.
    """
    wrong = '[{"x": ["wrong"]}]'
    body = f'{{"examples": [{{"x": ["wrong"], "x": [1.5, 2.5]}}], "examples": {wrong}}}'
    (right,) = rest.post(REGRESS, {"examples": [{"x": [1.5, 2.5]}]})[1]["results"]

    assert rest.post(REGRESS, body.encode()) == (200, {"results": [right]})


def test_a_call_that_takes_too_long_is_504(tmp_path, running_server):
    """A Classify call beyond --rest_api_timeout_in_ms is answered 504."""
    example_models.pictures(tmp_path)
    picture = {"image/encoded": binary(png(np.full((1500, 1500, 3), 255, np.uint8)))}
    document = BY_SIGNATURE | {"examples": [picture] * 20}
    with running_server(tmp_path, rest_api_timeout_in_ms=1) as address:
        status, answer = Http(address).post("/v1/models/pictures:classify", document)

    assert status == 504
    assert list(answer) == ["error"]


def test_calls_are_counted(tmp_path, running_server):
    """Answered examples and failure codes are counted under the entrypoint REST."""
    example_models.numbers(tmp_path)
    with running_server(tmp_path) as address:
        rest = Http(address)
        rest.post(CLASSIFY, BY_SIGNATURE | {"examples": [ONE] * 3})
        rest.post(REGRESS, {"examples": [ONE]})
        rest.post(REGRESS, {"examples": []})
        page = rest.ask("GET", METRICS_PATH)[2].decode()

    samples = dict(line.rsplit(" ", 1) for line in page.splitlines())
    labels = 'model_name="numbers",API="{}",entrypoint="REST"'
    for api in ("Classify", "Regress"):
        key = f":tensorflow:serving:request_latency_count{{{labels.format(api)}}}"
        assert float(samples[key]) == 1
    key = ':tensorflow:serving:request_example_count_total{model="numbers"}'
    assert float(samples[key]) == 4
    failed = f'{labels.format("Regress")},status="INVALID_ARGUMENT"'
    assert float(samples[f"onnx_serving_failures_total{{{failed}}}"]) == 1


def test_answers_may_be_laid_out_as_tensorflow_serving_does(tmp_path, running_server):
    """With --rest_api_tfs_format, answers have TensorFlow Serving's layout byte by byte."""
    example_models.numbers(tmp_path)
    with running_server(tmp_path, rest_api_tfs_format=True) as address:
        rest = Http(address)
        classes, values = (
            rest.ask("POST", path, json.dumps(named | {"examples": [ONE, ONE]}).encode())[2]
            for path, named in ((CLASSIFY, BY_SIGNATURE), (REGRESS, {}))
        )
        (value, _) = json.loads(values)["results"]

    one = b'[["up", 8.0], ["down", -8.0]]'
    assert classes == b'{\n    "results": [%b, %b\n    ]\n}' % (one, one)
    assert values == b'{\n    "results": [%b, %b]\n}' % ((str(value).encode(),) * 2)


def test_large_answers_are_written_by_a_child(rest, monkeypatch):
    """A label and a score count for 16 bytes: two examples of two classes make 64."""
    sizes = {}
    run_for = JsonProcesses.run_for

    async def noted(self, request, size, function, *args, **kwargs):
        sizes[function.__name__] = size
        return await run_for(self, request, size, function, *args, **kwargs)

    monkeypatch.setattr(JsonProcesses, "run_for", noted)
    status, answer = rest.post(CLASSIFY, BY_SIGNATURE | {"examples": [ONE, ONE]})

    assert status == 200
    elements = sum(len(row) for row in answer["results"])
    assert elements == 2 * len(answer["results"][0]) > 2
    assert sizes["encode_classes"] == 16 * elements
