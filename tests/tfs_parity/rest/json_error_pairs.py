"""JSON that Predict refuses: json_tensor_test.cc and the messages of json_tensor.cc."""

from tfs_parity.pair import Deviation, Ok, Pair, Refused
from tfs_parity.rest.json_request_pairs import of_code, predict

ELEMENT = "Failed to process element: {} of 'instances' list. Error: INVALID_ARGUMENT: "
MANY_ROWS = (
    "instances is a plain list, but expecting list of objects as multiple input tensors required "
    "as per tensorinfo_map"
)
MANY_COLUMNS = (
    "inputs is a plain value/list, but expecting an object as multiple input tensors required as "
    "per tensorinfo_map"
)


def _refused(begins: str = "", has: str = "") -> Refused:
    return Refused("INVALID_ARGUMENT", begins=begins, has=has)


def _single(case: str, body: str, answer: Refused) -> Pair:
    return predict("SingleUnnamedTensorErrors", "echo_int32", body, answer, case=case)


def _named(case: str, body: str, answer: Refused, model: str = "int_and_str") -> Pair:
    return predict("MultipleNamedTensorErrors", model, body, answer, case=case)


def _type(case: str, dtype: str, value: str, kind: str, shown: str = "") -> Pair:
    """Return a pair with a value of the wrong type: AddValueToTensor's TypeError."""
    shown = shown or value
    message = f"JSON Value: {shown} Type: {kind} is not of expected type: {dtype}"
    return of_code(
        "TypeError", f"echo_{dtype}", f'{{"inputs": [{value}]}}', _refused(message), case
    )


TESTS = [
    predict(
        "DeeplyNestedMalformed",
        "echo_int32",
        '{"signature_name":' + "[" * 500_000 + "]" * 500_000 + "}",
        _refused(has="key must be a string value"),
    ),
    _single("empty", "", _refused("JSON Parse error: The document is empty")),
    _single(
        "a number for the signature",
        '{"signature_name": 5, "instances": [[1,2],[3,4],[5,6,7]]}',
        _refused(has="'signature_name' key must be a string value."),
    ),
    _single(
        "both forms",
        '{"instances": [[1,2],[3,4],[5,6,7]], "inputs": [[1,2],[3,4],[5,6,7]]}',
        _refused(has="Not formatted correctly expecting only one of 'inputs' or 'instances' keys"),
    ),
    _single(
        "another size",
        '{"instances": [[1,2],[3,4],[5,6,7]]}',
        _refused(ELEMENT.format(2) + "Expecting tensor size: 2 but got: 3"),
    ),
    _single(
        "another shape",
        '{"instances": [[1,2],[3,4],[[5,6]]]}',
        _refused(ELEMENT.format(2) + "Expecting shape [2] but got: [1,2]"),
    ),
    _single(
        "a list behind a scalar",
        '{"instances": [1, [1]]}',
        _refused(ELEMENT.format(1) + "Expecting shape [] but got: [1]"),
    ),
    _single(
        "strings",
        '{"instances": [[1,2],["a", "b"]]}',
        _refused(ELEMENT.format(1) + 'JSON Value: "a" Type: String is not of expected type: int32'),
    ),
    _named(
        "another shape",
        '{"instances": [{"int_tensor": [[1,2],[3,4],[5,6]], "str_tensor": ["foo", "bar"]}, '
        '{"int_tensor": [[[7,8],[9,0],[1,2]]], "str_tensor": ["baz", "bat"]}]}',
        _refused(
            "Failed to process element: 1 key: int_tensor of 'instances' list. Error: "
            "INVALID_ARGUMENT: Expecting shape [3,2] but got: [1,3,2]"
        ),
    ),
    _named(
        "another size",
        '{"instances": [{"int_tensor": [[1,2],[3,4],[5,6],[7,8]], "str_tensor": ["foo", "bar"]}, '
        '{"int_tensor": [[7,8],[9,0],[1,2]], "str_tensor": ["baz", "bat"]}]}',
        _refused(
            "Failed to process element: 1 key: int_tensor of 'instances' list. Error: "
            "INVALID_ARGUMENT: Expecting tensor size: 8 but got: 6"
        ),
    ),
    _named(
        "a list among objects",
        '{"instances": [{"int_tensor": [[1,2],[3,4],[5,6]], "str_tensor": ["foo", "bar"]}, '
        '[1, 20, 30], {"int_tensor": [[[7,8],[9,0],[1,2]]], "str_tensor": ["baz", "bat"]}]}',
        _refused("Expecting object but got list at item 1 of input list"),
    ),
    _named(
        "an object among lists",
        '{"instances": [["baz", "bar"], {"str_tensor": ["baz", "bat"]}]}',
        _refused("Expecting value/list but got object at item 1 of input list"),
        "str_tensor",
    ),
]
TYPES = [
    _type("a decimal for an integer", "int32", "1.0", "Number"),
    _type("too large for int32", "int32", "2147483648", "Number"),
    _type("too large for int64", "int64", "9223372036854775808", "Number"),
    _type("negative for uint32", "uint32", "-1", "Number"),
    _type("negative for uint64", "uint64", "-1", "Number"),
    _type("true for an integer", "int32", "true", "True"),
    _type("false for an integer", "int64", "false", "False"),
    _type("null for a float", "float", "null", "Null"),
    _type("a string for a float", "float", '"x"', "String"),
    _type("true for a double", "double", "true", "True"),
    _type("a number for a bool", "bool", "1", "Number"),
    _type("a string for a bool", "bool", '"true"', "String"),
    _type("a number for a string", "string", "1", "Number"),
    _type("null for a string", "string", "null", "Null"),
    _type("an object for an integer", "int32", '{"b64": "aa"}', "Object", '{\n    "b64": "aa"\n}'),
]
LONG, QUOTE = "a" * 300, "JSON Value: "
SHORT = f'{QUOTE}{{\n    "instances": 1,\n    "junk": "'
QUOTED = [
    _type("1e5 for an integer", "int32", "1e5", "Number", "100000.0"),
    _type("a large float for an integer", "int64", "1e30", "Number", "1e30"),
    _type("a small float for an integer", "int64", "1.5e-7", "Number", "1.5e-7"),
    _type("beyond 64 bits", "int64", "18446744073709551616", "Number", "18446744073709552000.0"),
    _type("a fraction for an integer", "int32", "1.25", "Number"),
    _type("an escape in a string", "int32", '"\\u000a\\u0001"', "String", '"\\n\\u0001"'),
    of_code(
        "JsonValueToDebugString",
        "echo_int32",
        f'{{"instances": 1, "junk": "{LONG}", "more": 2}}',
        _refused(f"{SHORT}{LONG}\" Expecting 'instances' to be an list/array"),
        "a long string",
        deviation=Deviation(
            reason="In messages, a long value is cut to 256 characters and `...`; TensorFlow "
            "Serving writes a string in full if it begins before that.",
            answer=_refused(
                f"{SHORT}{LONG[: 256 - len(SHORT) + len(QUOTE)]}... Expecting 'instances' to be an "
                "list/array"
            ),
        ),
    ),
    of_code(
        "JsonValueToDebugString",
        "echo_int32",
        '{"instances": {"a": [], "b": {}, "c": [1, [true, null]], "d": -1.5}}',
        _refused(
            'JSON Value: {\n    "instances": {\n        "a": [],\n        "b": {},\n        '
            '"c": [1, [true, null]],\n        "d": -1.5\n    }\n} Expecting'
        ),
        "lists and objects",
    ),
    of_code(
        "AddInstanceItem",
        "echo_string",
        '{"instances": [{"b64": 5}]}',
        _refused(
            "Failed to process element: 0 key: b64 of 'instances' list. Error: INVALID_ARGUMENT: "
            "JSON object: does not have named input: b64"
        ),
        "an object that is no binary string",
    ),
    of_code(
        "AddInstanceItem",
        "echo_int32",
        '{"instances": [null]}',
        _refused(ELEMENT.format(0) + "JSON Value: null Type: Null is not of expected type: int32"),
        "null",
    ),
    of_code(
        "AddInstanceItem",
        "int_and_str",
        '{"instances": [{"int_tensor": 1.5, "str_tensor": "a"}]}',
        _refused(
            "Failed to process element: 0 key: int_tensor of 'instances' list. Error: "
            "INVALID_ARGUMENT: JSON Value: 1.5 Type: Number is not of expected type: int32"
        ),
        "a decimal in a named row",
    ),
]
CODE = [
    of_code(
        "FillTensorProto",
        "echo_int32",
        '{"inputs": [[1,2],[3]]}',
        _refused("Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        "a shorter list",
    ),
    of_code(
        "FillTensorProto",
        "echo_int32",
        '{"inputs": [1,[2]]}',
        _refused("Encountered list at unexpected level: 1 expected < 1"),
        "a deeper list",
    ),
    of_code(
        "FillTensorProto",
        "echo_int32",
        '{"inputs": [[1],2]}',
        _refused("JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
        "a value among lists",
    ),
    of_code(
        "FillTensorProto",
        "echo_int32",
        '{"instances": [[[1],2]]}',
        _refused(
            ELEMENT.format(0)
            + "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"
        ),
        "a value among lists in a row",
    ),
    of_code(
        "JsonDecodeBase64Object",
        "echo_string",
        '{"inputs": [{"b64": "a"}]}',
        _refused("Unable to base64 decode"),
        "half a byte",
    ),
    of_code(
        "JsonDecodeBase64Object",
        "echo_string",
        '{"inputs": [{"b64": 5}]}',
        _refused(
            'JSON Value: {\n    "b64": 5\n} not formatted correctly for base64 data',
        ),
        "a number",
    ),
    of_code(
        "JsonDecodeBase64Object",
        "echo_string",
        '{"inputs": [{"b64": "aGVsbG8=", "more": 1}]}',
        _refused(has=" not formatted correctly for base64 data"),
        "more than one key",
    ),
    of_code(
        "AddInstanceItem",
        "int_and_str",
        '{"instances": [{"int_tensor": 1, "str_tensor": "a", "foo": 2}]}',
        _refused(
            "Failed to process element: 0 key: foo of 'instances' list. Error: INVALID_ARGUMENT: "
            "JSON object: does not have named input: foo"
        ),
        "an unknown input",
    ),
    of_code(
        "FillTensorMapFromInstancesList",
        "int_and_str",
        '{"instances": [{"int_tensor": 1, "str_tensor": "a"}, {"int_tensor": 1}]}',
        _refused(
            "Failed to process element: 1 of 'instances' list. JSON object: "
            '{\n    "int_tensor": 1\n} keys must be equal to: int_tensor,str_tensor'
        ),
        "an input is missing",
    ),
    of_code(
        "FillTensorMapFromInstancesList",
        "int_and_str",
        '{"instances": [1, 2]}',
        _refused(MANY_ROWS),
        "a plain list for two inputs",
    ),
    of_code(
        "FillTensorMapFromInputsMap",
        "int_and_str",
        '{"inputs": [1, 2]}',
        _refused(MANY_COLUMNS),
        "a plain list for two inputs",
    ),
    of_code(
        "FillTensorMapFromInputsMap",
        "int_and_str",
        '{"inputs": {"int_tensor": [1]}}',
        _refused("Missing named input: str_tensor in 'inputs' object."),
        "an input is missing",
    ),
    of_code(
        "FillTensorMapFromInputsMap",
        "echo_string",
        '{"inputs": {"b64": 5}}',
        _refused("Missing named input: default in 'inputs' object."),
        "an object that is no binary string",
    ),
    of_code(
        "FillPredictRequestFromJson",
        "echo_int32",
        '{"instances": 1}',
        _refused(
            "JSON Value: {\n    \"instances\": 1\n} Expecting 'instances' to be an list/array"
        ),
        "rows that are no list",
    ),
    of_code(
        "FillPredictRequestFromJson",
        "echo_int32",
        '{"instances": []}',
        _refused("JSON Value: {\n    \"instances\": []\n} No values in 'instances' array"),
        "no rows",
    ),
    of_code(
        "FillPredictRequestFromJson",
        "echo_int32",
        '{"signature_name": "serving_default"}',
        _refused("Missing 'inputs' or 'instances' key"),
        "neither form",
    ),
    of_code(
        "FillPredictRequestFromJson",
        "counter",
        '{"signature_name": "incr_counter", "inputs": {}}',
        _refused("Failed to get input map for signature: incr_counter"),
        "a signature without inputs",
        deviation=Deviation(
            reason="A signature without inputs can be called over REST, with "
            '`{"inputs": {}}` or `{"instances": [{}]}`; TensorFlow Serving refuses it.',
            answer=Ok({"outputs": 1.0}),
        ),
    ),
]
PAIRS = TESTS + TYPES + QUOTED + CODE
