"""Tests that the bundled model sees the same pixels in whatever form a picture arrives."""

import base64
import json
from pathlib import Path

import grpc
import numpy as np
import pytest
from calling.rest_client import Http
from image_files import png
from sample_models.example_models import example

from serving.client import PredictClient, response_arrays
from serving.protos.tensorflow_example_pb2 import Example
from serving.protos.tensorflow_serving_pb2 import (
    ClassificationRequest,
    ClassificationResponse,
    PredictRequest,
    PredictResponse,
)
from serving.tensors.signature import DataType

MODELS = Path(__file__).parents[3] / "models"
SERVICE = "/tensorflow.serving.PredictionService"
REST = "/v1/models/simcnn"
KSERVE = "/v2/models/simcnn/infer"


@pytest.fixture(scope="module")
def address(running_server):
    """Address of a server with the bundled models."""
    with running_server(MODELS) as target:
        yield target


def encoded(image: np.ndarray) -> bytes:
    """Return a tf.Example with a PNG file."""
    return example(image__encoded=png(image))


def raw(image: np.ndarray) -> bytes:
    """Return a tf.Example with 3,072 bytes of pixels."""
    return example(image__raw=image.tobytes())


def base64_of(content: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(content).decode()}


def from_json(rows: list) -> np.ndarray:
    return np.array(rows, np.float32)


# Each function sends images in one form and returns float32 (n, 10).


def numpy_array(address: str, images: np.ndarray) -> np.ndarray:
    with PredictClient(address) as client:
        return client.predict("simcnn", {"images": images})["probabilities"]


def predict(address: str, request: PredictRequest, output: str) -> np.ndarray:
    request.model_spec.name = "simcnn"
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(f"{SERVICE}/Predict")
        answer = PredictResponse.FromString(call(request.SerializeToString(), timeout=30))
    return response_arrays(answer)[output]


def image_request(images: np.ndarray) -> PredictRequest:
    request = PredictRequest()
    request.inputs["images"].dtype = DataType.DT_UINT8
    for size in images.shape:
        request.inputs["images"].tensor_shape.dim.add().size = size
    return request


def tensor_content(address: str, images: np.ndarray) -> np.ndarray:
    request = image_request(images)
    request.inputs["images"].tensor_content = images.tobytes()
    return predict(address, request, "probabilities")


def typed_values(address: str, images: np.ndarray) -> np.ndarray:
    request = image_request(images)
    request.inputs["images"].int_val.extend(images.ravel().tolist())
    return predict(address, request, "probabilities")


def predict_with_serialized_examples(address: str, images: np.ndarray) -> np.ndarray:
    request = PredictRequest()
    request.model_spec.signature_name = "classify"
    request.inputs["inputs"].dtype = DataType.DT_STRING
    request.inputs["inputs"].tensor_shape.dim.add().size = len(images)
    request.inputs["inputs"].string_val.extend(map(encoded, images))
    return predict(address, request, "scores")


def classify(address: str, serialized: list[bytes]) -> np.ndarray:
    request = ClassificationRequest()
    request.model_spec.name, request.model_spec.signature_name = "simcnn", "classify"
    request.input.example_list.examples.extend(map(Example.FromString, serialized))
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(f"{SERVICE}/Classify")
        answer = ClassificationResponse.FromString(call(request.SerializeToString(), timeout=30))
    return from_json(
        [[entry.score for entry in row.classes] for row in answer.result.classifications]
    )


def classify_png(address: str, images: np.ndarray) -> np.ndarray:
    return classify(address, [encoded(image) for image in images])


def classify_raw(address: str, images: np.ndarray) -> np.ndarray:
    return classify(address, [raw(image) for image in images])


def post(address: str, path: str, document: dict) -> dict:
    status, answer = Http(address).post(path, document)
    assert status == 200, answer
    return answer


def rest_rows(address: str, images: np.ndarray) -> np.ndarray:
    answer = post(address, f"{REST}:predict", {"instances": images.tolist()})
    return from_json([row["probabilities"] for row in answer["predictions"]])


def rest_columns(address: str, images: np.ndarray) -> np.ndarray:
    answer = post(address, f"{REST}:predict", {"inputs": {"images": images.tolist()}})
    return from_json(answer["outputs"]["probabilities"])


def rest_predict_base64(address: str, images: np.ndarray) -> np.ndarray:
    rows = [{"inputs": base64_of(encoded(image))} for image in images]
    document = {"signature_name": "classify", "instances": rows}
    answer = post(address, f"{REST}:predict", document)
    return from_json([row["scores"] for row in answer["predictions"]])


def rest_classify(address: str, examples: list[dict]) -> np.ndarray:
    document = {"signature_name": "classify", "examples": examples}
    answer = post(address, f"{REST}:classify", document)
    return from_json([[score for _, score in row] for row in answer["results"]])


def rest_classify_base64_png(address: str, images: np.ndarray) -> np.ndarray:
    return rest_classify(address, [{"image/encoded": base64_of(png(image))} for image in images])


def rest_classify_base64_raw(address: str, images: np.ndarray) -> np.ndarray:
    return rest_classify(address, [{"image/raw": base64_of(image.tobytes())} for image in images])


def kserve_document(images: np.ndarray) -> dict:
    tensor = {"name": "images", "datatype": "UINT8", "shape": list(images.shape)}
    return {"inputs": [tensor], "outputs": [{"name": "probabilities"}]}


def kserve_json(address: str, images: np.ndarray) -> np.ndarray:
    document = kserve_document(images)
    document["inputs"][0]["data"] = images.ravel().tolist()
    (output,) = post(address, KSERVE, document)["outputs"]
    return from_json(output["data"]).reshape(-1, 10)


def kserve_binary(address: str, images: np.ndarray) -> np.ndarray:
    document = kserve_document(images)
    document["inputs"][0]["parameters"] = {"binary_data_size": images.nbytes}
    document["outputs"][0]["parameters"] = {"binary_data": True}
    header = json.dumps(document).encode()
    status, headers, body = Http(address).ask(
        "POST",
        KSERVE,
        header + images.tobytes(),
        Inference_Header_Content_Length=str(len(header)),
    )
    assert status == 200, body
    content = body[int(headers["inference-header-content-length"]) :]
    return np.frombuffer(content, np.float32).reshape(-1, 10)


FORMS = (
    tensor_content,
    typed_values,
    predict_with_serialized_examples,
    classify_png,
    classify_raw,
    rest_rows,
    rest_columns,
    rest_predict_base64,
    rest_classify_base64_png,
    rest_classify_base64_raw,
    kserve_json,
    kserve_binary,
)


@pytest.mark.parametrize("ask", FORMS, ids=lambda form: form.__name__)
@pytest.mark.parametrize("rows", [1, 24])
def test_every_form_of_a_picture_gets_the_same_bits(address, sample_images, ask, rows):
    """PNG, raw bytes, typed values, JSON and base64 get the bits of a NumPy array."""
    images = sample_images[:rows]

    answer, expected = ask(address, images), numpy_array(address, images)

    assert answer.shape == (rows, 10)
    assert answer.tobytes() == expected.tobytes()


def test_one_changed_pixel_changes_the_bits(address, sample_images):
    """An image that differs by one grey level gets other bits, so the comparison can fail."""
    changed = sample_images[:1].copy()
    changed[0, 16, 16, 1] ^= 1

    assert (
        numpy_array(address, changed).tobytes() != numpy_array(address, sample_images[:1]).tobytes()
    )
