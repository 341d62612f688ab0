"""The server as a whole, on each front."""

import grpc
import numpy as np
import pytest
import tiny_models

from serving.client import PredictClient, PredictError
from serving.engine.catalog import State

ONES = np.ones((1, 3), np.float32)


def test_one_bad_model_leaves_the_others_serving(tmp_path, server_on_front):
    """A bit-flipped model is refused by its manifest and shows in the status; the rest serve."""
    tiny_models.identity(tmp_path)
    damaged = tiny_models.brightness(tmp_path) / "model.onnx"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)

    with server_on_front(tmp_path) as address, PredictClient(address) as client:
        answer = client.predict("identity", {"x": ONES})
        (status,) = client.statuses("brightness")
        health = {name: client.is_serving(name) for name in ("", "identity", "brightness")}
        with pytest.raises(PredictError) as caught:
            client.predict("brightness", {"images": np.zeros((1, 32, 32, 3), np.uint8)})

    assert answer["y"].tolist() == [[1, 1, 1]]
    assert status.state == State.END
    assert status.status.error_code == 15  # DATA_LOSS
    assert "model.onnx has SHA-256" in status.status.error_message
    assert health == {"": True, "identity": True, "brightness": False}
    assert caught.value.code is grpc.StatusCode.NOT_FOUND
    assert "GetModelStatus tells why" in caught.value.message


def test_a_versions_own_file_raises_the_rows_of_a_request(tmp_path, server_on_front):
    """What its max_enqueued_batches lets wait, one request may have; other versions stay."""
    version = tiny_models.identity(tmp_path)
    tiny_models.identity(tmp_path, "other")
    (version / "batching_params.pbtxt").write_text(
        "max_batch_size { value: 1000 } max_enqueued_batches { value: 20 }"
    )
    rows = np.ones((15_000, 3), np.float32)

    with (
        server_on_front(tmp_path, enable_per_model_batching_parameters=True) as address,
        PredictClient(address) as client,
    ):
        answers = [client.predict("identity", {"x": rows}) for _ in range(2)]
        with pytest.raises(PredictError, match="has 15000 rows, expected at most 10000"):
            client.predict("other", {"x": rows})
        with pytest.raises(PredictError, match="has 20001 rows, expected at most 20000"):
            client.predict("identity", {"x": np.ones((20_001, 3), np.float32)})

    assert [answer["y"].shape for answer in answers] == [(15_000, 3)] * 2


def test_two_gibibytes_a_message_are_taken_by_each_front(models_dir, server_on_front):
    """The largest limit that there is stands in nobody's way at the start."""
    with (
        server_on_front(models_dir, max_buffered_bytes=8 << 30) as address,
        PredictClient(address) as client,
    ):
        assert client.predict("identity", {"x": ONES})["y"].tolist() == [[1, 1, 1]]
