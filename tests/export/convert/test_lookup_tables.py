import numpy as np
import pytest
import tensorflow as tf

from export.errors import ExportError
from export.publishing.from_saved_model import publish_saved_model
from export.sources import saved_model
from export.sources.serving_session import ServingSession
from serving.engine.servable import BatchingConfig, RuntimeConfig, Servable
from serving.repository import model_folder
from serving.tensors.example_parser import ExampleParser


class Words(tf.Module):
    """Looks up a word's number, then its embedding, then the name of the largest value's number."""

    def __init__(self, key_dtype=tf.int64):
        super().__init__()
        self.numbers = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                ["red", "green"], [2, 1], key_dtype=tf.string, value_dtype=tf.int64
            ),
            default_value=0,
        )
        self.names = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                [0, 2], ["none", "warm"], key_dtype=key_dtype, value_dtype=tf.string
            ),
            default_value="cold",
        )
        self.key_dtype = key_dtype
        self.embedding = tf.Variable(np.eye(3), dtype=tf.float32)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def classify(self, inputs):
        """Classify serialized examples with a word and a value."""
        parsed = tf.io.parse_example(
            inputs,
            {
                "word": tf.io.FixedLenFeature([], tf.string),
                "value": tf.io.FixedLenFeature([3], tf.float32),
            },
        )
        scores = tf.gather(self.embedding, self.numbers.lookup(parsed["word"])) * parsed["value"]
        largest = tf.argmax(scores, axis=1, output_type=self.key_dtype)
        return {"scores": scores, "classes": self.names.lookup(largest)[:, None]}


def example(word, value):
    features = tf.train.Features(
        feature={
            "word": tf.train.Feature(bytes_list=tf.train.BytesList(value=[word])),
            "value": tf.train.Feature(float_list=tf.train.FloatList(value=value)),
        }
    )
    return tf.train.Example(features=features).SerializeToString()


def save(module, path):
    tf.saved_model.save(module, str(path), {"serving_default": module.classify})
    return path


@pytest.mark.parametrize("key_dtype", [tf.int64, tf.int32])
def test_tables_become_part_of_the_graph(tmp_path, key_dtype):
    """Tables from words to numbers and back answer as TensorFlow, unknown keys with the default."""
    source = save(Words(key_dtype), tmp_path / "saved")
    examples = [example(word, [1, 2, 3]) for word in (b"red", b"green", b"blue")]

    version = publish_saved_model(source, tmp_path, name="words")

    signature = model_folder.read(version.path).signatures["serving_default"]
    with ServingSession(source) as session:
        theirs = session.ask(signature, {"inputs": np.array(examples, object)})
    servable = Servable.load("words", 1, version.path, RuntimeConfig(), BatchingConfig())
    features = ExampleParser(signature.feature_spec).parse(examples)
    ours = servable.run("serving_default", features, ["scores", "classes"])
    servable.close()
    np.testing.assert_array_equal(ours["scores"], theirs["scores"])
    assert [str(name) for (name,) in ours["classes"]] == ["warm", "cold", "none"]
    assert theirs["classes"].tolist() == [[b"warm"], [b"cold"], [b"none"]]


class Numbers(tf.Module):
    """Looks up numbers by numbers; `dtype` is the pair of key and value types."""

    def __init__(self, dtype):
        super().__init__()
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer([-7, 2], [-9, 5], dtype[0], dtype[1]), 3
        )
        self.look_up = tf.function(
            lambda keys: {"values": self.table.lookup(keys)},
            input_signature=[tf.TensorSpec([None], dtype[0], name="keys")],
        )


@pytest.mark.parametrize(
    "dtypes", [(tf.int32, tf.int32), (tf.int64, tf.int64), (tf.int64, tf.float32)]
)
def test_tables_of_numbers_become_part_of_the_graph(tmp_path, dtypes):
    """Tables of numbers answer negative values and the default in their own type.

    int32 is widened to int64 inside the graph.
    """
    module = Numbers(dtypes)
    tf.saved_model.save(module, str(tmp_path / "saved"), {"serving_default": module.look_up})

    version = publish_saved_model(tmp_path / "saved", tmp_path, name="numbers")

    keys = np.array([2, -7, 0, 2**31 - 1], dtypes[0].as_numpy_dtype)
    servable = Servable.load("numbers", 1, version.path, RuntimeConfig(), BatchingConfig())
    values = servable.run("serving_default", {"keys": keys}, ["values"])["values"]
    servable.close()
    assert values.dtype == dtypes[1].as_numpy_dtype
    assert values.tolist() == [5, -9, 3, 3]


def test_names_from_a_table_may_be_an_output(tmp_path):
    """A graph without string inputs answers the strings of a table."""
    module = Numbers((tf.int64, tf.int64))
    module.names = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(
            [0, 1], ["cat", "dog"], key_dtype=tf.int64, value_dtype=tf.string
        ),
        "neither",
    )
    module.name_of = tf.function(
        lambda keys: {"names": module.names.lookup(keys)},
        input_signature=[tf.TensorSpec([None], tf.int64, name="keys")],
    )
    tf.saved_model.save(module, str(tmp_path / "saved"), {"serving_default": module.name_of})

    version = publish_saved_model(tmp_path / "saved", tmp_path, name="names")

    servable = Servable.load("names", 1, version.path, RuntimeConfig(), BatchingConfig())
    answer = servable.run("serving_default", {"keys": np.array([1, 7, 0])}, ["names"])
    servable.close()
    assert [str(name) for name in answer["names"]] == ["dog", "neither", "cat"]


def test_tables_of_other_types_are_refused(tmp_path):
    """A table of DOUBLE is refused: ONNX Runtime looks up only integers, floats and strings."""
    module = Numbers((tf.int64, tf.float64))
    tf.saved_model.save(module, str(tmp_path / "saved"), {"serving_default": module.look_up})

    with pytest.raises(ExportError, match="goes from INT64 to DOUBLE, expected INT32, INT64, "):
        publish_saved_model(tmp_path / "saved", tmp_path, name="numbers")

    assert not (tmp_path / "numbers").exists()


def test_signature_of_words_alone_is_refused(with_strings):
    """An input of strings that are no tf.Examples is refused."""
    with pytest.raises(ExportError, match="input 'words' is DT_STRING"):
        saved_model.read_signatures(with_strings)
