"""Serves SimCNN with MLServer: a custom runtime with adaptive batching, over KServe gRPC."""

import os

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Classifier(MLModel):
    """Runs the model in one session with one thread, as this project's server does."""

    async def load(self):
        """Load the model."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            os.environ["PEER_MODEL"], options, providers=["CPUExecutionProvider"]
        )
        return True

    async def predict(self, payload):
        """Answer a batch that MLServer has gathered."""
        images = NumpyCodec.decode_input(payload.inputs[0]).astype(np.uint8, copy=False)
        probabilities = self._session.run(["probabilities"], {"images": images})[0]
        return InferenceResponse(
            model_name=self.name,
            outputs=[NumpyCodec.encode_output("probabilities", probabilities)],
        )
