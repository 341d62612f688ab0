"""Training on several GPUs of one machine: every batch is divided among them.

TensorFlow copies the model to each GPU (tf.distribute.MirroredStrategy); JAX divides the arrays of
a batch (keras.distribution.DataParallel). The results differ, because batch normalisation sees one
GPU's part of a batch with TensorFlow and the whole batch with JAX.
"""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import keras

from training.settings.recipes import ConfigError, TrainConfig


def choose(count: int | Literal["all"], config: TrainConfig) -> list[str]:
    """Return the names of the first `count` devices that the Keras backend offers.

    These are GPUs, or CPUs if there is no GPU. A count of 1 returns ["default"].

    Raises:
        ConfigError: There are fewer devices, or `config` cannot be trained on several.
    """
    if count == 1:
        return ["default"]  # the backend chooses; listing names would initialise every device
    backend = keras.backend.backend()
    names = _names(backend)
    if count == "all":
        count = len(names)
    if not 1 <= count <= len(names):
        msg = f"devices {count} received, but {backend} offers {len(names)}: {', '.join(names)}"
        raise ConfigError(msg)
    if config.batch_size % count:
        msg = (
            f"batch_size {config.batch_size} cannot be divided evenly among {count} devices, "
            f"expected a multiple of {count}"
        )
        raise ConfigError(msg)
    if count > 1 and backend == "tensorflow":
        _check_for_tensorflow(count, config)
    return names[:count]


def look_for_gpus() -> None:
    """Let TensorFlow look for GPUs, if it is installed.

    It does so once, and logs what it found. Call this where `native_log` hides those notes. Keras
    imports an installed TensorFlow for its random numbers and for TensorBoard with any backend.
    """
    if importlib.util.find_spec("tensorflow"):
        import tensorflow as tf  # noqa: PLC0415

        tf.config.list_physical_devices("GPU")


@contextmanager
def scope(names: list[str]) -> Iterator[None]:
    """Divide the models built and trained inside this context among devices.

    Args:
        names: The names that `choose` returned.
    """
    if len(names) == 1:
        yield
    elif keras.backend.backend() == "tensorflow":
        import tensorflow as tf  # noqa: PLC0415  only the backend in use is installed

        with tf.distribute.MirroredStrategy(names).scope():
            yield
    else:
        with keras.distribution.DataParallel(devices=names).scope():
            yield


def _check_for_tensorflow(count: int, config: TrainConfig) -> None:
    # Both settings fail with errors deep inside TensorFlow: accumulated gradients are summed over
    # the devices inside a branch of the graph, and a compiled graph accesses the variables of
    # another device.
    for name, received in (
        ("accumulate_steps", config.accumulate_steps if config.accumulate_steps > 1 else None),
        ("jit", "on" if config.xla == "on" else None),
    ):
        if received:
            msg = (
                f"{name} {received} received with {count} devices, which Keras cannot combine on "
                "TensorFlow: leave one out, or set KERAS_BACKEND=jax"
            )
            raise ConfigError(msg)


def _names(backend: str) -> list[str]:
    if backend == "tensorflow":
        import tensorflow as tf  # noqa: PLC0415

        found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return [device.name for device in found]
    if backend == "jax":
        names: list[str] = keras.distribution.list_devices()
        return names
    msg = f"several devices need the tensorflow or jax backend, KERAS_BACKEND is {backend!r}"
    raise ConfigError(msg)
