"""Decodes image files to arrays, like TensorFlow's decode_jpeg, decode_png and resize operators.

Only PNG and JPEG are decoded. The size in the header is checked before the pixels are decoded.
Colours: for an input of three channels grey is repeated in all of them, for an input of one channel
colours become their luminance; palettes are looked up, CMYK is converted; an alpha
channel is dropped without blending, and 16-bit channels are cut to the upper byte, as in
TensorFlow. The orientation in EXIF data is applied only if the feature spec says so, because
TensorFlow does not apply it: for other models rotate images before sending them. An image of
another size is scaled to the model's size by bilinear interpolation with antialiasing, without
keeping the aspect ratio; an image of the right size keeps its exact pixels.
"""

import io
from typing import Any

import numpy as np

from serving.errors import InvalidInput, Unsupported

# 16.8 million pixels: a 12-megapixel photograph fits. Decoded, they take 50 MB.
MAX_PIXELS = 4096 * 4096
# Encoders of progressive JPEGs write about ten scans. The decoder processes the whole image for
# each scan, so a file of 100 KB with hundreds of scans can take seconds.
MAX_SCANS = 100
_MAX_SCANNED_PIXELS = 20 * MAX_PIXELS
_START_OF_SCAN = b"\xff\xda"
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_JPEG_MAGIC = b"\xff\xd8\xff"
_ORIENTATION = 0x0112
# Pillow's transposition for each value of EXIF's orientation, as in PIL.ImageOps.exif_transpose.
_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}


def decode(
    data: bytes, *, height: int, width: int, channels: int = 3, upright: bool = False
) -> np.ndarray:
    """Decode an image and scale it.

    Args:
        data: Bytes of a complete PNG or JPEG file.
        height: Height of the result in pixels.
        width: Width of the result in pixels.
        channels: 3 for RGB, 1 for grey.
        upright: Whether the image is turned as its EXIF data says, before it is scaled.

    Returns:
        uint8, shape (height, width, channels).

    Raises:
        InvalidInput: the file is neither PNG nor JPEG, or is damaged or animated, or has more than
            `MAX_PIXELS` pixels or too many scans.
        Unsupported: this server was installed without Pillow.
    """
    image = _open(data)
    try:
        columns, rows = image.size
        if columns * rows > MAX_PIXELS:
            msg = (
                f"image has {columns} x {rows} pixels, expected at most {MAX_PIXELS} in all; "
                "scale it down before sending"
            )
            raise InvalidInput(msg)
        _check_scans(data, columns * rows)
        if getattr(image, "n_frames", 1) > 1:
            msg = f"image is animated ({image.n_frames} frames), expected one frame; send that"
            raise InvalidInput(msg)
        try:
            image.load()
            turn = _TURNS.get(_orientation(image)) if upright else None
            pixels = _to_rgb(image).convert("RGB" if channels == 3 else "L")
        except Exception as error:  # Pillow raises various exceptions for damaged files
            raise _damaged(data, error) from error
        if turn is not None:
            pixels = pixels.transpose(turn)
        if pixels.size != (width, height):
            pixels = pixels.resize((width, height), resample=2)  # bilinear; always antialiased
        return np.asarray(pixels).reshape(height, width, channels)
    finally:
        image.close()


def size(data: bytes) -> tuple[int, int]:
    """Return the height and width in pixels that an image file's header declares.

    Raises:
        InvalidInput, Unsupported: see `decode`.
    """
    with _open(data) as image:
        width, height = image.size
    return height, width


def raw(data: bytes, *, height: int, width: int, channels: int = 3) -> np.ndarray:
    """Read raw pixels.

    Args:
        data: Bytes of a uint8 array of shape (height, width, channels) in row-major order.
        height: Height in pixels.
        width: Width in pixels.
        channels: 3 for RGB, 1 for grey.

    Returns:
        uint8, shape (height, width, channels), read-only.

    Raises:
        InvalidInput: `data` has another size.
    """
    expected = height * width * channels
    if len(data) != expected:
        msg = (
            f"raw image has {len(data)} bytes, expected {expected} "
            f"({height} rows x {width} columns x {channels} channels); send files as encoded images"
        )
        raise InvalidInput(msg)
    return np.frombuffer(data, np.uint8).reshape(height, width, channels)


def _check_scans(data: bytes, pixels: int) -> None:
    """Refuse a JPEG whose many scans would take long to decode.

    Args:
        data: Bytes of the file.
        pixels: Number of pixels.

    Raises:
        InvalidInput: the file has more than `MAX_SCANS` scans, or too many for its pixels.
    """
    # Compressed data never contains this marker, and other segments rarely do.
    scans = data.count(_START_OF_SCAN) if data.startswith(_JPEG_MAGIC) else 1
    most = min(MAX_SCANS, _MAX_SCANNED_PIXELS // max(1, pixels))
    if scans > most:
        msg = (
            f"JPEG file has {scans} scans, expected at most {most} for {pixels} pixels; save it "
            "once more, as a baseline JPEG or PNG"
        )
        raise InvalidInput(msg)


def _open(data: bytes) -> Any:  # noqa: ANN401 - Pillow is imported late
    """Read a file's header and return a Pillow image that is not decoded yet.

    Raises:
        InvalidInput: the file is neither PNG nor JPEG, or is damaged.
        Unsupported: Pillow is not installed.
    """
    try:
        # Imported here, because a server of models without images does not need Pillow.
        from PIL.JpegImagePlugin import JpegImageFile  # noqa: PLC0415
        from PIL.PngImagePlugin import PngImageFile  # noqa: PLC0415
    except ImportError as error:
        msg = (
            "this server cannot decode image files: Pillow is not installed; install the serve "
            "extra, or send raw pixels"
        )
        raise Unsupported(msg) from error
    # PIL.Image.open is not used, because it would try dozens of other formats.
    if data.startswith(_PNG_MAGIC):
        kind: Any = PngImageFile
    elif data.startswith(_JPEG_MAGIC):
        kind = JpegImageFile
    else:
        msg = (
            f"neither a PNG nor a JPEG file: {len(data)} bytes that begin with "
            f"{data[:8].hex(' ') or 'nothing'}; send a whole file of one of these formats"
        )
        raise InvalidInput(msg)
    try:
        return kind(io.BytesIO(data))
    except Exception as error:  # see decode
        raise _damaged(data, error) from error


def _orientation(image: Any) -> int:  # noqa: ANN401 - Pillow is imported late
    """Return EXIF's orientation; 1, which is upright, if there is none or it cannot be read."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - damaged EXIF data raise various exceptions
        return 1


def _to_rgb(image: Any) -> Any:  # noqa: ANN401 - Pillow is imported late
    from PIL import Image  # noqa: PLC0415 - see _open

    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "P":  # a direct conversion to RGB warns of transparent palette entries
        image = image.convert("RGBA")
    return image.convert("RGB")


def _damaged(data: bytes, error: Exception) -> InvalidInput:
    kind = "PNG" if data.startswith(_PNG_MAGIC) else "JPEG"
    return InvalidInput(f"{kind} file of {len(data)} bytes is damaged or truncated: {error}")
