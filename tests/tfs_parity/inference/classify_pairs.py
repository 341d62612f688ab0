"""Classify: classifier_test.cc on a model that answers with the features of its examples."""

from collections.abc import Sequence

from tfs_parity import examples
from tfs_parity.examples import example
from tfs_parity.pair import Answer, Grpc, Ok, Pair, Refused, Rest

TEST, CODE = "servables/tensorflow/classifier_test.cc", "servables/tensorflow/classifier.cc"


def _scored(*classes: tuple[str, float]) -> str:
    return example(
        **{"class": [label for label, _ in classes], "score": [float(s) for _, s in classes]}
    )


FIRST, SECOND = [("dos", 2), ("uno", 1)], [("cuatro", 4), ("tres", 3)]
BOTH = examples.of_list(_scored(*FIRST), _scored(*SECOND))
ONE = examples.of_list(_scored(("dos", 2)))
ROWS = (
    '[{"class": ["dos", "uno"], "score": [2.0, 1.0]},'
    ' {"class": ["cuatro", "tres"], "score": [4.0, 3.0]}]'
)


def _pair(
    test: str,
    answer: Answer | Sequence[Sequence[tuple[str, float]]],
    *,
    case: str = "",
    signature: str = "",
    asked: str = BOTH,
    source: str = TEST,
) -> Pair:
    """Return a Classify pair; an answer that is not an `Answer` is each example's classes."""
    if not isinstance(answer, Answer):
        served = examples.spec("classifier", signature or "serving_default", 123)
        answer = Ok(f"{served} result {{ {examples.classifications(*answer)} }}")
    message = f"{examples.spec('classifier', signature)} {asked}"
    return Pair(
        source=source,
        test=test,
        case=case,
        request=Grpc(method="Classify", message=message),
        answer=answer,
    )


def _rest(
    test: str,
    answer: Answer | list[list[list[str | float]]],
    *,
    case: str = "",
    signature: str = "serving_default",
    rows: str = ROWS,
    source: str = TEST,
) -> Pair:
    """Return a Classify pair over REST; an answer that is not an `Answer` is the results."""
    return Pair(
        source=source,
        test=test,
        case=case,
        request=Rest(
            path="/v1/models/classifier:classify",
            body=f'{{"signature_name": "{signature}", "examples": {rows}}}',
        ),
        answer=answer if isinstance(answer, Answer) else Ok({"results": answer}),
    )


EMPTY = Refused("INVALID_ARGUMENT", begins="Input is empty")
NO_SHAPE = Refused(
    "INVALID_ARGUMENT",
    begins="Expected Tensor shape: [batch_size num_classes] but got [2,2,1]",
)
NOT_CLASSES = Refused(
    "INVALID_ARGUMENT",
    begins="Expected classification signature outputs to contain at least one of "
    '"classes" or "scores". Signature was: ',
)
FEW_CLASSES = Refused("INVALID_ARGUMENT", begins="Expected classes output batch size of 2. Got: 1")
FEW_SCORES = Refused("INVALID_ARGUMENT", begins="Expected scores output batch size of 2. Got: 1")
NO_STRINGS = Refused(
    "INVALID_ARGUMENT", begins="Expected classes Tensor of DT_STRING. Got: DT_FLOAT"
)
NO_FLOATS = Refused("INVALID_ARGUMENT", begins="Expected scores Tensor of DT_FLOAT. Got: DT_STRING")
MISMATCH = Refused(
    "INVALID_ARGUMENT",
    begins="Tensors class and score should match in dim_size(1). Got 2 vs. 3",
)
NO_SIGNATURE = Refused("INVALID_ARGUMENT", begins="No signature was found with the name: nope")
# The session's own error is passed on: TensorFlow's Gather or ONNX Runtime's.
FAILED = Refused("INVALID_ARGUMENT", has="Gather")
PLUS_ONE = [[("dos", 3), ("uno", 2)], [("cuatro", 5), ("tres", 4)]]

PAIRS = [
    _pair("ExampleList", [FIRST, SECOND]),
    _rest("ExampleList", [[["dos", 2.0], ["uno", 1.0]], [["cuatro", 4.0], ["tres", 3.0]]]),
    _pair(
        "ExampleListWithContext",
        [FIRST, FIRST],
        asked=examples.with_context(_scored(*FIRST), "", ""),
    ),
    _pair(
        "ExampleListWithContext_DuplicateFeatures",
        [[("uno", 1), ("dos", 2)], [("tres", 3), ("cuatro", 4)]],
        asked=examples.with_context(
            _scored(("uno", 1), ("dos", 2)), "", _scored(("tres", 3), ("cuatro", 4))
        ),
    ),
    _pair(
        "ClassesOnly",
        [[("dos", 0), ("uno", 0)], [("cuatro", 0), ("tres", 0)]],
        signature="classes_only",
    ),
    _rest(
        "ClassesOnly",
        [[["dos", 0.0], ["uno", 0.0]], [["cuatro", 0.0], ["tres", 0.0]]],
        signature="classes_only",
    ),
    _pair("ScoresOnly", [[("", 2), ("", 1)], [("", 4), ("", 3)]], signature="scores_only"),
    _rest(
        "ScoresOnly",
        [[["", 2.0], ["", 1.0]], [["", 4.0], ["", 3.0]]],
        signature="scores_only",
    ),
    _pair(
        "ZeroScoresArePresent",
        [[("", -1), ("", 0), ("", 1)]],
        signature="scores_only",
        asked=examples.of_list(_scored(("minus", -1), ("zero", 0), ("one", 1))),
    ),
    _rest(
        "ZeroScoresArePresent",
        [[["", -1.0], ["", 0.0], ["", 1.0]]],
        signature="scores_only",
        rows='[{"class": ["minus", "zero", "one"], "score": [-1.0, 0.0, 1.0]}]',
    ),
    _pair("ValidNamedSignature", PLUS_ONE, signature="output_plus_one"),
    _rest(
        "ValidNamedSignature",
        [[["dos", 3.0], ["uno", 2.0]], [["cuatro", 5.0], ["tres", 4.0]]],
        signature="output_plus_one",
    ),
    _pair("InvalidNamedSignature", NOT_CLASSES, signature="invalid_regression_signature"),
    _rest("InvalidNamedSignature", NOT_CLASSES, signature="invalid_regression_signature"),
    _pair("MalformedScores", NO_SHAPE, signature="ImproperlySizedScoresSignature"),
    _rest("MalformedScores", NO_SHAPE, signature="ImproperlySizedScoresSignature"),
    _pair("MissingClassificationSignature", NO_SIGNATURE, signature="nope", asked=ONE),
    _rest("MissingClassificationSignature", NO_SIGNATURE, signature="nope"),
    _pair("EmptyInput", EMPTY, asked="input {}"),
    _pair("EmptyExampleList", EMPTY, asked=examples.of_list()),
    _pair("EmptyExampleListWithContext", EMPTY, asked=examples.with_context(_scored(("dos", 2)))),
    _pair("RunsFails", FAILED, signature="fails"),
    _rest("RunsFails", FAILED, signature="fails"),
    _pair("ClassesIncorrectTensorBatchSize", FEW_CLASSES, signature="classes_of_one_example"),
    _rest("ClassesIncorrectTensorBatchSize", FEW_CLASSES, signature="classes_of_one_example"),
    _pair("ClassesIncorrectTensorType", NO_STRINGS, signature="classes_of_numbers"),
    _rest("ClassesIncorrectTensorType", NO_STRINGS, signature="classes_of_numbers"),
    _pair("ScoresIncorrectTensorBatchSize", FEW_SCORES, signature="scores_of_one_example"),
    _pair("ScoresIncorrectTensorType", NO_FLOATS, signature="scores_of_strings"),
    _pair("MismatchedNumberOfTensorClasses", MISMATCH, signature="one_score_more"),
    _rest("MismatchedNumberOfTensorClasses", MISMATCH, signature="one_score_more"),
    _pair(
        "MethodNameCheck",
        [FIRST],
        case="unsupported method",
        signature="unsupported_method",
        asked=examples.of_list(_scored(*FIRST)),
    ),
    _pair(
        "MethodNameCheck",
        [FIRST],
        case="no method",
        signature="no_method",
        asked=examples.of_list(_scored(*FIRST)),
    ),
    _pair(
        "PreProcessClassification",
        Refused("INVALID_ARGUMENT", begins="Expected one or two output Tensors, found 3"),
        signature="three_outputs",
        source=CODE,
    ),
    _pair(
        "GetClassificationSignatureDef",
        NOT_CLASSES,
        case="the signature before the input",
        signature="invalid_regression_signature",
        asked="input {}",
        source=CODE,
    ),
    Pair(
        source=CODE,
        test="PreProcessClassification",
        case="another input",
        request=Grpc(
            method="Classify",
            message=f"{examples.spec('two_inputs', 'classify_renamed')} "
            + examples.of_list(example(x=[1.0])),
        ),
        answer=Refused(
            "INVALID_ARGUMENT", begins="No classification inputs found in SignatureDef: "
        ),
    ),
    Pair(
        source=CODE,
        test="PreProcessClassification",
        case="two inputs",
        request=Grpc(
            method="Classify",
            message=f"{examples.spec('two_inputs', 'two_inputs')} "
            + examples.of_list(example(x=[1.0])),
        ),
        answer=Refused("INVALID_ARGUMENT", begins="Expected one input Tensor."),
    ),
    _pair(
        "GetClassificationSignatureDef",
        NO_SIGNATURE,
        case="no signature of the name and no input",
        signature="nope",
        asked="",
        source=CODE,
    ),
]
