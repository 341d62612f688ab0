"""Ctrl+C between two steps."""

import signal
import threading

import keras
import numpy as np
import pytest

from training.run.interruption import InterruptBetweenSteps

IMAGES = np.zeros((6, 4), np.float32)
TARGETS = np.zeros((6, 1), np.float32)


class Interrupting(keras.callbacks.Callback):
    """Sends the signal inside a step or validation, and records the steps that ran."""

    def __init__(self, when, times=1):
        super().__init__()
        self.steps, self._when, self._times = [], when, times

    def _step(self, name):
        self.steps.append(name)
        if name == self._when:
            for _ in range(self._times):
                signal.raise_signal(signal.SIGINT)
            self.steps.append("went on")

    def on_train_batch_begin(self, batch, logs=None):
        """Record the call."""
        self._step(f"train {batch}")

    def on_test_batch_begin(self, batch, logs=None):
        """Record the call."""
        self._step(f"test {batch}")

    def on_epoch_end(self, epoch, logs=None):
        """Record the call."""
        self._step(f"epoch {epoch}")


def fit(interrupting):
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with InterruptBetweenSteps() as interruption:
        model.fit(
            *(IMAGES, TARGETS, 2),
            validation_data=(IMAGES, TARGETS),
            validation_batch_size=3,
            callbacks=[interrupting, interruption],
            verbose=0,
        )


@pytest.fixture(autouse=True)
def _handler():
    """Check that Python's own handler of SIGINT is installed before and after the test."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    after = signal.signal(signal.SIGINT, before)
    assert after is signal.default_int_handler


@pytest.mark.parametrize(
    ("when", "steps"),
    [
        ("train 1", ["train 0", "train 1", "went on"]),
        ("test 0", ["train 0", "train 1", "train 2", "test 0", "went on"]),
        (
            "epoch 0",
            ["train 0", "train 1", "train 2", "test 0", "test 1", "epoch 0", "went on"],
        ),
    ],
)
def test_the_step_under_way_is_finished_first(when, steps):
    """KeyboardInterrupt comes after the current step, because TensorFlow may crash inside it."""
    interrupting = Interrupting(when)

    with pytest.raises(KeyboardInterrupt):
        fit(interrupting)

    assert interrupting.steps == steps


def test_a_second_interrupt_does_not_wait():
    """A second signal raises KeyboardInterrupt at once, because a step may take minutes."""
    interrupting = Interrupting("train 1", times=2)

    with pytest.raises(KeyboardInterrupt):
        fit(interrupting)

    assert interrupting.steps == ["train 0", "train 1"]


def test_an_undisturbed_training_ends():
    """Without a signal nothing is raised."""
    interrupting = Interrupting("never")

    fit(interrupting)

    assert interrupting.steps[-1] == "epoch 0"


def test_another_handler_is_left_alone():
    """A handler of SIGINT that the caller of `train` installed is not replaced."""
    calls = []
    signal.signal(signal.SIGINT, lambda *_: calls.append("theirs"))
    interrupting = Interrupting("train 1")

    fit(interrupting)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert interrupting.steps[-1] == "epoch 0"
    assert calls == ["theirs"]


def test_it_works_in_another_thread():
    """Outside the main thread, which alone may install handlers, the context does nothing."""
    interrupting = Interrupting("never")
    thread = threading.Thread(target=fit, args=(interrupting,), daemon=True)

    thread.start()
    thread.join()

    assert interrupting.steps[-1] == "epoch 0"
