"""Pictures for a model: files, contents of files and pixels, and the size that a model takes."""

import io
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np

from serving.errors import InvalidInput, ServingError, Unsupported
from serving.protos import tensorflow_pb2
from serving.protos.tensorflow_serving_pb2 import SignatureDefMap
from serving.tensors import image_decoder
from serving.tensors.signature import DEFAULT_SIGNATURE_NAME
from serving.tensors.tensor_spec import DataType

# A path, the content of a PNG, JPEG, WebP or BMP file, or pixels: uint8, shape (height, width, 3)
# or (height, width), 0 to 255.
Picture = bytes | str | PathLike[str] | np.ndarray

_NO_PILLOW = "Pillow is not installed; install the package with the extra pictures"


class PictureInput(NamedTuple):
    """The input of a signature that takes pictures as pixels.

    Attributes:
        name: Name of the input.
        height: Height in pixels; None if the model takes any.
        width: Width in pixels; None if the model takes any.
        channels: 3 for RGB, 1 for grey.
    """

    name: str
    height: int | None
    width: int | None
    channels: int


def contents(pictures: Iterable[Picture]) -> list[bytes]:
    """Return the content of an image file for each picture.

    Pixels become PNG files, and so do WebP and BMP files, which servers do not decode: a PNG file
    has the same pixels.

    Raises:
        ImportError: pixels are given, and Pillow is not installed.
        OSError: a file cannot be read.
        TypeError: `pictures` are a single picture, or one of them is no `Picture`.
        ValueError: pixels have another dtype or shape than `Picture` says.
    """
    return [_content(picture, at) for at, picture in enumerate(listed(pictures))]


def read_pictures(
    pictures: Iterable[Picture],
    *,
    height: int | None,
    width: int | None,
    channels: int = 3,
    resize: bool = False,
    upright: bool = False,
) -> np.ndarray:
    """Decode pictures as the server decodes those of `classify`, with the same pixels.

    Args:
        pictures: Paths or contents of PNG, JPEG, WebP or BMP files, or pixels.
        height: Height in pixels; None for that of the first picture.
        width: Width in pixels; None for that of the first picture.
        channels: 3 for RGB, 1 for grey.
        resize: Whether pictures of another size are scaled, without keeping the aspect ratio.
        upright: Whether they are turned as their EXIF data say. The signature `classify` of models
            that `python -m training` trained on pictures of any classes does that.

    Returns:
        uint8, shape (pictures, height, width, channels), 0 to 255.

    Raises:
        ImportError: Pillow is not installed.
        OSError, TypeError: see `contents`.
        ValueError: a file is neither PNG nor JPEG, or has another size and `resize` is not set.
    """
    several = listed(pictures)
    files = contents(several)
    if files and (height is None or width is None):
        first = _size(files[0], _name(several[0], 0))
        height, width = height or first[0], width or first[1]
    if not files or height is None or width is None:
        msg = "no picture received, expected at least one"
        raise ValueError(msg)
    pixels = []
    for at, (picture, data) in enumerate(zip(several, files, strict=True)):
        name = _name(picture, at)
        if not resize:
            _check_size(_size(data, name), name, height, width)
        try:
            pixels.append(
                image_decoder.decode(
                    data, height=height, width=width, channels=channels, upright=upright
                )
            )
        except InvalidInput as error:
            msg = f"{name}: {error.message}"
            raise ValueError(msg) from error
    return np.stack(pixels)


def check_sizes(
    pictures: Iterable[Picture], files: Sequence[bytes], signatures: SignatureDefMap
) -> None:
    """Refuse pictures whose size is not that of the model.

    Args:
        pictures: The pictures, for their names in messages.
        files: The content of an image file for each picture.
        signatures: The model's signatures. The size is that of the pictures that the default
            signature takes.

    Raises:
        ImportError: Pillow is not installed.
        ValueError: a picture has another size or is neither PNG nor JPEG, or the default signature
            does not take pictures.
    """
    taken = picture_input(signatures, DEFAULT_SIGNATURE_NAME)
    for at, (picture, data) in enumerate(zip(pictures, files, strict=True)):
        name = _name(picture, at)
        rows, columns = _size(data, name)
        _check_size((rows, columns), name, taken.height or rows, taken.width or columns)


def picture_input(
    signatures: SignatureDefMap, signature_name: str, name: str | None = None
) -> PictureInput:
    """Return the input of a signature that takes pictures: uint8 of (batch, height, width, 1 or 3).

    Args:
        signatures: The model's signatures.
        signature_name: Name of the signature.
        name: Name of the input; None for the only one that takes pictures.

    Raises:
        ValueError: there is no such signature, or not exactly one such input.
    """
    if signature_name not in signatures.signature_def:
        known = ", ".join(sorted(signatures.signature_def)) or "none"
        msg = f"the model has no signature {signature_name!r}, expected one of {known}"
        raise ValueError(msg)
    inputs = signatures.signature_def[signature_name].inputs
    found = []
    for alias, info in inputs.items():
        sizes = [dim.size for dim in info.tensor_shape.dim]
        is_picture = int(info.dtype) == DataType.DT_UINT8 and len(sizes) == 4 and sizes[3] in {1, 3}
        if is_picture and name in {None, alias}:
            height, width = (None if size < 0 else size for size in sizes[1:3])
            found.append(PictureInput(alias, height, width, sizes[3]))
    if len(found) != 1:
        takes = ", ".join(f"{alias} {tensor_text(inputs[alias])}" for alias in sorted(inputs))
        msg = (
            f"signature {signature_name!r} takes {takes or 'no input'}; expected "
            f"{'one input' if name is None else f'an input {name!r}'} that takes pictures, uint8 "
            "of (batch, height, width, 3); for another input send arrays"
        )
        raise ValueError(msg)
    return found[0]


def tensor_text(info: tensorflow_pb2.TensorInfo) -> str:
    """Return dtype and shape of a tensor, for messages and tables."""
    shape = info.tensor_shape
    sizes = "of any rank" if shape.unknown_rank else tuple(dim.size for dim in shape.dim)
    return f"{tensorflow_pb2.DataType.Name(info.dtype)} {sizes}"


def listed(pictures: Iterable[Picture]) -> list[Picture]:
    """Return the pictures as a list, but refuse a single one.

    Raises:
        TypeError: `pictures` are a single picture; an iteration would take each of its letters,
            bytes or rows for a picture.
    """
    if isinstance(pictures, np.ndarray) and pictures.ndim != 4:
        msg = (
            f"pictures are an array of shape {pictures.shape}, expected (pictures, height, width, "
            "channels); add the first dimension to a single picture with array[None]"
        )
        raise TypeError(msg)
    if isinstance(pictures, str | bytes | PathLike):
        msg = f"pictures are a single {type(pictures).__name__}, expected a list: [picture]"
        raise TypeError(msg)
    return list(pictures)


def _content(picture: Picture, at: int) -> bytes:
    if isinstance(picture, bytes):
        return _readable(picture)
    if isinstance(picture, np.ndarray):
        return _png(picture, at)
    if isinstance(picture, str | PathLike):
        return _readable(Path(picture).read_bytes())
    msg = (
        f"picture {at} is of type {type(picture).__name__}, expected a path, the bytes of a file, "
        "or pixels as an array"
    )
    raise TypeError(msg)


def _readable(data: bytes) -> bytes:
    """Return a WebP or BMP file as a PNG file with the same pixels and EXIF data.

    Other files stay as they are, and so do damaged ones, which the server then refuses.
    """
    if not (data.startswith(b"BM") or (data.startswith(b"RIFF") and data[8:12] == b"WEBP")):
        return data
    try:
        from PIL import Image  # noqa: PLC0415 - the client needs Pillow for these files only
    except ImportError as error:
        msg = f"cannot send a WebP or BMP file: {_NO_PILLOW}, or send PNG or JPEG files"
        raise ImportError(msg) from error
    file = io.BytesIO()
    try:
        with Image.open(io.BytesIO(data), formats=("BMP", "WEBP")) as image:
            if getattr(image, "n_frames", 1) > 1:
                return data
            image.save(file, "PNG", exif=image.getexif())
    except (OSError, SyntaxError, ValueError):
        return data
    return file.getvalue()


def _png(pixels: np.ndarray, at: int) -> bytes:
    shape = pixels.shape
    if pixels.dtype != np.uint8 or shape[2:] not in {(), (1,), (3,)} or len(shape) < 2:
        msg = (
            f"picture {at} has dtype {pixels.dtype} and shape {shape}, expected uint8 of "
            "(height, width, 3), 0 to 255"
        )
        raise ValueError(msg)
    try:
        from PIL import Image  # noqa: PLC0415 - the client needs Pillow for pixels only
    except ImportError as error:
        msg = f"cannot send pixels as a picture: {_NO_PILLOW}, or send files"
        raise ImportError(msg) from error
    file = io.BytesIO()
    grey = shape[2:] == (1,)
    Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if grey else pixels)).save(file, "PNG")
    return file.getvalue()


def _size(data: bytes, name: str) -> tuple[int, int]:
    """Return the height and width in a file's header.

    Raises:
        ImportError: Pillow is not installed.
        ValueError: the file is neither PNG nor JPEG.
    """
    try:
        return image_decoder.size(data)
    except Unsupported as error:
        msg = f"cannot read {name}: {_NO_PILLOW}"
        raise ImportError(msg) from error
    except ServingError as error:
        msg = f"{name}: {error.message}"
        raise ValueError(msg) from error


def _check_size(size: tuple[int, int], name: str, height: int, width: int) -> None:
    if size != (height, width):
        msg = (
            f"{name} has {size[1]} x {size[0]} pixels (width x height), expected {width} x "
            f"{height}; scale it, or set resize to have it scaled without its aspect ratio"
        )
        raise ValueError(msg)


def _name(picture: Picture, at: int) -> str:
    """Return a picture's path, or its position from 0, for messages."""
    return str(Path(picture)) if isinstance(picture, str | PathLike) else f"picture {at}"
