"""Training on several GPUs of one machine: each computes on its share of every batch.

TensorFlow copies the model to each (tf.distribute.MirroredStrategy), JAX divides the arrays of a
batch (keras.distribution.DataParallel). What differs for the outcome: batch normalisation sees one
device's share of a batch with TensorFlow, and the whole batch with JAX.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import keras

from training.settings.recipes import ConfigError, TrainConfig


def choose(count: int | Literal["all"], config: TrainConfig) -> list[str]:
    """Names of the first `count` devices that the Keras backend offers, GPUs before CPUs.

    Raises:
        ConfigError: There are fewer, or `config` can't be trained on several.
    """
    if count == 1:
        return ["default"]  # the backend's choice; asking for names would start every device
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


@contextmanager
def scope(names: list[str]) -> Iterator[None]:
    """What is built and trained inside is divided among the devices that `choose` gave."""
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
    # Both end in errors deep inside TensorFlow: gradients are summed over the devices inside a
    # branch of the graph, or a compiled graph reaches for the variables of another device.
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
