import json
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving import legacy_h5_format

from training.model import architectures
from training.settings.recipes import ConfigError


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def resnet50():
    keras.utils.set_random_seed(0)
    return architectures.build("resnet50")


def logits_of(model, images):
    return keras.ops.convert_to_numpy(model(images, training=False))


def check_signature(model):
    (images,), (logits,) = model.inputs, model.outputs
    assert (images.name, images.dtype, images.shape) == ("images", "uint8", (None, 32, 32, 3))
    assert (model.output_names, logits.dtype, logits.shape) == (["logits"], "float32", (None, 10))


def test_simcnn_has_the_published_architecture():
    """SimCNN has 122,570 parameters in five layers, uint8 input and float32 logits."""
    model = architectures.build("simcnn")

    check_signature(model)
    assert model.count_params() == 122_570
    counts = [layer.count_params() for layer in model.layers if layer.count_params()]
    assert counts == [896, 18_496, 36_928, 65_600, 650]


def test_resnet50_has_the_published_architecture(resnet50):
    """ResNet50 without top has 23,587,712 parameters; Dense 1024 and Dense 10 follow."""
    check_signature(resnet50)
    body, head = 23_587_712, (2048 * 1024 + 1024) + (1024 * 10 + 10)
    assert resnet50.get_layer("body").count_params() == body
    assert resnet50.count_params() == body + head == 25_696_138


def test_scaling_is_in_the_graph(images):
    """Raw pixels give the logits that the other layers give on pixels divided by 255."""
    model = architectures.build("simcnn")
    x = images / np.float32(255)
    for layer in model.layers[2:]:  # after the input and the scaling
        x = layer(x)

    assert np.abs(logits_of(model, images) - keras.ops.convert_to_numpy(x)).max() < 1e-5


@pytest.mark.parametrize("name", ["simcnn", "resnet50"])
def test_output_is_logits(images, name):
    """The graph has no softmax: rows of the output do not sum to 1."""
    model = architectures.build(name)

    assert np.abs(logits_of(model, images).sum(axis=1) - 1).max() > 1e-3
    assert model.layers[-1].activation is keras.activations.linear


@pytest.mark.parametrize("upsample", [2, 7])
def test_upsampling_comes_before_the_body(upsample):
    """The body's input is enlarged by the factor; the model's input stays 32x32."""
    model = architectures.build("resnet50", upsample=upsample)

    check_signature(model)
    side = 32 * upsample
    assert model.get_layer("body").input.shape == (None, side, side, 3)


@pytest.fixture(scope="module")
def cifar_stem():
    keras.utils.set_random_seed(0)
    return architectures.build("resnet50", stem="cifar")


def test_cifar_stem_is_a_single_small_convolution(cifar_stem, resnet50):
    """The stem is a 3x3 convolution with stride 1 without pooling, 7,680 parameters smaller."""
    check_signature(cifar_stem)
    layers = {layer.name: layer for layer in cifar_stem.get_layer("body").layers}

    assert cifar_stem.count_params() == resnet50.count_params() - 3 * 64 * (7 * 7 - 3 * 3)
    assert cifar_stem.count_params() == 25_688_458
    first = layers["conv1_conv"]
    assert (first.kernel_size, first.strides, first.padding) == ((3, 3), (1, 1), "same")
    assert first.output.shape == (None, 32, 32, 64)
    assert layers["conv2_block1_1_conv"].input is layers["conv1_relu"].output
    assert cifar_stem.get_layer("body").output.shape == (None, 4, 4, 2048)


def test_cifar_stem_leaves_all_other_layers_as_they_are(cifar_stem, resnet50):
    """All other layers are the reference architecture's, with their names, settings and weights."""
    variant, reference = (
        {layer.name: layer for layer in model.get_layer("body").layers[1:]}
        for model in (cifar_stem, resnet50)
    )

    assert set(reference) - set(variant) == {"conv1_pad", "pool1_pad", "pool1_pool"}
    assert list(variant) == [name for name in reference if name in variant]
    for name, layer in variant.items():
        if name != "conv1_conv":
            assert layer.get_config() == reference[name].get_config()
            shapes = [[weight.shape for weight in x.weights] for x in (layer, reference[name])]
            assert shapes[0] == shapes[1]
    assert [type(x) for x in cifar_stem.layers] == [type(x) for x in resnet50.layers]


def test_cifar_stem_has_the_initial_weights_of_its_seed():
    """Two models of one seed are equal, and layers of equal shape have different weights."""
    models = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        models.append(architectures.build("resnet50", stem="cifar"))

    first, second = ([keras.ops.convert_to_numpy(w) for w in model.weights] for model in models)
    for got, wanted in zip(first, second, strict=True):
        assert (got == wanted).all()
    blocks = [models[0].get_layer("body").get_layer(f"conv3_block{n}_2_conv") for n in (2, 3)]
    assert (blocks[0].get_weights()[0] != blocks[1].get_weights()[0]).mean() > 0.99


def test_model_with_a_stem_is_rebuilt_and_continued(tmp_path, cifar_stem, images):
    """The copy, and a run that starts from the file, have the same logits; without stem neither."""
    rebuilt = architectures.rebuild(cifar_stem, "resnet50", stem="cifar")
    cifar_stem.save(tmp_path / "model.keras")
    again = architectures.build("resnet50", stem="cifar", weights=str(tmp_path / "model.keras"))

    for model in (rebuilt, again):
        np.testing.assert_allclose(
            logits_of(model, images), logits_of(cifar_stem, images), rtol=1e-5, atol=1e-6
        )


def test_weights_of_another_stem_are_refused(tmp_path, cifar_stem, body_file):
    """A file of the other stem raises ConfigError that names both stems and the way out."""
    cifar_stem.save(tmp_path / "model.keras")

    with pytest.raises(
        ConfigError,
        match=r"resnet50 with stem cifar, expected stem imagenet: pass --stem cifar",
    ):
        architectures.build("resnet50", weights=str(tmp_path / "model.keras"))
    with pytest.raises(ConfigError, match=r"received with stem cifar.*--stem imagenet"):
        architectures.build("resnet50", stem="cifar", weights=str(body_file))


@pytest.fixture(scope="module")
def body():
    """ResNet50 without top, with random weights instead of ImageNet's."""
    keras.utils.set_random_seed(1)
    return keras.applications.ResNet50(
        include_top=False, weights=None, input_shape=(32, 32, 3), name="body"
    )


@pytest.fixture(scope="module")
def body_file(body, tmp_path_factory):
    """The weights of `body` in the layout of the published file ..._notop.h5 (Keras 2)."""
    path = tmp_path_factory.mktemp("weights") / "resnet50_notop.h5"
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, body)
    return path


def input_of_the_body(model):
    return keras.Model(model.input, model.get_layer("body")._inbound_nodes[-1].input_tensors[0])


def test_imagenet_weights_get_the_preprocessing_they_know(body, body_file):
    """The body has the file's weights, and its input equals Keras' own preprocessing bit for bit.

    This is checked for all 256 values of each channel: channels in the order blue, green, red,
    ImageNet's mean subtracted.
    """
    model = architectures.build("resnet50", weights=str(body_file))
    values = np.arange(3 * 1024, dtype=np.uint32).reshape(1, 32, 32, 3)
    images = np.concatenate([values, values // 3, values * 7 + 1]).astype(np.uint8)
    assert all(len(np.unique(images[..., channel])) == 256 for channel in range(3))

    check_signature(model)
    assert architectures.has_imagenet_preprocessing(model)
    expected = keras.applications.resnet50.preprocess_input(images.astype(np.float32))
    assert (logits_of(input_of_the_body(model), images) == expected).all()
    for given, loaded in zip(body.weights, model.get_layer("body").weights, strict=True):
        assert (keras.ops.convert_to_numpy(given) == keras.ops.convert_to_numpy(loaded)).all()


def test_weights_in_the_layout_of_keras_3_are_read_as_well(body, tmp_path):
    """A .weights.h5 file of ResNet50 without top gives the same body."""
    body.save_weights(tmp_path / "resnet50_notop.weights.h5")

    model = architectures.build("resnet50", weights=str(tmp_path / "resnet50_notop.weights.h5"))

    assert architectures.has_imagenet_preprocessing(model)
    for given, loaded in zip(body.weights, model.get_layer("body").weights, strict=True):
        assert (keras.ops.convert_to_numpy(given) == keras.ops.convert_to_numpy(loaded)).all()


def test_enlarged_images_are_preprocessed_before_they_are_enlarged(body_file, images):
    """With --upsample the body's input is the preprocessed pixels, interpolated bilinearly."""
    model = architectures.build("resnet50", weights=str(body_file), upsample=2)

    expected = keras.applications.resnet50.preprocess_input(images.astype(np.float32))
    expected = keras.layers.UpSampling2D(2, interpolation="bilinear")(expected)
    got = logits_of(input_of_the_body(model), images)
    assert (got == keras.ops.convert_to_numpy(expected)).all()


@pytest.mark.parametrize("origin", ["none", "imagenet"])
def test_earlier_run_is_continued_with_its_preprocessing(tmp_path, body_file, images, origin):
    """A .keras file gives the same logits again, with either preprocessing."""
    first = architectures.build("resnet50", weights=None if origin == "none" else str(body_file))
    first.save(tmp_path / "model.keras")

    second = architectures.build("resnet50", weights=str(tmp_path / "model.keras"))

    assert architectures.has_imagenet_preprocessing(second) == (origin == "imagenet")
    assert np.abs(logits_of(first, images) - logits_of(second, images)).max() < 1e-5


def test_mixed_precision_model_is_rebuilt_in_float32(images):
    """Logits are float32 under a mixed policy, and the rebuilt model computes in float32."""
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        mixed = architectures.build("simcnn")
    finally:
        keras.config.set_dtype_policy(policy)

    check_signature(mixed)
    plain = architectures.rebuild(mixed, "simcnn")
    assert {layer.compute_dtype for layer in mixed.layers[1:]} == {"bfloat16", "float32"}
    assert {layer.compute_dtype for layer in plain.layers[2:]} == {"float32"}
    # bfloat16 has 8 bits of mantissa: the logits are close, but not equal.
    difference = np.abs(logits_of(plain, images) - logits_of(mixed, images)).max()
    assert 0 < difference < 0.1


def test_weights_that_do_not_fit_are_refused(tmp_path):
    """Another model's file, a missing file and a broken file raise ConfigError."""
    architectures.build("simcnn").save(tmp_path / "simcnn.keras")
    (tmp_path / "broken.keras").write_bytes(b"no zip")
    (tmp_path / "broken.h5").write_bytes(b"no HDF5")

    with pytest.raises(ConfigError, match=r"simcnn whose weights do not fit resnet50"):
        architectures.build("resnet50", weights=str(tmp_path / "simcnn.keras"))
    with pytest.raises(ConfigError, match=r"no readable .keras file"):
        architectures.build("simcnn", weights=str(tmp_path / "broken.keras"))
    with pytest.raises(ConfigError, match=r"could not get ResNet50 weights.*--weights none"):
        architectures.build("resnet50", weights=str(tmp_path / "broken.h5"))
    with pytest.raises(ConfigError, match=r"nowhere.keras' is no file"):
        architectures.build("simcnn", weights=str(tmp_path / "nowhere.keras"))
    with pytest.raises(ConfigError, match=r"received for simcnn, expected none or a .keras file"):
        architectures.build("simcnn", weights=str(tmp_path / "broken.h5"))


def test_backends_agree_on_a_saved_model(tmp_path, images):
    """Keras on JAX loads a saved file and computes the same logits."""
    pytest.importorskip("jax", reason="the second backend is not installed")
    model = architectures.build("simcnn")
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", images)
    code = (
        "import json, sys, keras, numpy as np\n"
        "model = keras.models.load_model(sys.argv[1] + '/model.keras')\n"
        "logits = model(np.load(sys.argv[1] + '/images.npy'))\n"
        "print(json.dumps([keras.backend.backend(), np.asarray(logits).tolist()]))"
    )

    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "KERAS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )

    backend, logits = json.loads(result.stdout)
    assert backend == "jax"
    assert np.abs(logits_of(model, images) - np.array(logits)).max() < 1e-5


@pytest.mark.parametrize("name", ["simcnn", "resnet50"])
def test_other_sizes_and_numbers_of_classes(name, tmp_path):
    """A model for 3 classes and 48 pixels gives logits of 3 classes, and so does its copy."""
    interface = architectures.Interface(image_size=48, classes=3)
    model = architectures.build(name, interface=interface)
    images = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3), dtype=np.uint8)

    copy = architectures.rebuild(model, name)

    assert logits_of(model, images).shape == (2, 3)
    assert (logits_of(copy, images) == logits_of(model, images)).all()
    model.save(tmp_path / "model.keras")
    with pytest.raises(ConfigError, match=r"image_size=48, classes=3.*, expected .*classes=10"):
        architectures.build(name, weights=str(tmp_path / "model.keras"))
