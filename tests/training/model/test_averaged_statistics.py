"""Averaged statistics of batch normalisation, alone and through whole trainings."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

from training.batches.feeding import one_hot
from training.batches.validation_split import split_validation
from training.data.cifar10 import load
from training.model import architectures, averaged_statistics, fast_layers
from training.model.predictions import predict_logits
from training.run import checkpoint
from training.run.train import train
from training.settings.recipes import from_recipe

# Trainings and child processes: seconds on a machine at rest, minutes on a busy one.
pytestmark = pytest.mark.timeout(400)
KEPT = 0.75


def make_model():
    """Return a model with two batch normalisations, one of them in a nested model."""
    keras.utils.set_random_seed(0)
    inner = keras.Input((4, 4, 3))
    x = layers.BatchNormalization(momentum=0.5)(layers.Conv2D(6, 3, padding="same")(inner))
    body = keras.Model(inner, layers.Activation("relu")(x), name="body")
    images = keras.Input((4, 4, 3))
    x = layers.BatchNormalization(momentum=0.9, epsilon=0.01)(body(images))
    return keras.Model(images, layers.Dense(2)(layers.Flatten()(x)))


def steps(model, count=3):
    """Train for some steps of 8 images; yield after each."""
    model.compile(optimizer=keras.optimizers.SGD(0.05), loss="mse", jit_compile=False)
    random = np.random.default_rng(0)
    for _ in range(count):
        images = random.normal(2, 3, size=(8, 4, 4, 3)).astype("float32")
        model.train_on_batch(images, random.normal(size=(8, 2)))
        yield


def arrays(variables):
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def statistics(model):
    return [
        keras.ops.convert_to_numpy(weight)
        for weight in model.weights
        if weight.name in ("moving_mean", "moving_variance")
    ]


def averages(model):
    return [
        keras.ops.convert_to_numpy(weight)
        for weight in model.weights
        if weight.name in ("average_mean", "average_variance")
    ]


@pytest.fixture(params=["keras", "fast"])
def plain(request):
    """A model with Keras' own layers, and one with the faster layers on TensorFlow."""
    if request.param == "keras":
        return make_model()
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the faster layers are for TensorFlow")
    return fast_layers.accelerate(make_model())


def test_statistics_are_averaged_and_the_training_is_the_same(plain):
    """Weights and moving statistics equal those without averages, which follow their formula."""
    averaging = averaged_statistics.average(plain, KEPT)
    expected = statistics(plain)  # where the averages start
    for _ in zip(steps(plain), steps(averaging), strict=True):
        expected = [
            KEPT * old + (1 - KEPT) * new
            for old, new in zip(expected, statistics(plain), strict=True)
        ]

    assert len(expected) == 4
    trained = [*plain.trainable_variables], [*averaging.trainable_variables]
    for got, wanted in zip(arrays(trained[1]), arrays(trained[0]), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
    for got, wanted in zip(statistics(averaging), statistics(plain), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
    for got, wanted in zip(averages(averaging), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_inference_normalises_with_the_averages(plain):
    """A model of Keras' own layers with the averages as statistics gives the same outputs."""
    averaging = averaged_statistics.average(plain, KEPT)
    for _ in steps(averaging):
        pass
    model = make_model()
    images = np.random.default_rng(1).normal(2, 3, size=(5, 4, 4, 3)).astype("float32")

    model.set_weights(averaged_statistics.weights_of(averaging))

    got, wanted = (
        keras.ops.convert_to_numpy(m(images, training=False)) for m in (averaging, model)
    )
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
    assert all(
        (mean == average).all()
        for mean, average in zip(statistics(model), averages(averaging), strict=True)
    )
    assert np.abs(statistics(model)[0] - statistics(averaging)[0]).max() > 1e-3


FIT = """
import sys, keras, numpy as np
from training.model import averaged_statistics
folder, kept = sys.argv[1], float(sys.argv[2])
data = np.load(folder + "/data.npz")
model = averaged_statistics.average(keras.models.load_model(folder + "/model.keras"), kept)
model.compile(optimizer=keras.optimizers.SGD(0.05), loss="mse", jit_compile=False)
model.fit(data["images"], data["targets"], batch_size=8, epochs=2, shuffle=False, verbose=0)
outputs = model.predict(data["images"], verbose=0)
np.savez(folder + "/trained.npz", outputs, *model.get_weights())
"""


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="compares with TensorFlow")
def test_backends_average_alike(tmp_path):
    """Weights, statistics, averages and predictions of a training on JAX equal TensorFlow's."""
    pytest.importorskip("jax", reason="the second backend is not installed")
    make_model().save(tmp_path / "model.keras")
    random = np.random.default_rng(0)
    images = random.normal(2, 3, size=(24, 4, 4, 3)).astype("float32")
    np.savez(tmp_path / "data.npz", images=images, targets=random.normal(size=(24, 2)))
    results = {}
    for backend in ("tensorflow", "jax"):
        subprocess.run(
            [sys.executable, "-c", FIT, str(tmp_path), str(KEPT)],
            env={**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"},
            check=True,
        )
        with np.load(tmp_path / "trained.npz") as arrays:
            results[backend] = [arrays[name] for name in arrays.files]

    assert len(results["jax"]) == 1 + 2 + 6 + 6 + 2  # outputs, and the weights of four layers
    for got, wanted in zip(results["jax"], results["tensorflow"], strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-4)


def test_model_without_batch_normalisation_is_left_alone():
    """SimCNN, which has none, is returned itself, and its weights are those of get_weights."""
    model = architectures.build("simcnn")

    assert averaged_statistics.average(model, KEPT) is model
    weights = averaged_statistics.weights_of(model)
    for got, wanted in zip(weights, model.get_weights(), strict=True):
        assert (got == wanted).all()


def test_layers_compute_in_the_type_of_the_precision_policy():
    """Under mixed_bfloat16 the outputs are bfloat16 in training and inference, weights float32."""
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        averaging = averaged_statistics.average(make_model(), KEPT)
    finally:
        keras.config.set_dtype_policy(policy)

    layer = averaging.get_layer("body").layers[2]
    for training in (True, False):
        outputs = layer(np.ones((2, 4, 4, 6), np.float32), training=training)
        assert keras.backend.standardize_dtype(outputs.dtype) == "bfloat16"
    assert {keras.backend.standardize_dtype(w.dtype) for w in averaging.weights} == {"float32"}


def test_checkpoint_of_a_version_without_averages_is_continued(tmp_path, plain):
    """Weights saved without averages are loaded; the averages start at the moving statistics."""
    averaging = averaged_statistics.average(plain, KEPT)
    for _ in steps(plain):
        pass
    plain.save_weights(tmp_path / "old.weights.h5")

    averaging.load_weights(tmp_path / "old.weights.h5")

    for got, wanted in zip(averages(averaging), statistics(plain), strict=True):
        assert (got == wanted).all()


@pytest.fixture
def normalised(monkeypatch):
    """Give SimCNN a tiny body with a batch normalisation, so that its trainings take seconds."""

    def body(x):
        x = layers.Conv2D(4, 3, strides=4)(x)
        x = layers.BatchNormalization(momentum=0.9)(x)
        return layers.Flatten()(layers.Activation("relu")(x))

    monkeypatch.setattr(architectures, "_simcnn_body", body)


def trained(run_dir, image_dir, **changes):
    settings = {"epochs": 3, "batch_size": 32, "ema_span": 0.3, "learning_rate": 1e-2}
    config = from_recipe("simcnn", "best", **settings | changes)
    return config, train(config, run_dir=run_dir, data_dir=image_dir)


@pytest.mark.usefixtures("normalised")
def test_the_validated_model_is_saved(tmp_path, image_dir):
    """model.keras has Keras' own layers and the validation loss of the last epoch."""
    config, result = trained(tmp_path, image_dir)

    model = keras.models.load_model(tmp_path / "model.keras")
    kinds = {type(layer) for layer in model.layers}
    assert layers.BatchNormalization in kinds
    assert {kind.__module__.partition(".")[0] for kind in kinds} == {"keras"}
    data = load(image_dir)
    _, validation = split_validation(data.train, data.test, config)
    loss = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=config.label_smoothing
    )
    expected = float(loss(one_hot(validation.labels), predict_logits(model, validation.images)))
    assert result.metrics["last_epoch"]["val_loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.usefixtures("normalised")
@pytest.mark.parametrize(
    "changes",
    [
        {"accumulate_steps": 2},
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"mixed_precision": "float16"}, marks=pytest.mark.slow),
        pytest.param({"early_stopping": 3}, marks=pytest.mark.slow),
    ],
)
def test_run_that_is_interrupted_after_each_epoch_ends_with_equal_weights(
    tmp_path, image_dir, changes
):
    """A run that is ended after each of its epochs and resumed saves the weights of a whole one."""
    save = checkpoint.save

    def save_and_end(*arguments, **keywords):
        save(*arguments, **keywords)
        raise KeyboardInterrupt

    trained(tmp_path / "whole", image_dir, **changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save", save_and_end)
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt):
                trained(tmp_path / "parts", image_dir, **changes)
    trained(tmp_path / "parts", image_dir, **changes)

    whole, parts = (
        keras.models.load_model(tmp_path / name / "model.keras").get_weights()
        for name in ("whole", "parts")
    )
    for got, wanted in zip(parts, whole, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
