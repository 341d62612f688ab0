"""The time budget, with a clock that the tests set: no test depends on the machine's speed."""

import json
from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from training.data.cifar10 import load
from training.run import checkpoint, epoch_speed, fitting, time_budget
from training.run import train as train_module
from training.run.callbacks import CheckpointSaver
from training.run.epoch_speed import EpochSpeed, SpeedRecord
from training.run.time_budget import TimeBudget
from training.run.train import train
from training.settings.recipes import ConfigError, from_recipe

FAST = {"batch_size": 60, "learning_rate": 1e-3, "ema_span": 0.3}  # three steps an epoch


@pytest.fixture
def clock(monkeypatch):
    """Replace the clock of budget and speed; the tests set the time."""
    now = SimpleNamespace(seconds=0.0)
    fake = SimpleNamespace(monotonic=lambda: now.seconds)
    for module in (epoch_speed, time_budget):
        monkeypatch.setattr(module, "time", fake)
    return now


def run_epochs(callback, clock, numbers, *, compile_seconds=0.0, slower=1.0):
    """Call the callback as `fit` does: 10 steps of 1 s, and a validation of 2 steps of 0.5 s."""
    for epoch in numbers:
        callback.on_epoch_begin(epoch)
        for step in range(10):
            clock.seconds += slower + (compile_seconds if (step, epoch) == (0, numbers[0]) else 0)
            callback.on_train_batch_end(step)
        callback.on_test_begin()
        for step in range(2):
            clock.seconds += slower / 2
            callback.on_test_batch_end(step)
        callback.on_epoch_end(epoch)


def test_compilation_is_not_part_of_the_epoch(clock):
    """The first step's time beyond that of the others counts as compilation, not as the epoch's."""
    speed = EpochSpeed()
    run_epochs(speed, clock, [0], compile_seconds=30)

    assert speed.compile_seconds == pytest.approx(30)
    assert speed.epoch_seconds == pytest.approx(11)
    assert speed.validation_seconds == pytest.approx(1)


def test_later_epochs_count_if_there_are_some(clock):
    """The median of the epochs after the first one is the speed."""
    speed = EpochSpeed()
    run_epochs(speed, clock, [0], compile_seconds=30)
    for epoch, slower in ((1, 2), (2, 1), (3, 1)):
        run_epochs(speed, clock, [epoch], slower=slower)

    assert speed.epoch_seconds == pytest.approx(11)


def test_the_record_keeps_the_start_apart_from_the_epochs(clock, tmp_path):
    """The start ends with the compilation; a single epoch is enough to tell them apart."""
    file = tmp_path / "speed.json"
    record = SpeedRecord(file, began=clock.seconds)
    clock.seconds += 8
    run_epochs(record, clock, [0], compile_seconds=30)
    first = json.loads(file.read_text())
    run_epochs(record, clock, [1], slower=2)

    assert first == {"epochs": 1, "start_seconds": 38.0, "epoch_seconds": 11.0}
    assert json.loads(file.read_text()) == {
        "epochs": 2,
        "start_seconds": 38.0,
        "epoch_seconds": 22.0,
    }


def make_budget(run_dir, seconds, clock, *, epochs=60, start=8.0):
    """Return a budget whose session began `start` seconds ago."""
    config = from_recipe("simcnn", "best", time_budget=seconds, epochs=epochs)
    budget = TimeBudget(run_dir, config, began=clock.seconds)
    budget.set_model(SimpleNamespace(stop_training=False))
    clock.seconds += start
    saver = CheckpointSaver(run_dir, [], every=1, last=epochs, keep_best=False)
    budget.start(saver, evaluation_share=2.0)
    return budget


def history_of(count):
    return [{"epoch": epoch, "seconds": 11.0} for epoch in range(1, count + 1)]


def test_as_many_epochs_as_fit_are_decided(tmp_path, clock):
    """Epochs fill 95 % of the time that start, compilation, evaluation and files leave."""
    budget = make_budget(tmp_path, 600, clock)
    run_epochs(budget, clock, [0, 1], compile_seconds=30)

    # Used: start 8, compilation 30, epochs 22. Kept: start, compilation and 2 for the test images
    # at the end; start and compilation for the model of the other epochs.
    left = 600 - (8 + 30 + 22) - (8 + 30 + 2) - (8 + 30)
    expected = 2 + int(left * 0.95 / 11)
    assert budget.decide(history_of(2)) == expected == 41
    assert budget.epochs == 41


def test_the_number_of_epochs_is_never_above_the_setting(tmp_path, clock):
    """A budget for many epochs trains `epochs` of them."""
    budget = make_budget(tmp_path, 100_000, clock, epochs=5)
    run_epochs(budget, clock, [0, 1])

    assert budget.decide(history_of(2)) == 5


def test_without_time_for_another_epoch_the_first_ones_are_all(tmp_path, clock):
    """A budget that the first epochs and the evaluation use up adds no epoch."""
    budget = make_budget(tmp_path, 45, clock)
    run_epochs(budget, clock, [0, 1])

    assert budget.decide(history_of(2)) == 2


def test_the_decision_is_kept_and_earlier_sessions_count(tmp_path, clock):
    """A later session reads the number of epochs and the time used until the last epoch."""
    budget = make_budget(tmp_path, 600, clock)
    run_epochs(budget, clock, [0, 1])
    epochs = budget.decide(history_of(2))
    run_epochs(budget, clock, [2])
    used = budget.used_seconds
    clock.seconds += 1000  # the process was killed, and started again later

    again = make_budget(tmp_path, 600, clock, start=5)

    assert again.epochs == epochs
    assert again.used_seconds == pytest.approx(used + 5)


def test_a_session_without_a_measurement_reads_the_history(tmp_path, clock):
    """A run killed between its first epochs and the decision decides by the recorded epochs."""
    budget = make_budget(tmp_path, 600, clock)
    expected = 2 + int((600 - 8 - 8 - 8) * 0.95 / 11)

    assert budget.decide(history_of(2)) == expected


def test_the_second_model_does_not_lengthen_the_plan(tmp_path, clock):
    """The start of the session, and the second compilation, do not count against later epochs.

    Otherwise this budget would end the training after its second epoch.
    """
    budget = make_budget(tmp_path, 160, clock)
    run_epochs(budget, clock, [0], compile_seconds=25)
    budget.decide(history_of(1))
    saver = CheckpointSaver(tmp_path, [], every=1, last=5, keep_best=False)
    clock.seconds += 8
    budget.start(saver, evaluation_share=2.0)
    run_epochs(budget, clock, [1], compile_seconds=25)

    assert budget.epochs == 5
    assert not budget.model.stop_training


def test_the_training_ends_early_if_the_machine_is_slow(tmp_path, clock, caplog):
    """After an epoch with which the budget leaves no time for another, the training is stopped."""
    budget = make_budget(tmp_path, 600, clock)
    run_epochs(budget, clock, [0, 1])
    budget.decide(history_of(2))
    number = 2
    while not budget.model.stop_training:
        assert not budget.is_over(number)
        run_epochs(budget, clock, [number], slower=3)
        number += 1

    # One more epoch of 33 s and the end of 8 + 3 x 2 s would not fit.
    assert 600 - 33 - 14 < clock.seconds <= 600 - 14
    assert budget.is_over(number)
    assert f"over after epoch {number} of" in caplog.text
    assert budget.summary()["ended_early"] is True
    assert TimeBudget(tmp_path, budget._config, began=clock.seconds).is_over(number)


@pytest.mark.parametrize("content", ["{", "[]", '{"epochs": 3}'])
def test_a_damaged_file_is_refused(tmp_path, content):
    """A time_budget.json that is none raises ConfigError that names it."""
    (tmp_path / "time_budget.json").write_text(content)

    with pytest.raises(ConfigError, match=r"time_budget.json .*--run-dir"):
        TimeBudget(tmp_path, from_recipe("simcnn", "best", time_budget=60), began=0.0)


def test_a_cosine_without_warm_up_is_refused():
    """The number of epochs is decided at the end of the warm-up, so there must be one."""
    with pytest.raises(ConfigError, match=r"--warmup-epochs 1"):
        from_recipe("simcnn", "best", time_budget=60, warmup_epochs=0)

    assert from_recipe("simcnn", "report", time_budget=60).schedule == "constant"
    assert from_recipe("simcnn", "best", time_budget=60, epochs=1).warmup_epochs == 0


def interrupt(*_, **__):
    raise KeyboardInterrupt


@pytest.fixture
def counting_clock(monkeypatch):
    """Replace the clock by one that goes on by a second at each look."""
    count = iter(range(10**9))

    def look() -> float:
        return float(next(count))

    fake = SimpleNamespace(monotonic=look, perf_counter=look)
    for module in (epoch_speed, time_budget, train_module):
        monkeypatch.setattr(module, "time", fake)


def fit(config, run_dir, data):
    """Train the epochs of a run without its evaluation, as `train` does."""
    keras.utils.set_random_seed(config.seed)
    began = time_budget.time.monotonic()
    session = fitting.Session(
        run_dir=run_dir,
        data=data,
        devices=["default"],
        on_device=False,
        checkpoint_every=1,
        budget=TimeBudget(run_dir, config, began=began) if config.time_budget else None,
        mlflow=None,
    )
    run_dir.mkdir(exist_ok=True)
    return fitting.fit(config, session)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.usefixtures("counting_clock")
def test_run_with_a_budget_is_the_plain_run_of_as_many_epochs(tmp_path, image_dir, monkeypatch):
    """The schedule ends with the last epoch that was decided, also after a kill and a resume.

    The interrupted run goes on with the decision of its first session.
    """
    data, budgeted = load(image_dir), tmp_path / "budget"
    config = from_recipe("simcnn", "best", epochs=50, warmup_epochs=1, time_budget=60, **FAST)
    with monkeypatch.context() as patch:
        save = checkpoint.save

        def save_two(folder, model, history, **settings):
            save(folder, model, history, **settings)
            if len(history) == 2:
                interrupt()

        patch.setattr(checkpoint, "save", save_two)
        with pytest.raises(KeyboardInterrupt):
            fit(config, budgeted, data)
    file = budgeted / "time_budget.json"
    state = json.loads(file.read_text())
    # Time for the second session, so that its start does not end the training early.
    file.write_text(json.dumps(state | {"used_seconds": 0.0}))

    resumed = fit(config, budgeted, data)

    epochs = state["epochs"]
    assert 2 < epochs < 20
    assert json.loads(file.read_text())["epochs"] == resumed.planned_epochs == epochs
    plain = fit(replace(config, epochs=epochs, time_budget=0), tmp_path / "plain", data)
    assert [row["epoch"] for row in resumed.history] == list(range(1, epochs + 1))
    for name in ("learning_rate", "loss"):
        assert [row[name] for row in resumed.history] == pytest.approx(
            [row[name] for row in plain.history], rel=1e-3, abs=1e-9
        )
    assert resumed.history[-1]["learning_rate"] == pytest.approx(0, abs=1e-9)
    # The averages of the first epoch have another time constant, of which little is left.
    for mine, theirs in zip(resumed.model.get_weights(), plain.model.get_weights(), strict=True):
        assert np.abs(mine - theirs).max() < 0.02


@pytest.mark.timeout(400)
@pytest.mark.usefixtures("counting_clock")
def test_a_budget_that_is_too_small_still_gives_a_model(tmp_path, image_dir, monkeypatch):
    """After its first epoch such a run is evaluated and saved, and says so; a resume adds none."""
    config = from_recipe("simcnn", "best", epochs=50, time_budget=3, **FAST)
    with monkeypatch.context() as patch:
        patch.setattr("training.run.train._finish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(config, run_dir=tmp_path, data_dir=image_dir, checkpoint_every=10)

    metrics = train(config, run_dir=tmp_path, data_dir=image_dir).metrics

    assert metrics["epochs"] == 1
    assert metrics["time_budget"]["planned_epochs"] == 50
    assert metrics["time_budget"]["ended_early"] is True
    assert metrics["time_budget"]["used_seconds"] > 3
    assert (tmp_path / "model.keras").exists()
