"""The choice between Keras' training loop and the one on the device."""

import keras

from training import environment
from training.settings.recipes import ConfigError, TrainConfig


def use_device_loop(config: TrainConfig, device_count: int) -> bool:
    """Return whether to train with DeviceLoop, see TrainConfig.device_epochs.

    Args:
        config: The settings.
        device_count: Number of devices that divide each batch.

    Raises:
        ConfigError: device_epochs is "on", but the backend is not JAX, several devices are used,
            RandAugment is on, or compilation is off.
    """
    if config.device_epochs == "off":
        return False
    obstacle = _obstacle(config, device_count)
    if config.device_epochs == "auto":
        return obstacle is None and bool(environment.gpu_names())
    if obstacle:
        msg = f"device_epochs on received with {obstacle}, or leave device_epochs out"
        raise ConfigError(msg)
    return True


def _obstacle(config: TrainConfig, device_count: int) -> str | None:
    backend = keras.backend.backend()
    if backend != "jax":
        return f"the {backend} backend, expected jax: set KERAS_BACKEND=jax"
    if device_count > 1:
        return f"{device_count} devices, expected one: leave --devices out"
    if config.randaugment:
        return (
            f"randaugment {config.randaugment}, whose operations run on the CPU: leave "
            "--randaugment out"
        )
    if config.xla == "off":
        return "jit off, but the epochs are compiled programs: leave --jit out"
    return None
