"""Serves SimCNN with Triton, by PyTriton: Python backend, dynamic batching, KServe gRPC."""

import os

import numpy as np
import onnxruntime
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

MAX_BATCH_SIZE = 64


def main():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        os.environ["PEER_MODEL"], options, providers=["CPUExecutionProvider"]
    )

    @batch
    def infer(images):
        return session.run(["probabilities"], {"images": images})

    port = int(os.environ["PEER_PORT"])
    config = TritonConfig(
        grpc_port=port, http_port=port + 1, metrics_port=port + 2, allow_metrics=False
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="simcnn",
            infer_func=infer,
            inputs=[Tensor(name="images", dtype=np.uint8, shape=(32, 32, 3))],
            outputs=[Tensor(name="probabilities", dtype=np.float32, shape=(10,))],
            config=ModelConfig(
                max_batch_size=MAX_BATCH_SIZE,
                batcher=DynamicBatcher(max_queue_delay_microseconds=0),
            ),
        )
        triton.serve()


if __name__ == "__main__":
    main()
