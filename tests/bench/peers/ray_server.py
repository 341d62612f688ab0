"""Serves SimCNN with Ray Serve over HTTP/1.1: pixels of one image in, ten float32 out."""

import os

import numpy as np
import onnxruntime
import ray
from ray import serve
from starlette.responses import Response

MAX_BATCH_SIZE = 64


@serve.deployment(max_ongoing_requests=256, ray_actor_options={"num_cpus": 0})
class Classifier:
    """Runs the model in one session with one thread, as this project's server does."""

    def __init__(self, model):
        """Load the model."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )

    @serve.batch(max_batch_size=MAX_BATCH_SIZE, batch_wait_timeout_s=0.001)
    async def classify(self, images):
        """Return the probabilities of a batch that Ray Serve has gathered, bytes for each image."""
        batch = np.frombuffer(b"".join(images), np.uint8).reshape(-1, 32, 32, 3)
        answers = self._session.run(["probabilities"], {"images": batch})[0]
        return [answer.tobytes() for answer in answers]

    async def __call__(self, request):
        """Answer one request."""
        return Response(await self.classify(await request.body()))


if __name__ == "__main__":
    ray.init(
        num_cpus=1,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        _node_ip_address="127.0.0.1",
        _temp_dir=os.environ["RAY_TMPDIR"],
    )
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PEER_PORT"])})
    serve.run(Classifier.bind(os.environ["PEER_MODEL"]), blocking=True)
