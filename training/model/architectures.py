"""The architectures. All take raw uint8 pixels and return logits.

Scaling is part of the graph, so that callers cannot scale wrongly. The softmax is not part of it:
training from logits is numerically more stable, and the export adds the softmax to the served
graph. (The published ResNet50 ended in a softmax and was trained with from_logits=True, which
applies a second softmax.)
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
from keras import layers

from training.model import averaged_statistics, backbones
from training.model.nested_layers import leaves
from training.settings.recipes import ConfigError, ModelName, Stem
from training.settings.train_config import KERAS_PREFIX

# Mean of ImageNet's pixels (red, green, blue), which "caffe" preprocessing subtracts.
_IMAGENET_MEAN_RGB = (123.68, 116.779, 103.939)
_IMAGENET_LAYER = "imagenet_mean"
# Layers of keras.applications.ResNet50, of which the stem for small images has only the first.
_FIRST_CONVOLUTION = "conv1_conv"
_REDUCING_LAYERS = ("conv1_pad", "pool1_pad", "pool1_pool")


@dataclass(frozen=True, kw_only=True)
class Interface:
    """Input and output of a model; the defaults are CIFAR-10's.

    Attributes:
        image_size: Height and width of the images in pixels.
        classes: Number of classes.
    """

    image_size: int = 32
    classes: int = 10


_REFERENCE = Interface()


def build(
    name: ModelName,
    *,
    weights: str | None = None,
    upsample: int = 1,
    stem: Stem = "imagenet",
    interface: Interface = _REFERENCE,
) -> keras.Model:
    """Build a model.

    Args:
        name: "simcnn" (122,570 parameters for CIFAR-10) or "resnet50"
            (keras.applications.ResNet50 without top, global average pooling, Dense 1024, Dense of
            the classes: 25,696,138 parameters for CIFAR-10).
        weights: None or "none" for random weights; "imagenet" for ResNet50's body as Keras
            downloads it; the path of a .keras file of an earlier run of the same architecture; or
            the path of an .h5 file with ImageNet weights of ResNet50 without top.
        upsample: Enlarge images by this factor, bilinearly, before resnet50's body.
        stem: First layers of resnet50's body: "imagenet" is that of keras.applications.ResNet50, a
            7x7 convolution with stride 2 and a max pooling with stride 2. "cifar" is a 3x3
            convolution with stride 1 (He et al., 2016, for CIFAR-10), which has 7,680 parameters
            less; all other layers are the same, on maps of four times the height and width.
        interface: Size of the images and number of classes.

    Returns:
        A model with input "images", uint8, shape (batch, image_size, image_size, 3), RGB, 0 to 255,
        and output "logits", float32, shape (batch, classes).

    Raises:
        ConfigError: The weights cannot be read or downloaded, or do not fit.
    """
    if weights in (None, "none"):
        return _architecture(name, interface, upsample=upsample, stem=stem)
    if weights == "imagenet":
        return _architecture(name, interface, upsample=upsample, stem=stem, body_weights=weights)
    path = Path(weights).expanduser()
    if not path.is_file():
        msg = f"weights {weights!r} is no file, expected none, imagenet or the path of a file"
        raise ConfigError(msg)
    if path.suffix != ".keras":
        return _architecture(name, interface, upsample=upsample, stem=stem, body_weights=str(path))
    return _continue_from(path, name, interface, upsample=upsample, stem=stem)


def load(path: Path) -> keras.Model:
    """Load the trained model of a run.

    Raises:
        ConfigError: The file is missing or cannot be read.
    """
    if not path.is_file():
        msg = f"{path} does not exist; copy it back to ask the model"
        raise ConfigError(msg)
    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # errors of zip, JSON and HDF5 have no common base class
        msg = f"{path} is no readable .keras file ({type(error).__name__}: {error})"
        raise ConfigError(msg) from error


def rebuild(
    model: keras.Model, name: ModelName, *, upsample: int = 1, stem: Stem = "imagenet"
) -> keras.Model:
    """Return an uncompiled copy of a model under the current precision policy.

    Args:
        model: The model; its weights and preprocessing are copied. Averaged statistics become the
            copy's moving statistics.
        name: Its architecture.
        upsample: Its enlargement, as given to `build`.
        stem: Its stem, as given to `build`.
    """
    imagenet = has_imagenet_preprocessing(model)
    copy = _architecture(name, interface_of(model), upsample=upsample, stem=stem, imagenet=imagenet)
    copy.set_weights(averaged_statistics.weights_of(model))
    return copy


def interface_of(model: keras.Model) -> Interface:
    """Return the input and output of a model that `build` made."""
    return Interface(image_size=model.input_shape[1], classes=model.output_shape[-1])


def has_imagenet_preprocessing(model: keras.Model) -> bool:
    """Return whether the model has the preprocessing of ImageNet weights.

    A model has it if its training, or an earlier one that it continues, started from them.
    """
    return any(layer.name == _IMAGENET_LAYER for layer in model.layers)


def _stem_of(model: keras.Model) -> Stem | None:
    """Return the stem of a resnet50; None for another model."""
    for layer in leaves(model.layers):
        if layer.name == _FIRST_CONVOLUTION:
            return "imagenet" if layer.kernel_size == (7, 7) else "cifar"
    return None


def _architecture(
    name: ModelName,
    interface: Interface,
    *,
    upsample: int = 1,
    stem: Stem = "imagenet",
    body_weights: str | None = None,
    imagenet: bool = False,
) -> keras.Model:
    side = interface.image_size
    images = keras.Input((side, side, 3), dtype="uint8", name="images")
    if name.startswith(KERAS_PREFIX):
        x = backbones.features(images, name, side, body_weights)
        logits = layers.Dense(interface.classes, dtype="float32", name="logits")(x)
        return keras.Model(images, logits, name=name.removeprefix(KERAS_PREFIX).lower())
    x = _preprocess(images, imagenet=imagenet or body_weights is not None)
    if name == "simcnn":
        if body_weights is not None:
            msg = f"weights {body_weights!r} received for simcnn, expected none or a .keras file"
            raise ConfigError(msg)
        x = _simcnn_body(x)
    else:
        x = _resnet50_body(x, side, upsample=upsample, stem=stem, weights=body_weights)
    # float32 under every precision policy: a loss on float16 logits loses small differences.
    logits = layers.Dense(interface.classes, dtype="float32", name="logits")(x)
    return keras.Model(images, logits, name=name)


def _preprocess(images: keras.KerasTensor, *, imagenet: bool) -> keras.KerasTensor:
    if not imagenet:
        return layers.Rescaling(1 / 255, name="rescaling")(images)
    # ImageNet weights come from Caffe: subtract the mean, do not scale, order channels B, G, R.
    x = layers.Normalization(mean=_IMAGENET_MEAN_RGB, variance=(1, 1, 1), name=_IMAGENET_LAYER)(
        images
    )
    return keras.ops.flip(x, axis=-1)


def _simcnn_body(x: keras.KerasTensor) -> keras.KerasTensor:
    # The sizes are those of images of 32x32 pixels.
    x = layers.Conv2D(32, 3, activation="relu")(x)  # 30x30
    x = layers.MaxPooling2D()(x)  # 15x15
    x = layers.Conv2D(64, 3, activation="relu")(x)  # 13x13
    x = layers.MaxPooling2D()(x)  # 6x6
    x = layers.Conv2D(64, 3, activation="relu")(x)  # 4x4
    x = layers.Flatten()(x)  # 1,024
    return layers.Dense(64, activation="relu")(x)


def _resnet50_body(
    x: keras.KerasTensor, side: int, *, upsample: int, stem: Stem, weights: str | None
) -> keras.KerasTensor:
    if stem == "cifar" and weights is not None:
        msg = (
            f"weights {weights!r} received with stem cifar, but they were trained with the other "
            "stem: pass --stem imagenet, --weights none or a .keras file with stem cifar"
        )
        raise ConfigError(msg)
    if upsample > 1:
        x = layers.UpSampling2D(upsample, interpolation="bilinear", name="upsample")(x)
    side *= upsample
    try:
        body = keras.applications.ResNet50(
            include_top=False, weights=weights, input_shape=(side, side, 3), name="body"
        )
    except Exception as error:  # a bare Exception (download), OSError, ValueError, KeyError, ...
        if weights is None:
            raise
        msg = (
            f"could not get ResNet50 weights {weights!r} ({type(error).__name__}: {error}); pass "
            "--weights none, or the path of resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
        )
        raise ConfigError(msg) from error
    if stem == "cifar":
        body = _with_cifar_stem(body)
    x = layers.GlobalAveragePooling2D()(body(x))
    return layers.Dense(1024, activation="relu")(x)


def _with_cifar_stem(body: keras.Model) -> keras.Model:
    """Return ResNet50's body, untrained, with the stem for small images."""

    def clone(layer: keras.Layer) -> keras.Layer:
        settings = layer.get_config()
        if layer.name == _FIRST_CONVOLUTION:
            settings |= {"kernel_size": (3, 3), "strides": (1, 1), "padding": "same"}
        return type(layer).from_config(settings)

    def call(layer: keras.Layer, *inputs: Any, **keywords: Any) -> Any:  # noqa: ANN401  Keras' own
        return inputs[0] if layer.name in _REDUCING_LAYERS else layer(*inputs, **keywords)

    return keras.models.clone_model(body, clone_function=clone, call_function=call)


def _continue_from(
    path: Path, name: ModelName, interface: Interface, *, upsample: int, stem: Stem
) -> keras.Model:
    """Return the architecture with the weights and preprocessing of a saved model.

    The saved model is not used directly, because its file contains its own precision policy.
    """
    try:
        saved = keras.models.load_model(path, compile=False)
    except Exception as error:  # errors of zip, JSON and HDF5 have no common base class
        msg = f"{path} is no readable .keras file ({type(error).__name__}: {error})"
        raise ConfigError(msg) from error
    saved_stem = _stem_of(saved)
    if name == "resnet50" and saved_stem not in (None, stem):
        msg = (
            f"{path} holds a {saved.name} with stem {saved_stem}, expected stem {stem}: pass "
            f"--stem {saved_stem}, or weights of the other stem"
        )
        raise ConfigError(msg)
    if interface_of(saved) != interface:
        msg = (
            f"{path} is a model of {interface_of(saved)}, expected {interface}: pass weights of "
            "the same image size and number of classes"
        )
        raise ConfigError(msg)
    try:
        return rebuild(saved, name, upsample=upsample, stem=stem)
    except ValueError as error:
        msg = f"{path} holds a {saved.name} whose weights do not fit {name}: {error}"
        raise ConfigError(msg) from error
