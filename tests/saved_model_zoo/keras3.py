"""Keras 3 models of tabular data and preprocessing layers, saved by `model.export`."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from keras import layers
from saved_model_zoo.entry import (
    KERAS3,
    Entry,
    Make,
    both,
    default,
    floats,
    integers,
    pictures,
    words,
)

_WORDS = ["the", "film", "is", "good", "bad", "a", "start", "END", "unheard"]


def entry(name: str, what: str, model: Callable[[], keras.Model], make: Make, **more: str) -> Entry:
    """Return the entry of a Keras 3 model whose weights are drawn with a fixed seed."""

    def build(folder: Path) -> None:
        keras.utils.set_random_seed(0)
        made = model()
        shake(made)
        made.export(folder, verbose=False)

    return Entry(
        name=name, what=what, made_with=KERAS3, build=build, questions=default(make), **more
    )


def shake(model: keras.Model) -> None:
    """Set random means, variances and scales of batch normalisations, as training does."""
    random = np.random.default_rng(0)
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            for variable in layer.weights:
                value = 0.2 * random.standard_normal(variable.shape)
                around_one = variable.name in {"gamma", "moving_variance"}
                variable.assign(np.abs(1 + value) if around_one else value)


def sequential(shape: tuple[int | None, ...], *parts: layers.Layer, **more: object) -> keras.Model:
    """Return a sequential model whose input is called x."""
    return keras.Sequential([keras.Input(shape, name="x", **more), *parts])


def _tabular() -> keras.Model:
    normalization = layers.Normalization()
    normalization.adapt(np.random.default_rng(0).normal(3, 2, (50, 6)).astype(np.float32))
    return sequential(
        (6,),
        normalization,
        layers.Dense(16, activation="relu"),
        layers.Dense(3, activation="softmax"),
    )


def _activations() -> keras.Model:
    kinds = ["gelu", "silu", "elu", "selu", "softplus", "mish", "leaky_relu", "hard_sigmoid"]
    x = keras.Input((5,), name="x")
    rows = [layers.Dense(4, activation=kind)(x) for kind in kinds]
    rows.append(layers.PReLU()(layers.Dense(4)(x)))
    rows.append(layers.Lambda(lambda y: keras.activations.gelu(y, approximate=True))(x))
    return keras.Model(x, layers.Concatenate()(rows))


def _discretized() -> keras.Model:
    x = keras.Input((3,), name="x")
    ages = layers.Discretization([-1.0, 0.0, 1.0], output_mode="one_hot")(x)
    levels = layers.Discretization([-0.5, 0.5])(x)
    many = layers.CategoryEncoding(4, output_mode="multi_hot")(levels)
    return keras.Model(x, layers.Dense(2)(layers.Concatenate()([layers.Flatten()(ages), many])))


def _integer_lookup() -> keras.Model:
    x = keras.Input((4,), dtype="int64", name="x")
    ids = layers.IntegerLookup(vocabulary=[1, 3, 5, 7], num_oov_indices=1)(x)
    counts = layers.CategoryEncoding(5, output_mode="count")(ids)
    pooled = layers.GlobalAveragePooling1D()(layers.Embedding(5, 3)(ids))
    return keras.Model(x, {"ids": ids, "score": layers.Dense(1)(pooled), "counts": counts})


def _hashing() -> keras.Model:
    x = keras.Input((3,), dtype="int64", name="x")
    ids = layers.Hashing(7)(x)
    return keras.Model(x, {"ids": ids, "mean": layers.Embedding(7, 2)(ids)})


def _string_lookup() -> keras.Model:
    x = keras.Input((2,), dtype="string", name="x")
    ids = layers.StringLookup(vocabulary=_WORDS[:5])(x)
    return keras.Model(x, layers.Flatten()(layers.Embedding(6, 2)(ids)))


def _text() -> keras.Model:
    vectorize = layers.TextVectorization(max_tokens=20, output_sequence_length=6)
    vectorize.adapt(["the film is good", "the film is bad", "a good end", "a bad start"])
    return keras.Sequential(
        [
            keras.Input((1,), dtype="string", name="x"),
            vectorize,
            layers.Embedding(20, 4),
            layers.GlobalAveragePooling1D(),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


def _wide_and_deep() -> keras.Model:
    ids = keras.Input((3,), dtype="int32", name="ids")
    numbers = keras.Input((5,), name="numbers")
    picture = keras.Input((8, 8, 3), dtype="uint8", name="picture")
    deep = layers.Flatten()(layers.Embedding(9, 4)(ids))
    seen = layers.Conv2D(4, 3, activation="relu")(layers.Rescaling(1 / 255)(picture))
    joined = layers.Concatenate()([deep, numbers, layers.GlobalAveragePooling2D()(seen)])
    hidden = layers.LayerNormalization()(layers.Dense(8, activation="relu")(joined))
    return keras.Model(
        [ids, numbers, picture],
        {
            "label": layers.Dense(4, activation="softmax", name="label")(hidden),
            "value": layers.Dense(1, name="value")(hidden),
        },
    )


def _siamese() -> keras.Model:
    left, right = keras.Input((6,), name="left"), keras.Input((6,), name="right")
    tower = keras.Sequential([layers.Dense(8, activation="tanh"), layers.UnitNormalization()])
    return keras.Model([left, right], layers.Dot(1)([tower(left), tower(right)]))


def _einsum_dense() -> keras.Model:
    return sequential(
        (4, 6),
        layers.EinsumDense("abc,cde->abde", output_shape=(None, 2, 3), bias_axes="de"),
        layers.EinsumDense("abde,def->abf", output_shape=(None, 5), activation="relu"),
    )


def _policy(policy: str) -> Callable[[], keras.Model]:
    def model() -> keras.Model:
        return sequential(
            (8,),
            layers.Dense(16, activation="relu", dtype=policy),
            layers.Dense(16, activation="relu", dtype=policy),
            layers.Dense(3, activation="softmax", dtype="float32"),
        )

    return model


ENTRIES = [
    entry("tabular", "Normalization, Dense", _tabular, floats("x", 6, scale=3)),
    entry("activations", "GELU, SiLU, PReLU and seven more", _activations, floats("x", 5)),
    entry("discretized", "Discretization, CategoryEncoding", _discretized, floats("x", 3)),
    entry("integer_lookup", "IntegerLookup, Embedding", _integer_lookup, integers("x", 9, 4)),
    entry(
        "hashing",
        "Hashing of integers",
        _hashing,
        integers("x", 99, 3),
        way="tensorflow",
        because="StringToHashBucketFast",
    ),
    entry(
        "string_lookup",
        "StringLookup, Embedding",
        _string_lookup,
        words("x", _WORDS, 2),
        way="tensorflow",
        because="'x' is DT_STRING",
    ),
    entry(
        "text_classifier",
        "TextVectorization, Embedding",
        _text,
        words("x", _WORDS, 1, many=8),
        way="tensorflow",
        because="'x' is DT_STRING",
    ),
    entry(
        "wide_and_deep",
        "three inputs of three types, two outputs",
        _wide_and_deep,
        both(
            integers("ids", 9, 3, dtype=np.int32),
            floats("numbers", 5),
            pictures("picture", 8, 8, 3, dtype=np.uint8),
        ),
    ),
    entry("siamese", "shared layers, Dot", _siamese, both(floats("left", 6), floats("right", 6))),
    entry("einsum_dense", "EinsumDense", _einsum_dense, floats("x", 4, 6)),
    entry(
        "mixed_float16",
        "mixed_float16 inside",
        _policy("mixed_float16"),
        floats("x", 8),
        way="tensorflow",
        because="parity gate",
    ),
    entry(
        "mixed_bfloat16",
        "mixed_bfloat16 inside",
        _policy("mixed_bfloat16"),
        floats("x", 8),
        way="tensorflow",
        because="bfloat16",
    ),
]
