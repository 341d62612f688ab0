"""The optimizer, its learning rate schedule, and the compilation of the training step."""

from collections.abc import Mapping

import keras

from training import environment
from training.model import layer_rates
from training.settings.recipes import ConfigError, TrainConfig


def build(
    config: TrainConfig, *, steps_per_epoch: int, model: keras.Model | None = None
) -> keras.optimizers.Optimizer:
    """Return the optimizer with the schedule, clipping, weight decay and averaging of `config`.

    Args:
        config: The settings.
        steps_per_epoch: Steps of an epoch.
        model: The model, whose body has rates of its own if the settings say so.

    Raises:
        ConfigError: The training has fewer steps than `accumulate_steps`.
    """
    each = config.accumulate_steps
    updates = config.epochs * steps_per_epoch // each
    if not updates:
        msg = (
            f"accumulate_steps {each} received for a training of "
            f"{config.epochs * steps_per_epoch} steps, which would never change a weight"
        )
        raise ConfigError(msg)
    kind, own_settings = {
        "sgd": (keras.optimizers.SGD, {"momentum": 0.9, "nesterov": True}),
        "adam": (keras.optimizers.Adam, {}),
        "adamw": (keras.optimizers.AdamW, {"weight_decay": config.weight_decay}),  # never None
    }[config.optimizer]
    if config.clip_norm and _copies() > 1:
        kind = _clipping_sums(kind)
    settings = {
        "learning_rate": _learning_rate(config, steps_per_epoch, updates),
        "weight_decay": config.weight_decay or None,  # None avoids a pass over the weights
        "global_clipnorm": config.clip_norm or None,
        "use_ema": config.ema_span > 0,
        "ema_momentum": averaging_momentum(config, steps_per_epoch=steps_per_epoch, every=each),
        "gradient_accumulation_steps": each if each > 1 else None,
    }
    if config.ema_span and each > 1:
        kind = _averaging_updates(kind)
    if model is not None and (
        config.freeze_epochs or config.backbone_rate != 1 or config.layer_decay != 1
    ):
        head = {variable.path for variable in _head(model)}
        frozen = config.freeze_epochs * steps_per_epoch
        rates = layer_rates.of_body(
            model, backbone_rate=config.backbone_rate, decay=config.layer_decay
        )
        kind = _with_body_rates(kind, head, frozen_steps=frozen, rates=rates)
    optimizer = kind(**{**settings, **own_settings})
    # Weight decay of biases and of a normalisation's scale and shift does not regularise.
    optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
    return optimizer


def _head(model: keras.Model) -> list[keras.Variable]:
    """Return the variables of the dense layers behind the body."""
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    return [variable for layer in dense for variable in layer.trainable_variables]


def _with_body_rates(
    kind: type[keras.optimizers.Optimizer],
    head: set[str],
    *,
    frozen_steps: int,
    rates: Mapping[str, float],
) -> type[keras.optimizers.Optimizer]:
    """Return a subclass that trains all variables but the head's with other learning rates.

    Args:
        kind: An optimizer.
        head: Paths of the head's variables.
        frozen_steps: Steps in which the other variables do not change.
        rates: Their learning rates afterwards, as shares of that of the head, by their paths.
    """

    class WithBodyRates(kind):  # type: ignore[misc]  # Keras is untyped
        def update_step(
            self, gradient: keras.KerasTensor, variable: keras.Variable, learning_rate: object
        ) -> None:
            known = self._trainable_variables[self._get_variable_index(variable)]
            if known.path not in head:
                share = keras.ops.where(self.iterations < frozen_steps, 0.0, rates[known.path])
                learning_rate = learning_rate * keras.ops.cast(share, "float32")
            super().update_step(gradient, variable, learning_rate)

        def _apply_weight_decay(self, variables: list[keras.Variable]) -> None:
            super()._apply_weight_decay([each for each in variables if each.path in head])

    return WithBodyRates


def averaging_momentum(config: TrainConfig, *, steps_per_epoch: int, every: int = 1) -> float:
    """Return the momentum of an average over `config.ema_span` of a training.

    Args:
        config: The settings.
        steps_per_epoch: Steps of an epoch.
        every: Steps after which the average moves.
    """
    span = config.ema_span * config.epochs * steps_per_epoch / every
    return max(0.0, 1 - 1 / span) if span > 0 else 0.0


def _learning_rate(
    config: TrainConfig, steps_per_epoch: int, updates: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    if config.schedule == "constant":
        return config.learning_rate
    warmup = config.warmup_epochs * steps_per_epoch // config.accumulate_steps
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else config.learning_rate,
        decay_steps=max(1, updates - warmup),
        warmup_target=config.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    return (
        _OfUpdates(schedule, config.accumulate_steps) if config.accumulate_steps > 1 else schedule
    )


class _OfUpdates(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """A schedule that counts updates; Keras counts steps even if it accumulates gradients."""

    def __init__(
        self, schedule: keras.optimizers.schedules.LearningRateSchedule, steps: int
    ) -> None:
        self._schedule = schedule
        self._steps = steps

    def __call__(self, step: keras.KerasTensor) -> keras.KerasTensor:
        """Return the learning rate of the update that `step`, counted from 0, belongs to."""
        return self._schedule(keras.ops.floor_divide(step, self._steps))


def _averaging_updates(kind: type[keras.optimizers.Optimizer]) -> type[keras.optimizers.Optimizer]:
    """Return a subclass that moves the weight average at each update; Keras does at each step."""

    class Averaging(kind):  # type: ignore[misc]  # Keras is untyped
        @property
        def ema_momentum(self) -> keras.KerasTensor:
            is_update = (self._iterations + 1) % self.gradient_accumulation_steps == 0
            return keras.ops.where(is_update, self._ema_momentum, 1.0)  # 1.0 keeps the average

        @ema_momentum.setter
        def ema_momentum(self, value: float) -> None:
            self._ema_momentum = value

    return Averaging


def _clipping_sums(kind: type[keras.optimizers.Optimizer]) -> type[keras.optimizers.Optimizer]:
    """Return a subclass that clips the gradients summed over all devices.

    On TensorFlow, Keras clips each device's part of the gradients before it adds them up.
    """
    import tensorflow as tf  # noqa: PLC0415  this class is for the TensorFlow backend

    class ClippingSums(kind):  # type: ignore[misc]  # Keras is untyped
        def _clip_gradients(self, grads: list[keras.KerasTensor]) -> list[keras.KerasTensor]:
            return grads

        def _all_reduce_sum_gradients(
            self, grads_and_vars: list[tuple[keras.KerasTensor, keras.Variable]]
        ) -> list[tuple[keras.KerasTensor, keras.Variable]]:
            grads, variables = zip(*super()._all_reduce_sum_gradients(grads_and_vars), strict=True)
            clipped, _ = tf.clip_by_global_norm(grads, self.global_clipnorm)
            return list(zip(clipped, variables, strict=True))

    return ClippingSums


def _copies() -> int:
    """Return the number of devices that each have a copy of the model, as TensorFlow's have."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf  # noqa: PLC0415  only the backend in use is installed

    return int(tf.distribute.get_strategy().num_replicas_in_sync)


def jit_compile(config: TrainConfig) -> bool | str:
    """Return the value for Keras' `jit_compile`, see TrainConfig.xla."""
    if config.xla != "auto":
        return config.xla == "on"
    return False if _tensorflow_on_cpu() else "auto"


def use_fast_layers(config: TrainConfig) -> bool:
    """Return whether to train with training.model.fast_layers, see TrainConfig.fast_layers.

    Raises:
        ConfigError: fast_layers is "on" with another backend than TensorFlow.
    """
    if config.fast_layers == "auto":
        return config.model == "resnet50" and _tensorflow_on_cpu()
    if config.fast_layers == "on" and keras.backend.backend() != "tensorflow":
        msg = (
            f"fast_layers on received with the {keras.backend.backend()} backend, expected "
            "tensorflow: set KERAS_BACKEND=tensorflow, or leave fast_layers out"
        )
        raise ConfigError(msg)
    return config.fast_layers == "on"


def _tensorflow_on_cpu() -> bool:
    return keras.backend.backend() == "tensorflow" and not environment.gpu_names()
