"""Convert ModelSpec between its protobuf message and the type that the predictor takes."""

from serving.errors import InvalidInput
from serving.inference.request import ModelSpec
from serving.protos import tensorflow_serving_pb2
from serving.protos.tensorflow_serving_pb2 import (
    ClassificationRequest,
    GetModelMetadataRequest,
    GetModelStatusRequest,
    InferenceTask,
    PredictRequest,
    RegressionRequest,
)


def read_model_spec(
    request: PredictRequest
    | GetModelMetadataRequest
    | GetModelStatusRequest
    | ClassificationRequest
    | RegressionRequest
    | InferenceTask,
) -> ModelSpec:
    """Return the ModelSpec of a request.

    Raises:
        InvalidInput: the request has no ModelSpec.
    """
    if not request.HasField("model_spec"):
        msg = "Missing ModelSpec"
        raise InvalidInput(msg)
    spec = request.model_spec
    choice = spec.WhichOneof("version_choice")
    return ModelSpec(
        name=spec.name,
        version=spec.version.value if choice == "version" else None,
        version_label=spec.version_label if choice == "version_label" else None,
        signature_name=spec.signature_name,
    )


def write_model_spec(
    spec: tensorflow_serving_pb2.ModelSpec, name: str, version: int, signature_name: str = ""
) -> None:
    """Write the model, version and signature that answered into a response's ModelSpec."""
    spec.name = name
    spec.version.value = version
    spec.signature_name = signature_name
