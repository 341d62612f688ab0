"""Serves SimCNN with BentoML over HTTP/1.1: JSON with the pixels of images as Base64 in and out."""

import base64
import os

import bentoml
import numpy as np
import onnxruntime

MAX_BATCH_SIZE = 64


@bentoml.service(name="simcnn", workers=1, logging={"access": {"enabled": False}})
class Classifier:
    """Runs the model in one session with one thread, as this project's server does."""

    def __init__(self):
        """Load the model."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            os.environ["PEER_MODEL"], options, providers=["CPUExecutionProvider"]
        )

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH_SIZE)
    def classify(self, images: list[str]) -> list[list[float]]:
        """Return the probabilities of a batch that BentoML has gathered."""
        pixels = b"".join(map(base64.b64decode, images))
        batch = np.frombuffer(pixels, np.uint8).reshape(-1, 32, 32, 3)
        return self._session.run(["probabilities"], {"images": batch})[0].tolist()
