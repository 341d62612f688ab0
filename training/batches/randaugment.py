"""RandAugment: each image goes through a few operations, drawn evenly from 14, at one magnitude.

Cubuk, Zoph, Shlens and Le: "RandAugment: Practical automated data augmentation with a reduced
search space" (2020). The operations and their ranges are those of torchvision's RandAugment with
its 31 magnitudes; pixels that come from outside of an image have the mean colour of cutout.

Pillow does the work on the CPU, so programs on another device cannot repeat it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

MOST_OPERATIONS, MOST_MAGNITUDE = 4, 30
_MOST_SHEAR, _MOST_DEGREES, _MOST_CHANGE, _MOST_BITS = 0.3, 30.0, 0.9, 4
_MOST_SHIFT = 150 / 331  # of the width or height
_WHITE = 255

# Pillow is imported late. An operation takes an image, the share of the largest magnitude from -1
# to 1, and the colour of what is outside.
_Operation = Callable[[Any, float, tuple[int, int, int]], Any]


def apply(
    images: npt.NDArray[np.uint8],
    operations: npt.NDArray[np.int64],
    *,
    magnitude: int,
    outside: tuple[int, int, int],
) -> None:
    """Change images in place.

    Args:
        images: uint8, shape (n, height, width, 3).
        operations: int64, shape (n, m): the m operations of each image in turn, see
            Draws.operations.
        magnitude: 0 to 30, the strength of all operations that have one.
        outside: Colour of pixels that come from outside of an image.
    """
    from PIL import Image  # noqa: PLC0415  only trainings with RandAugment need Pillow

    share = magnitude / MOST_MAGNITUDE
    for pixels, chosen in zip(images, operations.tolist(), strict=True):
        picture: Any = Image.fromarray(pixels)
        for value in chosen:
            number, negative = divmod(value, 2)
            picture = OPERATIONS[number](picture, -share if negative else share, outside)
        pixels[:] = np.asarray(picture)


def _affine(image: Any, matrix: tuple[float, ...], outside: tuple[int, int, int]) -> Any:  # noqa: ANN401
    from PIL import Image  # noqa: PLC0415

    return image.transform(image.size, Image.Transform.AFFINE, matrix, fillcolor=outside)


def _identity(image: Any, _share: float, _outside: tuple[int, int, int]) -> Any:  # noqa: ANN401
    return image


def _shear_x(image: Any, share: float, outside: tuple[int, int, int]) -> Any:  # noqa: ANN401
    shear = _MOST_SHEAR * share  # around the centre, so that the object stays in the image
    return _affine(image, (1, shear, -shear * image.height / 2, 0, 1, 0), outside)


def _shear_y(image: Any, share: float, outside: tuple[int, int, int]) -> Any:  # noqa: ANN401
    shear = _MOST_SHEAR * share
    return _affine(image, (1, 0, 0, shear, 1, -shear * image.width / 2), outside)


def _translate_x(image: Any, share: float, outside: tuple[int, int, int]) -> Any:  # noqa: ANN401
    return _affine(image, (1, 0, round(_MOST_SHIFT * share * image.width), 0, 1, 0), outside)


def _translate_y(image: Any, share: float, outside: tuple[int, int, int]) -> Any:  # noqa: ANN401
    return _affine(image, (1, 0, 0, 0, 1, round(_MOST_SHIFT * share * image.height)), outside)


def _rotate(image: Any, share: float, outside: tuple[int, int, int]) -> Any:  # noqa: ANN401
    return image.rotate(_MOST_DEGREES * share, fillcolor=outside)


def _enhanced(name: str) -> _Operation:
    """Return an operation that moves an image away from, or towards, one without a property."""

    def enhance(image: Any, share: float, _outside: tuple[int, int, int]) -> Any:  # noqa: ANN401
        from PIL import ImageEnhance  # noqa: PLC0415

        return getattr(ImageEnhance, name)(image).enhance(1 + _MOST_CHANGE * share)

    return enhance


def _posterize(image: Any, share: float, _outside: tuple[int, int, int]) -> Any:  # noqa: ANN401
    from PIL import ImageOps  # noqa: PLC0415

    return ImageOps.posterize(image, 8 - round(_MOST_BITS * abs(share)))


def _solarize(image: Any, share: float, _outside: tuple[int, int, int]) -> Any:  # noqa: ANN401
    from PIL import ImageOps  # noqa: PLC0415

    return ImageOps.solarize(image, round(_WHITE * (1 - abs(share))))


def _auto_contrast(image: Any, _share: float, _outside: tuple[int, int, int]) -> Any:  # noqa: ANN401
    from PIL import ImageOps  # noqa: PLC0415

    return ImageOps.autocontrast(image)


def _equalize(image: Any, _share: float, _outside: tuple[int, int, int]) -> Any:  # noqa: ANN401
    from PIL import ImageOps  # noqa: PLC0415

    return ImageOps.equalize(image)


OPERATIONS: tuple[_Operation, ...] = (
    _identity,
    _shear_x,
    _shear_y,
    _translate_x,
    _translate_y,
    _rotate,
    _enhanced("Brightness"),
    _enhanced("Color"),
    _enhanced("Contrast"),
    _enhanced("Sharpness"),
    _posterize,
    _solarize,
    _auto_contrast,
    _equalize,
)
