"""SavedModels as TensorFlow 1 wrote them, with reference variables and placeholders.

They have the graphs and signatures of the first models in TensorFlow Serving's documentation:
half_plus_two, half_plus_three and the digits of its MNIST tutorial.
"""

from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.python.ops import lookup_ops

v1 = tf.compat.v1
PREDICT, CLASSIFY, REGRESS = (
    f"tensorflow/serving/{method}" for method in ("predict", "classify", "regress")
)
DIGITS = 784  # pixels
CLASSES = 10


def half_plus(folder: Path, addend: float = 2.0, *, parsed_shape=None) -> Path:
    """Write half_plus_two: y = x / 2 + addend, y2 = x / 2 + 3, y3 = x2 / 2 + 3.

    The variables are references. The placeholder of the tf.Examples has the shape `parsed_shape`,
    by default an unknown rank. Predict feeds x and x2 after the parsing. The model has an asset,
    and an initialization that reads the asset's name.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    asset = folder.parent / "foo.txt"
    asset.write_text("content")
    with tf.Graph().as_default(), v1.Session() as session:

        def variable(name, value):
            return v1.get_variable(name, initializer=value, use_resource=False)

        a, b, c = variable("a", 0.5), variable("b", addend), variable("c", 3.0)
        examples = v1.placeholder(tf.string, parsed_shape, name="tf_example")
        parsed = _old_parse(examples, {"x": [], "x2": [0.0]}, size=1)
        x, x2 = tf.identity(parsed["x"], name="x"), tf.identity(parsed["x2"], name="x2")
        y, y2 = tf.identity(a * x + b, name="y"), tf.identity(a * x + c, name="y2")
        y3 = tf.identity(variable("a2", 0.5) * x2 + variable("c2", 3.0), name="y3")
        name = tf.constant(str(asset))
        v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, name)
        kept = v1.get_variable(
            "filename", initializer="foo.txt", use_resource=False, trainable=False, collections=[]
        )
        session.run([v1.global_variables_initializer(), kept.initializer])
        _save(
            folder,
            session,
            {
                "serving_default": (PREDICT, {"x": x}, {"y": y}),
                "regress_x_to_y": (REGRESS, {"inputs": examples}, {"outputs": y}),
                "regress_x_to_y2": (REGRESS, {"inputs": examples}, {"outputs": y2}),
                "regress_x2_to_y3": (REGRESS, {"inputs": x2}, {"outputs": y3}),
                "classify_x_to_y": (CLASSIFY, {"inputs": examples}, {"scores": y}),
            },
            assets=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
            main_op=tf.group(kept.assign(name)),
        )
    return folder


def mnist(folder: Path) -> Path:
    """Write a softmax regression on pictures of digits; a table names the classes by score.

    It is trained for 20 steps on generated digits: class i is bright in rows 2i to 2i + 4.
    """
    random = np.random.default_rng(0)
    with tf.Graph().as_default(), v1.Session() as session:
        examples = v1.placeholder(tf.string, name="tf_example")
        x = tf.identity(_old_parse(examples, {"x": []}, size=DIGITS)["x"], name="x")
        labels = v1.placeholder("float", [None, CLASSES])
        weights = v1.get_variable("w", initializer=tf.zeros([DIGITS, CLASSES]))
        bias = v1.get_variable("b", initializer=tf.zeros([CLASSES]))
        y = tf.nn.softmax(tf.matmul(x, weights) + bias, name="y")
        loss = -tf.reduce_sum(labels * tf.math.log(y))
        step = v1.train.GradientDescentOptimizer(0.01).minimize(loss)
        values, indices = tf.nn.top_k(y, CLASSES)
        table = lookup_ops.index_to_string_table_from_tensor(
            tf.constant([str(digit) for digit in range(CLASSES)])
        )
        names = table.lookup(tf.cast(indices, tf.int64))
        session.run(v1.global_variables_initializer())
        for _ in range(20):
            digits = random.integers(0, CLASSES, 50)
            session.run(step, {x: pictures(digits, random), labels: np.eye(CLASSES)[digits]})
        _save(
            folder,
            session,
            {
                "predict_images": (PREDICT, {"images": x}, {"scores": y}),
                "serving_default": (
                    CLASSIFY,
                    {"inputs": examples},
                    {"classes": names, "scores": values},
                ),
            },
            main_op=v1.tables_initializer(),
        )
    return folder


def pictures(digits, random) -> np.ndarray:
    """Return generated pictures of digits, float32 (n, 784), 0 to 1."""
    images = random.random((len(digits), 28, 28)) / 4
    for image, digit in zip(images, digits, strict=True):
        image[2 * digit : 2 * digit + 5] += 0.7
    return images.reshape(len(digits), DIGITS).astype(np.float32)


def example(**features) -> bytes:
    """Return a serialized tf.Example of lists of floats."""
    message = tf.train.Example()
    for key, values in features.items():
        message.features.feature[key].float_list.value.extend(values)
    return message.SerializeToString()


def _old_parse(examples, defaults, *, size):
    """Return float features of one size by key, parsed by TensorFlow 1's ParseExample."""
    parsed = tf.raw_ops.ParseExample(
        serialized=examples,
        names=tf.constant([], tf.string),
        sparse_keys=[],
        dense_keys=[tf.constant(key) for key in defaults],
        dense_defaults=[tf.constant(value, tf.float32) for value in defaults.values()],
        sparse_types=[],
        dense_shapes=[[size]] * len(defaults),
    )
    return dict(zip(defaults, parsed.dense_values, strict=True))


def _save(folder, session, signatures, *, assets=None, main_op=None):
    definitions = {}
    for name, (method, inputs, outputs) in signatures.items():
        definition = meta_graph_pb2.SignatureDef(method_name=method)
        for infos, tensors in ((definition.inputs, inputs), (definition.outputs, outputs)):
            for alias, tensor in tensors.items():
                infos[alias].name = tensor.name
                infos[alias].dtype = tensor.dtype.as_datatype_enum
                infos[alias].tensor_shape.CopyFrom(tensor.shape.as_proto())
        definitions[name] = definition
    builder = v1.saved_model.Builder(str(folder))
    builder.add_meta_graph_and_variables(
        session,
        ["serve"],
        signature_def_map=definitions,
        assets_collection=assets,
        main_op=main_op,
        strip_default_attrs=True,
    )
    builder.save()
