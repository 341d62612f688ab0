"""Tests of Classify, Regress and MultiInference by the official client in its own process."""

import json
import subprocess
import sys

import numpy as np
from sample_models import example_models

from serving.client import PredictClient

# Written like TensorFlow Serving's examples: tf.train.Example in, result messages out.
PROGRAM = """
import json, sys
import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

target, sample = sys.argv[1:]
images = np.load(sample)["images"]
channel = grpc.insecure_channel(target)
prediction_service = prediction_service_pb2_grpc.PredictionServiceStub(channel)


def example(**features):
    return tf.train.Example(features=tf.train.Features(feature=features))


def data(value):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def floats(*values):
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def integers(*values):
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


files = [example(**{"image/encoded": data(tf.io.encode_png(image).numpy())}) for image in images]
request = classification_pb2.ClassificationRequest()
request.model_spec.name = "pictures"
request.model_spec.signature_name = "classify"
request.input.example_list.examples.extend(files)
classified = prediction_service.Classify(request, 30.0)

predict = predict_pb2.PredictRequest(model_spec=request.model_spec)
predict.inputs["inputs"].CopyFrom(
    tf.make_tensor_proto([file.SerializeToString() for file in files])
)
predicted = prediction_service.Predict(predict, 30.0)

regression = regression_pb2.RegressionRequest()
regression.model_spec.name = "numbers"
regression.input.example_list_with_context.examples.extend([example(), example(n=integers(1))])
regression.input.example_list_with_context.context.CopyFrom(
    example(x=floats(0.5, 0.25), n=integers(9))
)
regressed = prediction_service.Regress(regression, 30.0)

several = inference_pb2.MultiInferenceRequest(input=regression.input)
for signature_name, kind in (("classify", "classify"), ("column", "regress")):
    task = several.tasks.add(method_name="tensorflow/serving/" + kind)
    task.model_spec.name = "numbers"
    task.model_spec.signature_name = signature_name
inferred = prediction_service.MultiInference(several, 30.0)

request.input.example_list.examples.add()
try:
    prediction_service.Classify(request, 30.0)
except grpc.RpcError as error:
    refusal = [error.code().name, error.details()]

print(json.dumps({
    "labels": [[c.label for c in row.classes] for row in classified.result.classifications],
    "scores": [[c.score for c in row.classes] for row in classified.result.classifications],
    "version": classified.model_spec.version.value,
    "predicted": tf.make_ndarray(predicted.outputs["scores"]).tolist(),
    "classes": [name.decode() for name in predicted.outputs["classes"].string_val[:2]],
    "values": [entry.value for entry in regressed.result.regressions],
    "results": [result.WhichOneof("result") for result in inferred.results],
    "inferred": [entry.value for entry in inferred.results[1].regression_result.regressions],
    "refusal": refusal,
}))
"""


def test_the_official_client_gets_the_same_answers(
    tmp_path, running_server, sample_images, request
):
    """Classify, Regress, MultiInference and Predict on tf.Examples answer the official client."""
    sample = request.config.rootpath / "tests" / "data" / "cifar10_sample.npz"
    example_models.pictures(tmp_path)
    example_models.numbers(tmp_path)
    with running_server(tmp_path) as target:
        result = subprocess.run(
            [sys.executable, "-c", PROGRAM, target, str(sample)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        with PredictClient(target) as client:
            ours = client.predict("pictures", {"images": sample_images})["probabilities"]

    assert result.returncode == 0, result.stderr
    theirs = json.loads(result.stdout)
    np.testing.assert_array_equal(np.array(theirs["scores"], np.float32), ours)
    np.testing.assert_array_equal(np.array(theirs["predicted"], np.float32), ours)
    assert theirs["labels"] == [["dark", "bright"]] * 24
    assert theirs["classes"] == ["dark", "bright"]
    assert theirs["version"] == 1
    assert theirs["values"] == [9.75, 1.75]
    assert theirs["results"] == ["classification_result", "regression_result"]
    assert theirs["inferred"] == [9.75, 1.75]
    assert theirs["refusal"][0] == "INVALID_ARGUMENT"
    assert theirs["refusal"][1].startswith("Name: <unknown>, Feature: image/encoded")
