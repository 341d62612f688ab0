"""Classify, Regress and MultiInference: tf.Examples in, classes with scores or numbers out.

The module is independent of the transport: it takes serialized tf.Examples and returns lists. The
rules for outputs and their messages are TensorFlow Serving's (servables/tensorflow/classifier.cc,
regressor.cc).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from serving.engine.servable import Servable
from serving.errors import InvalidInput
from serving.inference.classify_regress_checks import (
    CLASSES_OUTPUT,
    EXAMPLES_INPUT,
    REGRESSION_OUTPUT,
    SCORES_OUTPUT,
    Task,
    check_classify,
    check_method_name,
    check_regress,
    check_tasks,
    signature_name,
)
from serving.inference.predictor import Predictor
from serving.inference.request import ModelSpec, Prediction, as_it_is
from serving.tensors.admission import Account
from serving.tensors.signature import (
    CLASSIFY_METHOD_NAME,
    REGRESS_METHOD_NAME,
    DataType,
)


class Classification(NamedTuple):
    """The classes of each example.

    Attributes:
        servable: The version that answered.
        signature_name: The signature that ran.
        labels: One list of class names per example; empty names if the model has no class names.
        scores: One list of scores per example, in the order of the labels; zeros if the model
            computes no scores.
    """

    servable: Servable
    signature_name: str
    labels: list[list[str]]
    scores: list[list[float]]


class Regression(NamedTuple):
    """A number for each example.

    Attributes:
        servable: The version that answered.
        signature_name: The signature that ran.
        values: One number per example.
    """

    servable: Servable
    signature_name: str
    values: list[float]


class ClassifyRegress:
    """Runs Classify, Regress and MultiInference."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    async def classify(
        self,
        spec: ModelSpec,
        examples: Sequence[bytes],
        *,
        deadline: float | None = None,
        account: Account | None = None,
    ) -> Classification:
        """Classify examples.

        Args:
            spec: Model, version and signature.
            examples: Serialized tf.Examples.
            deadline: `time.monotonic()` at which the caller stops waiting; None for no deadline.
            account: Counts the decoded bytes; None disables counting.

        Raises:
            InvalidInput: the signature does not exist, its inputs or outputs have another number or
                other names, the request has no example, an example does not fit the model, or an
                output has another dtype or shape.
            ServingError: see `Predictor.predict`.
        """
        servable, name = self._find(spec, CLASSIFY_METHOD_NAME)
        outputs = check_classify(servable, name)
        prediction = await self._run(
            servable, name, examples, outputs, deadline=deadline, account=account
        )
        return _classification(prediction, len(examples))

    async def regress(
        self,
        spec: ModelSpec,
        examples: Sequence[bytes],
        *,
        deadline: float | None = None,
        account: Account | None = None,
    ) -> Regression:
        """Compute a number for each example.

        Args:
            spec: Model, version and signature.
            examples: Serialized tf.Examples.
            deadline: `time.monotonic()` at which the caller stops waiting; None for no deadline.
            account: Counts the decoded bytes; None disables counting.

        Raises:
            ServingError: see `classify`.
        """
        servable, name = self._find(spec, REGRESS_METHOD_NAME)
        outputs = check_regress(servable, name)
        prediction = await self._run(
            servable, name, examples, outputs, deadline=deadline, account=account
        )
        return _regression(prediction, len(examples))

    async def multi_inference(
        self,
        tasks: Sequence[Task],
        examples: Sequence[bytes],
        *,
        deadline: float | None = None,
        account: Account | None = None,
    ) -> list[Classification | Regression]:
        """Run several signatures of one model on the same examples.

        Args:
            tasks: The signatures. The first task's version or label applies to all tasks.
            examples: Serialized tf.Examples.
            deadline: `time.monotonic()` at which the caller stops waiting; None for no deadline.
            account: Counts the decoded bytes; None disables counting.

        Returns:
            One answer per task, in the order of the tasks.

        Raises:
            InvalidInput: the tasks name several models, or a signature twice; otherwise see
                `classify`.
            Unsupported: a task's method is neither Classify nor Regress.
            ServingError: see `classify`.
        """
        servable = self._predictor.servable(tasks[0].spec if tasks else ModelSpec(""))
        outputs = check_tasks(tasks, servable, method_names=self._predictor.check_method_names)
        answers: list[Classification | Regression] = []
        with servable.hold():  # keep it loaded between two tasks
            for task, wanted in zip(tasks, outputs, strict=True):
                name = signature_name(task.spec)
                prediction = await self._run(
                    servable, name, examples, wanted, deadline=deadline, account=account
                )
                answers.append(
                    _classification(prediction, len(examples))
                    if task.method_name == CLASSIFY_METHOD_NAME
                    else _regression(prediction, len(examples))
                )
        return answers

    def _find(self, spec: ModelSpec, method_name: str) -> tuple[Servable, str]:
        servable = self._predictor.servable(spec)
        name = signature_name(spec)
        signature = servable.signatures.get(name)
        if signature is None:
            available = ", ".join(sorted(servable.signatures))
            msg = f"No signature was found with the name: {name}; {servable} has {available}"
            raise InvalidInput(msg)
        if self._predictor.check_method_names:
            check_method_name(signature, method_name)
        return servable, name

    async def _run(
        self,
        servable: Servable,
        name: str,
        examples: Sequence[bytes],
        outputs: Sequence[str],
        *,
        deadline: float | None,
        account: Account | None,
    ) -> Prediction:
        if not examples:
            msg = "Input is empty."
            raise InvalidInput(msg)
        array = np.empty(len(examples), dtype=object)
        array[:] = examples
        return await self._predictor.predict_on(
            servable,
            name,
            {EXAMPLES_INPUT: array},
            as_it_is,
            output_filter=outputs,
            deadline=deadline,
            account=account,
        )


def _classification(prediction: Prediction, examples: int) -> Classification:
    """Check the outputs of a run, and convert them to a Classification.

    Raises:
        InvalidInput: an output has another dtype or shape than Classify needs.
    """
    for name, dtype in ((CLASSES_OUTPUT, DataType.DT_STRING), (SCORES_OUTPUT, DataType.DT_FLOAT)):
        if name not in prediction.outputs:
            continue
        array = prediction.outputs[name]
        if array.ndim != 2:
            msg = f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}"
            raise InvalidInput(msg)
        if DataType.from_numpy(array.dtype) is not dtype:
            received = DataType.from_numpy(array.dtype)
            msg = f"Expected {name} Tensor of {dtype.name}. Got: {received.name}"
            raise InvalidInput(msg)
        if len(array) != examples:
            msg = f"Expected {name} output batch size of {examples}. Got: {len(array)}"
            raise InvalidInput(msg)
    scores = prediction.outputs.get(SCORES_OUTPUT)
    classes = prediction.outputs.get(CLASSES_OUTPUT)
    if classes is not None and scores is not None and classes.shape != scores.shape:
        msg = (
            "Tensors class and score should match in dim_size(1). "
            f"Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
        raise InvalidInput(msg)
    if classes is not None:
        labels = [[_text(label) for label in row] for row in classes.tolist()]
    else:
        # TensorFlow Serving leaves the labels empty here. This server takes the class names of the
        # model folder if it has as many as the scores.
        names = list(prediction.servable.class_names)
        width = 0 if scores is None else scores.shape[1]
        labels = [names if len(names) == width else [""] * width] * examples
    return Classification(
        servable=prediction.servable,
        signature_name=prediction.signature_name,
        labels=labels,
        scores=[[0.0] * len(row) for row in labels] if scores is None else scores.tolist(),
    )


def _regression(prediction: Prediction, examples: int) -> Regression:
    """Check the output of a run, and convert it to a Regression.

    Raises:
        InvalidInput: the output has another dtype or shape than Regress needs.
    """
    array = prediction.outputs[REGRESSION_OUTPUT]
    if array.ndim != 1 and (array.ndim, array.shape[-1:]) != (2, (1,)):
        msg = (
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            f"{_shape(array)}"
        )
        raise InvalidInput(msg)
    if len(array) != examples:
        msg = f"Input batch size did not match output batch size: {examples} vs. {len(array)}"
        raise InvalidInput(msg)
    if array.dtype != np.float32:
        received = DataType.from_numpy(array.dtype)
        msg = f"Expected output Tensor of DT_FLOAT.  Got: {received.name}"
        raise InvalidInput(msg)
    return Regression(
        servable=prediction.servable,
        signature_name=prediction.signature_name,
        values=array.ravel().tolist(),
    )


def _shape(array: np.ndarray) -> str:
    return f"[{','.join(str(size) for size in array.shape)}]"


def _text(label: bytes | str) -> str:
    return label.decode("utf-8", "replace") if isinstance(label, bytes) else label
