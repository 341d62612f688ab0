"""JSON that Predict writes: json_tensor_test.cc on models that answer with their inputs."""

from math import inf, nan

from tfs_parity.pair import Deviation, Ok, Refused
from tfs_parity.rest.json_request_pairs import MORE_TYPES, of_code, predict

INTS = "[[[1,2],[3,4],[5,6]], [[7,8],[9,0],[1,2]]]"
INT_ROWS = [[[1, 2], [3, 4], [5, 6]], [[7, 8], [9, 0], [1, 2]]]
FIRST = {
    "double_scalar_tensor": 8.0,
    "float_tensor": [1.0],
    "int_tensor": [[1, 2], [3, 4], [5, 6]],
    "str_tensor": ["foo", "bar"],
    "str_tensor_bytes": [{"b64": "aGVsbG8="}, {"b64": "d29ybGQ="}],
}
SECOND = {
    "double_scalar_tensor": 9.0,
    "float_tensor": [2.0],
    "int_tensor": [[7, 8], [9, 0], [1, 2]],
    "str_tensor": ["baz", "bat"],
    "str_tensor_bytes": [{"b64": "dGY="}, {"b64": "c2VydmluZw=="}],
}
FIVE_ROWS = """{"instances": [
    {"double_scalar_tensor": 8, "float_tensor": [1], "int_tensor": [[1,2],[3,4],[5,6]],
     "str_tensor": ["foo", "bar"], "str_tensor_bytes": ["hello", "world"]},
    {"double_scalar_tensor": 9, "float_tensor": [2], "int_tensor": [[7,8],[9,0],[1,2]],
     "str_tensor": ["baz", "bat"], "str_tensor_bytes": ["tf", "serving"]}
]}"""
FIVE_COLUMNS = f"""{{"inputs": {{
    "double_scalar_tensor": [8, 9], "float_tensor": [[1], [2]], "int_tensor": {INTS},
    "str_tensor": [["foo", "bar"], ["baz", "bat"]],
    "str_tensor_bytes": [["hello", "world"], ["tf", "serving"]]
}}}}"""
BYTES = [
    [{"b64": "aGVsbG8="}, {"b64": "d29ybGQ="}],
    [{"b64": "dGY="}, {"b64": "c2VydmluZw=="}],
]
TWO_TENSORS = '{"instances": [{"int_tensor": [1,2], "str_tensor": ["foo","bar"]}%s]}'
ANOTHER = ', {"int_tensor": [3,4], "str_tensor": ["baz","bat"]}'
INCONSISTENT = Refused("INVALID_ARGUMENT", has=" has inconsistent batch size: ")
WHOLE = '{"inputs": [1, 2, 3, 4, 5]}'

PAIRS = [
    predict(
        "FromJsonSingleTensor", "echo_int32", f'{{"instances": {INTS}}}', INT_ROWS, case="rows"
    ),
    predict(
        "FromJsonSingleTensor", "echo_int32", f'{{"inputs": {INTS}}}', INT_ROWS, case="columns"
    ),
    predict(
        "FromJsonSingleScalarTensor",
        "echo_int32",
        '{"instances": [1, 2, 3, 4, 5]}',
        [1, 2, 3, 4, 5],
        case="rows",
    ),
    predict("FromJsonSingleScalarTensor", "echo_int32", WHOLE, [1, 2, 3, 4, 5], case="columns"),
    predict(
        "FromJsonSingleBytesTensor",
        "bytes",
        '{"instances": [["hello", "world"], ["tf", "serving"]]}',
        BYTES,
    ),
    predict(
        "FromJsonSingleFloatTensorSixDigitPrecision",
        "echo_float",
        '{"instances": [[9000000, 999999, 0.50000], [0.0003, 0.00003, 555557.5]]}',
        [[9e06, 999999.0, 0.5], [0.0003, 3e-05, 555557.5]],
    ),
    predict(
        "FromJsonSingleFloatTensorNonFinite",
        "echo_float",
        '{"instances": [[NaN, Infinity], [3, -Infinity]]}',
        [[nan, inf], [3.0, -inf]],
    ),
    predict(
        "FromJsonSingleTensorErrors",
        "total",
        '{"instances": [1, 2]}',
        Refused("INVALID_ARGUMENT", begins="Tensor name: tensor has no shape information"),
        case="a scalar has no rows",
    ),
    of_code("MakeColumnarFormatJsonFromTensors", "total", '{"inputs": [1, 2]}', 3, "a scalar"),
    predict(
        "FromJsonMultipleNamedTensors", "five_tensors", FIVE_ROWS, [FIRST, SECOND], case="rows"
    ),
    predict(
        "FromJsonMultipleNamedTensors",
        "five_tensors",
        FIVE_COLUMNS,
        {alias: [FIRST[alias], SECOND[alias]] for alias in FIRST},
        case="columns",
    ),
    predict("FromJsonMultipleNamedTensorsErrors", "one_str", TWO_TENSORS % ANOTHER, INCONSISTENT),
    of_code(
        "MakeColumnarFormatJsonFromTensors",
        "one_str",
        '{"inputs": {"int_tensor": [1, 2], "str_tensor": ["foo", "bar"]}}',
        {"int_tensor": [1, 2], "str_tensor": ["foo"]},
        "columns may differ",
    ),
    predict("FromJsonSingleZeroBatchTensor", "no_rows", '{"instances": [[1, 2]]}', []),
    predict(
        "FromJsonMultipleZeroBatchTensors",
        "no_rows_of_two",
        '{"instances": [{"str_tensor": [["a", "b"]], "float_tensor": [[1, 2, 3, 4]]}]}',
        [],
    ),
    predict("FromJsonMultipleZeroBatchTensorsErrors", "no_int", TWO_TENSORS % "", INCONSISTENT),
    predict(
        "StatusError",
        "echo_int32",
        '{"inputs": ["\\"key\\""]}',
        Refused("INVALID_ARGUMENT", begins='JSON Value: "\\"key\\"" Type: String'),
        case="quotes",
    ),
    predict(
        "StatusError",
        "echo_int32",
        '{"inputs": ["\'key\'"]}',
        Refused("INVALID_ARGUMENT", begins="JSON Value: \"'key'\" Type: String"),
        case="single quotes",
    ),
    of_code(
        "WriteDecimal",
        "echo_float",
        '{"inputs": [0.1, 0.2, 16777216]}',
        [0.1, 0.2, 16777216.0],
        "float",
    ),
    of_code("WriteDecimal", "echo_double", '{"inputs": [0.1, 1e300]}', [0.1, 1e300], "double"),
    of_code("WriteDecimal", "echo_float", '{"inputs": [-0.0]}', [-0.0], "minus zero"),
    of_code(
        "WriteDecimal",
        "echo_double",
        '{"inputs": [NaN, Infinity, -Infinity]}',
        [nan, inf, -inf],
        "not finite double",
    ),
    of_code(
        "AddSingleValueAndAdvance", "echo_string", '{"inputs": ["é\\"\\\\"]}', ['é"\\'], "a string"
    ),
    of_code(
        "AddSingleValueAndAdvance",
        "echo_string",
        '{"inputs": [{"b64": "/w=="}]}',
        ["\udcff"],
        "bytes that are no text",
        deviation=Deviation(
            reason="ONNX strings are UTF-8: a DT_STRING with other bytes is refused if an ONNX "
            "graph takes it.",
            answer=Refused("INVALID_ARGUMENT", has="not UTF-8"),
        ),
    ),
    of_code(
        "FillTensorMapFromInstancesList",
        "echo_half",
        '{"instances": [0.5]}',
        Refused("INVALID_ARGUMENT", has="Conversion of JSON Value: 0.5 to type: half"),
        "half in a row",
        deviation=Deviation(reason=MORE_TYPES, answer=Ok({"predictions": [0.5]})),
    ),
]
