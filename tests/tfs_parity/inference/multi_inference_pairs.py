"""MultiInference: multi_inference_test.cc and multi_inference_helper_test.cc on half_plus_two."""

from tfs_parity import examples
from tfs_parity.examples import example
from tfs_parity.pair import Answer, Grpc, Ok, Pair, Refused

TEST = "servables/tensorflow/multi_inference_test.cc"
HELPER = "servables/tensorflow/multi_inference_helper_test.cc"
CODE = "servables/tensorflow/multi_inference.cc"
PREDICT, CLASSIFY, REGRESS = (
    f"tensorflow/serving/{name}" for name in ("predict", "classify", "regress")
)
X2 = examples.of_list(example(x=[2.0]))


def _task(
    signature: str,
    method_name: str,
    *,
    model: str = "test_model",
    version: int | None = None,
) -> str:
    spec = examples.spec(model, signature, version) if model else "model_spec {}"
    return f'tasks {{ {spec} method_name: "{method_name}" }}'


def _pair(source: str, test: str, answer: Answer, message: str, case: str = "") -> Pair:
    return Pair(
        source=source,
        test=test,
        case=case,
        request=Grpc(method="MultiInference", message=message),
        answer=answer,
    )


def _regressed(signature: str, *values: float, model: str = "test_model") -> str:
    spec = examples.spec(model, signature, 123)
    return f"results {{ {spec} regression_result {{ {examples.regressions(*values)} }} }}"


def _classified(signature: str, *scores: float, model: str = "test_model") -> str:
    spec = examples.spec(model, signature, 123)
    rows = [[("", score)] for score in scores]
    return f"results {{ {spec} classification_result {{ {examples.classifications(*rows)} }} }}"


ONE = _task("regress_x_to_y", REGRESS)
ONE_123 = _task("regress_x_to_y", REGRESS, version=123)
EMPTY = Refused("INVALID_ARGUMENT", begins="Input is empty")
UNDEFINED = Refused(
    "INVALID_ARGUMENT",
    begins="Requested signature not found in model graph: ThisSignatureDoesNotExist",
)
UNDEFINED_TASK = _task("ThisSignatureDoesNotExist", REGRESS)
SAME_MODEL = Refused(
    "INVALID_ARGUMENT",
    begins="All ModelSpecs in a MultiInferenceRequest must access the same model name.",
)
OTHER_MODEL = _task("regress_x_to_y", REGRESS, model="ModelDoesNotExist")
DUPLICATE = Refused("INVALID_ARGUMENT", begins="Duplicate evaluation of signature: regress_x_to_y")
UNSUPPORTED = Refused(
    "UNIMPLEMENTED",
    begins="Unsupported signature method_name: tensorflow/serving/predict",
)
DEFAULT_TASK = _task("serving_default", PREDICT)
NOT_FOUND = Refused("NOT_FOUND", begins="Servable not found for request: Latest(nonexistent_model)")

PAIRS = [
    _pair(TEST, "MissingInputTest", EMPTY, ONE),
    _pair(TEST, "UndefinedSignatureTest", UNDEFINED, f"{UNDEFINED_TASK} {X2}"),
    _pair(TEST, "InconsistentModelSpecsInRequestTest", SAME_MODEL, f"{ONE} {OTHER_MODEL} {X2}"),
    _pair(TEST, "EvaluateDuplicateSignaturesTest", DUPLICATE, f"{ONE} {ONE} {X2}"),
    _pair(TEST, "UsupportedSignatureTypeTest", UNSUPPORTED, f"{DEFAULT_TASK} {X2}"),
    _pair(TEST, "ValidSingleSignatureTest", Ok(_regressed("regress_x_to_y", 3)), f"{ONE} {X2}"),
    _pair(
        TEST,
        "MultipleValidRegressSignaturesTest",
        Ok(f"{_regressed('regress_x_to_y', 3)} {_regressed('regress_x_to_y2', 4)}"),
        f"{ONE} {_task('regress_x_to_y2', REGRESS)} {X2}",
    ),
    _pair(
        TEST,
        "RegressAndClassifySignaturesTest",
        Ok(f"{_regressed('regress_x_to_y', 3)} {_classified('classify_x_to_y', 3)}"),
        f"{ONE} {_task('classify_x_to_y', CLASSIFY)} {X2}",
    ),
    _pair(
        HELPER, "ValidSingleSignatureTest", Ok(_regressed("regress_x_to_y", 3)), f"{ONE_123} {X2}"
    ),
    _pair(
        HELPER,
        "MultipleValidRegressSignaturesTest",
        Ok(f"{_regressed('regress_x_to_y', 3)} {_regressed('regress_x_to_y2', 4)}"),
        f"{ONE_123} {_task('regress_x_to_y2', REGRESS, version=123)} {X2}",
    ),
    _pair(
        HELPER,
        "RegressAndClassifySignaturesTest",
        Ok(f"{_regressed('regress_x_to_y', 3)} {_classified('classify_x_to_y', 3)}"),
        f"{ONE_123} {_task('classify_x_to_y', CLASSIFY, version=123)} {X2}",
    ),
    _pair(
        HELPER,
        "ModelSpecOverride",
        NOT_FOUND,
        f"{_task('regress_x_to_y', REGRESS, model='nonexistent_model')} {X2}",
    ),
    _pair(
        CODE,
        "Infer",
        Refused("INVALID_ARGUMENT", begins="Found ModelSpec with an empty model name."),
        f"{ONE} {_task('regress_x_to_y2', REGRESS, model='')} {X2}",
        "a task without a name",
    ),
    _pair(
        "servables/tensorflow/multi_inference_helper_test.cc",
        "MissingInputTest",
        Refused("INVALID_ARGUMENT", begins="ModelSpec has no name specified."),
        X2,
        "no task",
    ),
    _pair(CODE, "Infer", UNDEFINED, UNDEFINED_TASK, "the tasks before the input"),
    _pair(
        CODE,
        "Infer",
        Refused("INVALID_ARGUMENT", begins="Duplicate evaluation of signature: serving_default"),
        f"{_task('', REGRESS, model='regressor')} "
        f"{_task('serving_default', REGRESS, model='regressor')} {X2}",
        "no name is serving_default",
    ),
    _pair(
        CODE,
        "Infer",
        Refused("INVALID_ARGUMENT", begins="No regression outputs found in SignatureDef: "),
        f"{_task('classify_x_to_y', REGRESS)} {X2}",
        "Regress of a classification",
    ),
    _pair(
        CODE,
        "Infer",
        Refused(
            "INVALID_ARGUMENT",
            begins="Expected classification signature outputs to contain at least one of ",
        ),
        f"{_task('regress_x_to_y', CLASSIFY)} {X2}",
        "Classify of a regression",
    ),
    _pair(
        CODE,
        "Infer",
        Refused("UNIMPLEMENTED", begins="Unsupported signature method_name: "),
        f"{_task('regress_x_to_y', '')} {X2}",
        "no method",
    ),
    _pair(
        CODE,
        "Infer",
        Ok(
            f"{_regressed('regress_first', 2, model='two_inputs')} "
            f"{_classified('classify_second', 2, model='two_inputs')}"
        ),
        f"{_task('regress_first', REGRESS, model='two_inputs')} "
        f"{_task('classify_second', CLASSIFY, model='two_inputs')} {X2}",
        "an input tensor of each signature",
    ),
    _pair(
        CODE,
        "Infer",
        Ok(_regressed("regress_x_to_y", 3, 4)),
        f"{ONE} {examples.of_list(example(x=[2.0]), example(x=[4.0]))}",
        "two examples",
    ),
    _pair(
        CODE,
        "Infer",
        Ok(_regressed("regress_x_to_y", 3, 3)),
        f"{ONE} {examples.with_context(example(x=[2.0]), '', '')}",
        "a context",
    ),
]
