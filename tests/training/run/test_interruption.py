"""Ctrl+C between two steps."""

import signal
import threading

import keras
import numpy as np
import pytest

from training.run import checkpoint
from training.run.callbacks import CheckpointSaver
from training.run.interruption import InterruptBetweenSteps

IMAGES = np.zeros((6, 4), np.float32)
TARGETS = np.zeros((6, 1), np.float32)


class Interrupting(keras.callbacks.Callback):
    """Sends the signal inside a step or validation, and records the steps that ran."""

    def __init__(self, when, times=1, epoch=0):
        super().__init__()
        self.steps, self._when, self._times = [], when, times
        self._epoch, self._wanted_epoch = 0, epoch

    def _step(self, name):
        self.steps.append(name)
        if name == self._when and self._epoch == self._wanted_epoch:
            for _ in range(self._times):
                signal.raise_signal(signal.SIGINT)
            self.steps.append("went on")

    def on_epoch_begin(self, epoch, logs=None):
        """Store the epoch."""
        self._epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        """Record the call."""
        self._step(f"train {batch}")

    def on_test_batch_begin(self, batch, logs=None):
        """Record the call."""
        self._step(f"test {batch}")

    def on_epoch_end(self, epoch, logs=None):
        """Record the call."""
        self._step(f"epoch {epoch}")


def make_model():
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def fit(interrupting, run_dir, *, epochs=1, every=1):
    model, history = make_model(), []
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, _: history.append({"epoch": epoch + 1})
    )
    saver = CheckpointSaver(run_dir, history, every=every, last=epochs, keep_best=False)
    with InterruptBetweenSteps(saver) as interruption:
        model.fit(
            *(IMAGES, TARGETS, 2),
            epochs=epochs,
            validation_data=(IMAGES, TARGETS),
            validation_batch_size=3,
            callbacks=[note, interrupting, saver, interruption],
            verbose=0,
        )


def saved_epochs(run_dir):
    return len(checkpoint.restore(run_dir / "checkpoints", make_model()))


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
def test_the_step_under_way_is_finished_first(tmp_path, when, steps):
    """KeyboardInterrupt comes after the current step, because TensorFlow may crash inside it."""
    interrupting = Interrupting(when)

    with pytest.raises(KeyboardInterrupt):
        fit(interrupting, tmp_path)

    assert interrupting.steps == steps


def test_a_second_interrupt_does_not_wait(tmp_path):
    """A second signal raises KeyboardInterrupt at once, because a step may take minutes."""
    interrupting = Interrupting("train 1", times=2)

    with pytest.raises(KeyboardInterrupt):
        fit(interrupting, tmp_path)

    assert interrupting.steps == ["train 0", "train 1"]


def test_epochs_without_a_checkpoint_are_saved_first(tmp_path):
    """With a checkpoint every third epoch, the second epoch is finished, saved, and then ended."""
    interrupting = Interrupting("train 1", epoch=1)

    with pytest.raises(KeyboardInterrupt):
        fit(interrupting, tmp_path, epochs=5, every=3)

    assert interrupting.steps[-4:] == ["train 2", "test 0", "test 1", "epoch 1"]
    assert saved_epochs(tmp_path) == 2


def test_with_all_epochs_saved_nothing_is_finished(tmp_path):
    """After the checkpoint of the second epoch, the third epoch is left after its step."""
    interrupting = Interrupting("train 1", epoch=2)

    with pytest.raises(KeyboardInterrupt):
        fit(interrupting, tmp_path, epochs=5, every=2)

    assert interrupting.steps[-2:] == ["train 1", "went on"]
    assert saved_epochs(tmp_path) == 2


def test_a_second_interrupt_loses_epochs_without_a_checkpoint(tmp_path):
    """A second signal ends the training at once, with the last checkpoint."""
    interrupting = Interrupting("train 1", times=2, epoch=3)

    with pytest.raises(KeyboardInterrupt):
        fit(interrupting, tmp_path, epochs=5, every=2)

    assert interrupting.steps[-1] == "train 1"
    assert saved_epochs(tmp_path) == 2


def test_an_undisturbed_training_ends(tmp_path):
    """Without a signal nothing is raised."""
    interrupting = Interrupting("never")

    fit(interrupting, tmp_path)

    assert interrupting.steps[-1] == "epoch 0"


def test_another_handler_is_left_alone(tmp_path):
    """A handler of SIGINT that the caller of `train` installed is not replaced."""
    calls = []
    signal.signal(signal.SIGINT, lambda *_: calls.append("theirs"))
    interrupting = Interrupting("train 1")

    fit(interrupting, tmp_path)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert interrupting.steps[-1] == "epoch 0"
    assert calls == ["theirs"]


def test_it_works_in_another_thread(tmp_path):
    """Outside the main thread, which alone may install handlers, the context does nothing."""
    interrupting = Interrupting("never")
    thread = threading.Thread(target=fit, args=(interrupting, tmp_path), daemon=True)

    thread.start()
    thread.join()

    assert interrupting.steps[-1] == "epoch 0"
