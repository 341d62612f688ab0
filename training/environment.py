"""The environment of a training: hardware, and versions of Python, Keras and its backend."""

import os
import platform
from importlib import metadata
from typing import Any

import keras
import numpy as np

from training.evaluation import provenance


def describe() -> dict[str, Any]:
    """Return hardware and versions as values for JSON; unknown values are None."""
    return {"hardware": _hardware(), "versions": _versions()}


def gpu_names() -> list[str]:
    """Return the names of the GPUs that the Keras backend computes on; empty on CPU."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf  # noqa: PLC0415  only the backend in use is installed

        devices = tf.config.list_physical_devices("GPU")
        return [tf.config.experimental.get_device_details(d)["device_name"] for d in devices]
    if backend == "jax":
        import jax  # noqa: PLC0415

        return [device.device_kind for device in jax.devices() if device.platform != "cpu"]
    return []


def _hardware() -> dict[str, Any]:
    # sched_getaffinity gives the cores this process may use, but Python has it on Linux only.
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "cpu": provenance.cpu_name(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "machine": platform.machine(),
        "gpus": gpu_names(),
    }


def _versions() -> dict[str, str]:
    backend = keras.backend.backend()
    return {
        "python": platform.python_version(),
        "keras": keras.__version__,
        "backend": backend,
        "backend_version": _package_version(backend),
        "numpy": np.__version__,
    }


def _package_version(name: str) -> str:
    # TensorFlow has several package names, so prefer the version of the imported module.
    module = __import__(name)
    return str(getattr(module, "__version__", None) or metadata.version(name))
