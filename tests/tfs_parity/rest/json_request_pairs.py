"""JSON that Predict reads: json_tensor_test.cc on models that answer with their inputs."""

from math import inf, nan
from typing import Any

from tfs_parity.pair import Answer, Deviation, Ok, Pair, Refused, Rest

TEST, CODE = "util/json_tensor_test.cc", "util/json_tensor.cc"
# The limits of double as absl::Substitute writes them.
LARGEST, SMALLEST = "1.79769e+308", "2.22507e-308"


def predict(
    test: str,
    model: str,
    body: str,
    answer: Any,
    *,
    case: str = "",
    source: str = TEST,
    single: bool = False,
    deviation: Deviation | None = None,
) -> Pair:
    """Return a Predict pair over REST; an answer that is not an `Answer` is the tensors."""
    if not isinstance(answer, Answer):
        answer = Ok({"predictions" if '"instances"' in body else "outputs": answer}, single=single)
    return Pair(
        source=source,
        test=test,
        case=case,
        request=Rest(path=f"/v1/models/{model}:predict", body=body),
        answer=answer,
        deviation=deviation,
    )


def of_code(
    test: str,
    model: str,
    body: str,
    answer: Any,
    case: str,
    *,
    deviation: Deviation | None = None,
) -> Pair:
    """Return a Predict pair whose answer comes from the function `test` in json_tensor.cc."""
    return predict(test, model, body, answer, case=case, source=CODE, deviation=deviation)


FOUR = [
    {
        "int_tensor": [[1, 2], [3, 4], [5, 6]],
        "str_tensor": ["foo", "bar"],
        "float_tensor": [1.0, nan],
        "dbl_tensor": [nan],
    },
    {
        "int_tensor": [[7, 8], [9, 0], [1, 2]],
        "str_tensor": ["baz", "bat"],
        "float_tensor": [2.0, inf],
        "dbl_tensor": [2.0],
    },
]
FOUR_TEXT = """{"instances": [
    {"int_tensor": [[1,2],[3,4],[5,6]], "str_tensor": ["foo", "bar"],
     "float_tensor": [1.0, NaN], "dbl_tensor": [NaN]},
    {"int_tensor": [[7,8],[9,0],[1,2]], "str_tensor": ["baz", "bat"],
     "float_tensor": [2.0, Infinity], "dbl_tensor": [2.0]}
]}"""
MANY_COUNT = 100_000
MANY = str(list(range(MANY_COUNT)))
# Offset of a value that follows them in the list.
BEHIND_MANY = len('{"instances": ') + len(MANY)
SIX = [[1, 2], [3, 4], [5, 6]]
WRAPPED = Deviation(
    reason="A number that the element type cannot hold is refused; TensorFlow Serving wraps it "
    "around and computes with the wrapped value.",
    answer=Refused("INVALID_ARGUMENT", has="not of expected type: uint8"),
)
MORE_TYPES = "DT_HALF and DT_UINT16 have no JSON form in TensorFlow Serving; here they are numbers."


def _no_conversion(dtype: str) -> Refused:
    return Refused("UNIMPLEMENTED", begins=f"Conversion of JSON Value: 1 to type: {dtype}")


PAIRS = [
    predict("SingleUnnamedTensor", "echo_int32", '{"instances": [[1,2],[3,4],[5,6]]}', SIX),
    predict(
        "DeeplyNestedWellFormed",
        "echo_int32",
        '{"instances":[1], "nested":' + "[" * 500_000 + "]" * 500_000 + "}",
        [1],
    ),
    predict(
        "MixedInputForFloatTensor",
        "echo_float",
        '{"instances": [1, 2.0, 3, 4, 5.003, 0.007, 0.0]}',
        [1.0, 2.0, 3.0, 4.0, 5.003, 0.007, 0.0],
    ),
    predict(
        "MixedInputForDoubleTensor",
        "echo_double",
        '{"instances": [1.0, 2, 3, 4, 0.662, 0, 0.0]}',
        [1.0, 2.0, 3.0, 4.0, 0.662, 0.0, 0.0],
    ),
    predict(
        "FloatTensorWithPrecisionLoss",
        "echo_float",
        '{"instances": [1435774380]}',
        [1.43577434e09],
        case="an integer",
        single=True,
    ),
    predict(
        "FloatTensorWithPrecisionLoss",
        "echo_float",
        '{"instances": [1435774380.0]}',
        [1.43577434e09],
        case="a decimal",
        single=True,
    ),
    predict(
        "FloatTensorThatExceedsMaxReturnsInf",
        "echo_float",
        f'{{"instances": [{LARGEST}]}}',
        [inf],
        case="largest",
    ),
    predict(
        "FloatTensorThatExceedsMaxReturnsInf",
        "echo_float",
        f'{{"instances": [-{LARGEST}]}}',
        [-inf],
        case="least",
    ),
    predict(
        "FloatTensorThatExceedsMinReturnsZero",
        "echo_float",
        f'{{"instances": [{SMALLEST}]}}',
        [0.0],
        case="smallest",
    ),
    predict(
        "FloatTensorThatExceedsMinReturnsZero",
        "echo_float",
        f'{{"instances": [-{SMALLEST}]}}',
        [-0.0],
        case="smallest negative",
    ),
    predict(
        "SingleUnnamedTensorWithSignature",
        "echo_int32",
        '{"signature_name": "predict_images", "instances": [[1,2]]}',
        [[1, 2]],
    ),
    predict(
        "TensorFromNonNullTerminatedBuffer",
        "echo_int32",
        '{"instances": [[1,2],[3,4],[5,6]]}X',
        SIX,
    ),
    predict(
        "SingleUnnamedTensorBase64Scalars",
        "echo_string",
        '{"instances": [ { "b64" : "aGVsbG8=" }, { "b64": "d29ybGQ=" } ]}',
        ["hello", "world"],
    ),
    predict(
        "SingleUnnamedTensorBase64Lists",
        "echo_string",
        '{"instances": [ [{ "b64" : "aGVsbG8=" }], [{ "b64": "d29ybGQ=" }] ]}',
        [["hello"], ["world"]],
    ),
    predict(
        "SingleNamedTensorBase64",
        "echo_string",
        '{"instances": [{"default": [ [{ "b64" : "aGVsbG8=" }], [{ "b64": "d29ybGQ=" }] ]}]}',
        [[["hello"], ["world"]]],
    ),
    predict("MultipleNamedTensor", "four_tensors", FOUR_TEXT, FOUR),
    predict(
        "SingleUnnamedTensorColumnarFormat",
        "int_tensor",
        '{"inputs": {"int_tensor": [[[1,2],[3,4],[5,6]]]}}',
        [SIX],
        case="named",
    ),
    predict(
        "SingleUnnamedTensorColumnarFormat",
        "int_tensor",
        '{"inputs": [[[1,2],[3,4],[5,6]]]}',
        [SIX],
        case="unnamed",
    ),
    predict(
        "MultipleNamedTensorColumnarFormat",
        "bin_tensor",
        '{"inputs": {"int_tensor": [[[1,2],[3,4],[5,6]]], "str_tensor": ["foo", "bar"], '
        '"float_tensor": [], "bin_tensor": { "b64" : "aGVsbG8=" }}}',
        {
            "int_tensor": [SIX],
            "str_tensor": ["foo", "bar"],
            "float_tensor": [],
            "bin_tensor": "hello",
        },
    ),
    of_code(
        "FillTensorMapFromInputsMap",
        "int_tensor",
        '{"inputs": {"int_tensor": [1], "junk": [[2], 3]}}',
        [1],
        "other names are ignored",
    ),
    of_code("FillTensorMapFromInputsMap", "echo_int32", '{"inputs": 7}', 7, "a scalar has no list"),
    of_code(
        "FillTensorMapFromInputsMap",
        "echo_string",
        '{"inputs": {"b64": "aGVsbG8="}}',
        "hello",
        "a binary scalar",
    ),
    of_code("GetDenseTensorShape", "echo_int32", '{"inputs": []}', [], "nothing"),
    of_code(
        "GetDenseTensorShape", "echo_int32", '{"inputs": [[], []]}', [[], []], "two of nothing"
    ),
    of_code(
        "FillTensorMapFromInstancesList",
        "echo_int32",
        '{"instances": [{"default": 1}, {"default": 2}]}',
        [1, 2],
        "rows with a name",
    ),
    of_code(
        "FillTensorMapFromInstancesList",
        "echo_int32",
        '{"instances": [[], []]}',
        [[], []],
        "empty rows",
    ),
    of_code(
        "AddValueToTensor",
        "echo_int64",
        '{"inputs": [9223372036854775807, -9223372036854775808]}',
        [9223372036854775807, -9223372036854775808],
        "int64",
    ),
    of_code(
        "AddValueToTensor",
        "echo_uint64",
        '{"inputs": [18446744073709551615]}',
        [18446744073709551615],
        "uint64",
    ),
    of_code("AddValueToTensor", "echo_uint32", '{"inputs": [4294967295]}', [4294967295], "uint32"),
    of_code("AddValueToTensor", "echo_int16", '{"inputs": [-32768]}', [-32768], "int16"),
    of_code("AddValueToTensor", "echo_int8", '{"inputs": [-128]}', [-128], "int8"),
    of_code("AddValueToTensor", "echo_uint8", '{"inputs": [255]}', [255], "uint8"),
    of_code("AddValueToTensor", "echo_bool", '{"inputs": [true, false]}', [True, False], "bool"),
    of_code(
        "AddValueToTensor",
        "echo_double",
        '{"inputs": [18446744073709551615]}',
        [18446744073709551616.0],
        "a large integer for double",
    ),
    of_code(
        "AddValueToTensor",
        "echo_string",
        '{"inputs": ["\\u00e9\\n\\u0000\\ud83d\\ude00"]}',
        ["é\n\0😀"],
        "escapes in strings",
    ),
    of_code(
        "AddValueToTensor",
        "echo_uint8",
        '{"inputs": [256]}',
        [0],
        "256 for uint8",
        deviation=WRAPPED,
    ),
    of_code(
        "AddValueToTensor",
        "echo_half",
        '{"inputs": [1]}',
        _no_conversion("half"),
        "half",
        deviation=Deviation(reason=MORE_TYPES, answer=Ok({"outputs": [1.0]})),
    ),
    of_code(
        "AddValueToTensor",
        "echo_uint16",
        '{"inputs": [1]}',
        _no_conversion("uint16"),
        "uint16",
        deviation=Deviation(reason=MORE_TYPES, answer=Ok({"outputs": [1]})),
    ),
    of_code(
        "JsonDecodeBase64Object",
        "echo_string",
        '{"inputs": [{"b64": "aGVsbG8"}]}',
        ["hello"],
        "without padding",
    ),
    of_code("JsonDecodeBase64Object", "echo_string", '{"inputs": [{"b64": ""}]}', [""], "no bytes"),
    # Child processes read large bodies.
    of_code(
        "ParseJson",
        "echo_int32",
        f'{{"instances": {MANY}}}',
        list(range(MANY_COUNT)),
        "many rows",
    ),
    of_code(
        "ParseJson",
        "echo_double",
        f'{{"inputs": {MANY[:-1]}, NaN], "inputs": 1}} more',
        [*map(float, range(MANY_COUNT)), nan],
        "many values, a NaN, a key twice and more text",
    ),
    of_code(
        "AddInstanceItem",
        "echo_int32",
        f'{{"instances": {MANY[:-1]}, "x"]}}',
        Refused(
            "INVALID_ARGUMENT",
            begins=f"Failed to process element: {MANY_COUNT} of 'instances' list. Error: "
            'INVALID_ARGUMENT: JSON Value: "x" Type: String is not of expected type: int32',
        ),
        "a string behind many rows",
    ),
    of_code(
        "ParseJson",
        "echo_int32",
        f'{{"instances": {MANY[:-1]},]}}',
        Refused(
            "INVALID_ARGUMENT",
            begins=f"JSON Parse error: Invalid value. at offset: {BEHIND_MANY}",
        ),
        "a comma behind many rows",
    ),
]
