"""Whether ResNet50's recipe `best` trains without spikes of the loss, on the whole of CIFAR-10.

Each seed takes about 6 minutes on 2 cores at rest. `LOSS_RECORDS=DIR` names a folder in which the
losses of all steps are written as JSON.
"""

import json
import os
from pathlib import Path

import keras
import numpy as np
import pytest

from training.data.cifar10 import DATA_DIR_VARIABLE
from training.run import fitting, train
from training.settings.recipes import from_recipe

WINDOW = 50  # steps
LARGEST_RATIO = 1.2


class LossOfEachStep(keras.callbacks.Callback):
    """Records the loss of each step; Keras reports the mean of the epoch's steps so far."""

    def __init__(self):
        super().__init__()
        self.losses = []
        self._total = 0.0

    def on_train_batch_end(self, batch, logs=None):
        """Record the step's part of the mean; the smaller last batch counts like the others."""
        total = logs["loss"] * (batch + 1)
        self.losses.append(total - (self._total if batch else 0.0))
        self._total = total


def largest_rise(losses):
    """Return the lowest mean of 50 steps, and the largest ratio of a later mean to the lowest."""
    means = np.convolve(losses, np.full(WINDOW, 1 / WINDOW), mode="valid")
    lowest = np.minimum.accumulate(means)
    return float(lowest[-1]), float((means / lowest).max())


def test_a_spike_is_noticed():
    """A falling loss has no rise; a spike of 50 steps at twice the loss has a large one."""
    losses = np.linspace(2, 1, 300)
    spiky = losses.copy()
    spiky[200:250] *= 2

    assert largest_rise(losses)[1] == 1
    assert largest_rise(spiky)[1] > LARGEST_RATIO


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_best_recipe_of_resnet50_has_no_spike(tmp_path, monkeypatch, seed):
    """After the warm-up no mean loss of 50 steps is above 1.2 times the lowest one before it."""
    if not os.environ.get(DATA_DIR_VARIABLE):
        pytest.skip(f"{DATA_DIR_VARIABLE} does not name the folder of CIFAR-10")
    config = from_recipe("resnet50", "best", epochs=3, warmup_epochs=1, seed=seed)
    recorder, callbacks = LossOfEachStep(), fitting._callbacks
    monkeypatch.setattr(fitting, "_callbacks", lambda *given: [recorder, *callbacks(*given)])

    train.train(config, run_dir=tmp_path, data_dir=Path(os.environ[DATA_DIR_VARIABLE]))

    warm_up = len(recorder.losses) // config.epochs
    lowest, ratio = largest_rise(recorder.losses[warm_up:])
    if folder := os.environ.get("LOSS_RECORDS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        record = {"seed": seed, "lowest": lowest, "largest_ratio": ratio}
        (Path(folder) / f"resnet50-best-seed{seed}.json").write_text(
            json.dumps(record | {"warm_up_steps": warm_up, "losses": recorder.losses})
        )
    assert ratio <= LARGEST_RATIO
