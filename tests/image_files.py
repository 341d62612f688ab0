"""Image files for requests."""

import io

import numpy as np
from PIL import Image


def png(pixels: np.ndarray) -> bytes:
    """Return the content of a PNG file of uint8 pixels, (height, width) or (height, width, 3)."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
