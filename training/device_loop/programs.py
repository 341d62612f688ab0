"""The compiled programs of a training on a device: many steps of training or validation in one.

A step is Keras' own `train_step` or `test_step`, so that optimizer, averaging, accumulation, loss
scaling and metrics are those of `model.fit`. A `fori_loop` runs the steps from a first one to a
last one, both chosen when the program is called: a whole epoch is one call, and a part of an epoch
needs no other program.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np
import numpy.typing as npt

from training.batches.draws import Draws, draw
from training.data.data_set import ImageRows
from training.device_loop.augmentation import augment, mix_images, mix_targets
from training.settings.recipes import TrainConfig

# Lists of arrays in the order of a model's variables; the last list is that of the metrics.
State = tuple[list[jax.Array], ...]
Batch = tuple[jax.Array, jax.Array]  # images and one-hot targets

jax.tree_util.register_dataclass(Draws, [field.name for field in fields(Draws)], [])


class Images(NamedTuple):
    """Images and labels of a split on the device: uint8 (n, side, side, 3) and int32 (n,)."""

    pixels: jax.Array
    labels: jax.Array


class Steps(NamedTuple):
    """The data that the steps of an epoch read.

    Attributes:
        images: The images of the split.
        draws: The choices of augmentation for each image of the split; None for validation.
        indices: int32, shape (steps, batch size): the images of each step.
    """

    images: Images
    draws: Draws | None
    indices: jax.Array


Program = Callable[[State, Steps, np.int32, np.int32], tuple[State, jax.Array]]


def put(split: ImageRows) -> Images:
    """Copy a split to the device."""
    return Images(jnp.asarray(split.take(slice(None))), jnp.asarray(split.labels.astype(np.int32)))


def put_draws(count: int, config: TrainConfig, epoch: int) -> Draws:
    """Return the choices of an epoch for all `count` training images as arrays on the device."""
    draws = draw(np.arange(count, dtype=np.int64), config, epoch, count=count)
    values = {field.name: getattr(draws, field.name) for field in fields(Draws)}
    # JAX has no int64 by default; all values are below 2**31.
    small = {name: v.astype(np.int32) if v.dtype == np.int64 else v for name, v in values.items()}
    return Draws(**jax.device_put(small))


def training_batch(
    images: Images, draws: Draws, indices: jax.Array, config: TrainConfig, classes: int = 10
) -> Batch:
    """Return the images and targets that TrainingBatches has for the same indices and epoch.

    Args:
        images: The training images.
        draws: The epoch's choices for all training images.
        indices: int32, shape (b,): the images of the batch.
        config: The augmentation.
        classes: Number of classes.

    Returns:
        uint8 (b, side, side, 3) and float32 (b, classes).
    """
    own = _of(draws, indices)
    batch = _augmented(images, own, indices, config, classes)
    if not config.mixup:
        return batch
    partners = _augmented(images, _of(draws, own.partner), own.partner, config, classes)
    return (
        mix_images(batch[0], partners[0], own.share),
        mix_targets(batch[1], partners[1], own.share),
    )


def training_program(model: keras.Model, config: TrainConfig) -> Any:  # noqa: ANN401  a JAX function
    """Return a jitted Program of training steps.

    The state has the trainable, non-trainable, optimizer's and metrics' variables. It is donated:
    its arrays cannot be used after the call.
    """
    classes = model.output_shape[-1]

    def step(state: State, steps: Steps, indices: jax.Array) -> tuple[State, jax.Array]:
        assert steps.draws is not None  # noqa: S101  for mypy
        batch = training_batch(steps.images, steps.draws, indices, config, classes)
        logs, state = model.train_step(state, batch)
        return state, logs["loss"]

    return _many(step)


def validation_program(model: keras.Model) -> Any:  # noqa: ANN401  a JAX function
    """Return a jitted Program of validation steps.

    The state has the trainable, non-trainable and metrics' variables. It is donated.
    """
    classes = model.output_shape[-1]

    def step(state: State, steps: Steps, indices: jax.Array) -> tuple[State, jax.Array]:
        pixels, labels = steps.images
        batch = pixels[indices], _one_hot(labels[indices], classes)
        logs, state = model.test_step(state, batch)
        return state, logs["loss"]

    return _many(step)


def compile_all(calls: Sequence[tuple[Any, State, Steps]]) -> list[Program]:
    """Compile jitted programs for the shapes of a state and of steps, several at a time.

    Tracing is Python and needs Keras' scopes, so it happens here, one program after another.
    XLA then compiles without Python's lock.
    """
    zero = np.int32(0)
    traced = [program.lower(state, steps, zero, zero) for program, state, steps in calls]
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda program: program.compile(), traced))


def build_metrics(model: keras.Model) -> None:
    """Create the variables of optimizer and metrics, which `fit` does at its first batch."""
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    zeros = np.zeros((1, model.output_shape[-1]), np.float32)
    model.compute_metrics(None, zeros, zeros)
    model.reset_metrics()


def step_indices(order: npt.NDArray[np.int64], batch_size: int) -> list[npt.NDArray[np.int32]]:
    """Divide the images of an epoch into steps.

    Args:
        order: int64, shape (n,): the images in their order.
        batch_size: Images of a step.

    Returns:
        An array of shape (steps, batch_size) and, if images are left over, one of shape (1, rest):
        a program has one batch size, because batch normalisation depends on it.
    """
    whole = len(order) // batch_size * batch_size
    parts = order[:whole].reshape(-1, batch_size), order[whole:].reshape(1, -1)
    return [part.astype(np.int32) for part in parts if part.size]


def _many(step: Callable[[State, Steps, jax.Array], tuple[State, jax.Array]]) -> Any:  # noqa: ANN401
    """Return a jitted function that runs steps `first` to before `last`.

    It returns the new state, and the metric "loss" after each step: float32, shape (steps,).
    """

    def run(
        state: State, steps: Steps, first: jax.Array, last: jax.Array
    ) -> tuple[State, jax.Array]:
        def body(number: jax.Array, carry: tuple[State, jax.Array]) -> tuple[State, jax.Array]:
            state, losses = carry
            state, loss = step(state, steps, steps.indices[number])
            return state, losses.at[number].set(loss)

        losses = jnp.zeros(len(steps.indices))
        done: tuple[State, jax.Array] = jax.lax.fori_loop(first, last, body, (state, losses))
        return done

    return jax.jit(run, donate_argnums=0)


def _augmented(
    images: Images, draws: Draws, indices: jax.Array, config: TrainConfig, classes: int
) -> Batch:
    pixels = augment(
        images.pixels[indices], draws, crop_padding=config.crop_padding, cutout=config.cutout
    )
    return pixels, _one_hot(images.labels[indices], classes)


def _of(draws: Draws, indices: jax.Array) -> Draws:
    selected: Draws = jax.tree.map(lambda values: values[indices], draws)
    return selected


def _one_hot(labels: jax.Array, classes: int) -> jax.Array:
    return jax.nn.one_hot(labels, classes, dtype=jnp.float32)
