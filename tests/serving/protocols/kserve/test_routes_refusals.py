"""Tests of the requests and bodies that KServe's REST routes refuse."""

import json

import pytest
from calling.kserve_connection import BINARY_X, CONTENT, INFER, X


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
            {"inputs": [X], "outputs": [{"name": "y", "parameters": {"classification": 3.5}}]},
            400,
            'parameter classification of output "y" is 3.5, expected a whole number',
        ),
        (
            {"inputs": [X], "parameters": {"sequence_id": 7, "sequence_start": True}},
            501,
            "the request has the parameter sequence_id, which this server does not support",
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
