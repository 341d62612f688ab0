"""Picture files to arrays: what TensorFlow's graphs do with decode_jpeg, decode_png and resize.

PNG and JPEG alone, first looked at by their header, so that nothing large is decoded by surprise.
Colours: grey is repeated in all channels, palettes are looked up, CMYK is converted; an alpha
channel is dropped without blending, and of 16-bit channels the upper byte counts, as in TensorFlow.
The orientation in a photograph's EXIF data is not applied, again as in TensorFlow: turn pictures
before sending them. Another size is scaled to the wanted one, without regard to the aspect ratio,
by bilinear interpolation with antialiasing; a picture of the right size keeps its exact pixels.
"""

import io
from typing import Any

import numpy as np

from serving.errors import InvalidInput, Unsupported

# 16.8 million: a 12-megapixel photograph fits. Decoded, that is 50 MB.
MAX_PIXELS = 4096 * 4096
# Encoders of progressive JPEGs write about ten scans. Each goes over the whole picture, so that a
# file of 100 KB can have hundreds take seconds.
MAX_SCANS = 100
_MAX_SCANNED_PIXELS = 20 * MAX_PIXELS
_START_OF_SCAN = b"\xff\xda"
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_JPEG_MAGIC = b"\xff\xd8\xff"


def decode(data: bytes, *, height: int, width: int) -> np.ndarray:
    """Decode a picture and scale it.

    Args:
        data: A whole PNG or JPEG file.
        height: Rows wanted.
        width: Columns wanted.

    Returns:
        uint8, shape (height, width, 3), RGB.

    Raises:
        InvalidInput: neither PNG nor JPEG, damaged, animated, of more than `MAX_PIXELS`, or a JPEG
            of more than `MAX_SCANS`.
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
            pixels = _to_rgb(image)
        except Exception as error:  # a decoder raises whatever the damage leads to
            raise _damaged(data, error) from error
        if pixels.size != (width, height):
            pixels = pixels.resize((width, height), resample=2)  # bilinear; always antialiased
        return np.asarray(pixels)
    finally:
        image.close()


def raw(data: bytes, *, height: int, width: int) -> np.ndarray:
    """Take pixels as they are.

    Args:
        data: Bytes of a uint8 array of shape (height, width, 3), RGB, row by row.
        height: Its rows.
        width: Its columns.

    Returns:
        uint8, shape (height, width, 3), read-only.

    Raises:
        InvalidInput: another number of bytes.
    """
    expected = height * width * 3
    if len(data) != expected:
        msg = (
            f"raw image has {len(data)} bytes, expected {expected} "
            f"({height} rows x {width} columns x 3 channels); send files as encoded images"
        )
        raise InvalidInput(msg)
    return np.frombuffer(data, np.uint8).reshape(height, width, 3)


def _check_scans(data: bytes, pixels: int) -> None:
    """Refuse a JPEG that goes over its pixels again and again.

    Raises:
        InvalidInput: it has too many scans for its size, or for any.
    """
    # Compressed data has no such bytes, and other segments have them hardly ever.
    scans = data.count(_START_OF_SCAN) if data.startswith(_JPEG_MAGIC) else 1
    most = min(MAX_SCANS, _MAX_SCANNED_PIXELS // max(1, pixels))
    if scans > most:
        msg = (
            f"JPEG file has {scans} scans, expected at most {most} for {pixels} pixels; save it "
            "once more, as a baseline JPEG or PNG"
        )
        raise InvalidInput(msg)


def _open(data: bytes) -> Any:  # noqa: ANN401 - Pillow is imported late
    """Read a file's header."""
    try:
        # Late: a server of models without pictures need not have it.
        from PIL.JpegImagePlugin import JpegImageFile  # noqa: PLC0415
        from PIL.PngImagePlugin import PngImageFile  # noqa: PLC0415
    except ImportError as error:
        msg = (
            "this server cannot decode image files: Pillow is not installed; install the serve "
            "extra, or send raw pixels"
        )
        raise Unsupported(msg) from error
    # The classes themselves, because PIL.Image.open would try dozens of other formats.
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


def _to_rgb(image: Any) -> Any:  # noqa: ANN401 - Pillow is imported late
    from PIL import Image  # noqa: PLC0415 - see _open

    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "P":  # straight to RGB, Pillow would warn of transparent palette entries
        image = image.convert("RGBA")
    return image.convert("RGB")


def _damaged(data: bytes, error: Exception) -> InvalidInput:
    kind = "PNG" if data.startswith(_PNG_MAGIC) else "JPEG"
    return InvalidInput(f"{kind} file of {len(data)} bytes is damaged or truncated: {error}")
