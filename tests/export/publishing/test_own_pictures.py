"""Class names and the signature `classify` of a SavedModel from elsewhere."""

import base64
import io
import json

import numpy as np
import pytest
from calling import rest_client
from PIL import Image
from sample_models import own_models

from export.__main__ import main
from serving.client import PredictClient
from serving.protos.tensorflow_example_pb2 import Example
from serving.repository import model_folder

FLAGS = ("--name", "colours", "--signature", "serving_default", "--keep-shapes")


@pytest.fixture(scope="module")
def colours(own_saved, own_names, tmp_path_factory):
    """Return the folder of the published version."""
    models_dir = tmp_path_factory.mktemp("models")
    arguments = ("saved-model", own_saved, *FLAGS, "--class-names", own_names)
    assert main([*map(str, arguments), "--models-dir", str(models_dir)]) == 0
    return models_dir / "colours" / "1"


def png(picture, size=own_models.SIZE):
    """Return a PNG file of a picture, scaled to a size."""
    buffer = io.BytesIO()
    Image.fromarray(picture).resize((size, size)).save(buffer, "PNG")
    return buffer.getvalue()


def test_classify_is_added_and_checked(colours):
    """signature.json has class names and `classify`; the served gate asked `classify` twice."""
    folder = model_folder.read(colours)
    classify = folder.signatures["classify"]

    assert folder.class_names == own_models.CLASS_NAMES
    assert (classify.file, classify.method_name) == ("model.onnx", "tensorflow/serving/classify")
    assert classify.outputs["classes"].constant == own_models.CLASS_NAMES
    asked = {
        each["signature"]: each["requests"]
        for each in json.loads((colours / "metrics.json").read_text())["parity"]["served"]
    }
    assert asked["classify"] == 6


def test_pictures_are_named_by_the_server(colours, running_server):
    """A PNG of another size gets its class; PNG and raw pixels get the scores of the arrays."""
    pixels, labels = own_models.pictures(5, seed=9)
    examples = np.empty(10, object)
    for row, picture in enumerate(pixels):
        for offset, (form, data) in enumerate(
            (("encoded", png(picture)), ("raw", picture.tobytes()))
        ):
            example = Example()
            example.features.feature[f"image/{form}"].bytes_list.value.append(data)
            examples[row + 5 * offset] = example.SerializeToString()

    with running_server(colours.parents[1]) as target:
        with PredictClient(target) as client:
            arrays = client.predict("colours", {"picture": pixels})["output_0"]
            answer = client.predict("colours", {"inputs": examples}, signature_name="classify")
        status, document = rest_client.Http(target).post(
            "/v1/models/colours:classify",
            {
                "signature_name": "classify",
                "examples": [
                    {"image/encoded": {"b64": base64.b64encode(png(picture, 100)).decode()}}
                    for picture in pixels
                ],
            },
        )

    np.testing.assert_allclose(answer["scores"], np.concatenate([arrays, arrays]), rtol=1e-5)
    assert status == 200
    best = [max(row, key=lambda pair: pair[1])[0] for row in document["results"]]
    assert best == [own_models.CLASS_NAMES[label] for label in labels]


def test_other_numbers_of_names_are_refused(call, own_saved, tmp_path):
    """A wrong number of class names is refused before the conversion, with both numbers."""
    (tmp_path / "names.json").write_text('["a", "b"]')
    flags = ("--class-names", tmp_path / "names.json", "--models-dir", tmp_path)

    code, _, stderr = call("saved-model", own_saved, *FLAGS, *flags)

    assert code == 2
    assert "2 class names received, expected one for each column" in stderr
    assert "output_0 5" in stderr
