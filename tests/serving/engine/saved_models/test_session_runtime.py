"""Tests of a SavedModel in a session: loading, errors, and what ends a run."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from sample_saved_models import tensorflow_models
from tensorflow.core.protobuf import saved_model_pb2

from serving.engine.runtime import DeviceError, RuntimeConfig, SessionControl
from serving.engine.saved_models.session_runtime import SavedModelRuntime
from serving.errors import DataLoss, DeadlineExceeded, InvalidInput, Unsupported

CPU = RuntimeConfig(device="cpu")


def test_a_damaged_saved_model_is_told(tmp_path):
    """A damaged SavedModel is DATA_LOSS, with TensorFlow's reason in one line."""
    (tmp_path / "saved_model.pb").write_bytes(b"\x00\x01\x02")

    with pytest.raises(DataLoss, match="TensorFlow cannot load ") as caught:
        SavedModelRuntime(tmp_path, CPU)

    assert "\n" not in caught.value.message


def test_a_string_without_a_dimension_is_an_array_of_objects(tmp_path):
    """A scalar string output is an array of objects, although TensorFlow returns it as bytes."""
    module = tf.Module()
    module.function = tf.function(
        lambda words: {"all": tf.strings.reduce_join(words, separator=" ")},
        input_signature=[tf.TensorSpec([None], tf.string, name="words")],
    )
    tf.saved_model.save(module, str(tmp_path), {"serving_default": module.function})
    runtime = SavedModelRuntime(tmp_path, CPU)
    signature = runtime.signatures["serving_default"]
    words = np.array([b"one", b"two"], object)

    feeds = {signature.inputs["words"].tensor: words}
    (answer,) = runtime.run([signature.outputs["all"].tensor], feeds)

    assert (answer.dtype, answer.shape, answer.item()) == (np.dtype(object), (), b"one two")


# A Python process that finds no writable temporary folder, as in a read-only container.
READ_ONLY = """
import sys, tempfile
from pathlib import Path

def find_none():
    raise FileNotFoundError("No usable temporary directory found")

tempfile._get_default_tempdir = find_none
from serving.engine.runtime import RuntimeConfig
from serving.engine.saved_models.session_runtime import SavedModelRuntime
print(*SavedModelRuntime(Path(sys.argv[1]), RuntimeConfig(device="cpu")).signatures)
"""


def test_no_temporary_files_are_needed(tmp_path):
    """TensorFlow is imported and loads a SavedModel without a writable folder."""
    folder = tensorflow_models.dense(tmp_path / "1")
    environment = {name: value for name, value in os.environ.items() if name != "TEST_TMPDIR"}

    ended = subprocess.run(
        [sys.executable, "-c", READ_ONLY, str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ended.stdout.split() == ["serving_default"], ended.stderr


def test_missing_variables_are_told(tmp_path):
    """A SavedModel without its variables fails to load with DATA_LOSS."""
    folder = tensorflow_models.dense(tmp_path / "1")
    for file in (folder / "variables").iterdir():
        file.unlink()

    with pytest.raises(DataLoss, match="TensorFlow cannot load "):
        SavedModelRuntime(folder, CPU)


def test_a_model_of_unserved_types_alone_is_refused(tmp_path):
    """If no signature has served types, the message names signature, output and element type."""
    folder = tensorflow_models.float8_alone(tmp_path / "1")

    with pytest.raises(Unsupported, match='serving_default: output "y" is float8_e5m2') as caught:
        SavedModelRuntime(folder, CPU)
    assert caught.value.message.startswith(f"{folder} needs a signature")


def test_other_tags_load_another_graph(tmp_path):
    """--saved_model_tags chooses the graph; tags that no graph has fail the load with DATA_LOSS.

    The message has the tags that exist.
    """
    folder = tensorflow_models.dense(tmp_path / "1")
    file = folder / "saved_model.pb"
    message = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    message.meta_graphs[0].meta_info_def.tags.append("special")
    file.write_bytes(message.SerializeToString())

    loaded = SavedModelRuntime(
        folder, RuntimeConfig(device="cpu", saved_model_tags=("serve", "special"))
    )

    assert list(loaded.signatures) == ["serving_default"]
    with pytest.raises(DataLoss, match="special"):
        SavedModelRuntime(folder, CPU)


def test_a_gpu_that_is_not_there_is_told(tmp_path):
    """Device "cuda" raises DeviceError if TensorFlow sees no GPU."""
    folder = tensorflow_models.dense(tmp_path / "1")

    with pytest.raises(DeviceError, match="TensorFlow sees no GPU"):
        SavedModelRuntime(folder, RuntimeConfig(device="cuda"))


def test_needs_ranks_follows_the_operators(tmp_path):
    """A convolution has `needs_ranks`, a matrix product has not.

    A convolution may end the process on another rank; a matrix product refuses the input.
    """
    convolution = SavedModelRuntime(tensorflow_models.convolution(tmp_path / "c"), CPU)
    dense = SavedModelRuntime(tensorflow_models.dense(tmp_path / "d"), CPU)

    assert (convolution.needs_ranks, dense.needs_ranks) == (True, False)
    assert {spec.shape for spec in dense.inputs.values()} == {None}


def test_undeclared_ranks_are_tried_elsewhere_first(tmp_path):
    """An input rank that may end the process is tried in another process and refused, twice.

    The graph has a convolution behind an input of any rank. A rank of 4 is answered.
    """
    runtime = SavedModelRuntime(tensorflow_models.unknown_rank_convolution(tmp_path / "1"), CPU)
    signature = runtime.signatures["serving_default"]
    tensor, output = signature.inputs["x"].tensor, signature.outputs["y"].tensor

    # Whether the process would end depends on the processor: without oneDNN, TensorFlow's kernel
    # refuses the rank itself.
    for _ in range(2):
        with pytest.raises(InvalidInput, match=r"of rank 2|must be 4-dimensional"):
            runtime.run([output], {tensor: np.ones((4, 3), np.float32)})
    (answer,) = runtime.run([output], {tensor: np.ones((1, 4, 4, 3), np.float32)})

    assert answer.shape == (1, 4, 4, 2)


def test_examples_before_a_convolution_are_a_list(tmp_path):
    """Serialised examples in front of a convolution have rank 1.

    Their TensorFlow 1 placeholder has no rank, and a scalar would reach the operator.
    """
    folder = tensorflow_models.parsed_pictures(tmp_path / "1")

    runtime = SavedModelRuntime(folder, CPU)

    spec = runtime.signatures["serving_default"].inputs["examples"]
    assert spec.shape is None
    assert runtime.inputs[spec.tensor].shape == (-1,)


def test_a_time_limit_ends_a_run(tmp_path):
    """A run with a time limit of 0.5 s ends with DeadlineExceeded within 5 s."""
    runtime = SavedModelRuntime(tensorflow_models.endless(tmp_path / "1"), CPU)
    signature = runtime.signatures["serving_default"]
    feeds = {signature.inputs["n"].tensor: np.array(1 << 60)}
    control = SessionControl()
    began = time.monotonic()

    with control.within(0.5), pytest.raises(DeadlineExceeded):
        runtime.run([signature.outputs["count"].tensor], feeds, control)

    assert time.monotonic() - began < 5


def test_prepared_calls_are_bounded(tmp_path):
    """The session keeps at most 64 prepared calls, whatever outputs are asked for."""
    runtime = SavedModelRuntime(tensorflow_models.lookup(tmp_path / "1"), CPU)
    signature = runtime.signatures["serving_default"]
    feeds = {signature.inputs["words"].tensor: np.array([b"kg"], object)}
    ids, upper = (signature.outputs[alias].tensor for alias in ("ids", "upper"))

    for count in range(1, 70):
        answer = runtime.run([ids] * count + [upper], feeds)

    assert len(runtime._session._calls) <= 64
    assert answer[0].tolist() == [1]
    assert answer[-1].tolist() == [b"KG"]


def test_a_session_has_the_threads_and_devices_of_the_configuration(tmp_path):
    """Each instance has its own threads for the operators of a run."""
    folder = tensorflow_models.dense(tmp_path / "1")

    runtime = SavedModelRuntime(
        folder, RuntimeConfig(device="cpu", instances=2, intra_op_threads=3)
    )

    options = runtime._session.session._config
    assert options.intra_op_parallelism_threads == 6
    assert options.inter_op_parallelism_threads == 2
    assert dict(options.device_count) == {"GPU": 0}
    assert options.allow_soft_placement
    assert options.gpu_options.allow_growth


def test_words_of_unknown_rank_have_any_shape(tmp_path):
    """Only where they are Examples that are parsed are they rows of one each."""
    module = tf.Module()
    spec = tf.TensorSpec(None, tf.string, name="words")
    module.function = tf.function(
        lambda words: {"length": tf.strings.length(words)}, input_signature=[spec]
    )
    tf.saved_model.save(module, str(tmp_path), {"serving_default": module.function})

    runtime = SavedModelRuntime(tmp_path, CPU)

    assert [spec.shape for spec in runtime.inputs.values()] == [None]


def test_a_sparse_output_is_refused_and_a_dense_one_beside_it_is_not(tmp_path):
    """TensorFlow Serving has no name for the former."""
    runtime = SavedModelRuntime(tensorflow_models.sparse_outputs(tmp_path / "1"), CPU)
    signature = runtime.signatures["serving_default"]
    feeds = {signature.inputs["x"].tensor: np.float32([[1, 0, 2]])}

    (total,) = runtime.run([signature.outputs["total"].tensor], feeds)

    assert total.tolist() == [3]
    with pytest.raises(InvalidInput, match="Tensor :0, specified in"):
        runtime.run([signature.outputs["sparse"].tensor], feeds)
