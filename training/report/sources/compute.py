"""The compute of one image: multiply-accumulates, counted from a Keras model's layers.

The count has the products of convolutions and dense layers, padding included, as papers count them.
One multiply-accumulate (MAC) is two floating-point operations (FLOPs). Normalisation, activations,
pooling and resizing are not counted: TensorFlow's profiler, which counts most of them, finds 0.9 %
more for SimCNN and 0.6 % more for ResNet50.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import keras

from training.model.nested_layers import leaves


@dataclass(frozen=True)
class LayerRow:
    """One line of a model's summary.

    Attributes:
        name: The layer's name; "body/conv2" for the layers of a nested model that share a prefix.
        kind: The layer's class, or the classes of its parts with their number.
        output_shape: Shape of the output without the batch: "30x30x32".
        parameters: Number of weights, untrainable ones included.
        macs: Multiply-accumulates for one image.
    """

    name: str
    kind: str
    output_shape: str
    parameters: int
    macs: int


def macs(model: keras.Model) -> int:
    """Return the multiply-accumulates of a model for one image."""
    return sum(_layer_macs(layer) for layer in leaves(model.layers))


def summary(model: keras.Model) -> list[LayerRow]:
    """Return the layers of a model in order; those of a nested model are summed by stage.

    The stage is the first part of a layer's name: "conv2" of ResNet50's "conv2_block1_1_conv".
    """
    rows = []
    for layer in model.layers:
        if not isinstance(layer, keras.Model):
            rows.append(_row(layer.name, [layer]))
            continue
        parts = (part for part in layer.layers if not isinstance(part, keras.layers.InputLayer))
        stages = groupby(parts, key=lambda part: part.name.partition("_")[0])
        rows += [_row(f"{layer.name}/{stage}", list(members)) for stage, members in stages]
    return rows


def _row(name: str, layers: Sequence[keras.Layer]) -> LayerRow:
    kinds = Counter(type(layer).__name__ for layer in layers)
    return LayerRow(
        name=name,
        kind=", ".join(kind if n == 1 else f"{n} {kind}" for kind, n in kinds.most_common()),
        output_shape="x".join(str(size) for size in layers[-1].output.shape[1:]),
        parameters=sum(layer.count_params() for layer in layers),
        macs=sum(_layer_macs(layer) for layer in leaves(layers)),
    )


def _layer_macs(layer: keras.Layer) -> int:
    if not isinstance(
        layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D | keras.layers.Dense
    ):
        return 0
    # Each output value sums the products over all kernel axes but the last, the output channel.
    summed = layer.kernel.shape[:-1]
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        summed = summed[:2]  # (height, width, channel, multiplier): a channel has its own kernel
    return int(math.prod(layer.output.shape[1:]) * math.prod(summed))
