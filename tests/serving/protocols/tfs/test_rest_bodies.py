"""Tests of REST bodies that TensorFlow Serving accepts, and of the layout of answers."""

import json
import threading

import numpy as np
import pytest
from calling.rest_client import Http
from sample_models import arithmetic_models, tiny_models

from serving.protocols.json_process import LARGE_BYTES
from serving.protocols.tfs.json_text.document import SLOW_IN_LOOP_BYTES

PATH = "/v1/models/identity:predict"
ANSWER = (200, {"predictions": [[1.0, 2.0, 3.0]]})


@pytest.fixture
def rest(target) -> Http:
    """The REST API of a server with every tiny model."""
    return Http(target)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'\xef\xbb\xbf{"instances": [[1, 2, 3]]}', id="byte-order-mark"),
        pytest.param(b'{"instances": [[1, 2, 3]]} and more', id="text-behind"),
        pytest.param(b'{"instances": [[1, 2, 3]], "instances": [[9, 9, 9]]}', id="repeated-key"),
        pytest.param(
            b'{"instances": [[1, 2, 3]], "inst\\u0061nces": [[9, 9, 9]]}', id="repeated-in-escapes"
        ),
        pytest.param(b'{"instances": [{"x": [1, 2, 3], "x": [9, 9, 9]}]}', id="repeated-name"),
        pytest.param(
            b'{"signature_name": "", "signature_name": "x", "instances": [[1, 2, 3]]}',
            id="repeated-signature-name",
        ),
        pytest.param(b'{"instances": [[1, 2, 3]], "a": "\xff"}', id="not-utf-8"),
        pytest.param(b'{"instances": [[1, 2, 3]], "a": [Inf, -Inf, NaN]}', id="inf"),
        pytest.param(
            b'{"instances": [[1, 2, 3]], "a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", id="deep"
        ),
        pytest.param(
            b'{"a": "' + b"x" * LARGE_BYTES + b'", "instances": [[1, 2, 3]], "instances": 1}',
            id="large-and-repeated",
        ),
    ],
)
def test_bodies_that_tensorflow_serving_reads_are_read(rest, body):
    """Bodies that TensorFlow Serving's JSON reader accepts are answered, small and large."""
    assert rest.post(PATH, body) == ANSWER


@pytest.mark.parametrize("opening", [b"[", b'{"instances":', b'{"instances": [NaN,'])
@pytest.mark.parametrize("size", [100, SLOW_IN_LOOP_BYTES + 1, LARGE_BYTES + 1])
def test_endless_nesting_is_refused(rest, opening, size):
    """Endless nesting is a JSON Parse error, and the next request is answered."""
    status, answer = rest.post(PATH, opening * (size // len(opening)))

    assert status == 400
    assert answer["error"].startswith("JSON Parse error: ")
    assert rest.post(PATH, b'{"instances": [[1, 2, 3]]}') == ANSWER


def test_slow_bodies_do_not_hold_up_the_others(rest):
    """Bodies for the slow JSON reader are read in a child and do not delay other requests."""
    body = b"[" * (LARGE_BYTES - 1)
    answers = []
    callers = [
        threading.Thread(target=lambda: answers.append(rest.post(PATH, body)), daemon=True)
        for _ in range(4)
    ]
    for caller in callers:
        caller.start()
    quick = [rest.post(PATH, {"instances": [[1, 2, 3]]}) for _ in range(20)]
    for caller in callers:
        caller.join()

    assert quick == [ANSWER] * 20
    assert [status for status, _ in answers] == [400] * 4


def test_a_string_may_hold_any_bytes(tmp_path, running_server):
    """A string that is not UTF-8 is read as bytes; the error says ONNX Runtime needs UTF-8."""
    tiny_models.echo(tmp_path, "BYTES")
    (name,) = {path.name for path in tmp_path.iterdir()}
    with running_server(tmp_path) as address:
        rest = Http(address)
        text = rest.post(f"/v1/models/{name}:predict", '{"instances": [["é", "b"]]}'.encode())
        other = rest.post(f"/v1/models/{name}:predict", b'{"instances": [["\xe9", "b"]]}')
        base64 = rest.post(f"/v1/models/{name}:predict", b'{"instances": [[{"b64": "6Q=="}, "b"]]}')

    assert text == (200, {"predictions": [["é", "b"]]})
    assert other == base64
    assert "UTF-8" in other[1]["error"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory, running_server):
    """The REST API of a server with --rest_api_tfs_format."""
    models_dir = tmp_path_factory.mktemp("models")
    tiny_models.identity(models_dir)
    tiny_models.add(models_dir)
    arithmetic_models.weighted(models_dir)
    with running_server(models_dir, rest_api_tfs_format=True) as address:
        yield Http(address)


@pytest.mark.parametrize(
    ("path", "document", "body"),
    [
        (
            PATH,
            {"instances": [[9000000, 0.5, 1e-5], [1, 2.25, 1 / 3]]},
            '{\n    "predictions": [[9e+06, 0.5, 1e-05], [1.0, 2.25, 0.333333343]\n    ]\n}',
        ),
        (
            PATH,
            {"inputs": [[1, 2, 3]]},
            (
                '{\n    "outputs": [\n        [\n            1.0,\n            2.0,\n'
                "            3.0\n        ]\n    ]\n}"
            ),
        ),
        (
            "/v1/models/add:predict",
            {"instances": [{"a": 1, "b": 2}]},
            (
                '{\n    "predictions": [\n        {\n            "sum": 3,\n'
                '            "difference": -1\n        }\n    ]\n}'
            ),
        ),
    ],
)
def test_answers_may_be_laid_out_as_tensorflow_serving_does(plain, path, document, body):
    """With --rest_api_tfs_format, answers have TensorFlow Serving's layout byte by byte."""
    assert plain.ask("POST", path, json.dumps(document).encode())[2].decode() == body


def test_large_answers_are_laid_out_alike(plain):
    """An answer large enough for a child process has the same layout."""
    rows = np.arange(3 * 9000, dtype=float).reshape(-1, 3)
    body = plain.ask("POST", PATH, json.dumps({"instances": rows.tolist()}).encode())[2]

    assert body.startswith(b'{\n    "predictions": [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0], ')
    assert json.loads(body)["predictions"] == rows.tolist()


@pytest.mark.parametrize(
    ("document", "answer"),
    [
        ({"inputs": {"x": [[1, 2]]}}, {"outputs": [[10.0, 200.0]]}),
        ({"instances": [{"x": [1, 2]}]}, {"predictions": [[10.0, 200.0]]}),
        ({"instances": [{"x": [1, 2]}, {"x": [3, 4]}]}, {"predictions": [[10, 200], [30, 400]]}),
        ({"instances": [{"x": [1, 2], "factor": [1, 1]}]}, {"predictions": [[1.0, 2.0]]}),
    ],
)
def test_an_input_with_a_default_may_be_left_out(plain, document, answer):
    """An input with a default may be omitted from the columns, or from every row."""
    assert plain.post("/v1/models/weighted:predict", document) == (200, answer)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"inputs": {"factor": [[1, 2]]}}, "Missing named input: x in 'inputs' object."),
        ({"inputs": [[1, 2]]}, "inputs is a plain value/list, but expecting an object as multiple"),
        ({"instances": [[1, 2]]}, "instances is a plain list, but expecting list of objects"),
        (
            {"instances": [{"factor": [1, 2]}]},
            "Failed to process element: 0 of 'instances' list. JSON object: {",
        ),
        ({"instances": [{}]}, "Failed to process element: 0 of 'instances' list. JSON object: {}"),
        (
            {"instances": [{"x": [1, 2]}, {"x": [1, 2], "factor": [1, 1]}]},
            "Failed to process element: 1 of 'instances' list. JSON object: {",
        ),
        (
            {"instances": [{"x": [1, 2], "factor": [1, 1]}, {"x": [1, 2]}]},
            "Failed to process element: 1 of 'instances' list. JSON object: {",
        ),
    ],
)
def test_a_default_excuses_nothing_else(plain, document, message):
    """Omitting an input without a default is refused, and so are rows with different inputs."""
    status, answer = plain.post("/v1/models/weighted:predict", document)

    assert status == 400
    assert answer["error"].startswith(message)


def test_metadata_shows_the_defaults(plain):
    """Metadata has the defaults as TensorProtos with all fields, or {} without defaults."""
    signatures = {
        name: plain.get(f"/v1/models/{name}/metadata")[1]["metadata"]["signature_def"][
            "signature_def"
        ]["serving_default"]
        for name in ("identity", "weighted")
    }

    assert list(signatures["identity"]) == ["inputs", "outputs", "method_name", "defaults"]
    assert signatures["identity"]["defaults"] == {}
    factor = signatures["weighted"]["defaults"]["factor"]
    assert (factor["dtype"], factor["float_val"], factor["int_val"]) == (
        "DT_FLOAT",
        [10.0, 100.0],
        [],
    )
    assert [dim["size"] for dim in factor["tensor_shape"]["dim"]] == ["1", "2"]
