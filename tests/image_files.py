"""Image files: for requests, and for data sets of image files."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from training.data.cifar10 import CLASS_NAMES


def png(pixels: np.ndarray) -> bytes:
    """Return the content of a PNG file of uint8 pixels, (height, width) or (height, width, 3)."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_images(folder: Path, per_class: Mapping[str, int]) -> Path:
    """Write a folder of PNG images that can be learnt: each class has a colour, plus noise.

    Args:
        folder: The images are `<folder>/<split>/<class>/*.png`, of 32x32 pixels.
        per_class: Number of images of each class for each split, "train" and "test".
    """
    random = np.random.default_rng(0)
    for split, count in per_class.items():
        for label, name in enumerate(CLASS_NAMES):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 128, (32, 32, 3)) + 12 * label
                image = Image.fromarray(pixels.astype(np.uint8))
                image.save(folder / split / name / f"{number:03d}.png")
    return folder
