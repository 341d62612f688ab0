"""SavedModels of TensorFlow 1 with placeholders, reference variables and old parsing."""

from pathlib import Path

import numpy as np
import tensorflow as tf
from sample_saved_models import tensorflow1_models
from sample_saved_models.tensorflow1_models import v1
from saved_model_zoo.entry import SESSION, TENSORFLOW1, Arrays, Entry, Make, floats, steps


def _two_versions(folder: Path) -> None:
    tensorflow1_models.half_plus(folder / "00000123")
    tensorflow1_models.half_plus(folder / "00000124", addend=2.5)


def _network(folder: Path) -> None:
    """Write two layers of reference variables with placeholders and moving averages."""
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(0)
        x = v1.placeholder(tf.float32, [None, 6], name="x")
        rate = v1.placeholder_with_default(0.0, [], name="rate")
        y = _layers(x, rate)
        session.run(v1.global_variables_initializer())
        tensorflow1_models._save(
            folder,
            session,
            {"serving_default": (tensorflow1_models.PREDICT, {"x": x}, {"y": y})},
        )


def _layers(x, rate):
    random = np.random.default_rng(0)

    def variable(name, *shape):
        value = random.standard_normal(shape).astype(np.float32)
        return v1.get_variable(name, initializer=value, use_resource=False)

    hidden = tf.nn.dropout(tf.nn.relu(x @ variable("w", 6, 8) + variable("b", 8)), rate=rate)
    mean, spread = variable("mean", 8), tf.abs(variable("spread", 8)) + 1
    normal = tf.nn.batch_normalization(hidden, mean, spread, None, variable("scale", 8), 1e-3)
    return tf.nn.softmax(normal @ variable("v", 8, 3), name="y")


def _frozen(folder: Path) -> None:
    """Write the network with constants instead of variables, imported from a GraphDef."""
    with tf.Graph().as_default(), v1.Session() as session:
        y = _layers(v1.placeholder(tf.float32, [None, 6], name="x"), 0.0)
        session.run(v1.global_variables_initializer())
        frozen = v1.graph_util.convert_variables_to_constants(
            session, session.graph_def, [y.op.name]
        )
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(frozen, name="imported")
        x, y = (session.graph.get_tensor_by_name(f"imported/{name}:0") for name in "xy")
        tensorflow1_models._save(
            folder,
            session,
            {"serving_default": (tensorflow1_models.PREDICT, {"x": x}, {"y": y})},
        )


def _loop(folder: Path) -> None:
    """Write a recurrent network as TensorFlow 1 did, with a loop of Switch, Merge and Enter."""
    random = np.random.default_rng(0)
    v1.disable_control_flow_v2()
    try:
        with tf.Graph().as_default(), v1.Session() as session:
            x = v1.placeholder(tf.float32, [None, None, 3], name="x")
            value = random.standard_normal((8, 5)).astype(np.float32)
            weights = v1.get_variable("w", initializer=value, use_resource=False)

            def step(time, state):
                return time + 1, tf.tanh(tf.concat([x[:, time], state], 1) @ weights)

            state = tf.zeros([tf.shape(x)[0], 5])
            _, y = v1.while_loop(lambda time, _: time < tf.shape(x)[1], step, [0, state])
            session.run(v1.global_variables_initializer())
            tensorflow1_models._save(
                folder,
                session,
                {
                    "serving_default": (
                        tensorflow1_models.PREDICT,
                        {"x": x},
                        {"y": tf.identity(y, name="y")},
                    )
                },
            )
    finally:
        v1.enable_control_flow_v2()


def _examples(random: np.random.Generator, rows: int) -> Arrays:
    made = [tensorflow1_models.example(x=random.standard_normal(1)) for _ in range(rows)]
    return {"inputs": np.array(made, object)}


def _digits(random: np.random.Generator, rows: int) -> np.ndarray:
    return tensorflow1_models.pictures(random.integers(0, 10, rows), random)


def _pictures(random: np.random.Generator, rows: int) -> Arrays:
    return {"images": _digits(random, rows)}


def _picture_examples(random: np.random.Generator, rows: int) -> Arrays:
    made = [tensorflow1_models.example(x=picture) for picture in _digits(random, rows)]
    return {"inputs": np.array(made, object)}


_HALVES: dict[str, Make] = {
    "serving_default": floats("x", 1),
    "regress_x_to_y": _examples,
    "regress_x_to_y2": _examples,
    "regress_x2_to_y3": floats("inputs", 1),
    "classify_x_to_y": _examples,
}


def _entry(name: str, what: str, build, questions: dict[str, Make], **more: str) -> Entry:
    return Entry(
        name=name,
        what=what,
        made_with=TENSORFLOW1,
        build=build,
        questions=questions,
        reference=SESSION,
        **more,
    )


ENTRIES = [
    _entry(
        "half_plus_two",
        "reference variables, old parsing, five signatures",
        tensorflow1_models.half_plus,
        _HALVES,
    ),
    _entry(
        "half_plus_three",
        "the same, plus 3",
        lambda folder: tensorflow1_models.half_plus(folder, addend=3.0),
        _HALVES,
    ),
    _entry("half_plus_two_versions", "versions 123 and 124", _two_versions, _HALVES),
    _entry(
        "mnist",
        "the MNIST tutorial's signatures, classes named by a table",
        tensorflow1_models.mnist,
        {"serving_default": _picture_examples, "predict_images": _pictures},
    ),
    _entry(
        "reference_network",
        "reference variables, placeholder_with_default",
        _network,
        {"serving_default": floats("x", 6)},
    ),
    _entry(
        "frozen_network",
        "a frozen GraphDef, imported",
        _frozen,
        {"serving_default": floats("x", 6)},
    ),
    _entry(
        "recurrent_loop",
        "a loop of Switch and Merge, any length",
        _loop,
        {"serving_default": steps("x", 3, low=2, high=7)},
        way="tensorflow",
        because="Exit",
    ),
]
