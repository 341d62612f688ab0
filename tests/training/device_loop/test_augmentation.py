import jax
import numpy as np
import pytest

from training.batches.draws import order
from training.batches.feeding import TrainingBatches
from training.data.cifar10 import Split
from training.device_loop import programs
from training.settings.recipes import from_recipe

AUGMENTATIONS = {
    "none": {"crop_padding": 0, "flip": False},
    "crop": {"crop_padding": 4, "flip": False},
    "widest crop": {"crop_padding": 31, "flip": False},
    "flip": {"crop_padding": 0},
    "cutout": {"crop_padding": 0, "flip": False, "cutout": 8},
    "odd cutout": {"crop_padding": 1, "cutout": 13},
    "mixup": {"crop_padding": 0, "flip": False, "mixup": 1.0},
    "all": {"crop_padding": 4, "cutout": 8, "mixup": 0.2},
}


def make_split(count):
    random = np.random.default_rng(count)
    images = random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return Split(images=images, labels=random.integers(0, 10, count))


@pytest.mark.parametrize("changes", AUGMENTATIONS.values(), ids=AUGMENTATIONS)
@pytest.mark.parametrize(("count", "batch_size", "seed"), [(300, 128, 0), (77, 77, 9), (33, 32, 1)])
def test_batches_on_the_device_are_those_of_numpy(changes, count, batch_size, seed):
    """Every pixel and target of several epochs equals that of TrainingBatches, bit for bit."""
    config = from_recipe("simcnn", "best", batch_size=batch_size, seed=seed, **changes)
    split = make_split(count)
    images, batches = programs.put(split), TrainingBatches(split, config)

    @jax.jit
    def make(draws, indices):
        return programs.training_batch(images, draws, indices, config)

    for batches.epoch in (0, 1, 29):
        draws = programs.put_draws(count, config, batches.epoch)
        parts = programs.step_indices(order(count, seed, batches.epoch), batch_size)
        device = [make(draws, indices) for part in parts for indices in part]
        numpy = [batches[number] for number in range(len(batches))]

        assert len(device) == len(numpy)
        for (pixels, targets), (expected_pixels, expected_targets) in zip(
            device, numpy, strict=True
        ):
            assert (pixels.dtype, targets.dtype) == (np.uint8, np.float32)
            assert (np.asarray(pixels) == expected_pixels).all()
            assert (np.asarray(targets) == expected_targets).all()


def test_steps_hold_every_image_once_in_order():
    """Full steps come first, the smaller last one is a part of its own; none of them is empty."""
    places = np.arange(10)[::-1]

    assert [part.tolist() for part in programs.step_indices(places, 4)] == [
        [[9, 8, 7, 6], [5, 4, 3, 2]],
        [[1, 0]],
    ]
    assert [part.shape for part in programs.step_indices(places, 5)] == [(2, 5)]
    assert [part.shape for part in programs.step_indices(places, 20)] == [(1, 10)]
