"""Operations that tf2onnx does not convert, and Keras layers that consist of them."""

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from keras import layers

from export.convert import source as sources
from export.convert import to_onnx
from export.errors import ExportError
from export.gates import answers
from export.sources import saved_model
from export.sources.serving_session import ServingSession


class Converted:
    """The first signature of a SavedModel as ONNX graph, and the SavedModel in TensorFlow."""

    def __init__(self, folder):
        self.signature = next(iter(saved_model.read_signatures(folder).values()))
        self.tensorflow = ServingSession(folder)
        source = sources.read(self.tensorflow, self.signature)
        self.model = to_onnx.convert(source, source.shapes, name="graph", facts={})
        self.onnx = answers.session(self.model.SerializeToString())

    def both(self, *arrays):
        """Return TensorFlow's and ONNX Runtime's answers to inputs, ordered as their aliases."""
        inputs = dict(zip(self.signature.inputs, arrays, strict=True))
        expected = self.tensorflow.ask(self.signature, inputs)
        tensors = [spec.tensor for spec in self.signature.outputs.values()]
        feeds = {self.signature.inputs[alias].tensor: array for alias, array in inputs.items()}
        return list(expected.values()), self.onnx.run(tensors, feeds)


def of_function(folder, function, dtype, shape=(None,)):
    module = tf.Module()
    spec = tf.TensorSpec(shape, dtype, name="x")
    module.function = tf.function(lambda x: {"y": function(x)}, input_signature=[spec])
    tf.saved_model.save(module, str(folder), {"serving_default": module.function})
    return Converted(folder)


def of_layers(folder, shape, *parts, dtype="float32", training=None):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(shape, dtype=dtype), *parts])
    if training is None:
        model.export(folder, verbose=False)
        return Converted(folder)
    spec = tf.TensorSpec((None, *shape), dtype, name="x")
    function = tf.function(lambda x: {"y": model(x, training=training)}, input_signature=[spec])
    module = tf.Module()
    module.variables_ = [variable.value for variable in model.variables]
    module.function = function
    tf.saved_model.save(module, str(folder), {"serving_default": function})
    return Converted(folder)


def check(converted, *arrays):
    expected, received = converted.both(*arrays)
    for one, other in zip(expected, received, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_erfc_is_one_minus_erf(tmp_path, dtype):
    """Erfc is within 1e-6 of TensorFlow from -6 to 6, at -40 and 40, and at infinities."""
    x = np.concatenate([np.linspace(-6, 6, 20_001), [-np.inf, np.inf, 0.0, -40, 40]]).astype(dtype)

    converted = of_function(tmp_path, tf.math.erfc, dtype)
    expected, received = converted.both(x)

    kinds = [node.op_type for node in converted.model.graph.node if node.op_type != "Cast"]
    assert kinds == ["Erf", "Sub"]
    assert received[0].dtype == dtype
    np.testing.assert_allclose(received[0], expected[0], rtol=0, atol=1e-6)


def test_gelu_answers_as_tensorflow(tmp_path):
    """Keras' exact GELU is within 1e-6 of TensorFlow for inputs from -8 to 8."""
    converted = of_layers(tmp_path, (1,), layers.Activation("gelu"))
    x = np.linspace(-8, 8, 10_001, dtype=np.float32)[:, None]

    expected, received = converted.both(x)

    np.testing.assert_allclose(received[0], expected[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
def test_bucketize_counts_the_boundaries(tmp_path, dtype):
    """A value on a boundary counts as above it, and NaN as above all boundaries."""
    values = [-9, -1, 0, 1, 2, 3, 7, 2**24 + 1]
    if np.dtype(dtype).kind == "f":
        values += [0.5, 1.9999, np.inf, -np.inf, np.nan]

    def function(x):
        return tf.raw_ops.Bucketize(input=x, boundaries=[-1.0, 0.5, 2.0, 2.0, 1e7])

    converted = of_function(tmp_path, function, dtype)
    expected, received = converted.both(np.array(values, dtype))

    assert received[0].dtype == np.int32
    np.testing.assert_array_equal(received[0], expected[0])


@pytest.mark.parametrize("weights", [[], [[1.0, 0.5, 4.0, 2.0]]])
@pytest.mark.parametrize("shape", [(4,), (2, 4), (0, 4)])
@pytest.mark.parametrize("binary", [False, True])
def test_bincount_counts_in_rows(tmp_path, binary, shape, weights):
    """Bincount counts in each row or in the only one; numbers of `size` and more do not count."""
    total = np.ones((*shape[:-1], 1), np.float32)

    def function(x):
        added = tf.constant(np.reshape(weights, -1), tf.float32)
        if weights:
            added = total * weights[0] if len(shape) == 2 else added
        return tf.raw_ops.DenseBincount(
            input=x, size=3, weights=tf.cast(added, tf.float32), binary_output=binary
        )

    converted = of_function(tmp_path, function, np.int64, (None,) * len(shape))
    values = np.array([0, 1, 1, 9, 2, 2, 3, 2])[: int(np.prod(shape))].reshape(shape)

    check(converted, values)


@pytest.mark.parametrize("samples", [32, 40])
def test_spectra_of_waveforms_answer_as_tensorflow(tmp_path, samples):
    """Magnitudes, real and imaginary parts of spectra agree; longer waveforms are cut."""

    def function(x):
        spectrum = tf.signal.rfft(x, [32])
        parts = [tf.abs(spectrum), tf.math.real(spectrum), tf.math.imag(spectrum)]
        return tf.concat(parts, axis=-1)

    converted = of_function(tmp_path, function, np.float32, (None, None))
    x = np.random.default_rng(0).standard_normal((3, samples)).astype(np.float32)

    expected, received = converted.both(x)

    np.testing.assert_allclose(received[0], expected[0], rtol=0, atol=1e-5)


def test_a_log_mel_spectrogram_of_any_length(tmp_path):
    """A log-mel spectrogram, the first layers of audio models, agrees for every length."""

    def function(x):
        amounts = tf.abs(tf.signal.stft(x, frame_length=24, frame_step=8, fft_length=32))
        mel = tf.signal.linear_to_mel_weight_matrix(8, 17, 8000, 125.0, 3800.0)
        return tf.math.log(tf.tensordot(amounts, mel, 1) + 1e-2)

    converted = of_function(tmp_path, function, np.float32, (None, None))

    for shape in ((1, 100), (3, 240)):
        x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        expected, received = converted.both(x)
        np.testing.assert_allclose(received[0], expected[0], rtol=0, atol=1e-5)


def test_a_spectrum_that_goes_elsewhere_is_refused(tmp_path):
    """A product with a spectrum is refused: ONNX Runtime has no complex numbers."""
    with pytest.raises(ExportError, match="serve the SavedModel with TensorFlow itself"):
        of_function(
            tmp_path,
            lambda x: tf.abs(tf.signal.rfft(x) * tf.constant(2j, tf.complex64)),
            np.float32,
            (None, 8),
        )


@pytest.mark.parametrize("transposed", [False, True])
def test_sparse_products_answer_as_tensorflow(tmp_path, transposed):
    """Sparse products agree, also of transposed matrices and of matrices of zeros."""
    weights = np.arange(12, dtype=np.float32).reshape((3, 4) if transposed else (4, 3))

    def function(x):
        kept = tf.sparse.from_dense(tf.where(x > 0, x, 0.0))
        return tf.sparse.sparse_dense_matmul(
            kept, tf.constant(weights), adjoint_a=transposed, adjoint_b=transposed
        )

    converted = of_function(tmp_path, function, np.float32, (None, None))
    x = np.random.default_rng(0).standard_normal((4, 5) if transposed else (5, 4))

    check(converted, x.astype(np.float32))
    check(converted, np.zeros_like(x, np.float32))


def test_functions_to_be_compiled_are_converted(tmp_path):
    """Functions marked for compilation, as Keras' grouped convolution on a CPU, are converted."""
    converted = of_layers(tmp_path, (6, 6, 4), layers.Conv2D(4, 3, groups=2))

    check(converted, np.random.default_rng(0).standard_normal((2, 6, 6, 4)).astype(np.float32))


def test_nodes_that_are_not_onnx_are_refused(tmp_path):
    """A TensorFlow node that tf2onnx logs and keeps, an FFT of complex numbers, is refused."""
    with pytest.raises(ExportError, match=r"no counterpart for TensorFlow's FFT; .*tensorflow"):
        of_function(
            tmp_path,
            lambda x: tf.signal.fft(tf.cast(x, tf.complex64)),
            np.float32,
            (None, 8),
        )


def normalization():
    layer = layers.Normalization()
    layer.adapt(np.random.default_rng(0).normal(3, 2, (50, 3)).astype(np.float32))
    return layer


FLOATS = np.random.default_rng(1).standard_normal((5, 3)).astype(np.float32)
INTEGERS = np.random.default_rng(2).integers(0, 9, (5, 4))
STEPS = np.random.default_rng(3).standard_normal((2, 7, 3)).astype(np.float32)
EQUAL = {
    "discretization": ((3,), [layers.Discretization([-1.0, 0.0, 1.0])], "float32", [FLOATS]),
    "discretization many-hot": (
        (3,),
        [layers.Discretization([-1.0, 0.0, 1.0], output_mode="multi_hot")],
        "float32",
        [FLOATS],
    ),
    "normalization": ((3,), [normalization()], "float32", [FLOATS]),
    "category many-hot": (
        (4,),
        [layers.CategoryEncoding(10, output_mode="multi_hot")],
        "int32",
        [INTEGERS.astype(np.int32)],
    ),
    "category count": (
        (4,),
        [layers.CategoryEncoding(10, output_mode="count")],
        "int32",
        [INTEGERS.astype(np.int32)],
    ),
    "count of looked up": (
        (4,),
        [
            layers.IntegerLookup(vocabulary=[1, 3, 5]),
            layers.CategoryEncoding(4, output_mode="count"),
        ],
        "int64",
        [INTEGERS],
    ),
    "integer lookup": ((4,), [layers.IntegerLookup(vocabulary=[1, 3, 5])], "int64", [INTEGERS]),
    "gru": ((None, 3), [layers.GRU(4)], "float32", [STEPS, STEPS[:, :1], STEPS[:1, :5]]),
    "gru of fixed length": (
        (7, 3),
        [layers.GRU(4, return_sequences=True)],
        "float32",
        [STEPS, STEPS[:1]],
    ),
    "lstm": ((None, 3), [layers.LSTM(4)], "float32", [STEPS, STEPS[:, :2]]),
    "masked bidirectional lstm": (
        (None,),
        [layers.Embedding(10, 4, mask_zero=True), layers.Bidirectional(layers.LSTM(3))],
        "int32",
        [
            np.array([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8]], np.int32),
            np.array([[9, 0, 0]], np.int32),
        ],
    ),
    "noise and dropout": (
        (3,),
        [layers.Dropout(0.5), layers.GaussianNoise(0.5), layers.GaussianDropout(0.3)],
        "float32",
        [FLOATS],
    ),
}


@pytest.mark.parametrize("name", EQUAL)
def test_layers_answer_as_tensorflow(tmp_path, name):
    """Preprocessing and recurrent layers answer as TensorFlow for every length and batch."""
    shape, parts, dtype, questions = EQUAL[name]
    converted = of_layers(tmp_path, shape, *parts, dtype=dtype)

    for question in questions:
        check(converted, question)


def augmentation():
    return [
        layers.RandomFlip(),
        layers.RandomRotation(0.1),
        layers.RandomZoom(0.1),
        layers.RandomContrast(0.1),
        layers.RandomTranslation(0.1, 0.1),
    ]


def test_augmentation_is_nothing_at_inference(tmp_path):
    """With training=False, augmentation layers return pictures unchanged and add no operation."""
    pictures = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)

    converted = of_layers(tmp_path, (8, 8, 3), *augmentation(), training=False)
    _, received = converted.both(pictures)

    np.testing.assert_array_equal(received[0], pictures)
    assert {node.op_type for node in converted.model.graph.node} <= {"Identity"}


@pytest.mark.parametrize("layer", augmentation(), ids=lambda layer: type(layer).__name__)
def test_augmentation_that_draws_numbers_is_refused(tmp_path, layer):
    """A Keras export of an augmentation layer draws random numbers when called, and is refused."""
    with pytest.raises(ExportError, match=r"variables that it changes .* training=False"):
        of_layers(tmp_path, (8, 8, 3), layer)


@pytest.mark.parametrize(
    ("layer", "dtype", "told"),
    [
        (layers.Hashing(5), "int64", "no counterpart for TensorFlow's StringToHashBucketFast"),
        (layers.Hashing(5, salt=[1, 2]), "int64", "StringToHashBucketStrong"),
    ],
    ids=["fast", "salted"],
)
def test_hashes_are_refused(tmp_path, layer, dtype, told):
    """TensorFlow's hash functions are refused: ONNX has none of them."""
    with pytest.raises(ExportError, match=told):
        of_layers(tmp_path, (4,), layer, dtype=dtype)


def test_upper_case_is_refused(tmp_path):
    """StringUpper is refused: ONNX's changes more letters, and not on every machine."""
    module = tf.Module()

    def function(examples):
        word = tf.io.parse_example(examples, {"word": tf.io.FixedLenFeature([1], tf.string)})
        return {"upper": tf.strings.upper(word["word"])}

    spec = tf.TensorSpec([None], tf.string, name="examples")
    module.function = tf.function(function, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path), {"serving_default": module.function})

    with pytest.raises(ExportError, match="no counterpart for TensorFlow's StringLower or String"):
        Converted(tmp_path)


def test_choices_among_several_branches_are_refused(tmp_path):
    """tf.switch_case is refused with the name of its operation, StatelessCase."""
    with pytest.raises(ExportError, match="no counterpart for TensorFlow's StatelessCase"):
        of_function(
            tmp_path,
            lambda x: tf.switch_case(tf.cast(x[0], tf.int32), [lambda: x, lambda: 2 * x]),
            np.float32,
        )


def test_loops_name_their_counters_scalar(tmp_path):
    """Loop counters declare a shape, without which ONNX Runtime runs no loop."""
    converted = of_layers(tmp_path, (None, 3), layers.GRU(2))

    loops = [node for node in converted.model.graph.node if node.op_type == "Loop"]
    for loop in loops:
        body = onnx.helper.get_node_attr_value(loop, "body")
        assert all(info.type.tensor_type.HasField("shape") for info in body.input[:2])
    assert loops
