"""Keras 3 models of sequences; many take any length."""

from typing import Any

import keras
from keras import layers
from saved_model_zoo.entry import floats, steps, tokens
from saved_model_zoo.keras3 import entry, sequential


def _lstm() -> keras.Model:
    return sequential((None, 4), layers.LSTM(6, return_sequences=True), layers.LSTM(5))


def _gru() -> keras.Model:
    return sequential((None, 4), layers.GRU(6, return_sequences=True), layers.GRU(5))


def _stacked() -> keras.Model:
    return sequential(
        (7, 4),
        layers.Bidirectional(layers.GRU(4, return_sequences=True)),
        layers.SimpleRNN(5),
        layers.Dense(2),
    )


def _masked() -> keras.Model:
    return sequential(
        (None,),
        layers.Embedding(20, 6, mask_zero=True),
        layers.Bidirectional(layers.LSTM(5)),
        layers.Dense(3, activation="softmax"),
        dtype="int32",
    )


def _masked_gru() -> keras.Model:
    return sequential(
        (None,),
        layers.Embedding(20, 6, mask_zero=True),
        layers.GRU(5, return_sequences=True),
        layers.GRU(4),
        dtype="int32",
    )


class Positions(layers.Layer):
    """Adds a trained vector to each of at most 32 positions."""

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Create the 32 vectors."""
        self.vectors = self.add_weight((32, shape[-1]), initializer="glorot_uniform")

    def call(self, x: Any) -> Any:
        """Return the sum of the embedded tokens and the vectors of their positions."""
        return x + self.vectors[: keras.ops.shape(x)[1]]


def _transformer() -> keras.Model:
    ids = keras.Input((None,), dtype="int32", name="x")
    x = Positions()(layers.Embedding(30, 16)(ids))
    attended = layers.MultiHeadAttention(4, 4)(x, x)
    x = layers.LayerNormalization()(layers.Add()([x, attended]))
    forward = layers.Dense(16)(layers.Dense(32, activation="gelu")(x))
    x = layers.LayerNormalization()(layers.Add()([x, forward]))
    pooled = layers.GlobalAveragePooling1D()(x)
    return keras.Model(ids, layers.Dense(4, activation="softmax")(pooled))


def _decoder() -> keras.Model:
    ids = keras.Input((None,), dtype="int32", name="x")
    x = layers.Embedding(30, 16, mask_zero=True)(ids)
    attended = layers.MultiHeadAttention(2, 8)(x, x, use_causal_mask=True)
    x = layers.LayerNormalization()(layers.Add()([x, attended]))
    return keras.Model(ids, layers.Dense(30)(x))


def _waveform() -> keras.Model:
    return sequential(
        (None, 1),
        layers.Conv1D(8, 9, strides=4, activation="relu", padding="same"),
        layers.BatchNormalization(),
        layers.MaxPooling1D(2),
        layers.Conv1D(8, 5, dilation_rate=2, padding="causal", activation="relu"),
        layers.GlobalMaxPooling1D(),
        layers.Dense(3),
    )


def _separable1d() -> keras.Model:
    return sequential(
        (24, 3),
        layers.SeparableConv1D(6, 3, activation="relu"),
        layers.Conv1DTranspose(4, 4, strides=2),
        layers.AveragePooling1D(3),
        layers.Flatten(),
        layers.Dense(2),
    )


def _attention() -> keras.Model:
    query, value = keras.Input((5, 8), name="query"), keras.Input((7, 8), name="value")
    first = layers.Attention(use_scale=True)([query, value])
    second = layers.AdditiveAttention()([query, value])
    third = layers.GroupQueryAttention(4, 4, 2)(query, value)
    return keras.Model([query, value], layers.Concatenate()([first, second, third]))


ENTRIES = [
    entry("lstm", "two LSTM, any length", _lstm, steps("x", 4, low=2, high=9)),
    entry("gru", "two GRU, any length", _gru, steps("x", 4, low=2, high=9)),
    entry("bidirectional_gru", "Bidirectional GRU, SimpleRNN", _stacked, floats("x", 7, 4)),
    entry(
        "masked_bidirectional_lstm",
        "mask_zero, Bidirectional LSTM, any length",
        _masked,
        tokens("x", 20, least=3, most=9),
    ),
    entry(
        "masked_gru",
        "mask_zero, two GRU, any length",
        _masked_gru,
        tokens("x", 20, least=3, most=9),
    ),
    entry(
        "transformer",
        "MultiHeadAttention, LayerNormalization, GELU, any length",
        _transformer,
        tokens("x", 30, least=3, most=12),
    ),
    entry(
        "causal_decoder",
        "MultiHeadAttention, causal and padding mask, any length",
        _decoder,
        tokens("x", 30, least=3, most=9),
    ),
    entry("waveform", "Conv1D, any length", _waveform, steps("x", 1, low=200, high=400)),
    entry("separable_1d", "SeparableConv1D, Conv1DTranspose", _separable1d, floats("x", 24, 3)),
    entry(
        "attention",
        "Attention, AdditiveAttention, GroupQueryAttention",
        _attention,
        lambda random, rows: {
            **floats("query", 5, 8)(random, rows),
            **floats("value", 7, 8)(random, rows),
        },
    ),
]
