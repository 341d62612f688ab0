"""Labelled images as files: <folder>/<class>/*.png or *.jpg."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

_ENDINGS = (".jpeg", ".jpg", ".png")


def read(
    folder: Path, class_names: Sequence[str]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Read every image of 32x32 pixels, ordered by class folder, then by file name.

    Args:
        folder: Folder with one folder for each class; some may be missing. Other files are ignored.
        class_names: Allowed names of the class folders.

    Returns:
        uint8, shape (n, 32, 32, 3), RGB (grey and palette images are converted); and int64,
        shape (n,): each image's index into `class_names`.

    Raises:
        ValueError: A class is unknown, an image is damaged or has another size, there are no
            images, or Pillow is not installed. The message names the file or folder.
    """
    found = files(folder, class_names)
    images = [_read_image(path) for path, _ in found]
    return np.stack(images), np.array([label for _, label in found], np.int64)


def class_names(folder: Path) -> tuple[str, ...]:
    """The sorted names of the class folders."""
    return tuple(sorted(path.name for path in folder.iterdir() if path.is_dir()))


def files(folder: Path, class_names: Sequence[str]) -> list[tuple[Path, int]]:
    """Find every image, ordered by class folder, then by file name.

    Args:
        folder: Folder with one folder for each class; some may be missing. Other files are ignored.
        class_names: Allowed names of the class folders.

    Returns:
        The files, each with the index of its class in `class_names`.

    Raises:
        ValueError: A class is unknown, or there are no images.
    """
    if not folder.is_dir():
        msg = f"{folder} does not exist; expected {folder}/<class>/*.png or *.jpg"
        raise ValueError(msg)
    found = []
    for class_folder in sorted(path for path in folder.iterdir() if path.is_dir()):
        if class_folder.name not in class_names:
            msg = (
                f"the name of {class_folder} is no class, expected {', '.join(class_names)}; "
                "rename or remove it"
            )
            raise ValueError(msg)
        label = class_names.index(class_folder.name)
        paths = sorted(class_folder.iterdir())
        found += [(path, label) for path in paths if path.suffix.lower() in _ENDINGS]
    if not found:
        msg = f"{folder} holds no images; expected {folder}/<class>/*.png or *.jpg"
        raise ValueError(msg)
    return found


def _read_image(path: Path) -> npt.NDArray[np.uint8]:
    try:
        from PIL import Image  # noqa: PLC0415  only image folders need Pillow
    except ImportError:
        msg = f"reading {path} needs Pillow; install the train extra or use the binary batches"
        raise ValueError(msg) from None
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:  # Pillow's errors for damaged files
        msg = (
            f"{path} ({path.stat().st_size:,} bytes) is no readable image ({error}); "
            "replace or remove it"
        )
        raise ValueError(msg) from error
    if pixels.shape != (32, 32, 3):
        height, width = pixels.shape[:2]
        msg = f"{path} is {width}x{height} pixels, expected 32x32; resize it first"
        raise ValueError(msg)
    return pixels
