"""SavedModels with strings, lookup tables and parsed tf.Examples."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from sample_saved_models import tensorflow_models
from saved_model_zoo.entry import MODULE, SESSION, Arrays, Entry, default, floats, integers, words
from saved_model_zoo.modules import Weights, of_function, save, spec

_UNITS = [*tensorflow_models.UNITS, "mile", ""]
_LABELS = ["cat", "dog", "bird"]


class Tables(Weights):
    """Weights, and lookup tables of numbers and names."""

    def __init__(self) -> None:
        super().__init__()

        def table(keys: Any, values: Any, otherwise: Any) -> tf.lookup.StaticHashTable:
            return tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(keys, values), otherwise
            )

        self.ids = table(tf.range(10, 15, dtype=tf.int64), tf.range(5, dtype=tf.int64), -1)
        self.prices = table(tf.range(4, dtype=tf.int64), tf.constant([0.5, 1.5, 9.0, 2.25]), 0.0)
        self.small = table(tf.range(5, dtype=tf.int32), tf.range(10, 15, dtype=tf.int32), -1)
        self.names = table(tf.range(3, dtype=tf.int64), tf.constant(_LABELS), "nothing")


def _parsed(folder: Path) -> None:
    """Write a model of tf.Examples with a required, an optional and a variable-length feature."""
    features = {
        "x": tf.io.FixedLenFeature([4], tf.float32),
        "weight": tf.io.FixedLenFeature([], tf.float32, default_value=1.0),
        "ids": tf.io.VarLenFeature(tf.int64),
    }

    def function(module: Weights, examples: Any) -> Any:
        parsed = tf.io.parse_example(examples, features)
        ids = tf.sparse.to_dense(parsed["ids"], default_value=0)
        bonus = tf.reduce_sum(tf.cast(ids, tf.float32), axis=1, keepdims=True)
        scores = tf.nn.softmax(tf.nn.relu(parsed["x"] @ module.first) @ module.second)
        return {"scores": scores * parsed["weight"][:, None], "bonus": bonus}

    examples = spec(None, dtype=tf.string, name="examples")
    save(folder, Weights(), {"serving_default": (function, examples)})


def _serialized(random: np.random.Generator, rows: int) -> Arrays:
    examples = np.empty(rows, object)
    for row in range(rows):
        message = tf.train.Example()
        features = message.features.feature
        features["x"].float_list.value.extend(random.standard_normal(4))
        if random.integers(2):
            features["weight"].float_list.value.append(random.standard_normal())
        features["ids"].int64_list.value.extend(random.integers(0, 9, random.integers(4)))
        examples[row] = message.SerializeToString()
    return {"examples": examples}


def _examples(random: np.random.Generator, rows: int) -> Arrays:
    made = [
        tensorflow_models.example(
            random.standard_normal(2), random.choice([b"m", b"s"]) if random.integers(2) else None
        )
        for _ in range(rows)
    ]
    return {"inputs": np.array(made, object)}


def _integer_tables(module: Tables, x: Any) -> Any:
    ids = module.ids.lookup(x + 10)
    return {"ids": ids, "price": module.prices.lookup(x), "weight": tf.gather(module.second, x)}


def _named(module: Tables, x: Any) -> Any:
    scores = tf.nn.softmax(tf.nn.relu(x @ module.first) @ module.second)
    values, indices = tf.math.top_k(scores, 3)
    return {"scores": values, "classes": module.names.lookup(tf.cast(indices, tf.int64))}


def _split(_: Any, texts: Any) -> Any:
    parts = tf.strings.split(tf.strings.lower(texts))
    return {
        "count": parts.row_lengths(),
        "joined": tf.strings.reduce_join(parts, separator="-", axis=1),
        "bucket": tf.strings.to_hash_bucket_fast(texts, 100),
    }


ENTRIES = [
    Entry(
        name="parsed_examples",
        what="parse_example with three features, cut out of the graph",
        made_with=MODULE,
        build=_parsed,
        questions=default(_serialized),
    ),
    Entry(
        name="classified_examples",
        what="parse_example, classes of strings made of a feature",
        made_with=MODULE,
        build=tensorflow_models.examples,
        questions={"serving_default": _examples, "regress": _examples},
        way="tensorflow",
        because="StringUpper",
        reference=SESSION,
    ),
    of_function(
        "integer_tables",
        "tables of int64 to int64 and to float",
        _integer_tables,
        integers("x", 8),
        spec(None, dtype=tf.int64),
        module=Tables,
    ),
    of_function(
        "int32_table",
        "a table of int32",
        lambda module, x: {"y": module.small.lookup(x)},
        integers("x", 8, dtype=np.int32),
        spec(None, dtype=tf.int32),
        module=Tables,
    ),
    of_function(
        "named_classes",
        "top_k, named by a table",
        _named,
        floats("x", 4),
        spec(None, 4),
        module=Tables,
    ),
    Entry(
        name="string_table",
        what="a table of strings, upper",
        made_with=MODULE,
        build=tensorflow_models.lookup,
        questions=default(words("words", _UNITS)),
        way="tensorflow",
        because="'words' is DT_STRING",
    ),
    of_function(
        "split_strings",
        "split, ragged strings, hash buckets",
        _split,
        words("texts", ["One", "and", "two", "größe"], many=5),
        spec(None, dtype=tf.string, name="texts"),
        way="tensorflow",
        because="DT_STRING",
    ),
]
