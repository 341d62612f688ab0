import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from export.errors import ExportError
from export.publishing.from_saved_model import publish_saved_model
from export.sources import saved_model
from serving.engine.servable import BatchingConfig, RuntimeConfig, Servable
from serving.repository import model_folder
from serving.tensors.example_parser import ExampleParser

NAMES = ("low", "middle", "high")
FEATURES = {
    "size/x": tf.io.FixedLenFeature([4], tf.float32),
    "kind": tf.io.FixedLenFeature([], tf.int64, default_value=5),
    "series": tf.io.FixedLenSequenceFeature([2], tf.float32, allow_missing=True, default_value=-1),
    "bag": tf.io.VarLenFeature(tf.int64),
    "unused": tf.io.FixedLenFeature([2], tf.string),
}


def save(path, signatures, method_names=()):
    """Save functions of serialized examples, given as (function, input alias), as signatures."""
    module = tf.Module()
    module.functions = {
        name: tf.function(function, input_signature=[tf.TensorSpec([None], tf.string, name=alias)])
        for name, (function, alias) in signatures.items()
    }
    tf.saved_model.save(module, str(path), module.functions)
    for name, method_name in method_names:
        saved_model.set_method_name(path, name, method_name)
    return path


def model(examples):
    """Compute logits from every kind of feature and a weight that is no constant of the graph."""
    parsed = tf.io.parse_example(examples, FEATURES)
    weights = tf.reshape(tf.range(12, dtype=tf.float32), (4, 3)) / 12
    logits = parsed["size/x"] @ weights + tf.cast(parsed["kind"], tf.float32)[:, None]
    logits += tf.reduce_sum(parsed["series"], axis=[1, 2])[:, None]
    bag = tf.sparse.to_dense(parsed["bag"], default_value=7)
    return logits + tf.cast(tf.reduce_sum(bag, axis=1, keepdims=True), tf.float32)


def classify(inputs):
    """Return scores, and names tiled to the batch as Estimator's classifiers return them."""
    names = tf.tile(tf.constant([NAMES]), [tf.shape(inputs)[0], 1])
    return {"scores": tf.nn.softmax(model(inputs)), "classes": names}


def regress(inputs):
    return {"outputs": model(inputs)[:, :1]}


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    """A published SavedModel with three signatures of serialized examples."""
    folder = tmp_path_factory.mktemp("parsing")
    save(
        folder / "saved",
        {
            "serving_default": (lambda examples: {"logits": model(examples)}, "examples"),
            "classify": (classify, "inputs"),
            "regress": (regress, "inputs"),
        },
        [("classify", "tensorflow/serving/classify"), ("regress", "tensorflow/serving/regress")],
    )
    return publish_saved_model(folder / "saved", folder / "models", name="parsing")


@pytest.fixture(scope="module")
def signatures(version):
    return model_folder.read(version.path).signatures


def example(**features):
    """Return a serialized tf.Example with the required features and the given ones."""
    lists = {
        "size/x": tf.train.Feature(float_list=tf.train.FloatList(value=[1, 2, 3, 4])),
        "unused": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"a", b"b"])),
    }
    for key, values in features.items():
        if key == "series":
            lists[key] = tf.train.Feature(float_list=tf.train.FloatList(value=values))
        else:
            lists[key] = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Example(features=tf.train.Features(feature=lists)).SerializeToString()


def test_feature_spec_is_read_from_the_graph(signatures):
    """Keys, dtypes, shapes, defaults and kinds are those that parse_example was given."""
    entries = signatures["serving_default"].to_json()["feature_spec"]

    assert {
        key: (entry["kind"], entry["dtype"], entry["shape"], entry.get("default"), entry["tensor"])
        for key, entry in entries.items()
    } == {
        "bag": ("variable", "DT_INT64", [-1, -1], [7], "bag"),
        "kind": ("fixed", "DT_INT64", [-1], [5], "kind"),
        "series": ("variable", "DT_FLOAT", [-1, -1, 2], [-1.0], "series"),
        "size/x": ("fixed", "DT_FLOAT", [-1, 4], None, "size/x"),
        "unused": ("fixed", "DT_STRING", [-1, 2], None, ""),
    }


def test_clients_see_the_original_signature(version, signatures):
    """Signatures keep string inputs, tensor names and methods; class names are a constant."""
    signature = signatures["classify"]
    loaded = tf.saved_model.load(str(version.path)).signatures["classify"]

    assert signature.method_name == "tensorflow/serving/classify"
    assert list(signature.inputs) == ["inputs"]
    assert signature.inputs["inputs"].graph_name == "classify_inputs:0"
    assert list(loaded.structured_input_signature[1]) == ["inputs"]
    assert signature.inputs["inputs"].shape == (-1,)
    assert signature.outputs["classes"].constant == NAMES
    assert signature.outputs["classes"].graph_name.endswith(":0")
    assert signatures["regress"].method_name == "tensorflow/serving/regress"


def test_server_answers_as_tensorflow(version, signatures):
    """Each signature answers as TensorFlow with missing features and sequences of any length."""
    examples = [
        example(),
        example(series=[1, 2, 3, 4], bag=[1]),
        example(kind=[2], bag=[4, 5, 6]),
        example(series=[0.5, 0.5]),
    ]
    loaded = tf.saved_model.load(str(version.path)).signatures
    servable = Servable.load("parsing", 1, version.path, RuntimeConfig(), BatchingConfig())
    for name, signature in signatures.items():
        arrays = ExampleParser(signature.feature_spec).parse(examples)

        ours = servable.run(name, arrays, list(signature.outputs))
        theirs = loaded[name](**{signature.example_input: tf.constant(examples)})

        for alias in signature.outputs:
            if alias == "classes":
                assert ours[alias].tolist() == theirs[alias].numpy().tolist()
            else:
                np.testing.assert_allclose(ours[alias], theirs[alias], rtol=1e-5)
    servable.close()


def test_card_shows_what_to_send(version):
    """The card's snippet sends an empty string and says to replace it by serialized tf.Examples."""
    card = (version.path / "MODEL_CARD.md").read_text()

    assert 'inputs = {"examples": np.array([b""], object)}' in card
    assert "and the empty string with serialized tf.Examples" in card


def test_features_that_the_graph_ignores_must_be_there(signatures):
    """An example is refused without a feature that the graph ignores, as in TensorFlow."""
    message = tf.train.Example.FromString(example())
    del message.features.feature["unused"]

    with pytest.raises(Exception, match=r"Feature: unused .* is required"):
        ExampleParser(signatures["regress"].feature_spec).parse([message.SerializeToString()])


def test_old_parse_operation_is_cut_too(tmp_path):
    """TensorFlow 1's ParseExample, which has one input for each key, is cut off, too."""

    def old(examples):
        parsed = tf.raw_ops.ParseExample(
            serialized=examples,
            names=tf.constant([], tf.string),
            sparse_keys=[],
            dense_keys=[tf.constant("a"), tf.constant("b")],
            dense_defaults=[tf.constant([], tf.float32), tf.constant([3], tf.int64)],
            sparse_types=[],
            dense_shapes=[[2], [1]],
        )
        first, second = parsed.dense_values
        return {"y": first * tf.cast(second, tf.float32)}

    save(tmp_path / "old", {"serving_default": (old, "examples")})

    version = publish_saved_model(tmp_path / "old", tmp_path, name="published")

    features = model_folder.read(version.path).signatures["serving_default"].feature_spec
    assert {key: (spec.row_shape, spec.default) for key, spec in features.items()} == {
        "a": ((2,), None),
        "b": ((1,), (3,)),
    }


@pytest.mark.parametrize("use_resource", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_models_of_tensorflow_1_are_published(tmp_path, use_resource):
    """Both signatures keep the name of their one placeholder, which MultiInference needs."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        serialized = v1.placeholder(tf.string, [None], name="tf_example")
        x = v1.io.parse_example(serialized, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]
        half = v1.get_variable("half", initializer=0.5, use_resource=use_resource)
        y = half * x + 2.0
        names = tf.tile(tf.constant([["minus", "plus"]]), [tf.shape(serialized)[0], 1])
        session.run(v1.global_variables_initializer())
        definitions = {}
        for method, outputs in (
            ("classify", {"scores": tf.concat([-y, y], axis=1), "classes": names}),
            ("regress", {"outputs": y}),
        ):
            definition = meta_graph_pb2.SignatureDef(method_name=f"tensorflow/serving/{method}")
            for entries, tensors in (
                (definition.inputs, {"inputs": serialized}),
                (definition.outputs, outputs),
            ):
                for alias, tensor in tensors.items():
                    entries[alias].name = tensor.name
                    entries[alias].dtype = tensor.dtype.as_datatype_enum
                    entries[alias].tensor_shape.CopyFrom(tensor.shape.as_proto())
            definitions[method] = definition
        builder = v1.saved_model.Builder(str(tmp_path / "saved"))
        builder.add_meta_graph_and_variables(session, ["serve"], definitions)
        builder.save()

    version = publish_saved_model(tmp_path / "saved", tmp_path, name="half_plus_two")

    signatures = model_folder.read(version.path).signatures
    assert {name: entry.inputs["inputs"].graph_name for name, entry in signatures.items()} == {
        "classify": "tf_example:0",
        "regress": "tf_example:0",
    }
    assert signatures["classify"].outputs["classes"].constant == ("minus", "plus")
    assert list(signatures["regress"].feature_spec) == ["x"]


def parse(examples, **features):
    return tf.io.parse_example(examples, features)


X = tf.io.FixedLenFeature([2], tf.float32)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda e: {"y": tf.cast(tf.strings.length(e), tf.float32) + parse(e, x=X)["x"][:, 0]},
            "the strings of input 'e' go to StringLength, expected ParseExample alone",
        ),
        (
            lambda e: {"y": parse(e, x=X)["x"] + parse(e, x=X)["x"]},
            "input 'e' goes to 2 ParseExample operations, expected one",
        ),
        (
            lambda e: {"y": parse(e, x=tf.io.VarLenFeature(tf.float32))["x"].values},
            r"feature 'x' is sparse \(VarLenFeature\) and goes to Identity",
        ),
        (
            lambda e: {"y": parse(e, x=tf.io.RaggedFeature(tf.float32))["x"].flat_values},
            r"feature 'x' is ragged \(RaggedFeature\), expected a dense one",
        ),
        (
            lambda e: {"y": tf.strings.as_string(parse(e, x=X)["x"])},
            "output 'y' is DT_STRING and made of the features by AsString",
        ),
    ],
)
def test_what_cannot_be_cut_is_refused(tmp_path, function, message):
    """Each refusal names the signature, the feature or output, and what was expected."""
    save(tmp_path / "saved", {"serving_default": (function, "e")})

    with pytest.raises(ExportError, match=f"signature 'serving_default': {message}"):
        publish_saved_model(tmp_path / "saved", tmp_path, name="published")
