"""Tests of the official client, tensorflow-serving-api, in its own process."""

import json
import subprocess
import sys

import numpy as np

from serving.client import PredictClient

# Written like TensorFlow Serving's examples: make_tensor_proto in, make_ndarray out.
PROGRAM = """
import json, sys
import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

target, sample = sys.argv[1:]
images = np.load(sample)["images"]
channel = grpc.insecure_channel(target)
prediction_service = prediction_service_pb2_grpc.PredictionServiceStub(channel)

request = predict_pb2.PredictRequest()
request.model_spec.name = "brightness"
request.model_spec.signature_name = "serving_default"
request.inputs["images"].CopyFrom(tf.make_tensor_proto(images))
response = prediction_service.Predict(request, 10.0)

metadata = prediction_service.GetModelMetadata(
    get_model_metadata_pb2.GetModelMetadataRequest(
        model_spec=request.model_spec, metadata_field=["signature_def"]
    ),
    10.0,
)
signatures = get_model_metadata_pb2.SignatureDefMap()
metadata.metadata["signature_def"].Unpack(signatures)

status = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(
    get_model_status_pb2.GetModelStatusRequest(model_spec=request.model_spec), 10.0
)

request.inputs["images"].CopyFrom(tf.make_tensor_proto(images.astype(np.float32)))
try:
    prediction_service.Predict(request, 10.0)
except grpc.RpcError as error:
    refusal = [error.code().name, error.details()]

print(json.dumps({
    "probabilities": list(response.outputs["probabilities"].float_val),
    "classes": tf.make_ndarray(response.outputs["classes"]).tolist(),
    "version": response.model_spec.version.value,
    "input": signatures.signature_def["serving_default"].inputs["images"].name,
    "dtype": signatures.signature_def["serving_default"].inputs["images"].dtype,
    "state": get_model_status_pb2.ModelVersionStatus.State.Name(
        status.model_version_status[0].state
    ),
    "error": status.model_version_status[0].status.error_code,
    "refusal": refusal,
}))
"""


def test_the_official_client_gets_the_same_answers(target, client, sample_images, request):
    """Predict, metadata, status and errors are the same through TensorFlow's own classes."""
    sample = request.config.rootpath / "tests" / "data" / "cifar10_sample.npz"

    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, target, str(sample)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    theirs = json.loads(result.stdout)
    ours = client.predict("brightness", {"images": sample_images})
    assert isinstance(client, PredictClient)
    np.testing.assert_array_equal(
        np.array(theirs["probabilities"], np.float32), ours["probabilities"].ravel()
    )
    assert theirs["classes"] == ours["classes"].tolist()
    assert theirs["version"] == 1
    assert (theirs["input"], theirs["dtype"]) == ("serving_default_images:0", 4)
    assert (theirs["state"], theirs["error"]) == ("AVAILABLE", 0)
    assert theirs["refusal"][0] == "INVALID_ARGUMENT"
    assert theirs["refusal"][1].startswith("Expects arg[0] to be uint8 but float is provided")
