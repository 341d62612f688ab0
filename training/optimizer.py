"""How weights are updated: optimizer, learning rate schedule, compilation."""

import keras

from training import environment
from training.config import TrainConfig


def build(config: TrainConfig, *, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """The optimizer with its schedule, weight decay and weight averaging, as TrainConfig says."""
    rate: float | keras.optimizers.schedules.LearningRateSchedule = config.learning_rate
    if config.schedule == "cosine":
        warmup = config.warmup_epochs * steps_per_epoch
        rate = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else config.learning_rate,
            decay_steps=config.epochs * steps_per_epoch - warmup,
            warmup_target=config.learning_rate if warmup else None,
            warmup_steps=warmup,
        )
    span = config.ema_span * config.epochs * steps_per_epoch
    average = {
        "use_ema": config.ema_span > 0,
        "ema_momentum": max(0.0, 1 - 1 / span) if span > 0 else 0.0,
    }
    decay = config.weight_decay or None  # None spares a pass over the weights in every step
    if config.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(
            rate, momentum=0.9, nesterov=True, weight_decay=decay, **average
        )
    elif config.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(rate, weight_decay=decay or 0.0, **average)
    else:
        optimizer = keras.optimizers.Adam(rate, weight_decay=decay, **average)
    # Shrinking a bias or a normalisation's scale and shift regularises nothing.
    optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
    return optimizer


def jit_compile(config: TrainConfig) -> bool | str:
    """Value of Keras' `jit_compile`, see TrainConfig.xla."""
    if config.xla != "auto":
        return config.xla == "on"
    on_cpu = keras.backend.backend() == "tensorflow" and not environment.gpu_names()
    return False if on_cpu else "auto"
