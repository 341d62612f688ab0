"""The layers of a model that holds other models, such as ResNet50's body."""

from collections.abc import Iterable, Iterator

import keras


def leaves(layers: Iterable[keras.Layer]) -> Iterator[keras.Layer]:
    """Yield the layers in order; in place of a model its own layers, at any depth."""
    for layer in layers:
        if isinstance(layer, keras.Model):
            yield from leaves(layer.layers)
        else:
            yield layer
