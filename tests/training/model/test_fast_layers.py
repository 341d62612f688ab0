"""The faster layers compute the same as Keras' own."""

import keras
import numpy as np
import pytest

from training.model import architectures, fast_layers

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the layers are for the TensorFlow backend"
)


def _gradients(model, images, targets):
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    with tf.GradientTape() as tape:
        # Moving statistics are used: those of 8 random images would amplify rounding 100 times.
        value = loss(targets, model(images, training=False))
    return tape.gradient(value, [v.value for v in model.trainable_variables])


@pytest.mark.parametrize("side", [1, 2, 3])
@pytest.mark.parametrize(("kernel", "strides"), [(1, 1), (1, 2), (3, 1), (3, 2)])
def test_convolution_is_the_same(side, kernel, strides):
    """Outputs and gradients equal Conv2D's on every map size, kernel and stride."""
    rng = np.random.default_rng(0)
    inputs = keras.Input((side, side, 5))
    plain = keras.Model(
        inputs, keras.layers.Conv2D(7, kernel, strides=strides, padding="same")(inputs)
    )
    fast = fast_layers.accelerate(plain)
    images = rng.normal(size=(4, side, side, 5)).astype("float32")

    with tf.GradientTape() as tape:
        expected = plain(images)
        loss = tf.reduce_sum(expected**2)
    expected_gradients = tape.gradient(loss, [v.value for v in plain.trainable_variables])
    with tf.GradientTape() as tape:
        outputs = fast(images)
        loss = tf.reduce_sum(outputs**2)
    gradients = tape.gradient(loss, [v.value for v in fast.trainable_variables])

    assert type(fast.layers[1]) is fast_layers.MatrixConv2D
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)
    for got, wanted in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


def test_batch_normalisation_is_the_same():
    """Output, gradients and moving statistics equal Keras' own after a training step."""
    rng = np.random.default_rng(0)
    inputs = keras.Input((3, 3, 4))
    plain = keras.Model(inputs, keras.layers.BatchNormalization(epsilon=1e-3)(inputs))
    fast = fast_layers.accelerate(plain)
    images = rng.normal(2, 3, size=(5, 3, 3, 4)).astype("float32")

    expected = plain(images, training=True)
    outputs = fast(images, training=True)

    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)
    for got, wanted in zip(fast.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(fast(images), plain(images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("simcnn", "imagenet"),
        ("resnet50", "imagenet"),
        pytest.param("resnet50", "cifar", marks=pytest.mark.slow),
    ],
)
def test_model_is_the_same(name, stem):
    """Logits and gradients of a whole model equal the plain one's; weights can be copied back."""
    keras.utils.set_random_seed(1)
    plain = architectures.build(name, stem=stem)
    fast = fast_layers.accelerate(plain)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    targets = np.eye(10, dtype="float32")[rng.integers(0, 10, 8)]

    expected = _gradients(plain, images, targets)
    gradients = _gradients(fast, images, targets)

    assert [v.path for v in fast.variables] == [v.path for v in plain.variables]
    largest = max(float(np.abs(g).max()) for g in expected)
    for got, wanted in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-2, atol=1e-3 * largest)
    plain.set_weights(fast.get_weights())
    np.testing.assert_allclose(plain(images), fast(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["mixed_bfloat16", "mixed_float16"])
def test_layers_keep_the_precision_policy(name):
    """Under a mixed policy the layers compute in its type and learn the same as Keras' own."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(16, 2, 2, 8)).astype("float32")
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(name)
        inputs = keras.Input((2, 2, 8))
        x = keras.layers.Conv2D(8, 3, padding="same")(inputs)
        x = keras.layers.BatchNormalization()(x)
        plain = keras.Model(inputs, keras.layers.Conv2D(4, 1)(x))
        fast = fast_layers.accelerate(plain)
    finally:
        keras.config.set_dtype_policy(policy)

    expected, outputs = (model(images, training=True) for model in (plain, fast))

    assert outputs.dtype == expected.dtype == name.removeprefix("mixed_")
    assert [type(layer).__name__ for layer in fast.layers[1:]] == [
        "MatrixConv2D",
        "FusedBatchNormalization",
        "MatrixConv2D",
    ]
    np.testing.assert_allclose(
        tf.cast(outputs, tf.float32), tf.cast(expected, tf.float32), atol=0.05
    )
    for got, wanted in zip(fast.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=2e-2, atol=1e-3)
