"""Layers with the same results as Keras' own; a training step on a CPU is three times faster.

ResNet50 on 32x32 images does most of its arithmetic on maps of 1x1 and 2x2 pixels. On such maps
oneDNN's convolutions, especially their weight gradients, reach a few per cent of the processor's
speed; matrix products that compute the same sums reach nearly full speed. Keras' batch
normalisation makes several passes over memory in float32, TensorFlow's fused kernel makes one.

The layers keep names, weights and results, except for the order of summation. They are used for the
training step only: saved models have Keras' own layers, see training.model.architectures.rebuild.
"""

import keras
import numpy as np
from keras import KerasTensor, ops

# On a 2x2 map a 3x3 kernel as one matrix needs 16 products for each pair of channels; a convolution
# needs 36, most of them with padding. From 3x3 pixels on the matrix costs more than it saves.
_LARGEST_MATRIX_MAP = 2


def accelerate(model: keras.Model) -> keras.Model:
    """Return a copy with the same weights and with layers that train faster on a CPU.

    It needs the TensorFlow backend. It replaces convolutions and batch normalisations; convolutions
    of shapes that ResNet50's blocks do not have compute as before.
    """
    fast = keras.models.clone_model(model, clone_function=_fast_layer, recursive=True)
    fast.set_weights(model.get_weights())
    return fast


def _fast_layer(layer: keras.Layer) -> keras.Layer:
    settings = layer.get_config()
    if type(layer) is keras.layers.Conv2D:
        return MatrixConv2D.from_config(settings)
    if type(layer) is keras.layers.BatchNormalization:
        return FusedBatchNormalization.from_config(settings)
    return layer.__class__.from_config(settings)


class MatrixConv2D(keras.layers.Conv2D):  # type: ignore[misc]  # Keras is untyped
    """A Conv2D that multiplies matrices if the kernel is 1x1, or 3x3 on a map of at most 2x2."""

    def convolution_op(self, inputs: KerasTensor, kernel: KerasTensor) -> KerasTensor:
        """Convolve `inputs` (batch, height, width, channels) with `kernel`, without the bias."""
        if self.data_format == "channels_last" and self.groups == 1:
            if self.kernel_size == (1, 1):
                return _pointwise(inputs[:, :: self.strides[0], :: self.strides[1]], kernel)
            if self._fits_a_matrix(inputs):
                return _as_one_matrix(inputs, kernel)
        return super().convolution_op(inputs, kernel)

    def _fits_a_matrix(self, inputs: KerasTensor) -> bool:
        height, width = inputs.shape[1:3]
        return (
            self.kernel_size == (3, 3)
            and self.padding == "same"
            and self.strides == (1, 1)
            and self.dilation_rate == (1, 1)
            and None not in (height, width)
            and max(height, width) <= _LARGEST_MATRIX_MAP
        )


def _pointwise(inputs: KerasTensor, kernel: KerasTensor) -> KerasTensor:
    _, height, width, channels = inputs.shape
    filters = kernel.shape[-1]
    pixels = ops.matmul(
        ops.reshape(inputs, (-1, channels)), ops.reshape(kernel, (channels, filters))
    )
    return ops.reshape(pixels, (-1, height, width, filters))


def _as_one_matrix(inputs: KerasTensor, kernel: KerasTensor) -> KerasTensor:
    """Convolve by one matrix: a dense layer from all input pixels to all output pixels.

    Its blocks are the taps of the kernel.
    """
    _, height, width, channels = inputs.shape
    filters = kernel.shape[-1]
    pixels = [(row, column) for row in range(height) for column in range(width)]
    taps = [
        3 * (1 + in_row - out_row) + (1 + in_column - out_column)
        for in_row, in_column in pixels
        for out_row, out_column in pixels
    ]
    blocks = ops.take(ops.reshape(kernel, (9, channels, filters)), np.array(taps), axis=0)
    blocks = ops.reshape(blocks, (len(pixels), len(pixels), channels, filters))
    matrix = ops.reshape(
        ops.transpose(blocks, (0, 2, 1, 3)), (len(pixels) * channels, len(pixels) * filters)
    )
    outputs = ops.matmul(ops.reshape(inputs, (-1, len(pixels) * channels)), matrix)
    return ops.reshape(outputs, (-1, height, width, filters))


class FusedBatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]
    """A BatchNormalization that trains with TensorFlow's fused kernel; inference is Keras' own."""

    def call(
        self, inputs: KerasTensor, training: bool | None = None, mask: KerasTensor | None = None
    ) -> KerasTensor:
        """Normalise `inputs` (batch, height, width, channels)."""
        if not training or not self.trainable:
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf  # noqa: PLC0415  this layer needs the TensorFlow backend

        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.convert_to_tensor(self.gamma),
            offset=tf.convert_to_tensor(self.beta),
            mean=tf.constant([], tf.float32),
            variance=tf.constant([], tf.float32),
            epsilon=self.epsilon,
            is_training=True,
        )
        # The kernel returns the unbiased variance; Keras stores the biased one.
        n = tf.cast(tf.size(inputs) // tf.shape(inputs)[-1], tf.float32)
        self._remember(self.moving_mean, mean)
        self._remember(self.moving_variance, variance * (n - 1) / n)
        return outputs

    def _remember(self, moving: keras.Variable, batch: KerasTensor) -> None:
        moving.assign(moving * self.momentum + batch * (1 - self.momentum))
