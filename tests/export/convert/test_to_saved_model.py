import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from export.convert import to_saved_model
from export.errors import ExportError
from export.sources import saved_model
from training.model import architectures

RANDOM_IMAGES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)


def mixed_precision(tmp_path, policy):
    """Save model.keras as a Keras session with a mixed precision policy does; return the model."""
    keras.config.set_dtype_policy(policy)
    try:
        keras.utils.set_random_seed(0)
        model = architectures.build("simcnn")
    finally:
        keras.config.set_dtype_policy("float32")
    model.save(tmp_path / "model.keras")
    return model


def test_saved_model_has_two_signatures(tiny_model, tmp_path):
    """The signatures have the documented names; `logits` is an attribute and no signature."""
    to_saved_model.write(tiny_model, tmp_path)

    loaded = tf.saved_model.load(str(tmp_path))
    serving_default = loaded.signatures["serving_default"]
    assert sorted(loaded.signatures) == ["classify", "serving_default"]
    assert serving_default.structured_input_signature[1] == {
        "images": tf.TensorSpec((None, 32, 32, 3), tf.uint8, name="images")
    }
    assert serving_default.structured_outputs == {
        "classes": tf.TensorSpec((None,), tf.int64, name="classes"),
        "probabilities": tf.TensorSpec((None, 10), tf.float32, name="probabilities"),
    }
    assert loaded.signatures["classify"].structured_outputs == {
        "classes": tf.TensorSpec((None, 10), tf.string, name="classes"),
        "scores": tf.TensorSpec((None, 10), tf.float32, name="scores"),
    }
    assert loaded.logits(RANDOM_IMAGES).shape == (3, 10)


def test_saved_model_answers_as_the_keras_model(tiny_model, tmp_path):
    """Logits are the model's, probabilities their softmax and classes their argmax."""
    to_saved_model.write(tiny_model, tmp_path)
    loaded = tf.saved_model.load(str(tmp_path))

    logits = loaded.logits(RANDOM_IMAGES).numpy()
    served = loaded.signatures["serving_default"](images=tf.constant(RANDOM_IMAGES))

    np.testing.assert_allclose(logits, tiny_model.predict(RANDOM_IMAGES, verbose=0), rtol=1e-5)
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(served["probabilities"], softmax, rtol=1e-5)
    np.testing.assert_array_equal(served["classes"], logits.argmax(axis=1))


def test_tensorflow_serving_finds_what_it_needs(tiny_model, tmp_path):
    """saved_model.pb is tagged `serve`; its signatures have TensorFlow Serving's method names."""
    to_saved_model.write(tiny_model, tmp_path)

    methods = {
        name: saved_model.signature_def(tmp_path, name).method_name
        for name in ("serving_default", "classify")
    }
    assert methods == {
        "serving_default": "tensorflow/serving/predict",
        "classify": "tensorflow/serving/classify",
    }
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        "fingerprint.pb",
        "saved_model.pb",
        "variables",
    ]


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_becomes_float32(tmp_path, policy):
    """A model saved with mixed precision is rebuilt to compute in float32 with the same weights."""
    mixed = mixed_precision(tmp_path, policy)

    model = to_saved_model.load_keras(tmp_path / "model.keras")

    assert mixed.layers[2].compute_dtype == policy.removeprefix("mixed_")
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    for expected, weight in zip(mixed.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)
    plain = architectures.build("simcnn")
    plain.set_weights(mixed.get_weights())
    expected = plain.predict(RANDOM_IMAGES, verbose=0)
    np.testing.assert_array_equal(model.predict(RANDOM_IMAGES, verbose=0), expected)


def test_models_trained_with_jax_are_loaded(tmp_path):
    """A .keras file written under the JAX backend gives the same logits under TensorFlow."""
    script = (
        "import os, sys, keras, numpy as np\n"
        "from training.model import architectures\n"
        "os.chdir(sys.argv[1])\n"
        "keras.utils.set_random_seed(3)\n"
        "model = architectures.build('simcnn')\n"
        "model.save('model.keras')\n"
        "np.save('logits.npy', model.predict(np.load('images.npy')))\n"
        "print(keras.backend.backend())\n"
    )
    np.save(tmp_path / "images.npy", RANDOM_IMAGES)
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )

    model = to_saved_model.load_keras(tmp_path / "model.keras")

    assert done.stdout.splitlines()[-1] == "jax"
    expected = np.load(tmp_path / "logits.npy")
    logits = model.predict(RANDOM_IMAGES, verbose=0)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_damaged_model_file_is_refused(tmp_path):
    """A truncated .keras file is an error in one sentence that names the file."""
    (tmp_path / "model.keras").write_bytes(b"PK\x03\x04 truncated")

    with pytest.raises(ExportError, match=r"model\.keras cannot be loaded as a Keras model"):
        to_saved_model.load_keras(tmp_path / "model.keras")


def test_other_interface_is_refused(tmp_path):
    """A model of float images is refused with both interfaces in the message."""
    images = keras.Input((28, 28, 1), name="digits")
    logits = keras.layers.Dense(10)(keras.layers.Flatten()(images))
    keras.Model(images, logits).save(tmp_path / "model.keras")

    with pytest.raises(ExportError) as refusal:
        to_saved_model.load_keras(tmp_path / "model.keras")

    message = str(refusal.value)
    assert "digits float32 (None, 28, 28, 1)" in message
    assert "expected images uint8 (None, 32, 32, 3)" in message
    assert "python -m export saved-model" in message
