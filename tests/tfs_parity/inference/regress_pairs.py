"""Regress: regressor_test.cc on a model that answers with a feature of its examples."""

from collections.abc import Sequence

from tfs_parity import examples
from tfs_parity.examples import example
from tfs_parity.pair import Answer, Grpc, Ok, Pair, Refused, Rest

TEST, CODE = "servables/tensorflow/regressor_test.cc", "servables/tensorflow/regressor.cc"
BOTH = examples.of_list(example(output=[2.0]), example(output=[3.0]))
ONE = examples.of_list(example(output=[2.0]))
ROWS = '[{"output": 2.0}, {"output": [3.0]}]'


def _pair(
    test: str,
    answer: Answer | Sequence[float],
    *,
    case: str = "",
    signature: str = "",
    asked: str = BOTH,
    source: str = TEST,
    model: str = "regressor",
) -> Pair:
    """Return a Regress pair; an answer that is not an `Answer` is each example's number."""
    if not isinstance(answer, Answer):
        served = examples.spec(model, signature or "serving_default", 123)
        answer = Ok(f"{served} result {{ {examples.regressions(*answer)} }}")
    return Pair(
        source=source,
        test=test,
        case=case,
        request=Grpc(method="Regress", message=f"{examples.spec(model, signature)} {asked}"),
        answer=answer,
    )


def _rest(
    test: str,
    answer: Answer | list[float],
    *,
    signature: str = "serving_default",
    rows: str = ROWS,
) -> Pair:
    """Return a Regress pair over REST; an answer that is not an `Answer` is the results."""
    return Pair(
        source=TEST,
        test=test,
        request=Rest(
            path="/v1/models/regressor:regress",
            body=f'{{"signature_name": "{signature}", "examples": {rows}}}',
        ),
        answer=answer if isinstance(answer, Answer) else Ok({"results": answer}),
    )


EMPTY = Refused("INVALID_ARGUMENT", begins="Input is empty")
NO_SHAPE = Refused(
    "INVALID_ARGUMENT",
    begins="Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
    "[2,1,10]",
)
NO_REGRESSION = Refused("INVALID_ARGUMENT", begins="No regression outputs found in SignatureDef: ")
TOO_MANY = Refused(
    "INVALID_ARGUMENT", begins="Input batch size did not match output batch size: 1 vs. 2"
)
NO_FLOATS = Refused(
    "INVALID_ARGUMENT", begins="Expected output Tensor of DT_FLOAT.  Got: DT_STRING"
)
NO_SIGNATURE = Refused("INVALID_ARGUMENT", begins="No signature was found with the name: nope")
# The session's own error is passed on: TensorFlow's Gather or ONNX Runtime's.
FAILED = Refused("INVALID_ARGUMENT", has="Gather")

PAIRS = [
    _pair("BasicExampleList", [2, 3]),
    _rest("BasicExampleList", [2.0, 3.0]),
    _pair(
        "BasicExampleListWithContext",
        [3, 3],
        asked=examples.with_context(example(output=[3.0]), "", ""),
    ),
    _pair("ValidNamedSignature", [3, 4], signature="output_plus_one"),
    _rest("ValidNamedSignature", [3.0, 4.0], signature="output_plus_one"),
    _pair("InvalidNamedSignature", NO_REGRESSION, signature="invalid_classification_signature"),
    _rest("InvalidNamedSignature", NO_REGRESSION, signature="invalid_classification_signature"),
    _pair("MalformedOutputs", NO_SHAPE, signature="ImproperlySizedOutputSignature"),
    _rest("MalformedOutputs", NO_SHAPE, signature="ImproperlySizedOutputSignature"),
    _pair("EmptyInput", EMPTY, asked="input {}"),
    _pair("EmptyExampleList", EMPTY, asked=examples.of_list()),
    _pair("EmptyExampleListWithContext", EMPTY, asked=examples.with_context(example(output=[3.0]))),
    _pair("RunsFails", FAILED, signature="fails", asked=ONE),
    _rest("RunsFails", FAILED, signature="fails"),
    _pair("UnexpectedOutputTensorSize", TOO_MANY, signature="twice_as_many", asked=ONE),
    _rest(
        "UnexpectedOutputTensorSize",
        TOO_MANY,
        signature="twice_as_many",
        rows='[{"output": 2.0}]',
    ),
    _pair("UnexpectedOutputTensorType", NO_FLOATS, signature="strings", asked=ONE),
    _rest("UnexpectedOutputTensorType", NO_FLOATS, signature="strings"),
    _pair(
        "MissingRegressionSignature",
        NO_SIGNATURE,
        signature="nope",
        asked=examples.of_list(example(**{"class": ["uno"]})),
    ),
    _rest("MissingRegressionSignature", NO_SIGNATURE, signature="nope"),
    _pair(
        "MethodNameCheck",
        [2],
        case="unsupported method",
        signature="unsupported_method",
        asked=ONE,
    ),
    _pair("MethodNameCheck", [2], case="no method", signature="no_method", asked=ONE),
    _pair(
        "PreProcessRegression",
        Refused("INVALID_ARGUMENT", begins="Expected one output Tensor."),
        case="two outputs",
        signature="two_outputs",
        source=CODE,
    ),
    _pair(
        "PreProcessRegression",
        Refused("INVALID_ARGUMENT", begins="Expected one input Tensor."),
        case="two inputs",
        signature="two_inputs",
        source=CODE,
        model="two_inputs",
    ),
    _pair(
        "PreProcessRegression",
        Refused("INVALID_ARGUMENT", begins="No regression inputs found in SignatureDef: "),
        case="another input",
        signature="regress_renamed",
        asked=examples.of_list(example(x=[1.0])),
        source=CODE,
        model="two_inputs",
    ),
    _pair(
        "GetRegressionSignatureDef",
        NO_REGRESSION,
        case="the signature before the input",
        signature="invalid_classification_signature",
        asked="input {}",
        source=CODE,
    ),
]
