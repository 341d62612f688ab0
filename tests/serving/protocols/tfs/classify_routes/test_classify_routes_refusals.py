"""Tests of the mistakes that Classify and Regress refuse over REST."""

import pytest
from calling.example_routes import BY_SIGNATURE, CLASSIFY, ONE, REGRESS, binary


@pytest.mark.parametrize(
    ("path", "document", "status", "message"),
    [
        (
            "/v1/models/nope:regress",
            {"examples": [ONE]},
            404,
            "Servable not found for request: Latest(nope)",
        ),
        (
            "/v1/models/numbers/versions/7:classify",
            {"examples": [ONE]},
            404,
            "Servable not found for request: Specific(numbers, 7)",
        ),
        (
            "/v1/models/numbers/labels/stable:classify",
            {"examples": [ONE]},
            400,
            "Unrecognized servable version label: stable",
        ),
        (
            "/v1/models/numbers/versions/99999999999999999999:regress",
            {"examples": [ONE]},
            400,
            "Failed to convert version: 99999999999999999999 to numeric.",
        ),
        (
            REGRESS,
            {"signature_name": "nope", "examples": [ONE]},
            400,
            "No signature was found with the name: nope; numbers/1 has ",
        ),
        (
            REGRESS,
            {"signature_name": 1, "examples": [ONE]},
            400,
            'JSON Value: {\n    "signature_name": 1,\n    "examples": [{\n            "x": [1.0',
        ),
        (REGRESS, BY_SIGNATURE | {"examples": [ONE]}, 400, "Expected one output Tensor."),
        (
            CLASSIFY,
            {"examples": [ONE]},
            400,
            'Expected classification signature outputs to contain at least one of "classes"',
        ),
        (
            CLASSIFY,
            {"signature_name": "plain", "examples": [ONE]},
            400,
            "Expected one input Tensor.",
        ),
        (REGRESS, b"", 400, "JSON Parse error: The document is empty"),
        (REGRESS, b'{"examples": [', 400, "JSON Parse error: "),
        (REGRESS, b"[]", 400, 'JSON Value: [] Is not object; expected {"examples": [...]}'),
        (
            CLASSIFY,
            {},
            400,
            "JSON Value: {} When method is classify, key 'examples' is expected and was not found",
        ),
        (REGRESS, {}, 400, "JSON Value: {} When method is regress, key 'examples' is expected"),
        (
            REGRESS,
            {"examples": ONE},
            400,
            (
                'JSON Value: {\n    "examples": {\n        "x": [1.0, 2.0]\n    }\n} '
                "Expecting 'examples' value to be an list/array"
            ),
        ),
        (
            REGRESS,
            {"examples": []},
            400,
            "JSON Value: {\n    \"examples\": []\n} 'examples' value is an empty array; expected",
        ),
        (
            REGRESS,
            {"examples": [ONE, [1.0]]},
            400,
            (
                "Example must be JSON object but got JSON Array; example 1 of 'examples' is [1.0], "
                'expected {"feature": value or list, ...}'
            ),
        ),
        (
            REGRESS,
            {"context": "x", "examples": [ONE]},
            400,
            "Example must be JSON object but got JSON String; the 'context' is \"x\", expected",
        ),
        (
            REGRESS,
            {"examples": [ONE, {"x": [1.0, "a"]}]},
            400,
            (
                "Unexpected element type in feature: x expecting type: float; "
                "example 1 of 'examples' "
                'has "a" at position 1, which is bytes; write all values of a feature in one'
            ),
        ),
        (
            REGRESS,
            {"examples": [{"n": [1, 2.5]}]},
            400,
            (
                "Unexpected element type in feature: n expecting type: int64; "
                "example 0 of 'examples' "
                "has 2.5 at position 1, which is float"
            ),
        ),
        (
            REGRESS,
            {"examples": [{"x": [1, 2.5, "a"]}]},
            400,
            (
                "Unexpected element type in feature: x expecting type: float; "
                "example 0 of 'examples' "
                'has "a" at position 2'
            ),
        ),
        (
            REGRESS,
            {"context": {"s": ["a", True]}, "examples": [ONE]},
            400,
            "Unexpected element type in feature: s expecting type: bytes; the 'context' has true",
        ),
        (
            REGRESS,
            {"examples": [{"n": None}]},
            400,
            (
                "Feature: n has element with unexpected JSON type: Null; "
                "example 0 of 'examples' has "
                "null at position 0, expected a number, a string or"
            ),
        ),
        (
            REGRESS,
            {"examples": [{"x": [[1.0, 2.0]]}]},
            400,
            (
                "Feature: x has element with unexpected JSON type: Array; "
                "example 0 of 'examples' has "
                "[1.0, 2.0] at position 0"
            ),
        ),
        (
            REGRESS,
            {"examples": [{"x": ["a", {"c": 1}]}]},
            400,
            (
                "Feature: x has element with unexpected JSON type: Object; "
                "example 0 of 'examples' has "
                '{\n    "c": 1\n} at position 1'
            ),
        ),
        (
            REGRESS,
            {"examples": [{"x": {"b64": "="}}, {"x": {"b64": "?"}}]},
            400,
            'Unable to base64 decode; feature x of example 1 of \'examples\' has {\n    "b64": "?"',
        ),
        (
            REGRESS,
            {"examples": [{"n": 2**63}]},
            400,
            (
                "Feature: n has uint64_t element. Only int64_t is supported. Received "
                "9223372036854775808 "
                "in example 0 of 'examples', expected -9223372036854775808 to 9223372036854775807"
            ),
        ),
        (
            REGRESS,
            {"examples": [ONE, {}]},
            400,
            "Name: <unknown>, Feature: x (data type: float) is required but could not be found",
        ),
        (
            REGRESS,
            {"examples": [ONE, {"x": [1.0]}]},
            400,
            "Name: <unknown>, Key: x, Index: 1.  Number of float values != expected.",
        ),
        (
            REGRESS,
            {"examples": [ONE | {"n": 2.0}]},
            400,
            "Name: <unknown>, Key: n, Index: 0.  Data types don't match. Data type: float",
        ),
        (
            REGRESS,
            {"examples": [{"x": True}]},
            400,
            "Name: <unknown>, Key: x, Index: 0.  Data types don't match. Data type: int64",
        ),
        (
            "/v1/models/pictures:classify",
            BY_SIGNATURE | {"examples": [{"image/encoded": binary(b"GIF89a...")}]},
            400,
            "Name: <unknown>, Key: image/encoded, Index: 0.  neither a PNG nor a JPEG file",
        ),
        ("/v1/models/:classify", ONE, 400, "Malformed request: POST /v1/models/:classify"),
        (
            "/v1/models/numbers:multiinference",
            ONE,
            400,
            "Malformed request: POST /v1/models/numbers:multiinference",
        ),
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
    assert rest.post(REGRESS, {"examples": [ONE]})[0] == 200


def test_get_is_malformed(rest):
    """Classify and Regress answer GET as malformed: they are POST only."""
    assert rest.get(REGRESS) == (400, {"error": f"Malformed request: GET {REGRESS}"})


def test_a_context_for_too_many_examples_is_refused(rest):
    """A context that copied into each example would take over 1 GiB is refused."""
    examples = b",".join([b"{}"] * 300)
    context = b'"text": "' + b"a" * (1 << 22) + b'"'
    body = b'{"context": {' + context + b'}, "examples": [' + examples + b"]}"

    status, answer = rest.post(REGRESS, body)

    assert status == 400
    assert answer["error"].startswith("a context of 4194")
    assert answer["error"].endswith("expected at most 1073741824; send smaller batches")
