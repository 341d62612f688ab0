"""The messages of `serving.client`: makes requests from NumPy arrays, and reads responses."""

from collections.abc import Mapping, Sequence

import numpy as np

from serving.errors import InvalidInput
from serving.protocols.tfs import tensor_proto
from serving.protos.tensorflow_serving_pb2 import (
    ClassificationRequest,
    ClassificationResponse,
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    GetModelStatusRequest,
    ModelSpec,
    PredictRequest,
    PredictResponse,
    SignatureDefMap,
)

CLASSIFY_SIGNATURE = "classify"
_ENCODED_IMAGE = "image/encoded"


def predict_request(
    model: str,
    inputs: Mapping[str, np.ndarray],
    *,
    version: int | None = None,
    version_label: str | None = None,
    signature_name: str = "",
    outputs: Sequence[str] = (),
) -> PredictRequest:
    """Return a PredictRequest; its tensors are encoded as `tensor_content`, the fastest encoding.

    Args:
        model: Model name.
        inputs: Arrays by input name; the first dimension is the batch.
        version: Version number; None for the latest version.
        version_label: Version label such as `stable`; excludes `version`.
        signature_name: Signature name; empty for `serving_default`.
        outputs: Names of the outputs to return; empty for all outputs.

    Raises:
        TypeError: `inputs` are no mapping.
        ValueError: an array's dtype has no tensor type, or version and label are both given.
    """
    if not isinstance(inputs, Mapping):
        msg = (
            f"inputs are of type {type(inputs).__name__}, expected a mapping of input names to "
            'arrays, for example {"images": array}; `signatures` tells the names'
        )
        raise TypeError(msg)
    request = PredictRequest(
        model_spec=_model_spec(model, version, version_label, signature_name),
        output_filter=outputs,
    )
    for name, array in inputs.items():
        try:
            tensor_proto.encode(np.asarray(array), request.inputs[name], as_content=True)
        except InvalidInput as error:
            msg = f'input "{name}": {error.message}'
            raise ValueError(msg) from error
    return request


def response_arrays(response: PredictResponse) -> dict[str, np.ndarray]:
    """Return the outputs of a PredictResponse as arrays by output name.

    Raises:
        InvalidInput: a tensor cannot be decoded.
    """
    return {name: tensor_proto.decode(tensor) for name, tensor in response.outputs.items()}


def classify_request(
    model: str,
    images: Sequence[bytes],
    *,
    version: int | None = None,
    version_label: str | None = None,
    signature_name: str = CLASSIFY_SIGNATURE,
) -> ClassificationRequest:
    """Return a ClassificationRequest with one tf.Example for each image file.

    Args:
        model: Model name.
        images: Contents of PNG or JPEG files, of any size; feature `image/encoded`.
        version: Version number; None for the latest version.
        version_label: Version label such as `stable`; excludes `version`.
        signature_name: Name of a signature that takes such examples.

    Raises:
        ValueError: version and label are both given.
    """
    request = ClassificationRequest(
        model_spec=_model_spec(model, version, version_label, signature_name)
    )
    for image in images:
        example = request.input.example_list.examples.add()
        example.features.feature[_ENCODED_IMAGE].bytes_list.value.append(image)
    return request


def ranked_classes(response: ClassificationResponse) -> list[list[tuple[str, float]]]:
    """Return (class name, score) pairs for each image, highest score first."""
    return [
        sorted(
            ((each.label, each.score) for each in classifications.classes),
            key=lambda pair: pair[1],
            reverse=True,
        )
        for classifications in response.result.classifications
    ]


def metadata_request(
    model: str, version: int | None, version_label: str | None = None
) -> GetModelMetadataRequest:
    """Return a request for a model's signatures.

    Raises:
        ValueError: version and label are both given.
    """
    return GetModelMetadataRequest(
        model_spec=_model_spec(model, version, version_label), metadata_field=["signature_def"]
    )


def signature_defs(response: GetModelMetadataResponse) -> SignatureDefMap:
    """Return the signatures in a response to `metadata_request`."""
    signatures = SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    return signatures


def status_request(model: str) -> GetModelStatusRequest:
    """Return a request for the states of a model's versions."""
    return GetModelStatusRequest(model_spec=_model_spec(model, None))


def _model_spec(
    name: str, version: int | None, version_label: str | None = None, signature_name: str = ""
) -> ModelSpec:
    """Return a ModelSpec.

    Raises:
        ValueError: version and label are both given.
    """
    if version is not None and version_label is not None:
        msg = f"version {version} and version_label {version_label!r} given, expected one of them"
        raise ValueError(msg)
    spec = ModelSpec(name=name, signature_name=signature_name)
    if version is not None:
        spec.version.value = version
    if version_label is not None:
        spec.version_label = version_label
    return spec
