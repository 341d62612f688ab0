import os

import numpy as np
import onnx
import pytest

from export.convert import to_saved_model
from export.errors import ExportError
from export.gates import answers


@pytest.fixture(scope="module")
def all_three(published, run_dir, test_images):
    """The answers of the trained SimCNN as Keras model, SavedModel and ONNX graph."""
    model = to_saved_model.load_keras(run_dir / "model.keras")
    return {
        "Keras": answers.of_keras(model, test_images.images),
        "SavedModel": answers.of_saved_model(published.path, test_images.images),
        "ONNX": answers.of_onnx(published.path / "model.onnx", test_images.images),
    }


@pytest.mark.parametrize("source", ["Keras", "SavedModel", "ONNX"])
def test_answers_are_consistent(all_three, source):
    """Classes are the argmax and probabilities the softmax of the logits, in the served dtypes."""
    given = all_three[source]

    exponentials = np.exp(given.logits.astype(np.float64))
    softmax = exponentials / exponentials.sum(axis=1, keepdims=True)
    assert given.source == source
    assert (given.logits.dtype, given.probabilities.dtype) == (np.float32, np.float32)
    assert given.classes.dtype == np.int64
    np.testing.assert_array_equal(given.classes, given.logits.argmax(axis=1))
    np.testing.assert_allclose(given.probabilities, softmax, rtol=1e-4, atol=1e-6)


def test_logits_of_onnx_are_those_of_keras(all_three):
    """The logits taken out of the ONNX graph are the model's, not another layer's."""
    np.testing.assert_allclose(all_three["ONNX"].logits, all_three["Keras"].logits, atol=1e-5)


def test_batches_are_joined_in_order(published, test_images, monkeypatch):
    """Asking in batches that do not divide the number of images changes nothing."""
    whole = answers.of_onnx(published.path / "model.onnx", test_images.images)
    monkeypatch.setattr(answers, "_BATCH_SIZE", 33)

    parts = answers.of_onnx(published.path / "model.onnx", test_images.images)

    assert len(parts.classes) == 80
    np.testing.assert_allclose(parts.logits, whole.logits, rtol=1e-5, atol=1e-6)


def test_graph_without_softmax_is_refused(published, tmp_path, test_images):
    """If no Softmax computes the probabilities, the error names the operator found."""
    model = onnx.load(published.path / "model.onnx")
    next(node for node in model.graph.node if node.op_type == "Softmax").op_type = "LogSoftmax"
    onnx.save(model, tmp_path / "model.onnx")

    with pytest.raises(ExportError, match="made by LogSoftmax, expected Softmax"):
        answers.of_onnx(tmp_path / "model.onnx", test_images.images)


def test_no_thread_of_a_session_waits_in_a_loop_and_none_lacks_a_core(published):
    """Whatever shares the cores goes on."""
    session = answers.session((published.path / "model.onnx").read_bytes())
    options = session.get_session_options()

    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.intra_op_num_threads == len(os.sched_getaffinity(0))
    assert session.get_providers() == ["CPUExecutionProvider"]


def test_weights_of_w8_alone_become_floats_once(published):
    """As they do in the server; int8 graphs keep their integers."""
    model = (published.path / "model.onnx").read_bytes()
    options = {
        precision: answers.session(model, precision).get_session_options()
        for precision in ("w8", "int8")
    }

    assert options["w8"].get_session_config_entry("session.disable_quant_qdq") == "1"
    with pytest.raises(RuntimeError, match="does not have configuration"):
        options["int8"].get_session_config_entry("session.disable_quant_qdq")
