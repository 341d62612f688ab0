"""tf.Examples in JSON: json_tensor_test.cc on a model that answers with their features."""

from collections.abc import Iterator
from math import inf, nan

from tfs_parity.pair import Answer, Ok, Pair, Refused, Rest

TEST, CODE = "util/json_tensor_test.cc", "util/json_tensor.cc"
TWO = (
    '[{"names": ["foo", "bar"], "ratings": [8.0, 9.0], "age": 20},'
    ' {"names": ["baz"], "ratings": 6.0}]'
)
CONTEXT = '{"query": "pizza", "location": ["sfo"]}'
THREE = """[
    {"names": ["foo", "bar"], "ratings": [8.0, 9.0, NaN, Infinity], "age": 20},
    {"names": ["baz", {"b64": "aGVsbG8="}], "ratings": 6.0, "intboolmix": [1, true, false]},
    {"names": "bar", "ratings": -Infinity}
]"""


def _ask(
    test: str,
    body: str,
    answer: object,
    *,
    case: str = "",
    method: str = "classify",
    source: str = TEST,
) -> Pair:
    return Pair(
        source=source,
        test=test,
        case=case,
        request=Rest(path=f"/v1/models/feature_echo:{method}", body=body),
        answer=answer if isinstance(answer, Answer) else Ok({"results": answer}),
    )


def _body(signature: str, rows: str, context: str = "") -> str:
    with_context = f'"context": {context}, ' if context else ""
    return f'{{"signature_name": "{signature}", {with_context}"examples": {rows}}}'


def _errors() -> Iterator[Pair]:
    """Yield each pair for Classify and for Regress, because the test is typed for both."""
    no_object = "Example must be JSON object but got JSON Array"
    for method in ("classify", "regress"):
        for case, body, begins, has in (
            (
                "a list for the signature",
                '{"signature_name": ["hello"], "examples": [{"names": ["foo", "bar"]}]}',
                "",
                "'signature_name' key must be a string",
            ),
            ("a list for the context", '{"context": [{"names": ["foo", "bar"]}]}', no_object, ""),
            (
                "an object for the examples",
                '{"examples": {"names": ["foo", "bar"]}}',
                "",
                "Expecting 'examples' value to be an list/array",
            ),
            (
                "a list for an example",
                '{"examples": [[{"names": ["foo", "bar"]}]]}',
                no_object,
                "",
            ),
            (
                "null",
                '{"examples": [{"names": [10, null]}]}',
                "Feature: names has element with unexpected JSON type: Null",
                "",
            ),
            (
                "a decimal among integers",
                '{"examples": [{"names": [10, 10.0]}]}',
                "Unexpected element type in feature: names expecting type: int64",
                "",
            ),
            (
                "an object among integers",
                '{"examples": [{"names": [10, {"test": 10}]}]}',
                "Feature: names has element with unexpected JSON type: Object",
                "",
            ),
            (
                "a list among integers",
                '{"examples": [{"names": [[10], 20]}]}',
                "Feature: names has element with unexpected JSON type: Array",
                "",
            ),
            (
                "too large for int64",
                '{"examples": [{"names": [20, 18446744073709551603]}]}',
                "Feature: names has uint64_t element. Only int64_t is supported.",
                "",
            ),
        ):
            answer = Refused("INVALID_ARGUMENT", begins=begins, has=has)
            yield _ask("JsonErrors", body, answer, case=f"{case}, {method}", method=method)


def _code(test: str, case: str, body: str, begins: str = "", has: str = "") -> Pair:
    answer = Refused("INVALID_ARGUMENT", begins=begins, has=has)
    return _ask(test, body, answer, case=case, source=CODE)


PAIRS = [
    _ask(
        "RequestNoContext",
        f'{{"examples": {TWO}}}',
        [[["foo", 8.0], ["bar", 9.0]], [["baz", 6.0], ["", 0.0]]],
        case="names and ratings",
    ),
    _ask("RequestNoContext", _body("age", TWO), [20.0, 0.0], case="age", method="regress"),
    _ask(
        "RequestWithContextAndSignature",
        _body("names", THREE, CONTEXT),
        [[["foo", 0.0], ["bar", 0.0]], [["baz", 0.0], ["hello", 0.0]], [["bar", 0.0], ["", 0.0]]],
        case="names",
    ),
    _ask(
        "RequestWithContextAndSignature",
        _body("ratings", THREE, CONTEXT),
        [
            [["", 8.0], ["", 9.0], ["", nan], ["", inf]],
            [["", 6.0], ["", 0.0], ["", 0.0], ["", 0.0]],
            [["", -inf], ["", 0.0], ["", 0.0], ["", 0.0]],
        ],
        case="ratings",
    ),
    _ask(
        "RequestWithContextAndSignature",
        _body("numbers", THREE, CONTEXT),
        [[["", 0.0]] * 3, [["", 1.0], ["", 1.0], ["", 0.0]], [["", 0.0]] * 3],
        case="integers and booleans",
    ),
    _ask(
        "RequestWithContextAndSignature",
        _body("context", THREE, CONTEXT),
        [[["pizza", 0.0], ["sfo", 0.0]]] * 3,
        case="context",
    ),
    _ask(
        "RequestWithContextAndSignature",
        _body("custom_signture", TWO),
        [[["foo", 8.0], ["bar", 9.0]], [["baz", 6.0], ["", 0.0]]],
        case="signature",
    ),
    *_errors(),
    _ask(
        "JsonFromClassificationResult",
        '{"examples": [{"names": ["car", "bike", "bus"], "ratings": [0.2, 0.7, 0.1]}, '
        '{"names": ["car", "bike", "bus"], "ratings": [0.7, 0.1, 0.2]}]}',
        [
            [["car", 0.2], ["bike", 0.7], ["bus", 0.1]],
            [["car", 0.7], ["bike", 0.1], ["bus", 0.2]],
        ],
    ),
    _ask(
        "JsonFromRegressionResult",
        _body("rating", '[{"ratings": 0.2}, {"ratings": 0.9}, {"ratings": 1.0}]'),
        [0.2, 0.9, 1.0],
        method="regress",
    ),
    _ask(
        "JsonFromRegressionResultWithNonFinite",
        _body(
            "rating",
            '[{"ratings": 0.2}, {"ratings": Infinity}, {"ratings": 1.0}, '
            '{"ratings": -Infinity}, {"ratings": NaN}]',
        ),
        [0.2, inf, 1.0, -inf, nan],
        method="regress",
    ),
    _code(
        "FillClassifyRegressRequestFromJson",
        "no examples key",
        '{"signature_name": "names"}',
        'JSON Value: {\n    "signature_name": "names"\n} When method is classify, key \'examples\' '
        "is expected and was not found",
    ),
    _code(
        "FillClassifyRegressRequestFromJson",
        "no example",
        '{"examples": []}',
        "JSON Value: {\n    \"examples\": []\n} 'examples' value is an empty array",
    ),
    _code(
        "MakeExampleFromJsonObject",
        "a number for an example",
        '{"examples": [1]}',
        "Example must be JSON object but got JSON Number",
    ),
    _code(
        "AddValueToFeature",
        "a string among decimals",
        '{"examples": [{"ratings": [1.0, "x"]}]}',
        "Unexpected element type in feature: ratings expecting type: float",
    ),
    _code(
        "AddValueToFeature",
        "true among strings",
        '{"examples": [{"names": ["x", true]}]}',
        "Unexpected element type in feature: names expecting type: bytes",
    ),
    _code(
        "JsonDecodeBase64Object",
        "half a byte in a feature",
        '{"examples": [{"names": [{"b64": "a"}]}]}',
        "Unable to base64 decode",
    ),
    _code("ParseJson", "no JSON for Classify", "examples", "JSON Parse error: Invalid value."),
    _code("ParseJson", "no object for Classify", "[]", "JSON Value: [] Is not object"),
]
