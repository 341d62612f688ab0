import logging
import subprocess
import sys

import numpy as np
import pytest
from sample_models import tiny_models
from sample_saved_models import tensorflow_models

from serving.client import PredictClient, PredictError, predict_request
from serving.engine.catalog import State
from serving.engine.servable import Servable
from serving.protocols.tfs import tfrecord, warmup
from serving.protos.prediction_log_pb2 import PredictionLog

ONES = np.ones((1, 3), np.float32)


def record(content: bytes) -> bytes:
    length = len(content).to_bytes(8, "little")
    return b"".join(
        piece + tfrecord.masked_crc32c(piece).to_bytes(4, "little") for piece in (length, content)
    )


def write(version, *requests) -> None:
    path = version / warmup.FILE
    path.parent.mkdir()
    logs = [PredictionLog(predict_log={"request": request}) for request in requests]
    path.write_bytes(b"".join(record(log.SerializeToString()) for log in logs))


def recorded(index: int, model: str = "lookup"):
    return predict_request(model, {"index": np.array([index])})


def test_recorded_requests_are_answered_before_the_first(tmp_path, running_server, caplog):
    """The version answers recorded requests before it is AVAILABLE, whatever model they name."""
    caplog.set_level(logging.INFO)
    version = tiny_models.lookup(tmp_path)
    write(version, recorded(0), recorded(2, "another"))

    with running_server(tmp_path) as address, PredictClient(address) as client:
        (status,) = client.statuses("lookup")

    assert status.state == State.AVAILABLE
    assert "lookup/1: answered 2 warm-up requests" in caplog.text


def test_recorded_requests_warm_a_saved_model_up(tmp_path, running_server, caplog):
    """TensorFlow answers the recorded requests of a SavedModel, also those with strings."""
    caplog.set_level(logging.INFO)
    version = tensorflow_models.lookup(tmp_path / "words" / "1")
    write(version, predict_request("words", {"words": np.array([b"kg"], object)}))

    with running_server(tmp_path) as address, PredictClient(address) as client:
        (status,) = client.statuses("words")

    assert status.state == State.AVAILABLE
    assert "words/1: answered 1 warm-up request" in caplog.text


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (recorded(7), "the model cannot take this input"),
        (predict_request("lookup", {"x": ONES}), "Signature input alias: index(feed name: index)"),
        (
            predict_request("lookup", {"index": np.array([0])}, signature_name="other"),
            'Serving signature key "other" not found.',
        ),
    ],
)
def test_a_failing_request_fails_the_version(tmp_path, running_server, request_, message):
    """A failing warm-up request fails its version; the status has the request's number."""
    write(tiny_models.lookup(tmp_path, version=2), recorded(0), request_)

    with running_server(tmp_path) as address, PredictClient(address) as client:
        (status,) = client.statuses("lookup")

    assert status.version == 2
    assert status.state == State.END
    assert status.status.error_message.startswith("warm-up request 2 of ")
    assert message in status.status.error_message


def test_a_damaged_file_fails_the_version(tmp_path, running_server):
    """A truncated warm-up file fails the version with DATA_LOSS."""
    version = tiny_models.lookup(tmp_path)
    write(version, recorded(0))
    path = version / warmup.FILE
    path.write_bytes(path.read_bytes()[:-1])

    with running_server(tmp_path) as address, PredictClient(address) as client:
        (status,) = client.statuses("lookup")
        with pytest.raises(PredictError):
            client.predict("lookup", {"index": np.array([0])})

    assert status.status.error_code == 15  # DATA_LOSS
    assert "ends at byte" in status.status.error_message


@pytest.mark.parametrize(
    ("count", "state"), [(1000, State.AVAILABLE), (1001, State.END)], ids=["enough", "too many"]
)
def test_there_may_be_1000_records(tmp_path, running_server, count, state):
    """A warm-up file may have 1,000 records, TensorFlow Serving's limit; 1,001 fail the version."""
    write(tiny_models.lookup(tmp_path), *[recorded(0)] * count)

    with running_server(tmp_path) as address, PredictClient(address) as client:
        (status,) = client.statuses("lookup")

    assert status.state == state


def test_warm_up_can_be_switched_off(tmp_path, running_server, monkeypatch):
    """--enable_model_warmup=false runs neither recorded requests nor zeros."""
    write(tiny_models.lookup(tmp_path), recorded(7))
    runs = []
    monkeypatch.setattr(Servable, "run", lambda *arguments: runs.append(arguments))

    with (
        running_server(tmp_path, enable_model_warmup=False) as address,
        PredictClient(address) as client,
    ):
        (status,) = client.statuses("lookup")

    assert status.state == State.AVAILABLE
    assert runs == []


def test_other_records_are_skipped_and_garbage_is_not(tmp_path, running_server, caplog):
    """Records of other methods are skipped; a malformed record fails the version."""
    for name, content in (("other", b"\x12\x00"), ("garbage", b"\xff\xff")):
        path = tiny_models.lookup(tmp_path, name) / warmup.FILE
        path.parent.mkdir()
        path.write_bytes(record(content))

    with running_server(tmp_path) as address, PredictClient(address) as client:
        states = {name: client.statuses(name)[0] for name in ("other", "garbage")}

    assert states["other"].state == State.AVAILABLE
    assert "skipped 1 records that are not Predict requests" in caplog.text
    assert "record 1 of" in states["garbage"].status.error_message


# The program writes a file as in TensorFlow Serving's documentation.
PROGRAM = """
import sys
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

with tf.io.TFRecordWriter(sys.argv[1]) as writer:
    request = predict_pb2.PredictRequest(
        model_spec=model_pb2.ModelSpec(name="identity", signature_name="serving_default"),
        inputs={"x": tf.make_tensor_proto(np.ones((2, 3), np.float32))},
    )
    log = prediction_log_pb2.PredictionLog(
        predict_log=prediction_log_pb2.PredictLog(request=request)
    )
    writer.write(log.SerializeToString())
"""


def test_tensorflows_own_files_are_replayed(tmp_path, running_server, caplog):
    """A warm-up file that TensorFlow wrote is replayed beside an ONNX file."""
    caplog.set_level(logging.INFO)
    path = tiny_models.identity(tmp_path) / warmup.FILE
    path.parent.mkdir()
    subprocess.run([sys.executable, "-c", PROGRAM, str(path)], check=True, capture_output=True)

    with running_server(tmp_path) as address, PredictClient(address) as client:
        assert client.is_serving("identity")

    assert "identity/1: answered 1 warm-up requests" in caplog.text


def test_each_request_is_repeated_for_warm_up(tmp_path, running_server, monkeypatch):
    """`--num_request_iterations_for_warmup` repeats each recorded request before the next one."""
    write(tiny_models.lookup(tmp_path), recorded(0), recorded(2))
    runs = []
    run = Servable.run

    def counted(self, signature_name, inputs, outputs, control=None):
        runs.extend(inputs["index"].tolist())
        return run(self, signature_name, inputs, outputs, control)

    monkeypatch.setattr(Servable, "run", counted)
    with running_server(tmp_path, num_request_iterations_for_warmup=3):
        pass

    assert runs[-6:] == [0, 0, 0, 2, 2, 2]


def test_a_version_without_records_answers_none(tmp_path):
    """Most have no such file."""
    assert warmup.replay(None, tmp_path) == 0
