"""The pixels of a picture: one rule from the bytes of a file to the input of a model.

The rule is that of the server for a model whose signature has it (serving.tensors.image_decoder,
with `orientation: exif`), so that a served model sees the pixels that it was trained on. The
picture is turned upright as its EXIF data says. Colours become RGB, grey is repeated in three
channels, an alpha channel is dropped without blending, and 16-bit channels are cut to the upper
byte. Pillow's bilinear filter with antialiasing then scales it to the size of the model, without
the aspect ratio.

WebP and BMP are read here as well. The server decodes PNG and JPEG alone; its client sends the
other two as PNG files, which have the same pixels.
"""

import hashlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from training.data.cifar10 import DataError

# Pillow warns above 89 million pixels; a photograph of today's cameras has up to 60 million.
MAX_PIXELS = 80_000_000
KINDS = ("JPEG", "PNG", "WebP", "BMP")
ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_BILINEAR = 2
_ORIENTATION = 0x0112
# Pillow's transposition for each value of EXIF's orientation, as in PIL.ImageOps.exif_transpose.
_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
# Rows and columns of the grey picture whose gradients are the perceptual hash.
_LOOK = (9, 8)


class BrokenPictureError(ValueError):
    """A file is no picture that can be read; the message says why."""


@dataclass(frozen=True)
class Examined:
    """A picture that was decoded.

    Attributes:
        pixels: uint8, shape (side, side, 3), RGB.
        kind: Index of its format in KINDS.
        width: Width of the upright picture in pixels, before scaling.
        height: Its height.
        turned: Whether EXIF data said to turn or mirror it.
        content: First 16 bytes of the SHA-256 of the file.
        look: Perceptual hash of 64 bits (the "difference hash"): whether the brightness rises from
            each pixel to the next one in a grey copy of 9x8 pixels. 0 if the picture has one
            colour.
    """

    pixels: npt.NDArray[np.uint8]
    kind: int
    width: int
    height: int
    turned: bool
    content: bytes
    look: int


def examine(content: bytes, side: int) -> Examined:
    """Decode a picture by the rule of this module.

    Args:
        content: Content of a JPEG, PNG, WebP or BMP file.
        side: Height and width of the result in pixels.

    Raises:
        BrokenPictureError: The file is of another kind, damaged, animated or too large.
        DataError: Pillow is not installed.
    """
    kind, image = _open(content)
    try:
        columns, rows = image.size
        if columns * rows > MAX_PIXELS:
            msg = f"it has {columns} x {rows} pixels, expected at most {MAX_PIXELS:,} in all"
            raise BrokenPictureError(msg)
        if getattr(image, "n_frames", 1) > 1:
            msg = f"it is animated ({image.n_frames} frames), expected one frame"
            raise BrokenPictureError(msg)
        try:
            image.load()
            turn = _TURNS.get(_orientation(image))
            rgb = _to_rgb(image)
        except Exception as error:  # Pillow raises various exceptions for damaged files
            msg = f"{KINDS[kind]} file of {len(content):,} bytes is damaged or truncated: {error}"
            raise BrokenPictureError(msg) from error
        if turn is not None:
            rgb = rgb.transpose(turn)
        width, height = rgb.size
        scaled = rgb if rgb.size == (side, side) else rgb.resize((side, side), resample=_BILINEAR)
        return Examined(
            pixels=np.array(scaled),
            kind=kind,
            width=width,
            height=height,
            turned=turn is not None,
            content=hashlib.sha256(content).digest()[:16],
            look=_look(scaled),
        )
    finally:
        image.close()


def _open(content: bytes) -> tuple[int, Any]:
    try:
        from PIL.BmpImagePlugin import BmpImageFile  # noqa: PLC0415  see the folder's docstring
        from PIL.JpegImagePlugin import JpegImageFile  # noqa: PLC0415
        from PIL.PngImagePlugin import PngImageFile  # noqa: PLC0415
        from PIL.WebPImagePlugin import WebPImageFile  # noqa: PLC0415
    except ImportError:
        msg = "reading pictures needs Pillow; install the train extra"
        raise DataError(msg) from None
    # PIL.Image.open is not used: it reads a JPEG with a preview as an animation of two frames.
    if content.startswith(b"\xff\xd8\xff"):
        kind, reader = 0, JpegImageFile  # type: tuple[int, Any]
    elif content.startswith(b"\x89PNG\r\n\x1a\n"):
        kind, reader = 1, PngImageFile
    elif content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        kind, reader = 2, WebPImageFile
    elif content.startswith(b"BM"):
        kind, reader = 3, BmpImageFile
    else:
        begin = content[:8].hex(" ") or "nothing"
        msg = f"neither {', '.join(KINDS[:-1])} nor {KINDS[-1]}: it begins with {begin}"
        raise BrokenPictureError(msg)
    try:
        return kind, reader(io.BytesIO(content))
    except Exception as error:  # Pillow raises various exceptions for damaged headers
        msg = f"{KINDS[kind]} file of {len(content):,} bytes is damaged: {error}"
        raise BrokenPictureError(msg) from error


def _orientation(image: Any) -> int:  # noqa: ANN401  Pillow is imported late
    """Return EXIF's orientation; 1, which is upright, if there is none or it cannot be read."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001  damaged EXIF data: various exceptions, and warnings as errors
        return 1


def _to_rgb(image: Any) -> Any:  # noqa: ANN401  Pillow is imported late
    from PIL import Image  # noqa: PLC0415

    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "P":  # a direct conversion to RGB warns of transparent palette entries
        image = image.convert("RGBA")
    return image.convert("RGB")


def _look(image: Any) -> int:  # noqa: ANN401  Pillow is imported late
    grey = np.asarray(image.resize(_LOOK, resample=_BILINEAR).convert("L"), np.int16)
    rises = (grey[:, 1:] > grey[:, :-1]).ravel()
    return int(np.packbits(rises).view(">u8")[0])
