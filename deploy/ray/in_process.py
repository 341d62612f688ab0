"""The model inside Ray Serve, with ONNX Runtime in the replica, for a comparison of the cost.

    serve run in_process:app replicas=2 model=/srv/models/simcnn/1/model.int8.onnx

A request is `POST /` with the bytes of uint8 images of 32 x 32 x 3; the answer has the classes as
int64.
"""

import numpy as np
import onnxruntime
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

IMAGE_SHAPE = (32, 32, 3)


@serve.deployment
class Classifier:
    """One session of ONNX Runtime with one thread, like a replica of serve_app.py."""

    def __init__(self, model: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model, options)
        self._name = self._session.get_inputs()[0].name

    async def __call__(self, request: Request) -> Response:
        """Return the classes of the images."""
        images = np.frombuffer(await request.body(), np.uint8).reshape(-1, *IMAGE_SHAPE)
        answers = self._session.run(["classes"], {self._name: images})
        return Response(answers[0].astype(np.int64).tobytes())


def app(arguments: dict[str, str]) -> serve.Application:
    """Build the application; `model` is an ONNX file, `replicas` defaults to 1."""
    replicas = int(arguments.get("replicas", "1"))
    return Classifier.options(num_replicas=replicas).bind(arguments["model"])
