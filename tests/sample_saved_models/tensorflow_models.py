"""SavedModels for TensorFlow with text, tables, ragged rows, tf.Examples, defaults and loops."""

from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.protobuf import saved_model_pb2

UNITS = ["kg", "m", "s"]


def _save(folder: Path, module: tf.Module, **signatures) -> Path:
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return folder


def in_text(folder: Path) -> Path:
    """Convert saved_model.pb into saved_model.pbtxt, which TensorFlow reads, too."""
    file = folder / "saved_model.pb"
    message = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    (folder / "saved_model.pbtxt").write_text(text_format.MessageToString(message))
    file.unlink()
    return folder


def lookup(folder: Path) -> Path:
    """Looks up the `ids` of `words` (any shape) in a table, and changes words to upper case."""
    module = tf.Module()
    module.table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(UNITS, tf.range(1, 4, dtype=tf.int64)), 0
    )

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="words")])
    def serve(words):
        return {"ids": module.table.lookup(words), "upper": tf.strings.upper(words)}

    return _save(folder, module, serving_default=serve)


def text_classifier(folder: Path) -> Path:
    """A Keras model of strings: TextVectorization, an embedding and a sigmoid."""
    tf.keras.utils.set_random_seed(0)
    vectorize = tf.keras.layers.TextVectorization(max_tokens=20, output_sequence_length=6)
    vectorize.adapt(["the film is good", "the film is bad", "a good end", "a bad start"])
    model = tf.keras.Sequential(
        [
            tf.keras.Input((1,), dtype=tf.string, name="text"),
            vectorize,
            tf.keras.layers.Embedding(20, 4),
            tf.keras.layers.GlobalAveragePooling1D(),
            tf.keras.layers.Dense(1, activation="sigmoid", name="score"),
        ]
    )
    model.export(str(folder), verbose=False)
    return folder


def lengths(folder: Path) -> Path:
    """Answers the number of words in each text and their mean length, by ragged tensors."""
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="texts")])
    def serve(texts):
        words = tf.strings.split(texts)
        sizes = tf.cast(tf.strings.length(words), tf.float32)
        return {"count": words.row_lengths(), "mean": tf.reduce_mean(sizes, axis=1)}

    return _save(folder, module, serving_default=serve)


def examples(folder: Path) -> Path:
    """Classify and Regress signatures that parse tf.Examples of `x` (two floats) and `unit`."""
    module = tf.Module()
    module.weights = tf.Variable([[1.0, -1.0], [0.5, 2.0]])
    spec = {
        "x": tf.io.FixedLenFeature([2], tf.float32),
        "unit": tf.io.FixedLenFeature([], tf.string, default_value="kg"),
    }
    serialized = tf.TensorSpec([None], tf.string, name="examples")

    @tf.function(input_signature=[serialized])
    def classify(inputs):
        parsed = tf.io.parse_example(inputs, spec)
        scores = tf.nn.softmax(parsed["x"] @ module.weights)
        names = tf.stack([parsed["unit"], tf.strings.upper(parsed["unit"])], axis=1)
        return {"classes": names, "scores": scores}

    @tf.function(input_signature=[serialized])
    def regress(inputs):
        parsed = tf.io.parse_example(inputs, spec)
        return {"outputs": tf.reduce_sum(parsed["x"] @ module.weights, axis=1)}

    _save(folder, module, serving_default=classify, regress=regress)
    message = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    for name, method in (("serving_default", "classify"), ("regress", "regress")):
        definition = message.meta_graphs[0].signature_def[name]
        definition.method_name = f"tensorflow/serving/{method}"
        for alias in list(definition.inputs):  # TensorFlow Serving requires this name
            info = definition.inputs.pop(alias)
            definition.inputs["inputs"].CopyFrom(info)
    (folder / "saved_model.pb").write_bytes(message.SerializeToString())
    return folder


def example(x, unit=None) -> bytes:
    """Return a serialized tf.Example for `examples`."""
    message = tf.train.Example()
    message.features.feature["x"].float_list.value.extend(x)
    if unit is not None:
        message.features.feature["unit"].bytes_list.value.append(unit)
    return message.SerializeToString()


def scaled(folder: Path, factor: float = 2.0) -> Path:
    """Multiplies rows by a factor and adds `offset`, which is 0.5 if a request omits it."""
    module = tf.Module()
    module.factor = tf.Variable(factor)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 3], tf.float32, name="x"),
            tf.TensorSpec([], tf.float32, name="offset"),
        ]
    )
    def serve(x, offset):
        return {"y": x * module.factor + offset}

    _save(folder, module, serving_default=serve)
    message = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    definition = message.meta_graphs[0].signature_def["serving_default"]
    definition.defaults["offset"].CopyFrom(tf.make_tensor_proto(np.float32(0.5)))
    (folder / "saved_model.pb").write_bytes(message.SerializeToString())
    return folder


def dense(folder: Path) -> Path:
    """A dense layer of 4 to 2 with a softmax: its rows are independent."""
    module = tf.Module()
    module.weights = tf.Variable(np.linspace(-1, 1, 8, dtype=np.float32).reshape(4, 2))

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def serve(x):
        return {"y": tf.nn.softmax(x @ module.weights)}

    return _save(folder, module, serving_default=serve)


def mixed_rows(folder: Path) -> Path:
    """Rows minus their mean over the batch, and rows with noise; both have dependent rows."""
    module = tf.Module()
    rows = tf.TensorSpec([None, 4], tf.float32, name="x")

    @tf.function(input_signature=[rows])
    def centred(x):
        return {"y": x - tf.reduce_mean(x, axis=0)}

    @tf.function(input_signature=[rows])
    def noisy(x):
        return {"y": x + tf.random.normal(tf.shape(x))}

    return _save(folder, module, serving_default=centred, noisy=noisy)


def convolution(folder: Path) -> Path:
    """A convolution over pictures of any size; inputs of another rank end TensorFlow's process."""
    module = tf.Module()
    module.kernel = tf.Variable(tf.ones([2, 2, 3, 4]) / 12)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32, name="x")])
    def serve(x):
        return {"y": tf.nn.conv2d(x, module.kernel, 1, "SAME")}

    return _save(folder, module, serving_default=serve)


def element_types(folder: Path) -> Path:
    """Signatures of float16, bfloat16 and 8-bit floats; the last one is not served."""
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float16, name="x")])
    def half(x):
        return {"y": x + 1}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def brain(x):
        return {"y": tf.cast(x, tf.bfloat16)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def byte(x):
        return {"y": tf.cast(x, tf.dtypes.experimental.float8_e5m2)}

    return _save(folder, module, serving_default=half, brain=brain, byte=byte)


def float8_alone(folder: Path) -> Path:
    """A model whose only signature answers 8-bit floats."""
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def serve(x):
        return {"y": tf.cast(x, tf.dtypes.experimental.float8_e5m2)}

    return _save(folder, module, serving_default=serve)


def brain_floats(folder: Path) -> Path:
    """Multiplies bfloat16 `x` (rows of three) by weights: `y` is bfloat16, `float` float32.

    `biased` adds `bias`, which is 0.5 if a request omits it. `shared` subtracts the mean of all
    rows, so its rows are not independent.
    """
    module = tf.Module()
    module.weights = tf.Variable(np.linspace(-1, 1, 6).reshape(3, 2), dtype=tf.bfloat16)
    x = tf.TensorSpec([None, 3], tf.bfloat16, name="x")
    bias = tf.TensorSpec([], tf.bfloat16, name="bias")

    @tf.function(input_signature=[x])
    def serve(x):
        y = x @ module.weights
        return {"y": y, "float": tf.cast(y, tf.float32)}

    @tf.function(input_signature=[x, bias])
    def biased(x, bias):
        return {"y": x @ module.weights + bias}

    @tf.function(input_signature=[x])
    def shared(x):
        return {"y": x - tf.reduce_mean(x, axis=0)}

    _save(folder, module, serving_default=serve, biased=biased, shared=shared)
    message = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    definition = message.meta_graphs[0].signature_def["biased"]
    definition.defaults["bias"].CopyFrom(
        tf.make_tensor_proto(np.array(0.5, tf.bfloat16.as_numpy_dtype))
    )
    (folder / "saved_model.pb").write_bytes(message.SerializeToString())
    return folder


def sparse_outputs(folder: Path) -> Path:
    """Answers `total` of `x` (rows of three) and two sparse tensors, float32 and int32.

    The signature `dense` takes a sparse tensor.
    """
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def serve(x):
        sparse = tf.sparse.from_dense(x)
        whole = tf.sparse.from_dense(tf.cast(x, tf.int32))
        return {"sparse": sparse, "whole": whole, "total": tf.reduce_sum(x, axis=1)}

    @tf.function(input_signature=[tf.SparseTensorSpec([None, 3], tf.float32)])
    def dense(x):
        return {"y": tf.sparse.to_dense(x)}

    return _save(folder, module, serving_default=serve, dense=dense)


def complex_numbers(folder: Path) -> Path:
    """Complex numbers in and out: `y` is `x` times i."""
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.complex64, name="x")])
    def serve(x):
        return {"y": x * 1j}

    return _save(folder, module, serving_default=serve)


def unknown_rank_convolution(folder: Path) -> Path:
    """A convolution whose input declares no rank."""
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, name="x")])
    def serve(x):
        return {"y": tf.nn.conv2d(x, tf.ones([1, 1, 3, 2]), 1, "SAME")}

    return _save(folder, module, serving_default=serve)


def parsed_pictures(folder: Path) -> Path:
    """A convolution over pictures from tf.Examples, whose tensor may have any rank."""
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec(None, tf.string, name="examples")])
    def serve(examples):
        spec = {"picture": tf.io.FixedLenFeature([4, 4, 3], tf.float32)}
        picture = tf.io.parse_example(examples, spec)["picture"]
        return {"y": tf.nn.conv2d(picture, tf.ones([1, 1, 3, 2]), 1, "SAME")}

    return _save(folder, module, serving_default=serve)


def failing(folder: Path) -> Path:
    """Fails by an assertion on negative numbers, and by MatMul unless rows have three values."""
    module = tf.Module()
    module.weights = tf.Variable(tf.ones([3, 2]))

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, name="x")])
    def serve(x):
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(x >= 0), ["negative"])]):
            return {"y": tf.linalg.matmul(x, module.weights)}

    return _save(folder, module, serving_default=serve)


def endless(folder: Path) -> Path:
    """Counts to `n` in a loop."""
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([], tf.int64, name="n")])
    def serve(n):
        count = tf.while_loop(lambda i: i < n, lambda i: [i + 1], [tf.constant(0, tf.int64)])[0]
        return {"count": count}

    return _save(folder, module, serving_default=serve)
