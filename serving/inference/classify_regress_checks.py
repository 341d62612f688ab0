"""Check whether Classify, Regress and MultiInference can run a signature.

The checks, their order and their messages follow classifier.cc, regressor.cc and multi_inference.cc
of TensorFlow Serving (servables/tensorflow). As in TensorFlow Serving, the signature's method name
is checked only with `--enable_signature_method_name_check`; otherwise the names of inputs and
outputs decide.
"""

from collections.abc import Sequence
from typing import NamedTuple

from serving.engine.servable import Servable
from serving.errors import InvalidInput, Unsupported
from serving.inference.request import ModelSpec
from serving.tensors.signature import (
    CLASSIFY_METHOD_NAME,
    DEFAULT_SIGNATURE_NAME,
    REGRESS_METHOD_NAME,
    Signature,
)

EXAMPLES_INPUT = "inputs"
CLASSES_OUTPUT = "classes"
SCORES_OUTPUT = "scores"
REGRESSION_OUTPUT = "outputs"


class Task(NamedTuple):
    """One part of a MultiInference call.

    Attributes:
        spec: Model and signature.
        method_name: `tensorflow/serving/classify` or `tensorflow/serving/regress`.
    """

    spec: ModelSpec
    method_name: str


def signature_name(spec: ModelSpec) -> str:
    """Return the name of the signature to run: `serving_default` if the spec names none."""
    return spec.signature_name or DEFAULT_SIGNATURE_NAME


def check_classify(servable: Servable, name: str) -> list[str]:
    """Check that Classify can run a signature.

    Args:
        servable: The model version.
        name: Name of one of its signatures.

    Returns:
        The output aliases to compute.

    Raises:
        InvalidInput: the signature has another number of inputs or outputs than Classify needs, or
            they have other names.
    """
    signature = servable.signatures[name]
    _check_one_input(signature)
    if len(signature.outputs) not in {1, 2}:
        msg = f"Expected one or two output Tensors, found {len(signature.outputs)}"
        raise InvalidInput(msg)
    _check_input_name(servable, name, "classification", CLASSIFY_METHOD_NAME)
    outputs = [name for name in (CLASSES_OUTPUT, SCORES_OUTPUT) if name in signature.outputs]
    if not outputs:
        msg = (
            f'Expected classification signature outputs to contain at least one of "classes" or '
            f'"scores". Signature was: {name} of {servable}, with outputs '
            f"{', '.join(sorted(signature.outputs))}"
        )
        raise InvalidInput(msg)
    return outputs


def check_regress(servable: Servable, name: str) -> list[str]:
    """Check that Regress can run a signature; arguments and result as in `check_classify`."""
    signature = servable.signatures[name]
    _check_one_input(signature)
    if len(signature.outputs) != 1:
        msg = "Expected one output Tensor."
        raise InvalidInput(msg)
    _check_input_name(servable, name, "regression", REGRESS_METHOD_NAME)
    if REGRESSION_OUTPUT not in signature.outputs:
        msg = (
            f"No regression outputs found in SignatureDef: {name} of {servable} has output "
            f'"{next(iter(signature.outputs))}", expected "{REGRESSION_OUTPUT}"'
        )
        raise InvalidInput(msg)
    return [REGRESSION_OUTPUT]


def _check_one_input(signature: Signature) -> None:
    if len(signature.inputs) != 1:
        msg = "Expected one input Tensor."
        raise InvalidInput(msg)


def _check_input_name(servable: Servable, name: str, kind: str, method_name: str) -> None:
    signature = servable.signatures[name]
    if EXAMPLES_INPUT not in signature.inputs:
        suitable = sorted(
            f'"{other}"'
            for other, its in servable.signatures.items()
            if its.method_name == method_name
        )
        named = f", or set signature_name to {' or '.join(suitable)}" if suitable else ""
        msg = (
            f"No {kind} inputs found in SignatureDef: {name} of {servable} has input "
            f'"{next(iter(signature.inputs))}", expected "{EXAMPLES_INPUT}"; call Predict'
            f"{named or ' instead'}"
        )
        raise InvalidInput(msg)


def check_method_name(signature: Signature, expected: str) -> None:
    """Refuse a signature of another method (`--enable_signature_method_name_check`).

    Args:
        signature: The signature.
        expected: The method name of Classify or of Regress.

    Raises:
        InvalidInput: the signature has another method name.
    """
    if signature.method_name != expected:
        kind = "classification" if expected == CLASSIFY_METHOD_NAME else "regression"
        msg = (
            f"Expected {kind} signature method_name to be {expected}. Was: {signature.method_name}"
        )
        raise InvalidInput(msg)


def check_tasks(
    tasks: Sequence[Task], servable: Servable, *, method_names: bool = False
) -> list[list[str]]:
    """Check that MultiInference can run these tasks.

    Args:
        tasks: The tasks.
        servable: The model version that the first task names.
        method_names: Whether a task must have the method name of its signature.

    Returns:
        The output aliases to compute, one list per task.

    Raises:
        InvalidInput: the tasks name several models, a signature twice, or a signature that does not
            exist; or see `check_classify` and `check_method_name`.
        Unsupported: a task's method is neither Classify nor Regress.
    """
    outputs: dict[str, list[str]] = {}
    for spec, method_name in tasks:
        name = signature_name(spec)
        if not spec.name:
            msg = "Found ModelSpec with an empty model name."
            raise InvalidInput(msg)
        if spec.name != servable.name:
            msg = "All ModelSpecs in a MultiInferenceRequest must access the same model name."
            raise InvalidInput(msg)
        if name in outputs:
            msg = f"Duplicate evaluation of signature: {name}"
            raise InvalidInput(msg)
        signature = servable.signatures.get(name)
        if signature is None:
            msg = f"Requested signature not found in model graph: {name}"
            raise InvalidInput(msg)
        if method_names and method_name in {CLASSIFY_METHOD_NAME, REGRESS_METHOD_NAME}:
            check_method_name(signature, method_name)
        if method_name == CLASSIFY_METHOD_NAME:
            outputs[name] = check_classify(servable, name)
        elif method_name == REGRESS_METHOD_NAME:
            outputs[name] = check_regress(servable, name)
        else:
            msg = f"Unsupported signature method_name: {method_name}"
            raise Unsupported(msg)
    return list(outputs.values())
