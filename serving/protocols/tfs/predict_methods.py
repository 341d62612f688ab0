"""TensorFlow Serving's Predict over gRPC: decode, call the predictor, encode."""

from collections.abc import Awaitable, Mapping

import numpy as np

from serving.access.roles import Role
from serving.engine.servable import Servable
from serving.inference.predictor import Predictor
from serving.inference.request import as_it_is, check_request
from serving.protocols.tfs import predict_messages, tensor_proto
from serving.protocols.tfs.model_spec import read_model_spec
from serving.protocols.tfs.predict_messages import (
    AcceptedKind,
    EncodedResponse,
    RequestReader,
    TemplatedRequest,
)
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
        self, request: PredictRequest | TemplatedRequest, call: Call
    ) -> EncodedResponse:
        """Answer PredictionService.Predict."""
        if isinstance(request, TemplatedRequest):
            servable, signature_name, answer = self._begin_templated(request, call)
            outputs: Mapping[str, np.ndarray] = await answer
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

    def _begin_templated(
        self, request: TemplatedRequest, call: Call
    ) -> tuple[Servable, str, Awaitable[dict[str, np.ndarray]]]:
        """Start a Predict request that a template has read.

        The checks are skipped if the servable has accepted an earlier request of the same template.

        Returns:
            The servable, the name of the signature that runs, and an awaitable of the outputs by
            alias.
        """
        template = request.template
        spec = template.spec
        servable = self._predictor.servable(spec)
        name = spec.signature_name or DEFAULT_SIGNATURE_NAME
        arrays = {template.alias: request.array}
        accepted = template.accepted_by(servable)
        if accepted is None:
            self._predictor.check_method_name(servable, name)
            checked = check_request(
                servable,
                name,
                arrays,
                as_it_is,
                template.output_filter,
                max_rows=self._predictor.max_rows(servable),
            )
            accepted = AcceptedKind(checked.outputs, checked.batched)
            if checked.is_whole:
                template.accept(servable, accepted)
            else:  # every request of this template needs its missing inputs filled in
                arrays = checked.arrays
        answer = servable.predict(
            name, arrays, accepted.outputs, batched=accepted.batched, deadline=call.deadline
        )
        return servable, name, answer
