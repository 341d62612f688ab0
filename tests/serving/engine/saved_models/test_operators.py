"""Tests of the operators found in a SavedModel's graph, and of the evidence about them."""

import tensorflow as tf

from serving.engine.saved_models import operators


def definition(function, *specs):
    """Return the graph of a function, and the name of its output."""
    concrete = tf.function(function).get_concrete_function(*specs)
    return concrete.graph.as_graph_def(), [concrete.outputs[0].name]


ROWS = tf.TensorSpec([None, 4], tf.float32)


def test_operators_inside_functions_are_found():
    """Operators in functions that a called function calls are found."""

    @tf.function
    def inner(x):
        return tf.nn.relu(x)

    @tf.function
    def outer(x):
        return inner(x) + 1

    graph, outputs = definition(outer, ROWS)

    assert "Relu" in {node.op for node in operators.reachable(graph, outputs)}


def test_only_what_leads_to_the_output_counts():
    """A random operator that the output does not depend on mixes no rows."""

    def function(x):
        tf.random.normal([3])
        return x * 2.0

    graph, outputs = definition(function, ROWS)

    assert any(node.op == "RandomStandardNormal" for node in graph.node)
    assert operators.find_row_mixing(operators.reachable(graph, outputs)) == ""


def test_noise_mixes_rows():
    """Random noise on the output mixes rows, and the evidence names the operator."""
    graph, outputs = definition(lambda x: x + tf.random.normal(tf.shape(x)), ROWS)

    found = operators.find_row_mixing(operators.reachable(graph, outputs))

    assert "RandomStandardNormal" in found


def test_a_batch_normalisation_mixes_rows_in_training_alone():
    """Batch normalisation mixes rows in training mode only; otherwise it uses fixed means."""

    def normalise(training):
        def function(x):
            ones, empty = tf.ones([3]), tf.constant([], tf.float32)
            mean = empty if training else ones
            return tf.raw_ops.FusedBatchNormV3(
                x=x, scale=ones, offset=ones, mean=mean, variance=mean, is_training=training
            )[0]

        graph, outputs = definition(function, tf.TensorSpec([None, 2, 2, 3], tf.float32))
        return operators.find_row_mixing(operators.reachable(graph, outputs))

    assert "training mode" in normalise(training=True)
    assert normalise(training=False) == ""


def test_scattering_into_a_new_tensor_is_no_state():
    """ScatterNd is no state: it computes a new tensor, while ScatterUpdate changes a variable."""
    graph, outputs = definition(lambda x: tf.scatter_nd([[0]], x[:1], [2, 4]), ROWS)

    assert operators.find_row_mixing(operators.reachable(graph, outputs)) == ""
