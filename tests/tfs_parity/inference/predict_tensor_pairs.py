"""Predict's tensors over gRPC: predict_util.cc on models that answer with their inputs."""

from tfs_parity import examples
from tfs_parity.pair import Answer, Deviation, Grpc, Ok, Pair, Refused, Rest

CODE = "servables/tensorflow/predict_util.cc"
READ, WRITTEN = "PreProcessPrediction", "PostProcessPredictionResult"
SIZES = "VerifyRequestInputsSize"
# A value of each element type, in the field to which TensorFlow writes it.
FIELDS = {
    "float": "float_val: 1.5",
    "double": "double_val: 0.1",
    "half": "half_val: 15872",
    "int8": "int_val: -128",
    "int16": "int_val: -32768",
    "int32": "int_val: -2147483648",
    "int64": "int64_val: -9223372036854775808",
    "uint8": "int_val: 255",
    "uint16": "int_val: 65535",
    "uint32": "uint32_val: 4294967295",
    "uint64": "uint64_val: 18446744073709551615",
    "bool": "bool_val: true",
    "string": 'string_val: "\\303\\251"',
}
CONTENTS = {
    "float": r"\000\000\300\077",
    "int16": r"\000\200",
    "int64": r"\000\000\000\000\000\000\000\200",
    "uint32": r"\377\377\377\377",
    "bool": r"\001",
}


def _tensor(dtype: str, values: str, *sizes: int) -> str:
    dims = " ".join(f"dim {{ size: {size} }}" for size in sizes)
    return f"dtype: DT_{dtype.upper()} tensor_shape {{ {dims} }} {values}"


def _pair(test: str, case: str, message: str, answer: Answer) -> Pair:
    request = Grpc(method="Predict", message=message)
    return Pair(source=CODE, test=test, case=case, request=request, answer=answer)


def _echo(test: str, case: str, dtype: str, sent: str, answered: str) -> Pair:
    name = f"echo_{dtype}"
    message = f'{examples.spec(name)} inputs {{ key: "default" value {{ {sent} }} }}'
    served = examples.spec(name, "serving_default", 123)
    answer = Ok(f'{served} outputs {{ key: "default" value {{ {answered} }} }}')
    return _pair(test, case, message, answer)


def _scaled(case: str, inputs: dict[str, float], answer: Answer | float) -> Pair:
    """Return a Predict pair on the model whose `factor` is 3 by default."""
    sent = " ".join(
        f'inputs {{ key: "{alias}" value {{ {_tensor("float", f"float_val: {value}")} }} }}'
        for alias, value in inputs.items()
    )
    if not isinstance(answer, Answer):
        output = f'outputs {{ key: "y" value {{ {_tensor("float", f"float_val: {answer}")} }} }}'
        answer = Ok(f"{examples.spec('scaled', 'serving_default', 123)} {output}")
    return _pair(SIZES, case, f"{examples.spec('scaled')} {sent}", answer)


def _scaled_rest(case: str, body: str, message: str, answer: Ok) -> Pair:
    return Pair(
        source="util/json_tensor.cc",
        test="FillTensorMapFromInputsMap" if "inputs" in body else "FillTensorMapFromInstancesList",
        case=case,
        request=Rest(path="/v1/models/scaled:predict", body=body),
        answer=Refused("INVALID_ARGUMENT", begins=message),
        deviation=Deviation(
            reason="Over REST, an input with a default may be left out, as over gRPC.",
            answer=answer,
        ),
    )


FOUR = " ".join(["int_val: 7"] * 4)
PAIRS = [
    *(
        _echo(WRITTEN, dtype, dtype, _tensor(dtype, value, 1), _tensor(dtype, value, 1))
        for dtype, value in FIELDS.items()
    ),
    *(
        _echo(
            WRITTEN,
            f"{dtype} from bytes",
            dtype,
            _tensor(dtype, f'tensor_content: "{content}"', 1),
            _tensor(dtype, FIELDS[dtype], 1),
        )
        for dtype, content in CONTENTS.items()
    ),
    _echo(
        READ,
        "one value for all",
        "int32",
        _tensor("int32", "int_val: 7", 2, 2),
        _tensor("int32", FOUR, 2, 2),
    ),
    _echo(
        READ,
        "the last value repeated",
        "int32",
        _tensor("int32", "int_val: 6 int_val: 7", 4),
        _tensor("int32", "int_val: 6 int_val: 7 int_val: 7 int_val: 7", 4),
    ),
    _echo(
        READ,
        "no value is zero",
        "int32",
        _tensor("int32", "", 2),
        _tensor("int32", "int_val: 0 int_val: 0", 2),
    ),
    _echo(
        READ,
        "no value is an empty string",
        "string",
        _tensor("string", "", 1),
        _tensor("string", 'string_val: ""', 1),
    ),
    _echo(
        READ,
        "more values than elements",
        "int32",
        _tensor("int32", FOUR, 2),
        _tensor("int32", "int_val: 7 int_val: 7", 2),
    ),
    _echo(READ, "no element", "int32", _tensor("int32", "", 0, 2), _tensor("int32", "", 0, 2)),
    _pair(
        READ,
        "a negative size",
        f'{examples.spec("echo_int32")} inputs {{ key: "default" value {{ '
        f"{_tensor('int32', '', -1)} }} }}",
        Refused("INVALID_ARGUMENT", begins="tensor parsing error: default"),
    ),
    _scaled("a default", {"x": 2}, 6),
    _scaled("instead of a default", {"x": 2, "factor": 5}, 10),
    _scaled(
        "a default alone",
        {"factor": 5},
        Refused(
            "INVALID_ARGUMENT",
            begins="Signature input alias: x(feed name: x:0) not found in request and no default "
            "value provided. Inputs expected to be in the request {factor}, or default input "
            "alias set: factor",
        ),
    ),
    _scaled(
        "nothing but a default",
        {},
        Refused(
            "INVALID_ARGUMENT",
            begins="Signature input alias: x(feed name: x:0) not found in request",
        ),
    ),
    _scaled(
        "an unknown input beside a default",
        {"x": 2, "z": 5},
        Refused("INVALID_ARGUMENT", begins="Inputs contains invalid name. Used request inputs: x"),
    ),
    _scaled(
        "more inputs than there are",
        {"x": 2, "factor": 5, "z": 5},
        Refused(
            "INVALID_ARGUMENT",
            begins="input size does not match signature: 3!=2 len({factor,x,z}) != "
            "len({factor,x}). Sent extra: {z}. Missing but required: {}.",
        ),
    ),
    _scaled_rest(
        "a default is left out",
        '{"inputs": {"x": [2]}}',
        "Missing named input: factor in 'inputs' object.",
        Ok({"outputs": [6.0]}),
    ),
    _scaled_rest(
        "a default is left out",
        '{"instances": [{"x": 2}]}',
        "Failed to process element: 0 of 'instances' list. JSON object: {\n    \"x\": 2\n} keys "
        "must be equal to: factor,x",
        Ok({"predictions": [6.0]}),
    ),
]
