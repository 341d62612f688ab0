"""Serves SimCNN with LitServe over HTTP/1.1: JSON with the pixels of images as Base64 in and out.

LitServe reads JSON or forms, and no bare bytes.
"""

import base64
import os

import litserve
import numpy as np
import onnxruntime

MAX_BATCH_SIZE = 64


class Classifier(litserve.LitAPI):
    """Runs the model in one session with one thread, as this project's server does."""

    def setup(self, device):
        """Load the model."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            os.environ["PEER_MODEL"], options, providers=["CPUExecutionProvider"]
        )

    def decode_request(self, request):
        """Return the pixels of one image: uint8 (32, 32, 3)."""
        (text,) = request["images"]
        return np.frombuffer(base64.b64decode(text), np.uint8).reshape(32, 32, 3)

    def batch(self, inputs):
        """Return the images of a batch: uint8 (n, 32, 32, 3)."""
        return np.stack(inputs)

    def predict(self, x):
        """Return the probabilities of a batch: float32 (n, 10)."""
        return self._session.run(["probabilities"], {"images": x})[0]

    def unbatch(self, output):
        """Return the probabilities of each image."""
        return list(output)

    def encode_response(self, output):
        """Return the probabilities of one image."""
        return [output.tolist()]


if __name__ == "__main__":
    server = litserve.LitServer(
        Classifier(max_batch_size=MAX_BATCH_SIZE, batch_timeout=0.001),
        accelerator="cpu",
        workers_per_device=1,
        fast_queue=True,
    )
    server.run(
        host="127.0.0.1",
        port=int(os.environ["PEER_PORT"]),
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
    )
