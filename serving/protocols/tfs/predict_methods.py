"""TensorFlow Serving's Predict over gRPC: decode, call the predictor, encode."""

from serving.access.roles import Role
from serving.inference.predictor import Predictor
from serving.protocols.tfs import predict_messages, tensor_proto
from serving.protocols.tfs.model_spec import read_model_spec
from serving.protocols.tfs.predict_messages import (
    EncodedResponse,
    RequestReader,
    TemplatedPredict,
)
from serving.protos.tensorflow_serving_pb2 import PredictRequest
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
            predictor: Runs the requests.
            answer_as_tensor_content: Whether answers have their elements in `tensor_content`
                instead of typed fields (`--enable_serialization_as_tensor_content`).
        """
        self._predictor = predictor
        self._answer_as_tensor_content = answer_as_tensor_content

    def methods(self) -> list[Method]:
        """Return the rows of the method table."""
        return [
            UnaryMethod(
                path=f"/{PREDICTION_SERVICE}/Predict",
                request_type=PredictRequest,
                handler=self.predict,
                role=Role.PREDICT,
                parse=RequestReader().read,
            ),
        ]

    async def predict(
        self, request: PredictRequest | TemplatedPredict, call: Call
    ) -> EncodedResponse:
        """Answer PredictionService.Predict."""
        if isinstance(request, TemplatedPredict):
            servable, signature_name, answer = request.begin(self._predictor, call.deadline)
            outputs = await answer
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
