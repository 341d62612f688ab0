import io
import re
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from training import live_line
from training.run import progress
from training.run.progress import EpochProgress


class Terminal(io.StringIO):
    """A stream whose isatty() is True."""

    def isatty(self) -> bool:
        """Return True."""
        return True


@pytest.fixture
def clock(monkeypatch):
    """Replace the clocks of the line and of the callback; the test sets the time."""
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(live_line, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: now.seconds))
    return now


def run(callback, clock, *, epochs, steps, first_step_seconds=0.0):
    """Call the callback as `fit` does: a step a second, and a validation of 2 s."""
    for epoch in range(epochs):
        callback.on_epoch_begin(epoch)
        for step in range(steps):
            clock.seconds += 1 if step or epoch else 1 + first_step_seconds
            callback.on_train_batch_end(step, {"loss": 1.5, "accuracy": 0.25})
        callback.on_test_begin()
        clock.seconds += 2
        callback.on_epoch_end(epoch, {"loss": 1.5, "val_loss": 2.0, "val_accuracy": 0.5})
    callback.close()


def test_a_log_gets_lines_within_the_epoch_and_one_for_each_epoch(clock):
    """A log gets a line each 30 s, with images, speed and time left, and one for compiling."""
    stream = io.StringIO()
    callback = EpochProgress(epochs=3, images=3_990, batch_size=100, stream=stream)
    run(callback, clock, epochs=3, steps=40, first_step_seconds=19)

    lines = stream.getvalue().splitlines()
    assert lines[0] == "epoch 1 of 3: compiling the first step"
    # 30 s: 20 s for the first step, then 10 steps of 100 images.
    assert lines[1] == (
        "epoch 1 of 3: 1,100 of 3,990 images, 29 s left, 2 min of the run, 100 images/s, "
        "loss 1.5000, accuracy 25.00%"
    )
    assert lines[2] == (
        "epoch 1 of 3: loss 1.5000, validation loss 2.0000, validation accuracy 50.00%, 61 s, "
        "about 2 min left"
    )
    assert lines[-1] == (
        "epoch 3 of 3: loss 1.5000, validation loss 2.0000, validation accuracy 50.00%, 42 s"
    )
    assert len([line for line in lines if "images/s" in line]) == 4


def test_a_terminal_shows_a_bar(clock):
    """Each step overwrites the line; the epoch's line takes its place at the end."""
    stream = Terminal()
    callback = EpochProgress(epochs=2, images=400, batch_size=100, stream=stream)
    run(callback, clock, epochs=2, steps=4)

    shown = [text.rstrip() for text in stream.getvalue().split("\r")]
    assert shown[2].startswith(
        "epoch 1 of 2: [==========          ] 200 of 400 images, 2 s left, 6 s of the run, "
    )
    assert any(text.startswith("epoch 1 of 2: validating") for text in shown)
    assert stream.getvalue().endswith("\n")
    assert [text for text in shown if re.search(r"epoch 2 of 2: loss .*, 6 s$", text)]


def test_an_error_leaves_no_half_line(clock):
    """`close` removes the line that the last step left on the terminal."""
    stream = Terminal()
    callback = EpochProgress(epochs=2, images=400, batch_size=100, stream=stream)
    callback.on_epoch_begin(0)
    callback.close()

    assert re.search(r"\r +\r$", stream.getvalue())


def test_keras_calls_it_with_loss_and_accuracy():
    """In a real `fit`, lines name both, on training and on validation images."""
    stream = Terminal()
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse", metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")])
    images, targets = np.zeros((6, 4), np.float32), np.zeros((6, 2), np.float32)
    callback = EpochProgress(epochs=1, images=6, batch_size=2, stream=stream)
    model.fit(
        *(images, targets, 2), validation_data=(images, targets), callbacks=[callback], verbose=0
    )

    last = stream.getvalue().rsplit("\r", 1)[-1]
    measures = r"loss [\d.]+, accuracy [\d.]+%, validation loss [\d.]+, validation accuracy [\d.]+%"
    assert re.fullmatch(rf"epoch 1 of 1: {measures}, \d+ s\n", last)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (99, "99 s"), (100, "2 min"), (5_000, "83 min"), (7_500, "2 h 5 min")],
)
def test_durations_are_short(seconds, text):
    """Seconds up to 99, then minutes, then hours."""
    assert progress._duration(seconds) == text
