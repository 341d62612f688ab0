from types import SimpleNamespace

import keras
import numpy as np
import pytest

from training.run import checkpoint
from training.run.callbacks import CheckpointSaver


def make_model():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def saved_after(run_dir, accuracies, **settings):
    """Return the epochs after which a checkpoint was written, for these validation accuracies."""
    model, history, saved = make_model(), [], []
    stop_after = settings.pop("stop_after", None)
    settings = {"every": 1, "last": len(accuracies), "keep_best": False} | settings
    saver = CheckpointSaver(run_dir, history, **settings)
    saver.set_model(model)
    model.stop_training = False
    for epoch, accuracy in enumerate(accuracies):
        history.append({"epoch": epoch + 1, "val_accuracy": accuracy})
        model.stop_training = epoch + 1 == stop_after
        before = saver.unsaved
        saver.on_epoch_end(epoch)
        assert saver.unsaved in {0, before + 1}
        if not saver.unsaved:
            saved.append(epoch + 1)
    return saved


@pytest.mark.parametrize(
    ("settings", "saved"),
    [
        ({}, [1, 2, 3, 4, 5, 6, 7]),
        ({"every": 3}, [3, 6, 7]),
        ({"every": 100}, [7]),
        ({"every": 3, "stop_after": 4}, [3, 4, 6, 7]),
        ({"every": 4, "keep_best": True}, [1, 2, 4, 5, 7]),
    ],
)
def test_checkpoints_are_saved_when_due_and_whenever_the_training_may_end(
    tmp_path, settings, saved
):
    """Every n-th epoch is saved, the last one, one that stops, and each best one if asked for."""
    assert saved_after(tmp_path, [0.1, 0.3, 0.2, 0.2, 0.4, 0.4, 0.1], **settings) == saved


def test_two_checkpoints_and_the_best_one_are_kept(tmp_path):
    """However many epochs are between them, the two newest checkpoints and the best one stay."""
    saved_after(tmp_path, [0.1, 0.3, 0.2, 0.2, 0.2, 0.2, 0.1, 0.1], every=3, keep_best=True)

    assert sorted(path.name for path in tmp_path.glob("checkpoints/*.json")) == [
        "epoch-0002.json",
        "epoch-0006.json",
        "epoch-0008.json",
    ]
    assert len(checkpoint.restore(tmp_path / "checkpoints", make_model())) == 8


def test_time_of_a_checkpoint_is_divided_among_its_epochs(tmp_path, monkeypatch):
    """A checkpoint of 6 s after every third epoch adds 2 s to the time of an epoch."""
    moments = iter(np.arange(0, 1000, 6.0))
    monkeypatch.setattr(
        "training.run.callbacks.time", SimpleNamespace(perf_counter=lambda: next(moments))
    )
    saver = CheckpointSaver(tmp_path, [{"epoch": 1}], every=3, last=9, keep_best=False)
    saver.set_model(make_model())
    assert saver.seconds_of_an_epoch == 0
    saver.save()

    assert saver.seconds_of_an_epoch == 2
