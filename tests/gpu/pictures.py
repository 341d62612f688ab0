"""The test images of the checks: all of CIFAR-10's, those that have arrived, or the sample."""

from pathlib import Path

import numpy as np
from gpu.graphs import SAMPLE
from gpu.kit import mosaics

from training.data.cifar10 import load_split

_TEST_BATCH = "test_batch"


def labelled_images(
    data_dir: Path | None, arrived: Path | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return test images with their labels.

    Args:
        data_dir: CIFAR-10, see training.data.cifar10.load; None if there is none.
        arrived: Folder of mosaics, for a machine to which only some have been uploaded.

    Returns:
        Images, uint8 (n, 32, 32, 3), and labels, int64 (n,): all 10,000 of `data_dir`, else those
        of the mosaics, else the sample in the repository.
    """
    if data_dir is not None and data_dir.exists():
        split = load_split(data_dir, "test")
        return split.images, split.labels
    if arrived is not None and len(planes := mosaics.read(arrived, _TEST_BATCH)):
        pixels = planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        labels = np.load(arrived / f"{_TEST_BATCH}.npy")[: len(planes)]
        return np.ascontiguousarray(pixels), labels.astype(np.int64)
    with np.load(SAMPLE) as sample:
        return sample["images"], sample["labels"]
