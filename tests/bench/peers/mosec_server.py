"""Serves SimCNN with mosec over HTTP/1.1: pixels of one image in, ten float32 out."""

import os

import numpy as np
import onnxruntime
from mosec import Server, Worker

MAX_BATCH_SIZE = 64


class Classifier(Worker):
    """Runs the model in one session with one thread, as this project's server does."""

    def __init__(self):
        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            os.environ["PEER_MODEL"], options, providers=["CPUExecutionProvider"]
        )

    def deserialize(self, data):
        """Return the pixels of one image: uint8 (32, 32, 3)."""
        return np.frombuffer(data, np.uint8).reshape(32, 32, 3)

    def forward(self, data):
        """Return the probabilities of a batch of images, float32 (10,) for each."""
        return list(self._session.run(["probabilities"], {"images": np.stack(data)})[0])

    def serialize(self, data):
        """Return the probabilities of one image as bytes."""
        return data.tobytes()


if __name__ == "__main__":
    server = Server()
    server.append_worker(Classifier, num=1, max_batch_size=MAX_BATCH_SIZE, max_wait_time=1)
    server.run()
