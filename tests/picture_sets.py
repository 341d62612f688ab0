"""Data sets of pictures of shapes: mixed sizes, formats and modes, broken and repeated files."""

import io
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ("circle", "cross", "ring", "square", "triangle")
# Ending, format and mode of files.
_FILES = (
    (".png", "PNG", "RGB"),
    (".png", "PNG", "RGBA"),
    (".webp", "WEBP", "RGB"),
    (".bmp", "BMP", "RGB"),
    (".jpg", "JPEG", "L"),
    (".jpeg", "JPEG", "RGB"),
    (".PNG", "PNG", "P"),
    (".jpg", "JPEG", "RGB"),
)


def shape_picture(
    label: int, random: np.random.Generator, *, least: int = 40, most: int = 160
) -> Image.Image:
    """Return an RGB picture of a size of its own, with the shape of a class on a noisy ground."""
    width, height = (int(size) for size in random.integers(least, most, 2))
    ground = random.integers(0, 90, (height, width, 3)).astype(np.uint8)
    picture = Image.fromarray(ground)
    draw = ImageDraw.Draw(picture)
    colour = tuple(int(value) for value in random.integers(140, 256, 3))
    half = 0.3 * min(width, height)
    x, y = width / 2 + random.uniform(-4, 4), height / 2 + random.uniform(-4, 4)
    box = (x - half, y - half, x + half, y + half)
    match label % len(CLASSES):
        case 0:
            draw.ellipse(box, fill=colour)
        case 1:
            draw.line(box, fill=colour, width=max(4, int(half / 3)))
            draw.line((box[0], box[3], box[2], box[1]), fill=colour, width=max(4, int(half / 3)))
        case 2:
            draw.ellipse(box, outline=colour, width=max(4, int(half / 4)))
        case 3:
            draw.rectangle(box, fill=colour)
        case 4:
            draw.polygon(((x, box[1]), (box[2], box[3]), (box[0], box[3])), fill=colour)
    return picture


def encoded(picture: Image.Image, number: int) -> tuple[str, bytes]:
    """Return the ending and the content of a file: format and mode depend on the number."""
    file = io.BytesIO()
    ending, kind, mode = _FILES[number % len(_FILES)]
    options = {}
    if ending == ".jpeg":  # a camera that was turned by a quarter
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = 6
        picture = picture.transpose(Image.Transpose.ROTATE_90)
    picture.convert(mode).save(file, kind, quality=90, **options)
    return ending, file.getvalue()


def write_pictures(
    folder: Path,
    per_class: int,
    *,
    class_names: Sequence[str] = CLASSES,
    parts: Sequence[str] = ("train", "train", "train", "train", "test"),
    broken: int = 0,
    repeated: int = 0,
    seed: int = 0,
) -> Path:
    """Write a folder of pictures: <part>/<class>/<number>.<ending>.

    Args:
        folder: The folder.
        per_class: Pictures of each class, over all parts.
        class_names: Names of the classes.
        parts: Parts of the pictures in turn; "" for class folders without parts.
        broken: Number of files that are cut or empty or text, in the place of training pictures.
        repeated: Number of test pictures that replace a training picture of their class.
        seed: Seed of the pictures.
    """
    random = np.random.default_rng(seed)
    written: dict[str, list[Path]] = {part: [] for part in parts}
    for label, name in enumerate(class_names):
        for number in range(per_class):
            part = parts[number % len(parts)]
            ending, content = encoded(shape_picture(label, random), number)
            target = folder / part / name
            target.mkdir(parents=True, exist_ok=True)
            file = target / f"{number:04d}{ending}"
            file.write_bytes(content)
            written[part].append(file)
    kept = list(written[parts[0]])
    for number in range(broken):
        file = written[parts[0]][7 + 5 * number]
        content = file.read_bytes()
        file.write_bytes((content[: len(content) // 2], b"", b"no picture")[number % 3])
        kept.remove(file)
    for number in range(repeated):
        source = written["test"][number]
        name = source.parent.name
        target = next(
            file
            for file in reversed(kept)
            if file.parent.name == name and file.suffix == source.suffix
        )
        shutil.copyfile(source, target)
        kept.remove(target)
    return folder
