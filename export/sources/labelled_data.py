"""Reads the test data that users pass for their own model: arrays in an .npz file, or pictures.

FILE.npz   one array for each input of the signature, by its name; `labels` with class indices
DIR        DIR/<class>/*.png or *.jpg; the server's code decodes and scales the pictures
"""

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.errors import ExportError
from serving.errors import ServingError
from serving.tensors import image_decoder
from serving.tensors.signature import Signature, TensorSpec
from training.data import image_folder

NPZ, PICTURES = "npz", "picture-folder"
LABELS = "labels"
FEWEST_ROWS = 10

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class LabelledData:
    """Rows for the inputs of one signature, with the right class of each row if it is known.

    Attributes:
        name: File or folder name, for messages and metrics.json.
        variant: NPZ or PICTURES.
        inputs: Arrays by input alias as they were read, shape (n, ...).
        dtypes: The dtype that each input takes, by alias.
        labels: Class indices, int64, shape (n,); None if they are not known.
        class_names: Names of the classes, from the folders; empty for .npz files.
    """

    name: str
    variant: str
    inputs: Arrays
    dtypes: Mapping[str, np.dtype[Any]]
    labels: npt.NDArray[np.int64] | None
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def feeds(self, rows: slice | npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays of the given rows by input alias, with the dtypes of the inputs."""
        return {
            alias: array[rows].astype(self.dtypes[alias]) for alias, array in self.inputs.items()
        }

    def sha256(self) -> str:
        """Return a SHA-256 over the arrays as read, sorted by alias, and the labels.

        The labels are hashed as little-endian int64. For one uint8 input with labels the digest
        equals training.data.cifar10.Split.sha256.
        """
        digest = hashlib.sha256()
        for _, array in sorted(self.inputs.items()):
            digest.update(np.ascontiguousarray(array).data)
        if self.labels is not None:
            digest.update(np.ascontiguousarray(self.labels.astype("<i8")).data)
        return digest.hexdigest()


def read(path: Path, signature: Signature, class_names: Sequence[str] = ()) -> LabelledData:
    """Read test data for a signature.

    Args:
        path: An .npz file, or a folder of pictures.
        signature: The signature that the data is for.
        class_names: Names of the classes in the order of the scores; by default the sorted names of
            the folders.

    Raises:
        ExportError: the data cannot be read, does not fit the signature, or has fewer than 10 rows.
    """
    if signature.feature_spec or any(
        spec.dtype.numpy.kind == "O" for spec in signature.inputs.values()
    ):
        msg = (
            f"{path} is test data for arrays, but the signature takes strings or serialized "
            "tf.Examples; export the model on decoded pixels (model.export), without --test-data "
            "otherwise"
        )
        raise ExportError(msg)
    data = _pictures(path, signature, class_names) if path.is_dir() else _arrays(path, signature)
    if len(data) < FEWEST_ROWS:
        msg = f"{path} has {len(data)} rows, expected at least {FEWEST_ROWS}; add more test data"
        raise ExportError(msg)
    return data


def check_labels(data: LabelledData, classes: int) -> None:
    """Check that every label is the index of a class.

    Raises:
        ExportError: a label is negative, or is not less than the number of classes.
    """
    if data.labels is None:
        return
    low, high = int(data.labels.min()), int(data.labels.max())
    if low < 0 or high >= classes:
        msg = (
            f"{data.name} has labels from {low} to {high}, expected 0 to {classes - 1}: the scores "
            f"have {classes} columns; number the classes from 0, in the order of the scores"
        )
        raise ExportError(msg)


def _arrays(path: Path, signature: Signature) -> LabelledData:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        msg = (
            f"{path} cannot be read ({str(error).splitlines()[0]}); expected a file that "
            "numpy.savez wrote, without objects, or a folder with one folder of pictures a class"
        )
        raise ExportError(msg) from error
    found = ", ".join(f"{name} {array.dtype}{array.shape}" for name, array in arrays.items())
    labels = arrays.pop(LABELS, None)
    inputs = list(signature.inputs)
    if len(inputs) == 1 and len(arrays) == 1:
        arrays = dict(zip(inputs, arrays.values(), strict=True))
    if set(arrays) != set(inputs):
        msg = (
            f"{path} has {found or 'no arrays'}; expected an array for each input "
            f"({', '.join(inputs)}), and {LABELS} with the class indices if they are known"
        )
        raise ExportError(msg)
    for alias, array in arrays.items():
        _check_array(path, alias, array, signature.inputs[alias])
    rows = {len(array) for array in arrays.values()}
    if labels is not None:
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            msg = (
                f"{path} has {LABELS} {labels.dtype}{labels.shape}, expected integers of shape "
                "(n,): the index of each row's class; convert one-hot labels with argmax(axis=1)"
            )
            raise ExportError(msg)
        rows.add(len(labels))
    if len(rows) > 1:
        msg = f"{path} has {found}; expected the same number of rows in all arrays"
        raise ExportError(msg)
    return LabelledData(
        name=path.name,
        variant=NPZ,
        inputs=arrays,
        dtypes={alias: spec.dtype.numpy for alias, spec in signature.inputs.items()},
        labels=None if labels is None else labels.astype(np.int64),
    )


def _check_array(path: Path, alias: str, array: npt.NDArray[Any], spec: TensorSpec) -> None:
    expected = spec.dtype.numpy
    if not np.can_cast(array.dtype, expected, "same_kind"):
        msg = f"{path} has {array.dtype} for input {alias}, expected {expected}; convert the array"
        raise ExportError(msg)
    if array.ndim == 0 or (spec.shape or (-1,))[0] != -1 or not spec.accepts_shape(array.shape):
        msg = (
            f"{path} has shape {array.shape} for input {alias}, which is {spec.shape_text}; "
            "expected rows of that shape, and an input with a free first dimension"
        )
        raise ExportError(msg)


def _pictures(folder: Path, signature: Signature, class_names: Sequence[str]) -> LabelledData:
    alias, spec = next(iter(signature.inputs.items()))
    shape = spec.shape or ()
    if (
        len(signature.inputs) != 1
        or len(shape) != 4
        or shape[0] != -1
        or shape[-1] not in {1, 3}
        or spec.dtype.numpy.kind not in "fiu"
    ):
        inputs = ", ".join(
            f"{name} {each.dtype.name} {each.shape_text}" for name, each in signature.inputs.items()
        )
        msg = (
            f"{folder} holds pictures, but the signature takes {inputs}, expected one input of "
            "shape (-1, height, width, 3 or 1); pass an .npz file with an array for each input"
        )
        raise ExportError(msg)
    try:
        names = tuple(class_names) or image_folder.class_names(folder)
        files = image_folder.files(folder, names)
        height, width = _size(shape, [file for file, _ in files])
        pixels = np.empty((len(files), height, width, shape[-1]), np.uint8)
        for row, (file, _) in enumerate(files):
            pixels[row] = _decoded(file, height=height, width=width, channels=shape[-1])
    except (OSError, ValueError) as error:
        raise ExportError(str(error)) from error
    return LabelledData(
        name=folder.resolve().name,
        variant=PICTURES,
        inputs={alias: pixels},
        dtypes={alias: spec.dtype.numpy},
        labels=np.array([label for _, label in files], np.int64),
        class_names=names,
    )


def _size(shape: Sequence[int], files: Sequence[Path]) -> tuple[int, int]:
    """Return the height and width of the input, or of the pictures if the input takes any size.

    Raises:
        ValueError: the input takes any size, and the pictures differ in size.
    """
    if -1 not in shape[1:3]:
        return shape[1], shape[2]
    sizes: dict[tuple[int, int], Path] = {}
    for file in files:
        try:
            sizes.setdefault(image_decoder.size(file.read_bytes()), file)
        except ServingError as error:
            raise _unreadable(file, error) from error
    if len(sizes) > 1:
        (one, first), (other, second) = list(sizes.items())[:2]
        msg = (
            f"the model takes pictures of any size, and {first} has {one[1]} x {one[0]} pixels, "
            f"{second} {other[1]} x {other[0]}; scale the pictures to one size, or export the "
            "model with a fixed height and width"
        )
        raise ValueError(msg)
    return next(iter(sizes))


def _decoded(file: Path, *, height: int, width: int, channels: int) -> npt.NDArray[np.uint8]:
    try:
        return image_decoder.decode(
            file.read_bytes(), height=height, width=width, channels=channels
        )
    except ServingError as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: ServingError) -> ValueError:
    return ValueError(f"{file} cannot be read ({error.message}); replace or remove it")
