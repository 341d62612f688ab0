"""Reads a folder of images for a model: class folders give labels, a flat folder gives none."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from loadtest.rows import fitting
from loadtest.rows.dataset import Array, Dataset
from loadtest.settings.config import UsageError
from loadtest.transports.api import DEFAULT_MODEL_INPUT, PIXEL_DTYPES, TEXT, ModelInput
from training.data.cifar10 import CLASS_NAMES

_ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
# Pillow's modes by the number of channels.
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class _Layout(NamedTuple):
    """The form of an image in the input of a model.

    Attributes:
        height: Pixels; -1 for any.
        width: Pixels; -1 for any.
        channels: Number of colour channels.
        form: Order of the dimensions: "HWC", "CHW" or "HW".
    """

    height: int
    width: int
    channels: int
    form: str


@dataclass(frozen=True)
class ImageFolder:
    """A Source of the images of a folder.

    Attributes:
        folder: The folder.
        paths: The files in order.
        labels: Index of each file's class in `class_names`; empty without classes.
        class_names: Names of the classes, in the order of a model's outputs.
    """

    folder: Path
    paths: tuple[Path, ...]
    labels: tuple[int, ...]
    class_names: tuple[str, ...]

    @property
    def noun(self) -> str:
        """See Source."""
        return f"images of {self.folder.name}"

    def __len__(self) -> int:
        return len(self.paths)

    def fit(self, inputs: Sequence[ModelInput] | None, *, model: str, batch: int) -> Dataset:
        """See Source; an input of texts gets the contents of the files."""
        known, layout = _layout(inputs, model)
        notes: tuple[str, ...] = ()
        if layout is None:
            images = np.empty(len(self), object)
            images[:] = [path.read_bytes() for path in self.paths]
        else:
            images = _read(self.paths, layout, known, model)
            if known.dtype.startswith("float"):
                notes = ("pixels were sent as 0 to 255, not scaled",)
        fitting.check_batch([known], model=model, batch=batch)
        return Dataset(
            inputs=(known,),
            arrays={known.name: images},
            rows=len(self),
            labels=np.array(self.labels, np.int64) if self.labels else None,
            class_names=self.class_names,
            unit="images",
            source=self.folder.name,
            notes=notes,
        )


def find(folder: Path) -> ImageFolder:
    """Find the images of a folder, of its class folders, or of the class folders in its `test`.

    Classes are numbered in the order of their names, or as in CIFAR-10 if all names are its.

    Raises:
        UsageError: There are no images, or some outside of class folders.
    """
    root = folder / "test" if (folder / "test").is_dir() else folder
    flat = _images(root)
    classes = {path.name: _images(path) for path in sorted(root.iterdir()) if path.is_dir()}
    classes = {name: paths for name, paths in classes.items() if paths}
    if flat and classes:
        msg = (
            f"{root} has {flat[0].name} beside the class folder {next(iter(classes))}; expected "
            "either images alone, or class folders alone"
        )
        raise UsageError(msg)
    if not flat and not classes:
        msg = f"{root} has no images, expected {', '.join(_ENDINGS)}, there or in class folders"
        raise UsageError(msg)
    names = CLASS_NAMES if set(classes) <= set(CLASS_NAMES) else tuple(classes)
    labelled = [(path, names.index(name)) for name, paths in classes.items() for path in paths]
    return ImageFolder(
        folder,
        tuple(flat or (path for path, _ in labelled)),
        tuple(label for _, label in labelled),
        names if classes else (),
    )


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _ENDINGS)


def _layout(inputs: Sequence[ModelInput] | None, model: str) -> tuple[ModelInput, _Layout | None]:
    """Return the only input of a model and the form of its images; None for the files themselves.

    Raises:
        UsageError: The input takes no images.
    """
    known = [DEFAULT_MODEL_INPUT] if inputs is None else list(inputs)
    if len(known) != 1:
        names = ", ".join(f'"{one.name}"' for one in known) or "none"
        msg = f"model {model!r} has the inputs {names}, expected exactly one, for images"
        raise UsageError(msg)
    (one,) = known
    sizes = (-1, -1, -1) if one.shape is None else one.shape[1:]
    if one.dtype == TEXT and (one.shape is None or len(one.shape) == 1):
        return one, None
    if one.dtype in PIXEL_DTYPES:
        match sizes:
            case (height, width, (1 | 3 | 4) as channels):
                return one, _Layout(height, width, channels, "HWC")
            case ((1 | 3 | 4) as channels, height, width):
                return one, _Layout(height, width, channels, "CHW")
            case (height, width, -1):
                return one, _Layout(height, width, 3, "HWC")
            case (height, width):
                return one, _Layout(height, width, 1, "HW")
    msg = (
        f'input "{one.name}" of model {model!r} is {one.dtype} of shape {one.shape}, expected one '
        "for images: (batch, height, width, channels) or (batch, channels, height, width) of "
        "numbers, or (batch,) of texts for the files themselves"
    )
    raise UsageError(msg)


def _read(paths: Sequence[Path], layout: _Layout, known: ModelInput, model: str) -> Array:
    """Return the pixels of the files: uint8, shape (files, *layout).

    Raises:
        UsageError: A file is no image, or has another size.
    """
    images = []
    height, width = layout.height, layout.width
    for path in paths:
        pixels = _pixels(path, _MODES[layout.channels])
        found = pixels.shape[:2]
        height, width = (
            size if size > 0 else of for size, of in zip((height, width), found, strict=True)
        )
        if found != (height, width):
            open_size = -1 in (layout.height, layout.width)
            why = (
                f"the first image is {width}x{height}, and all must be of one size"
                if open_size
                else f'input "{known.name}" of model {model!r} takes {width}x{height}'
            )
            msg = f"{path} is {found[1]}x{found[0]} pixels, but {why}; resize it first"
            raise UsageError(msg)
        images.append(pixels)
    stacked = np.stack(images)
    if layout.form == "HW":
        return stacked
    stacked = stacked.reshape(len(images), height, width, layout.channels)
    return stacked.transpose(0, 3, 1, 2) if layout.form == "CHW" else stacked


def _pixels(path: Path, mode: str) -> Array:
    """Return an image: uint8, shape (height, width), or (height, width, channels).

    Raises:
        UsageError: The file cannot be read as an image.
    """
    try:
        from PIL import Image  # noqa: PLC0415 - only folders of images need Pillow
    except ImportError:
        msg = f"reading {path} needs Pillow; install the train extra, or pass an .npz file"
        raise UsageError(msg) from None
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert(mode))
    except (OSError, SyntaxError, ValueError) as error:  # Pillow's errors for damaged files
        msg = f"{path} is no readable image ({error}); replace or remove it"
        raise UsageError(msg) from error
