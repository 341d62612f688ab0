"""Early stopping, and the weights of the best epoch after kills and damage."""

import json

import keras
import pytest

from training.batches.feeding import one_hot
from training.batches.validation_split import split_validation
from training.data.cifar10 import load
from training.model.predictions import predict_logits
from training.run import callbacks, early_stopping
from training.run.callbacks import CheckpointSaver
from training.run.train import train
from training.settings.recipes import from_recipe


def history_of(*accuracies):
    return [{"epoch": i, "val_accuracy": value} for i, value in enumerate(accuracies, start=1)]


@pytest.mark.parametrize(
    ("accuracies", "best"),
    [((), 0), ((0.1,), 1), ((0.1, 0.3, 0.2), 2), ((0.1, 0.3, 0.3), 2), ((0.3, 0.2, 0.4), 3)],
)
def test_best_epoch_is_the_first_of_the_highest_accuracy(accuracies, best):
    """The best epoch is the first with the highest accuracy, counted from 1."""
    assert early_stopping.best_epoch(history_of(*accuracies)) == best


@pytest.mark.parametrize(
    ("accuracies", "patience", "over"),
    [
        ((), 2, False),
        ((0.3, 0.2), 2, False),
        ((0.3, 0.2, 0.3), 2, True),
        ((0.3, 0.2, 0.4), 2, False),
        ((0.3, 0.2, 0.1, 0.0), 0, False),
    ],
)
def test_training_is_over_after_so_many_epochs_without_a_better_one(accuracies, patience, over):
    """Patience counts the epochs after the best one; with 0 the training is never over."""
    assert early_stopping.is_over(history_of(*accuracies), patience) is over


SCRIPT = (0.2, 0.5, 0.4, 0.5, 0.6)  # the second epoch is the best, and two worse ones follow


@pytest.fixture
def scripted(monkeypatch):
    """Replace the validation accuracies by those of SCRIPT."""
    record = callbacks.EpochRecorder.on_epoch_end

    def on_epoch_end(self, epoch, logs=None):
        record(self, epoch, {**logs, "val_accuracy": SCRIPT[epoch]})

    monkeypatch.setattr(callbacks.EpochRecorder, "on_epoch_end", on_epoch_end)


def make_config(**changes):
    settings = {"batch_size": 60, "epochs": 5, "learning_rate": 1e-2, "early_stopping": 2}
    return from_recipe("simcnn", "best", **settings | changes)


def read_losses(run_dir):
    return [row["val_loss"] for row in callbacks.read_history(run_dir / "history.csv")]


def check_saved_epoch(run_dir, config, data_dir, epoch):
    """Check that model.keras has the validation loss of that epoch and of no other."""
    data = load(data_dir)
    _, validation = split_validation(data.train, data.test, config)
    model = keras.models.load_model(run_dir / "model.keras")
    loss = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=config.label_smoothing
    )
    saved = float(loss(one_hot(validation.labels), predict_logits(model, validation.images)))
    losses = read_losses(run_dir)
    assert [i for i, value in enumerate(losses, 1) if value == pytest.approx(saved, rel=1e-5)] == [
        epoch
    ]


@pytest.mark.parametrize("ema_span", [pytest.param(0.0, marks=pytest.mark.slow), 0.5])
def test_training_stops_and_saves_the_best_epoch(tmp_path, image_dir, scripted, ema_span):
    """Training ends two epochs after the best one and saves its weights, or their average."""
    config = make_config(ema_span=ema_span)

    metrics = train(config, run_dir=tmp_path, data_dir=image_dir).metrics

    assert (metrics["stopped_epoch"], metrics["best_epoch"], metrics["epochs"]) == (4, 2, 4)
    assert metrics["last_epoch"]["epoch"] == 4
    check_saved_epoch(tmp_path, config, image_dir, 2)
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.slow
def test_training_that_gets_better_runs_to_its_end(tmp_path, image_dir, scripted):
    """With a longer patience all epochs are trained, and the last is the best."""
    config = make_config(early_stopping=4)

    metrics = train(config, run_dir=tmp_path, data_dir=image_dir).metrics

    assert (metrics["stopped_epoch"], metrics["best_epoch"], metrics["epochs"]) == (None, 5, 5)
    check_saved_epoch(tmp_path, config, image_dir, 5)


def interrupt(*_):
    raise KeyboardInterrupt


def test_killed_run_remembers_its_best_epoch_and_its_patience(
    tmp_path, image_dir, scripted, monkeypatch
):
    """Interrupted twice, in the third epoch and before its evaluation, a run ends the same."""
    config = make_config(ema_span=0.5)
    with monkeypatch.context() as patch:
        # The training dies after the epoch that follows the best one is saved.
        save = CheckpointSaver.on_epoch_end
        patch.setattr(
            CheckpointSaver,
            "on_epoch_end",
            lambda self, epoch, logs=None: save(self, epoch, logs) or (epoch == 2 and interrupt()),
        )
        with pytest.raises(KeyboardInterrupt):
            train(config, run_dir=tmp_path, data_dir=image_dir)
    assert sorted(path.name for path in (tmp_path / "checkpoints").glob("*.json")) == [
        "epoch-0002.json",
        "epoch-0003.json",
    ]
    with monkeypatch.context() as patch:
        patch.setattr("training.run.train._finish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(config, run_dir=tmp_path, data_dir=image_dir)
    assert len(read_losses(tmp_path)) == 4
    assert (tmp_path / "checkpoints" / "epoch-0002.json").exists()

    metrics = train(config, run_dir=tmp_path, data_dir=image_dir).metrics

    assert (metrics["stopped_epoch"], metrics["best_epoch"]) == (4, 2)
    check_saved_epoch(tmp_path, config, image_dir, 2)


@pytest.mark.slow
def test_damaged_best_checkpoint_gives_way_to_the_next_best(
    tmp_path, image_dir, scripted, monkeypatch, caplog
):
    """The best intact checkpoint is saved; metrics.json names it, and a warning says why."""
    config = make_config()
    with monkeypatch.context() as patch:
        patch.setattr("training.run.train._finish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(config, run_dir=tmp_path, data_dir=image_dir)
    best = tmp_path / "checkpoints" / "epoch-0002.weights.h5"
    best.write_bytes(best.read_bytes()[:-1])

    metrics = train(config, run_dir=tmp_path, data_dir=image_dir).metrics

    assert f"{best} is damaged, trying another one" in caplog.text
    assert metrics["best_epoch"] == 4
    check_saved_epoch(tmp_path, config, image_dir, 4)


def test_without_the_flag_metrics_say_nothing_of_stopping(tmp_path, image_dir):
    """Without --early-stopping metrics.json has neither stopped_epoch nor best_epoch."""
    config = from_recipe("simcnn", "report", epochs=1, batch_size=200)

    train(config, run_dir=tmp_path, data_dir=image_dir)

    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert not {"stopped_epoch", "best_epoch"} & set(metrics)
