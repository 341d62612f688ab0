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
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert caught.value.message.startswith(
        "Servable is not available for request: Latest(brightness); version 1 is END: "
    )
    assert "model.onnx has SHA-256" in caught.value.message
