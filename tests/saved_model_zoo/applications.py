"""Nine models of keras.applications with random weights and the smallest pictures they take."""

from collections.abc import Callable
from pathlib import Path

import keras
from keras import applications
from saved_model_zoo.entry import APPLICATIONS, Entry, default, pictures
from saved_model_zoo.keras3 import shake

_CLASSES = 10


def _entry(architecture: Callable[..., keras.Model], size: int, **settings: object) -> Entry:
    settings = {"classes": _CLASSES, "classifier_activation": None} | settings

    def build(folder: Path) -> None:
        keras.backend.clear_session()
        keras.utils.set_random_seed(0)
        x = keras.Input((size, size, 3), name="x")
        model = architecture(weights=None, input_tensor=x, **settings)
        shake(model)
        model.export(folder, verbose=False)

    name = architecture.__name__
    return Entry(
        name=name.lower(),
        what=f"{name}, {size} x {size}",
        made_with=APPLICATIONS,
        build=build,
        questions=default(pictures("x", size, size, 3)),
        flags=("--keep-shapes",),  # trying looser shapes takes minutes; smaller models test it
    )


ENTRIES = [
    _entry(applications.MobileNetV2, 32),
    _entry(applications.MobileNetV3Small, 32),
    _entry(applications.EfficientNetB0, 32),
    _entry(applications.ResNet50, 32),
    _entry(applications.DenseNet121, 32),
    _entry(applications.InceptionV3, 75),
    _entry(applications.NASNetMobile, 32),
    _entry(applications.ConvNeXtTiny, 32),
    _entry(applications.VGG16, 32, include_top=False, pooling="avg"),
]
