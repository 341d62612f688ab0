"""PredictionService's methods for tf.Examples: Classify, Regress and MultiInference."""

from serving.access.roles import Role
from serving.errors import InvalidInput
from serving.inference.classify_regress import Classification, ClassifyRegress, Regression
from serving.inference.classify_regress_checks import Task
from serving.inference.request import ModelSpec
from serving.protocols.tfs.model_spec import read_model_spec, write_model_spec
from serving.protocols.tfs.predict_methods import PREDICTION_SERVICE
from serving.protos.tensorflow_serving_pb2 import (
    ClassificationRequest,
    ClassificationResponse,
    ClassificationResult,
    InferenceTask,
    Input,
    MultiInferenceRequest,
    MultiInferenceResponse,
    RegressionRequest,
    RegressionResponse,
    RegressionResult,
)
from serving.tensors.example_parser import with_context
from serving.transport.method_table import Call, Method, UnaryMethod


class ClassifyMethods:
    """Handlers of Classify, Regress and MultiInference."""

    def __init__(self, inference: ClassifyRegress) -> None:
        self._inference = inference

    def methods(self) -> list[Method]:
        """Return the rows of the method table."""
        return [
            UnaryMethod(
                path=f"/{PREDICTION_SERVICE}/Classify",
                request_type=ClassificationRequest,
                handler=self.classify,
                role=Role.PREDICT,
            ),
            UnaryMethod(
                path=f"/{PREDICTION_SERVICE}/Regress",
                request_type=RegressionRequest,
                handler=self.regress,
                role=Role.PREDICT,
            ),
            UnaryMethod(
                path=f"/{PREDICTION_SERVICE}/MultiInference",
                request_type=MultiInferenceRequest,
                handler=self.multi_inference,
                role=Role.PREDICT,
            ),
        ]

    async def classify(self, request: ClassificationRequest, call: Call) -> ClassificationResponse:
        """Answer PredictionService.Classify."""
        answer = await self._inference.classify(
            read_model_spec(request),
            _examples(request.input, call),
            deadline=call.deadline,
            account=call.hold,
        )
        response = ClassificationResponse()
        write_model_spec(response.model_spec, *_answered_by(answer))
        _write_classes(answer, response.result)
        return response

    async def regress(self, request: RegressionRequest, call: Call) -> RegressionResponse:
        """Answer PredictionService.Regress."""
        answer = await self._inference.regress(
            read_model_spec(request),
            _examples(request.input, call),
            deadline=call.deadline,
            account=call.hold,
        )
        response = RegressionResponse()
        write_model_spec(response.model_spec, *_answered_by(answer))
        _write_values(answer, response.result)
        return response

    async def multi_inference(
        self, request: MultiInferenceRequest, call: Call
    ) -> MultiInferenceResponse:
        """Answer PredictionService.MultiInference."""
        answers = await self._inference.multi_inference(
            [Task(_task_spec(task), task.method_name) for task in request.tasks],
            _examples(request.input, call),
            deadline=call.deadline,
            account=call.hold,
        )
        response = MultiInferenceResponse()
        for answer in answers:
            result = response.results.add()
            write_model_spec(result.model_spec, *_answered_by(answer))
            if isinstance(answer, Classification):
                _write_classes(answer, result.classification_result)
            else:
                _write_values(answer, result.regression_result)
        return response


def _examples(message: Input, call: Call) -> list[bytes]:
    """Return the serialized tf.Examples of an input; an empty list if the input is not set."""
    if message.WhichOneof("kind") == "example_list_with_context":
        contextual = message.example_list_with_context
        examples = [example.SerializeToString() for example in contextual.examples]
        return with_context(examples, contextual.context.SerializeToString(), call.hold)
    return [example.SerializeToString() for example in message.example_list.examples]


def _task_spec(task: InferenceTask) -> ModelSpec:
    try:
        return read_model_spec(task)
    except InvalidInput:  # MultiInference treats a missing ModelSpec as an empty one
        return ModelSpec("")


def _answered_by(answer: Classification | Regression) -> tuple[str, int, str]:
    return answer.servable.name, answer.servable.version, answer.signature_name


def _write_classes(answer: Classification, result: ClassificationResult) -> None:
    for labels, scores in zip(answer.labels, answer.scores, strict=True):
        classes = result.classifications.add().classes
        for label, score in zip(labels, scores, strict=True):
            classes.add(label=label, score=score)


def _write_values(answer: Regression, result: RegressionResult) -> None:
    for value in answer.values:
        result.regressions.add(value=value)
