"""Batch normalisation with averaged statistics, for trainings that average their weights.

Keras' optimizers average the trainable weights alone. The averaged weights give other activations
than the last ones, so normalising them with the last moving statistics would be wrong. Here the
moving statistics are averaged like the weights, as EfficientNet's and timm's training code does.
Computing them anew (Izmailov et al., "Averaging Weights Leads to Wider Optima and Better
Generalization", 2018) would take a pass over training images before each validation.

The averages are weights of the layers, so checkpoints contain them. Inference uses the averages.
The layers are used for the training only: saved models have Keras' own layers, see `weights_of`.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import KerasTensor, ops

from training.model.nested_layers import leaves


def average(model: keras.Model, momentum: float) -> keras.Model:
    """Return a copy with the same weights whose batch normalisations average their statistics.

    Args:
        model: The model; if it has no batch normalisation, it is returned itself.
        momentum: An average moves by 1 - momentum towards the moving statistic at each step.
    """
    if not any(isinstance(x, keras.layers.BatchNormalization) for x in leaves(model.layers)):
        return model

    def averaging(layer: keras.Layer) -> keras.Layer:
        kind, config = type(layer), layer.get_config()
        if not issubclass(kind, keras.layers.BatchNormalization):
            return kind.from_config(config)
        # It has the name of its parent, because the paths in a checkpoint contain class names: runs
        # that an earlier version began without averaged statistics can be resumed.
        averaged: Any = type(kind.__name__, (AveragedStatistics, kind), {})
        return averaged.from_config(config | {"averaging_momentum": momentum})

    copy = keras.models.clone_model(model, clone_function=averaging, recursive=True)
    for layer, source in zip(leaves(copy.layers), leaves(model.layers), strict=True):
        if isinstance(layer, AveragedStatistics):
            layer.start_from(source.get_weights())
        else:
            layer.set_weights(source.get_weights())
    return copy


def weights_of(model: keras.Model) -> list[npt.NDArray[Any]]:
    """Return the weights of a model for one with Keras' own layers, as `set_weights` takes them.

    Averages take the place of the moving statistics. Other models' weights are those of
    `get_weights`.
    """
    averages = {
        id(moving): average
        for layer in leaves(model.layers)
        if isinstance(layer, AveragedStatistics)
        for moving, average in layer.statistics()
    }
    left_out = {id(average) for average in averages.values()}
    return [
        np.asarray(ops.convert_to_numpy(averages.get(id(weight), weight)))
        for weight in model.weights
        if id(weight) not in left_out
    ]


class AveragedStatistics(keras.layers.BatchNormalization):  # type: ignore[misc]  # Keras is untyped
    """A BatchNormalization that averages its moving statistics and normalises with the averages.

    Args:
        averaging_momentum: An average moves by 1 - this value towards the moving statistic at each
            training step.
        **settings: Those of BatchNormalization.
    """

    def __init__(self, *, averaging_momentum: float, **settings: Any) -> None:  # noqa: ANN401  Keras' own
        super().__init__(**settings)
        self.averaging_momentum = averaging_momentum

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights; the averages start like the moving statistics."""
        super().build(input_shape)
        self.average_mean, self.average_variance = (
            self.add_weight(
                shape=moving.shape,
                name=name,
                initializer=initializer,
                trainable=False,
                autocast=False,
            )
            for moving, name, initializer in (
                (self.moving_mean, "average_mean", self.moving_mean_initializer),
                (self.moving_variance, "average_variance", self.moving_variance_initializer),
            )
        )

    def statistics(self) -> list[tuple[keras.Variable, keras.Variable]]:
        """Return each moving statistic with its average."""
        return [
            (self.moving_mean, self.average_mean),
            (self.moving_variance, self.average_variance),
        ]

    def start_from(self, weights: list[npt.NDArray[Any]]) -> None:
        """Take the weights of a BatchNormalization; the averages start at its statistics."""
        self.set_weights([*weights, *weights[-2:]])

    def call(
        self, inputs: KerasTensor, training: bool | None = None, mask: KerasTensor | None = None
    ) -> KerasTensor:
        """Normalise `inputs` (batch, height, width, channels)."""
        if training and self.trainable:
            outputs = super().call(inputs, training=training, mask=mask)
            kept = self.averaging_momentum
            for moving, average in self.statistics():
                average.assign(average * kept + moving * (1 - kept))
            return outputs
        outputs = ops.batch_normalization(
            ops.cast(inputs, "float32"),  # like Keras: half precision overflows here
            mean=self.average_mean,
            variance=self.average_variance,
            axis=self.axis,
            offset=self.beta,
            scale=self.gamma,
            epsilon=self.epsilon,
        )
        return ops.cast(outputs, self.compute_dtype)

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Load a checkpoint's weights, also those of a version that did not average statistics."""
        saved = [np.asarray(store[str(number)]) for number in range(len(store))]
        if len(saved) < len(self.weights):
            self.start_from(saved)
        else:
            super().load_own_variables(store)
