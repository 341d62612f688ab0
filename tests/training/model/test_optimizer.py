"""Weight updates: schedule, decay, averaging, accumulation, loss scaling."""

import keras
import numpy as np
import pytest

from training.model import optimizer
from training.settings.recipes import ConfigError, from_recipe

STEPS = 4  # an epoch


def make_model(config, *, steps=STEPS, loss="mse"):
    """Return a dense model with fixed initial weights, compiled like a training's."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5), keras.layers.Dense(1)])
    model.compile(
        optimizer=optimizer.build(config, steps_per_epoch=steps), loss=loss, jit_compile=False
    )
    return model


def make_config(**changes):
    settings = {"epochs": 2, "warmup_epochs": 1, "learning_rate": 0.01, "weight_decay": 0.1}
    return from_recipe("simcnn", "best", **settings | changes)


def batch(number, size=8):
    random = np.random.default_rng(number)
    # Small values: float16's loss scale starts at 2**15, and gradients may reach 2**16.
    return 0.1 * random.normal(size=(size, 6)), 0.1 * random.normal(size=(size, 1))


def arrays(variables):
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def averages(model):
    inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    return arrays(inner._model_variables_moving_average)


@pytest.fixture
def policy():
    """Return a function that sets the precision policy; restore the old policy afterwards."""
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize(
    ("kind", "name"), [("adamw", "float32"), ("sgd", "float32"), ("sgd", "mixed_float16")]
)
def test_accumulated_batches_update_like_one_large_batch(kind, name, policy):
    """After each update weights, averages and rate equal those of batches 3 times as large.

    The training has two epochs of four updates, with warm-up, cosine, weight decay, averaging over
    half of the updates, and gradients that are clipped.
    """
    settings = {"optimizer": kind, "ema_span": 0.5, "clip_norm": 0.05}
    policy(name)
    large = make_model(make_config(**settings))
    parts = make_model(make_config(accumulate_steps=3, **settings), steps=3 * STEPS)
    tolerance = {"rtol": 1e-4, "atol": 1e-6} if name == "float32" else {"rtol": 0.1, "atol": 2e-3}

    for update in range(2 * STEPS):
        images, targets = batch(update, 12)
        large.train_on_batch(images, targets)
        before = arrays(parts.trainable_variables)
        for part in range(3):
            for got, kept in zip(arrays(parts.trainable_variables), before, strict=True):
                assert (got == kept).all(), "changed before the update"
            rows = slice(4 * part, 4 * part + 4)
            parts.train_on_batch(images[rows], targets[rows])

        assert float(parts.optimizer.learning_rate) == pytest.approx(
            float(large.optimizer.learning_rate), rel=1e-5, abs=1e-9
        )
        for got, wanted in zip(
            arrays(parts.trainable_variables) + averages(parts),
            arrays(large.trainable_variables) + averages(large),
            strict=True,
        ):
            np.testing.assert_allclose(got, wanted, **tolerance)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("warmup", [0, 1])
def test_the_schedule_ends_with_the_last_update(warmup, accumulate):
    """The rate rises in the warm-up, falls as half a cosine to 0 at the end, and stays at 0."""
    config = make_config(epochs=4, warmup_epochs=warmup, accumulate_steps=accumulate, ema_span=0.0)
    built = optimizer.build(config, steps_per_epoch=STEPS * accumulate)
    rates = []
    for update in range(4 * STEPS + 2):
        built._iterations.assign(update * accumulate)
        rates.append(float(built.learning_rate))

    rise = warmup * STEPS
    fall = np.cos(np.pi * np.arange(4 * STEPS - rise + 1) / (4 * STEPS - rise))
    expected = [*0.01 * np.arange(rise) / STEPS, *0.01 * (1 + fall) / 2, 0.0]
    assert rates == pytest.approx(expected, rel=1e-4, abs=1e-8)


def test_average_follows_its_formula():
    """The average starts at the first update's weights and moves by 1 / span at each update."""
    model = make_model(make_config(ema_span=0.5))  # of 8 updates: a span of 4
    expected = None
    for update in range(4):
        model.train_on_batch(*batch(update))
        weights = arrays(model.trainable_variables)
        expected = expected or weights
        expected = [0.75 * old + 0.25 * new for old, new in zip(expected, weights, strict=True)]

    for got, wanted in zip(averages(model), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-7)
    assert np.abs(averages(model)[0] - arrays(model.trainable_variables)[0]).max() > 1e-3


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("name", ["float32", "mixed_float16"])
def test_gradients_are_clipped_by_their_norm_over_all_weights(name, steps, policy):
    """A gradient above the norm keeps its direction and gets this norm; others are unchanged.

    With float16 the gradients are those without the loss scale, and with accumulated gradients
    their mean.
    """
    policy(name)
    settings = {"schedule": "constant", "warmup_epochs": 0, "optimizer": "sgd", "ema_span": 0.0}
    settings |= {"weight_decay": 0.0, "learning_rate": 1.0, "accumulate_steps": steps}
    moves = {}
    for clip_norm in (0.0, 0.01, 1e3):
        model = make_model(make_config(clip_norm=clip_norm, **settings))
        before = arrays(model.trainable_variables)
        for step in range(steps):
            model.train_on_batch(*batch(step))
        moves[clip_norm] = np.concatenate(
            [
                (old - new).ravel()
                for old, new in zip(before, arrays(model.trainable_variables), strict=True)
            ]
        )

    # The first update of Nesterov's momentum 0.9 moves the weights by 1.9 gradients.
    whole = np.linalg.norm(moves[0.0]) / 1.9
    assert 0.02 < whole < 1e3
    assert (moves[1e3] == moves[0.0]).all()
    np.testing.assert_allclose(moves[0.01], moves[0.0] * 0.01 / whole, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("name", ["float32", "mixed_float16"])
def test_weight_decay_shrinks_kernels_alone_once_an_update(name, steps, policy):
    """Without a gradient an update shrinks kernels by rate x decay and does not change biases."""
    policy(name)
    config = make_config(schedule="constant", warmup_epochs=0, accumulate_steps=steps, ema_span=0.0)
    model = make_model(config, loss=lambda _, outputs: 0.0 * outputs)
    for variable in model.trainable_variables:
        variable.assign(keras.ops.ones_like(variable))

    for _ in range(3 * steps):
        model.train_on_batch(*batch(0))

    for variable in model.trainable_variables:
        expected = (1 - 0.01 * 0.1) ** 3 if variable.name == "kernel" else 1
        np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), expected, rtol=1e-6)


def test_steps_that_are_left_over_change_no_weight():
    """Eleven steps, four to an update, are two updates, and the schedule ends with the second."""
    config = make_config(epochs=1, warmup_epochs=0, accumulate_steps=4, ema_span=0.0)
    model = make_model(config, steps=11)
    for step in range(8):
        model.train_on_batch(*batch(step))
    before = arrays(model.trainable_variables)

    assert float(model.optimizer.learning_rate) == pytest.approx(0, abs=1e-9)
    for step in range(8, 11):
        model.train_on_batch(*batch(step))
    for got, kept in zip(arrays(model.trainable_variables), before, strict=True):
        assert (got == kept).all()


def test_more_accumulation_than_steps_is_refused():
    """A training that would never update a weight raises ConfigError with both numbers."""
    with pytest.raises(ConfigError, match=r"accumulate_steps 9 received for a training of 8 steps"):
        optimizer.build(make_config(accumulate_steps=9), steps_per_epoch=STEPS)


def test_float16_step_that_overflows_is_skipped_and_halves_the_loss_scale(policy):
    """In float16 an infinite gradient changes neither weights nor average, and halves the scale."""
    policy("mixed_float16")
    model = make_model(make_config(ema_span=0.5))
    model.train_on_batch(*batch(0))
    before, scale = arrays(model.trainable_variables), float(model.optimizer.dynamic_scale)
    averaged = averages(model)
    images, targets = batch(1)

    model.train_on_batch(images * 1e6, targets)

    assert float(model.optimizer.dynamic_scale) == scale / 2
    for got, kept in zip(
        arrays(model.trainable_variables) + averages(model), before + averaged, strict=True
    ):
        assert (got == kept).all()
    model.train_on_batch(*batch(2))
    assert any(
        (a != b).any() for a, b in zip(arrays(model.trainable_variables), before, strict=True)
    )
