"""TensorFlow Serving's Predict over gRPC: decode, call the predictor, encode."""

from serving.inference.predictor import Predictor
from serving.inference.request import Prediction, as_it_is, check_request
from serving.protocols.tfs import predict_messages, tensor_proto
from serving.protocols.tfs.model_spec import read_model_spec
from serving.protocols.tfs.predict_messages import EncodedResponse, RequestReader, TemplatedRequest
from serving.protos.tensorflow_serving_pb2 import (
    PredictRequest,
)
from serving.tensors.signature import DEFAULT_SIGNATURE_NAME
from serving.transport.method_table import Call, Method, UnaryMethod

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"


class PredictMethods:
    """Handler of PredictionService.Predict."""

    def __init__(
        self,
        predictor: Predictor,
        *,
        answer_as_tensor_content: bool = False,
    ) -> None:
        """Bind the handlers.

        Args:
            predictor: Runs Predict.
            answer_as_tensor_content: Answer in `tensor_content` instead of typed fields
                (`--enable_serialization_as_tensor_content`).
        """
        self._predictor = predictor
        self._answer_as_tensor_content = answer_as_tensor_content

    def methods(self) -> list[Method]:
        """The rows of the method table."""
        return [
            UnaryMethod(
                path=f"/{PREDICTION_SERVICE}/Predict",
                request_type=PredictRequest,
                handler=self.predict,
                parse=RequestReader().read,
            ),
        ]

    async def predict(
        self, request: PredictRequest | TemplatedRequest, call: Call
    ) -> EncodedResponse:
        """PredictionService.Predict."""
        if isinstance(request, TemplatedRequest):
            servable, signature_name, outputs = await self._predict_templated(request, call)
        else:
            servable, signature_name, outputs = await self._predictor.predict(
                read_model_spec(request),
                request.inputs,
                tensor_proto.decode,
                output_filter=request.output_filter,
                deadline=call.deadline,
                account=call.hold,
            )
        return predict_messages.encode_response(
            servable.name,
            servable.version,
            signature_name,
            outputs,
            as_content=self._answer_as_tensor_content,
        )

    async def _predict_templated(self, request: TemplatedRequest, call: Call) -> Prediction:
        """Predict; what was checked for an earlier request of the kind is not checked again."""
        template = request.template
        spec = template.spec
        servable = self._predictor.servable(spec)
        name = spec.signature_name or DEFAULT_SIGNATURE_NAME
        arrays = {template.alias: request.array}
        accepted = template.accepted_by(servable)
        if accepted is None:
            checked = check_request(
                servable,
                name,
                arrays,
                as_it_is,
                template.output_filter,
                max_rows=self._predictor.max_rows,
            )
            if not checked.is_whole:  # defaults join it
                return await self._predictor.predict_on(
                    servable,
                    name,
                    arrays,
                    as_it_is,
                    output_filter=template.output_filter,
                    deadline=call.deadline,
                )
            accepted = template.accept(servable, checked.outputs, batched=checked.batched)
        answer = await servable.predict(
            name, arrays, accepted.outputs, batched=accepted.batched, deadline=call.deadline
        )
        return Prediction(servable, name, answer)
