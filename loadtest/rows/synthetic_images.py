"""Images of coloured shapes and textures in the form of CIFAR-10's, for a test without a data set.

No model was trained on them: which class it answers says nothing about its accuracy.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loadtest.rows.dataset import Dataset
from loadtest.rows.images import fit_images
from loadtest.transports.api import ModelInput

_SIZE = 32
_NOISE = 12.0
_NOTE = (
    "synthetic images: their classes are unknown to the model, so its accuracy on them would mean "
    "nothing and is not measured"
)

Plane = npt.NDArray[np.float64]
# A shape takes the distances of each pixel from its centre (x, y), -1 to 1, and the distance
# between the lines of a texture; it returns which pixels are part of it.
Shape = Callable[[Plane, Plane, float], npt.NDArray[np.bool_]]

SHAPES: dict[str, Shape] = {
    "disc": lambda x, y, _: x**2 + y**2 < 0.4,
    "square": lambda x, y, _: np.maximum(abs(x), abs(y)) < 0.55,
    "triangle": lambda x, y, _: (y < 0.6) & (abs(x) < (y + 0.7) / 2),
    "ring": lambda x, y, _: abs(x**2 + y**2 - 0.4) < 0.2,
    "cross": lambda x, y, _: np.minimum(abs(x), abs(y)) < 0.2,
    "diamond": lambda x, y, _: abs(x) + abs(y) < 0.75,
    "rows": lambda _, y, width: np.floor(y / width) % 2 == 0,
    "columns": lambda x, _, width: np.floor(x / width) % 2 == 0,
    "checks": lambda x, y, width: (np.floor(x / width) + np.floor(y / width)) % 2 == 0,
    "diagonals": lambda x, y, width: np.floor((x + y) / width) % 2 == 0,
}


@dataclass(frozen=True)
class SyntheticImages:
    """A Source of synthetic images.

    Attributes:
        count: Number of images.
        seed: Seed of shapes, colours and places.
    """

    count: int
    seed: int

    @property
    def noun(self) -> str:
        """See Source."""
        return "synthetic images"

    def __len__(self) -> int:
        return self.count

    def fit(self, inputs: Sequence[ModelInput] | None, *, model: str, batch: int) -> Dataset:
        """See Source; the labels are left out, because no model knows these classes."""
        images, _ = draw(self.count, self.seed)
        return fit_images(
            images,
            inputs,
            model=model,
            batch=batch,
            source=f"synthetic, seed {self.seed}",
            notes=(_NOTE,),
        )


def draw(count: int, seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return images and their classes; an image depends on the seed and its number alone.

    Args:
        count: Number of images.
        seed: Seed.

    Returns:
        uint8, shape (count, 32, 32, 3), RGB; and int64, shape (count,): index into SHAPES.
    """
    images = np.empty((count, _SIZE, _SIZE, 3), np.uint8)
    classes = np.arange(count, dtype=np.int64) % len(SHAPES)
    shapes = tuple(SHAPES.values())
    for number, label in enumerate(classes):
        images[number] = _image(shapes[label], np.random.default_rng([seed, number]))
    return images, classes


def _image(shape: Shape, random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Return a shape in one colour on a background of another, with noise."""
    steps = np.linspace(-1, 1, _SIZE)
    scale, (left, top) = random.uniform(0.7, 1.2), random.uniform(-0.3, 0.3, 2)
    x, y = np.meshgrid((steps - left) / scale, (steps - top) / scale)
    inside = shape(x, y, random.uniform(0.2, 0.45))
    colours = random.uniform(0, 255, (2, 3))
    pixels = np.where(inside[..., None], colours[0], colours[1])
    noisy = np.clip(pixels + random.normal(0, _NOISE, pixels.shape), 0, 255)
    return np.asarray(noisy, np.uint8)
