"""Raw gRPC calls of callers with API keys, and reloads that they ask for."""

from pathlib import Path

import grpc
import numpy as np
from keys_files import bearer

from serving.client import predict_request
from serving.protos.tensorflow_serving_pb2 import ReloadConfigRequest

ONES = np.ones((1, 3), np.float32)
RELOAD_PATH = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
Code = grpc.StatusCode


def send(channel, path, message=None, caller=None):
    """Call a method; return the code, the message of the error and the trailing metadata."""
    metadata = bearer(caller) if caller else None
    payload = b"" if message is None else message.SerializeToString()
    answer = channel.unary_unary(path).future(payload, timeout=30, metadata=metadata)
    trailers = dict(answer.trailing_metadata())
    return answer.code(), answer.details(), trailers


def predict(model="identity"):
    return predict_request(model, {"x": ONES})


def named(models_dir: Path, **models: str) -> ReloadConfigRequest:
    request = ReloadConfigRequest()
    request.config.model_config_list.SetInParent()
    for name, folder in models.items():
        request.config.model_config_list.config.add(
            name=name, base_path=str(models_dir / folder), model_platform="tensorflow"
        )
    return request
