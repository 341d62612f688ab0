"""Predict over gRPC: predict_util_test.cc and predict_impl_test.cc on half_plus_two."""

from tfs_parity.pair import Answer, Grpc, Ok, Pair, Refused, Rest

UTIL, IMPL = (
    "servables/tensorflow/predict_util_test.cc",
    "servables/tensorflow/predict_impl_test.cc",
)
CODE = "servables/tensorflow/predict_util.cc"
SPEC = 'model_spec { name: "test_model" version { value: 123 } }'
TWO = 'inputs { key: "x" value { dtype: DT_FLOAT float_val: 2 tensor_shape {} } }'
SERVED = (
    'model_spec { name: "test_model" version { value: 123 } signature_name: "serving_default" }'
)
TWO_INPUTS = TWO.replace('"x"', '"inputs"')
THREE = (
    f'{SERVED} outputs {{ key: "y" value {{ dtype: DT_FLOAT tensor_shape {{}} float_val: 3 }} }}'
)


def _pair(
    source: str,
    test: str,
    case: str,
    message: str,
    answer: Answer,
) -> Pair:
    return Pair(
        source=source,
        test=test,
        case=case,
        request=Grpc(method="Predict", message=message),
        answer=answer,
    )


def _named(name: str) -> str:
    return f'model_spec {{ name: "test_model" version {{ value: 123 }} signature_name: "{name}" }}'


def _input(alias: str, tensor: str) -> str:
    return f'inputs {{ key: "{alias}" value {{ {tensor} }} }}'


def _output(alias: str, value: float) -> str:
    tensor = f"dtype: DT_FLOAT tensor_shape {{}} float_val: {value}"
    return f'outputs {{ key: "{alias}" value {{ {tensor} }} }}'


STRING = 'dtype: DT_STRING tensor_shape { dim { size: 1 } } string_val: "any_value"'
FLOAT = "dtype: DT_FLOAT tensor_shape { dim { size: 1 } } float_val: 1"
EMPTY = Refused(
    "INVALID_ARGUMENT",
    begins="input size does not match signature: 0!=1 len({}) != len({x}). "
    "Sent extra: {}. Missing but required: {x}.",
)
NO_KEY = Refused(
    "INVALID_ARGUMENT",
    begins="Signature input alias: x(feed name: x:0) not found in request and no default value "
    "provided. Inputs expected to be in the request {key}",
)
UNKNOWN_OUTPUT = Refused(
    "INVALID_ARGUMENT",
    begins="output tensor alias not found in signature: output_filter Outputs expected to be in "
    "the set {y}.",
)


def _counter(signature: str) -> str:
    return (
        f'model_spec {{ name: "counter" version {{ value: 123 }} signature_name: "{signature}" }}'
    )


def _counted(case: str, signature: str, value: float, more: str = "") -> Pair:
    spec = _counter(signature)
    return _pair(
        UTIL,
        "PredictionWithCustomizedSignatures",
        case,
        f"{spec} {more}",
        Ok(f"{spec} {_output('output', value)}"),
    )


TESTS = [
    _pair(
        UTIL,
        "MissingOrEmptyModelSpec",
        "no spec",
        "",
        Refused("INVALID_ARGUMENT", begins="Missing ModelSpec"),
    ),
    _pair(
        UTIL,
        "MissingOrEmptyModelSpec",
        "no name",
        "model_spec {}",
        Refused("INVALID_ARGUMENT", begins="ModelSpec has no name specified."),
    ),
    _pair(
        IMPL,
        "MissingOrEmptyModelSpec",
        "wrong name",
        'model_spec { name: "test" }',
        Refused("NOT_FOUND", begins="Servable not found for request: Latest(test)"),
    ),
    _pair(UTIL, "EmptyInputList", "", SPEC, EMPTY),
    _pair(
        IMPL, "ModelSpecOverride", "the request's own", 'model_spec { name: "test_model" }', EMPTY
    ),
    _pair(
        IMPL,
        "ModelSpecOverride",
        "another model",
        'model_spec { name: "nonexistent_model" }',
        Refused("NOT_FOUND", begins="Servable not found for request: Latest(nonexistent_model)"),
    ),
    _pair(
        UTIL,
        "InputTensorsDontMatchModelSpecInputs",
        "two unknown keys",
        f"{SPEC} {_input('unknown_key2', FLOAT)} {_input('unknown_key1', STRING)}",
        Refused(
            "INVALID_ARGUMENT",
            begins="input size does not match signature: 2!=1 len({unknown_key1,unknown_key2}) != "
            "len({x}). Sent extra: {unknown_key1,unknown_key2}. Missing but required: {x}.",
        ),
    ),
    _pair(
        IMPL,
        "InputTensorsDontMatchModelSpecInputs",
        "one unknown key",
        f"{SPEC} {_input('key', STRING)}",
        NO_KEY,
    ),
    _pair(
        UTIL,
        "PredictionInvalidTensor",
        "",
        f"{SPEC} {_input('x', 'dtype: DT_BOOL bool_val: true')}",
        Refused("INVALID_ARGUMENT", begins="Expects arg[0] to be float but bool is provided"),
    ),
    _pair(
        UTIL,
        "OutputFiltersDontMatchModelSpecOutputs",
        "unknown",
        f'{SPEC} {TWO} output_filter: "output_filter"',
        UNKNOWN_OUTPUT,
    ),
    _pair(
        UTIL,
        "OutputFiltersDontMatchModelSpecOutputs",
        "known",
        f'{SPEC} {TWO} output_filter: "y"',
        Ok(THREE),
    ),
    _pair(
        UTIL,
        "OutputFiltersDontMatchModelSpecOutputs",
        "twice",
        f'{SPEC} {TWO} output_filter: "y" output_filter: "y"',
        Refused("INVALID_ARGUMENT", begins="duplicate output tensor alias: y"),
    ),
    _pair(
        UTIL,
        "InputTensorsHaveWrongType",
        "",
        f'{SPEC} {_input("x", STRING)} output_filter: "y"',
        Refused("INVALID_ARGUMENT", has="to be float but string is provided"),
    ),
    _pair(
        UTIL,
        "ModelMissingSignatures",
        "",
        f'model_spec {{ name: "no_default" version {{ value: 123 }} }} {TWO}',
        Refused("FAILED_PRECONDITION", begins='Serving signature key "serving_default" not found.'),
    ),
    _pair(UTIL, "PredictionSuccess", "", f"{SPEC} {TWO}", Ok(THREE)),
    _pair(
        UTIL,
        "PredictionWithNamedRegressionSignature",
        "",
        f"{_named('regress_x2_to_y3')} {TWO_INPUTS}",
        Ok(f"{_named('regress_x2_to_y3')} {_output('outputs', 4)}"),
    ),
    _pair(
        UTIL,
        "PredictionWithNamedClassificationSignature",
        "",
        f"{_named('classify_x2_to_y3')} {TWO_INPUTS}",
        Ok(f"{_named('classify_x2_to_y3')} {_output('scores', 4)}"),
    ),
    _counted("get", "get_counter", 0),
    _counted("increase", "incr_counter", 1),
    _counted("reset", "reset_counter", 0),
    _counted("increase with a filter", "incr_counter", 1, 'output_filter: "output"'),
    _counted(
        "increase by 3", "incr_counter_by", 4, _input("delta", "dtype: DT_FLOAT float_val: 3")
    ),
    _pair(
        UTIL,
        "MethodNameCheck",
        "unsupported method",
        f'model_spec {{ name: "unsupported_method" }} {TWO}',
        Ok(
            'model_spec { name: "unsupported_method" version { value: 123 } '
            f'signature_name: "serving_default" }} {_output("x", 2)}'
        ),
    ),
]
SOURCES = [
    _pair(
        CODE,
        "RunPredict",
        "unknown signature",
        f"{_named('nope')} {TWO}",
        Refused("FAILED_PRECONDITION", begins='Serving signature key "nope" not found.'),
    ),
    _pair(
        CODE,
        "RunPredict",
        "a tf.Example for a classification",
        f"{_named('classify_x_to_y')} {_input('inputs', STRING.replace('any_value', 'garbage'))}",
        Refused("INVALID_ARGUMENT", has="Could not parse example input"),
    ),
    _pair(
        CODE,
        "VerifyRequestInputsSize",
        "one too many",
        f"{SPEC} {TWO} {_input('z', FLOAT)}",
        Refused(
            "INVALID_ARGUMENT",
            begins="input size does not match signature: 2!=1 len({x,z}) != len({x}). "
            "Sent extra: {z}. Missing but required: {}.",
        ),
    ),
    _pair(
        CODE,
        "VerifyRequestInputsSize",
        "one too few",
        f'model_spec {{ name: "int_and_str" }} {_input("str_tensor", STRING)}',
        Refused(
            "INVALID_ARGUMENT",
            begins="input size does not match signature: 1!=2 len({str_tensor}) != "
            "len({int_tensor,str_tensor}). Sent extra: {}. Missing but required: {int_tensor}.",
        ),
    ),
    _pair(
        CODE,
        "PreProcessPrediction",
        "names before the filter",
        f'{SPEC} {_input("key", STRING)} output_filter: "output_filter"',
        NO_KEY,
    ),
    _pair(
        CODE,
        "PreProcessPrediction",
        "the filter before the run",
        f'{SPEC} {_input("x", STRING)} output_filter: "output_filter"',
        UNKNOWN_OUTPUT,
    ),
    _pair(
        CODE,
        "PreProcessPrediction",
        "a tensor that is too short",
        f"{SPEC} " + _input("x", 'dtype: DT_FLOAT tensor_content: "abc" tensor_shape {}'),
        Refused("INVALID_ARGUMENT", begins="tensor parsing error: x"),
    ),
    _pair(
        CODE,
        "PreProcessPrediction",
        "any shape",
        f"{SPEC} "
        + _input(
            "x",
            "dtype: DT_FLOAT tensor_shape { dim { size: 1 } dim { size: 1 } dim { size: 2 } } "
            "float_val: 2 float_val: 4",
        ),
        Ok(
            f'{SERVED} outputs {{ key: "y" value {{ dtype: DT_FLOAT '
            "tensor_shape { dim { size: 1 } dim { size: 1 } dim { size: 2 } } "
            "float_val: 3 float_val: 4 } }"
        ),
    ),
    _pair(
        CODE,
        "PostProcessPredictionResult",
        "the latest version",
        f'model_spec {{ name: "half_plus_two_2_versions" }} {TWO}',
        Ok(
            'model_spec { name: "half_plus_two_2_versions" version { value: 124 } '
            f'signature_name: "serving_default" }} {_output("y", 3)}'
        ),
    ),
    Pair(
        source=CODE,
        test="VerifyRequestInputsSize",
        case="a scalar for a column",
        request=Rest(path="/v1/models/test_model:predict", body='{"inputs": 2}'),
        answer=Ok({"outputs": 3.0}),
    ),
]
PAIRS = TESTS + SOURCES
