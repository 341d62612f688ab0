import os

import keras
import numpy as np
import pytest

from training.run import checkpoint


def make_model(seed=0):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(1)])
    model.compile(
        optimizer=keras.optimizers.AdamW(0.01, use_ema=True, ema_momentum=0.9), loss="mse"
    )
    return model


def step(model, number):
    random = np.random.default_rng(number)
    model.train_on_batch(random.normal(size=(8, 4)), random.normal(size=(8, 1)))


def state(model):
    """Return weights and optimizer state, with averages and step count, as one vector."""
    variables = [*model.variables, *model.optimizer.variables]
    arrays = [keras.ops.convert_to_numpy(v) for v in variables if "metric" not in v.path]
    return np.concatenate([array.ravel().astype(np.float64) for array in arrays])


@pytest.fixture
def saved(tmp_path):
    """Three epochs of training, of which the last two are on disk, and the state after each."""
    model = make_model()
    states = []
    for epoch in (1, 2, 3):
        step(model, epoch)
        checkpoint.save(tmp_path, model, [{"epoch": e, "loss": 0.5} for e in range(1, epoch + 1)])
        states.append(state(model))
    return tmp_path, states


def test_restored_model_goes_on_as_if_never_interrupted(saved):
    """Weights, optimizer moments, step count and averaged weights are restored exactly."""
    folder, states = saved
    model = make_model(seed=1)

    history = checkpoint.restore(folder, model)

    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert (state(model) == states[2]).all()
    uninterrupted = make_model()
    for number in (1, 2, 3, 4):
        step(uninterrupted, number)
    step(model, 4)
    assert (state(model) == state(uninterrupted)).all()


def test_float16_training_goes_on_with_its_loss_scale(tmp_path):
    """float16's lowered loss scale and the steps since its last change are restored."""
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_float16")
        model, again = make_model(), make_model(seed=1)
    finally:
        keras.config.set_dtype_policy(policy)
    model.train_on_batch(np.full((8, 4), 1e9), np.zeros((8, 1)))  # beyond float16
    step(model, 1)
    checkpoint.save(tmp_path, model, [{"epoch": 1}])

    checkpoint.restore(tmp_path, again)

    assert float(again.optimizer.dynamic_scale) == 2**14
    assert int(again.optimizer.step_counter) == 1
    assert (state(again) == state(model)).all()
    step(model, 2)
    step(again, 2)
    assert (state(again) == state(model)).all()


def test_epoch_to_keep_stays_and_the_highest_ranked_is_restored(tmp_path):
    """The epoch given as `keep` is kept beside the two newest, and loaded if it ranks highest."""
    model, states = make_model(), []
    for epoch in (1, 2, 3, 4):
        step(model, epoch)
        history = [{"epoch": e, "val_accuracy": 1 / e} for e in range(1, epoch + 1)]
        checkpoint.save(tmp_path, model, history, keep=1)
        states.append(state(model))
    assert sorted(path.name for path in tmp_path.glob("*.json")) == [
        "epoch-0001.json",
        "epoch-0003.json",
        "epoch-0004.json",
    ]

    best = checkpoint.restore(tmp_path, model, rank=lambda rows: rows[-1]["val_accuracy"])

    assert len(best) == 1
    assert (state(model) == states[0]).all()
    assert len(checkpoint.restore(tmp_path, model)) == 4
    assert (state(model) == states[3]).all()


def test_damaged_checkpoints_of_later_epochs_go_with_the_next_save(saved):
    """After a restart a save keeps the new checkpoints and deletes damaged ones of later epochs."""
    folder, _ = saved
    for path in folder.glob("*.weights.h5"):
        truncate(path)
    model = make_model()
    assert checkpoint.restore(folder, model) == []

    checkpoint.save(folder, model, [{"epoch": 1}])

    assert sorted(path.name for path in folder.iterdir()) == [
        "epoch-0001.json",
        "epoch-0001.weights.h5",
    ]


def test_only_the_two_newest_are_kept(saved):
    """Older checkpoints are removed, both files of each, and no temporary file stays."""
    folder, _ = saved

    assert sorted(path.name for path in folder.iterdir()) == [
        "epoch-0002.json",
        "epoch-0002.weights.h5",
        "epoch-0003.json",
        "epoch-0003.weights.h5",
    ]


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def remove(path):
    path.unlink()


@pytest.mark.parametrize("damage", [truncate, flip_a_byte, remove])
@pytest.mark.parametrize("ending", [".weights.h5", ".json"])
def test_damaged_newest_checkpoint_is_passed_over(saved, damage, ending):
    """If either file of the newest checkpoint is damaged, the one before is restored."""
    folder, states = saved
    damage(folder / f"epoch-0003{ending}")
    if (damage, ending) == (flip_a_byte, ".json"):
        # A flipped byte may leave valid JSON with another number, so break the structure as well.
        (folder / "epoch-0003.json").write_text('{"bytes": 1}')
    model = make_model(seed=1)

    history = checkpoint.restore(folder, model)

    assert [row["epoch"] for row in history] == [1, 2]
    assert (state(model) == states[1]).all()


def test_half_written_files_of_a_killed_save_are_ignored(saved):
    """Temporary files, and weights without their JSON, don't count as a checkpoint."""
    folder, states = saved
    (folder / ".tmp-epoch-0004.weights.h5").write_bytes(b"half")
    (folder / "epoch-0004.weights.h5").write_bytes(b"complete, but its JSON was never written")
    model = make_model(seed=1)

    history = checkpoint.restore(folder, model)

    assert len(history) == 3
    assert (state(model) == states[2]).all()


def test_without_a_checkpoint_the_model_stays_as_it_is(tmp_path):
    """An empty or missing folder gives an empty history."""
    model = make_model()
    before = state(model)

    assert checkpoint.restore(tmp_path / "none", model) == []
    assert (state(model) == before).all()


def test_nan_is_no_json(tmp_path):
    """write_json raises ValueError for NaN, which other JSON readers reject."""
    with pytest.raises(ValueError, match="JSON"):
        checkpoint.write_json(tmp_path / "metrics.json", {"top1": float("nan")})
