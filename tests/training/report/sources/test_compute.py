import keras
import pytest
from keras import layers

from training.model import architectures
from training.report.sources import compute


def test_macs_of_simcnn_are_those_of_the_textbook():
    """SimCNN's MACs are output pixels x kernel size x channels in x channels out, by layer."""
    model = architectures.build("simcnn")

    counted = {row.name: row.macs for row in compute.summary(model) if row.macs}

    assert list(counted.values()) == [
        30 * 30 * 9 * 3 * 32,
        13 * 13 * 9 * 32 * 64,
        4 * 4 * 9 * 64 * 64,
        1024 * 64,
        64 * 10,
    ]
    assert compute.macs(model) == 4_548_608


def test_summary_has_a_row_for_each_layer_and_all_parameters():
    """The parameters of the rows add up to the model's; shapes have no batch dimension."""
    model = architectures.build("simcnn")

    rows = compute.summary(model)

    assert [row.name for row in rows] == [layer.name for layer in model.layers]
    assert sum(row.parameters for row in rows) == model.count_params() == 122_570
    assert rows[2].output_shape == "30x30x32"


def test_nested_resnet50_is_summed_up_by_stage():
    """ResNet50's body is summed up as conv1 to conv5, with all of its parameters and MACs."""
    model = architectures.build("resnet50", upsample=7)

    rows = compute.summary(model)

    names = [row.name for row in rows]
    assert [name for name in names if name.startswith("body/")] == [
        "body/conv1",
        "body/pool1",
        *(f"body/conv{number}" for number in range(2, 6)),
    ]
    assert sum(row.parameters for row in rows) == model.count_params()
    assert sum(row.macs for row in rows) == compute.macs(model)
    # Published for ResNet50 at 224x224 with 1,000 classes (Keras' variant): 3.86 billion.
    top = 2048 * 1024 + 1024 * 10
    assert compute.macs(model) - top + 2048 * 1000 == pytest.approx(3.86e9, rel=2e-3)


def test_depthwise_and_grouped_convolutions_count_their_own_channels_alone():
    """In depthwise and grouped convolutions an output channel counts its own inputs only."""
    images = keras.Input((8, 8, 4))
    depthwise = keras.Model(images, layers.DepthwiseConv2D(3, depth_multiplier=2)(images))
    grouped = keras.Model(images, layers.Conv2D(6, 3, groups=2)(images))

    assert compute.macs(depthwise) == 6 * 6 * 8 * 9
    assert compute.macs(grouped) == 6 * 6 * 6 * 9 * 2


def test_macs_are_half_of_the_operations_that_tensorflow_counts():
    """TensorFlow's profiler counts two operations for each MAC, and a few for other layers."""
    tf = pytest.importorskip("tensorflow")
    from tensorflow.python.framework import convert_to_constants  # noqa: PLC0415

    model = architectures.build("simcnn")
    function = tf.function(lambda images: model(images, training=False))
    graph = convert_to_constants.convert_variables_to_constants_v2(
        function.get_concrete_function(tf.TensorSpec((1, 32, 32, 3), tf.uint8))
    ).graph
    builder = tf.compat.v1.profiler.ProfileOptionBuilder
    options = builder(builder.float_operation()).with_empty_output().build()

    profile = tf.compat.v1.profiler.profile(graph, options=options)

    assert 1 <= profile.total_float_ops / (2 * compute.macs(model)) < 1.01
