import json

import numpy as np
import pytest

from loadtest.transports import kserve_rest
from loadtest.transports.api import ModelInput


def _answer(*outputs: dict, raw: bytes = b"", version: str = "7", spaces: int = 0) -> bytes:
    head = {"model_name": "m", "model_version": version, "outputs": list(outputs)}
    return json.dumps(head, ensure_ascii=False).encode() + b" " * spaces + raw


def test_json_requests_carry_every_pixel(split):
    """A request has name, datatype, shape and the pixels in row-major order."""
    api = kserve_rest.KserveRest("m", 3, (ModelInput("x", "float32", None),))

    (tensor,) = json.loads(api.payload({"x": split.images[:2]}))["inputs"]

    assert api.path == "/v2/models/m/versions/3/infer"
    assert dict(api.headers) == {"content-type": "application/json"}
    assert (tensor["name"], tensor["datatype"], tensor["shape"]) == ("x", "FP32", [2, 32, 32, 3])
    assert tensor["data"] == split.images[:2].ravel().tolist()


@pytest.mark.parametrize("name", ["x", "é" * 300], ids=["short", "long"])
@pytest.mark.parametrize("images", [1, 24])
def test_binary_requests_carry_raw_bytes_after_json_of_constant_length(split, name, images):
    """The header's length is that of the JSON, whatever the batch and the input's name are."""
    api = kserve_rest.KserveRestBinary("m", None, (ModelInput(name, "uint8", None),))
    length = int(dict(api.headers)["inference-header-content-length"])

    body = api.payload({name: split.images[:images]})

    (tensor,) = json.loads(body[:length])["inputs"]
    assert tensor["name"] == name
    assert tensor["parameters"]["binary_data_size"] == 3072 * images
    assert body[length:] == split.images[:images].tobytes()


@pytest.mark.parametrize("spaces", [0, 5])
def test_binary_answers_are_read(spaces):
    """Each output takes its own part of the bytes after the JSON; names may hold any letters."""
    scores = np.array([[0.1, 0.9]], np.float32)
    outputs = [
        {
            "name": name,
            "datatype": datatype,
            "shape": shape,
            "parameters": {"binary_data_size": size},
        }
        for name, datatype, shape, size in (
            ("größe", "FP32", [1, 2], 8),
            ("classes", "INT64", [1], 8),
        )
    ]

    api = kserve_rest.KserveRestBinary("m", None)
    answer = api.parse(
        _answer(*outputs, raw=scores.tobytes() + np.int64(4).tobytes(), spaces=spaces), 1
    )

    assert (answer.classes.tolist(), answer.version, answer.output) == ([4], 7, "classes")


def test_json_answers_are_read():
    """Flat data takes the output's shape; a version that is no number is unknown."""
    output = {"name": "scores", "datatype": "FP32", "shape": [2, 2], "data": [0.1, 0.9, 0.8, 0.2]}

    answer = kserve_rest.KserveRest("m", None).parse(_answer(output, version="blue"), 2)

    assert (answer.classes.tolist(), answer.version, answer.output) == ([1, 0], None, "scores")


def test_an_answer_that_was_cut_off_cannot_be_scored():
    """Fewer bytes than the outputs name are an error that names what was expected."""
    output = {
        "name": "classes",
        "datatype": "INT64",
        "shape": [1],
        "parameters": {"binary_data_size": 8},
    }

    with pytest.raises(ValueError, match="received, expected"):
        kserve_rest.KserveRestBinary("m", None).parse(_answer(output, raw=b"1234"), 1)
