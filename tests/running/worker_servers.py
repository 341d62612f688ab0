"""Servers of several worker processes, their addresses, and the models that they serve."""

from pathlib import Path

import grpc
import numpy as np
from running import servers

from serving.client import PredictClient, PredictError
from serving.protos.tensorflow_serving_pb2 import ReloadConfigRequest

ONES = np.ones((1, 3), np.float32)


def start(models_dir, *flags, workers=2, port=0):
    return servers.as_process(
        *("--models_dir", str(models_dir), "--port", str(port), "--workers", str(workers)), *flags
    )


def address_of(server) -> str:
    return server.wait_for(r"bound (\S+), starting").group(1)


def reload(address: str, **base_paths: Path) -> None:
    """Send a reload with these models by name and base path."""
    request = ReloadConfigRequest()
    for name, base_path in base_paths.items():
        request.config.model_config_list.config.add(name=name, base_path=str(base_path))
    path = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
    with grpc.insecure_channel(address) as channel:
        channel.unary_unary(path)(request.SerializeToString(), timeout=30)


def served(address: str) -> set[tuple[str, ...]]:
    """Return the sets of models that answer, over 16 connections."""
    found = set()
    for _ in range(16):
        with PredictClient(address, timeout=10) as client:
            names = []
            for name in ("identity", "other"):
                try:
                    client.predict(name, {"x": ONES})
                except PredictError:
                    continue
                names.append(name)
            found.add(tuple(names))
    return found
