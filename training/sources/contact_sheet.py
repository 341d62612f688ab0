"""A contact sheet: a few pictures of every class on one page, as the model will see them."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from training import storage
from training.sources.decoding import GOOD, Decoded
from training.sources.listing import Listing
from training.sources.pixels import examine

_SIDE = 96
_COLUMNS = 8
_GAP = 4
_NAME_HEIGHT = 18
_MOST_CLASSES = 100
_TEXT, _PAPER = (32, 32, 32), (255, 255, 255)


def write(path: Path, listing: Listing, decoded: Decoded) -> int:
    """Write a contact sheet as JPEG: a row of up to eight training pictures for each class.

    Args:
        path: The file.
        listing: The pictures.
        decoded: Their facts; broken ones are left out.

    Returns:
        The number of classes that the sheet shows, 100 at most.

    Raises:
        StorageError: The file cannot be written.
    """
    from PIL import Image, ImageDraw  # noqa: PLC0415  see the folder's docstring

    names = listing.class_names[:_MOST_CLASSES]
    row_height = _NAME_HEIGHT + _SIDE + _GAP
    size = (_COLUMNS * (_SIDE + _GAP) + _GAP, len(names) * row_height + _GAP)
    sheet = Image.new("RGB", size, _PAPER)
    draw: Any = ImageDraw.Draw(sheet)
    for label, name in enumerate(names):
        top = label * row_height + _GAP
        rows = [
            row
            for row, each in enumerate(listing.pictures)
            if each.label == label and each.part == "train" and decoded.facts[row]["state"] == GOOD
        ]
        draw.text((_GAP, top), f"{name} ({len(rows):,})", fill=_TEXT, font_size=13)
        places = np.linspace(0, len(rows) - 1, min(_COLUMNS, len(rows))).astype(int)
        for column, place in enumerate(places.tolist()):
            content = listing.pictures[rows[place]].picture.content()
            tile = Image.fromarray(examine(content, _SIDE).pixels)
            sheet.paste(tile, (_GAP + column * (_SIDE + _GAP), top + _NAME_HEIGHT))
    file = io.BytesIO()
    sheet.save(file, "JPEG", quality=85)
    storage.write(path, file.getbuffer())
    return len(names)
