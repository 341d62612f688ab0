import io
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from picture_sets import CLASSES, encoded, shape_picture, write_pictures
from PIL import Image

from serving.tensors import image_decoder
from training.data.cifar10 import DataError
from training.sources import decoding, opening, pixels, summary
from training.sources.pixels import BrokenPictureError, examine

ROOT = Path(__file__).parents[3]


@pytest.fixture
def flawed(tmp_path):
    """100 pictures, 4 of them broken and 3 repeated in the test pictures."""
    return write_pictures(tmp_path / "flawed", 20, broken=4, repeated=3)


@pytest.mark.parametrize("number", [0, 1, 4, 6, 7])
@pytest.mark.parametrize("side", [32, 57])
def test_the_server_decodes_the_same_pixels(number, side):
    """PNG and JPEG files in all modes have the pixels here that the server gives a model."""
    _, content = encoded(shape_picture(number, np.random.default_rng(number)), number)

    served = image_decoder.decode(content, height=side, width=side)

    assert (examine(content, side).pixels == served).all()


def test_pictures_are_turned_upright():
    """A picture that EXIF data turn has the pixels of the upright one, for all eight values."""
    upright = shape_picture(4, np.random.default_rng(0)).resize((60, 40))
    inverse = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    for value, turn in inverse.items():
        exif = Image.Exif()
        exif[0x0112] = value
        stored = upright if turn is None else upright.transpose(turn)
        file = io.BytesIO()
        stored.save(file, "PNG", exif=exif)
        found = examine(file.getvalue(), 32)
        assert (found.width, found.height) == (60, 40), value
        assert (found.pixels == np.asarray(upright.resize((32, 32), 2))).all(), value


def test_broken_files_are_told_and_left_out(flawed, caplog):
    """The good pictures are read, and the reason of each broken one is kept."""
    listing = opening.find(flawed)
    decoded = decoding.decode(listing, 32)
    data = opening.load(flawed, 32)

    assert len(decoded.reasons) == 4
    assert len(data.train) + len(data.test) == 96
    assert "files left out, because they are no readable pictures: 4" in caplog.text
    with pytest.raises(DataError, match="4 of 100 files are no pictures, the first one is train/"):
        opening.load(flawed, 32, refuse_broken=True)


def test_animations_and_other_formats_are_no_pictures():
    """An animated WebP, a GIF and a picture of too many pixels are refused with a reason."""
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    animated, gif, large = io.BytesIO(), io.BytesIO(), io.BytesIO()
    frames[0].save(animated, "WEBP", save_all=True, append_images=frames[1:])
    frames[0].save(gif, "GIF")
    Image.new("1", (10_000, 8_001)).save(large, "PNG")
    for file, reason in (
        (animated, "it is animated"),
        (gif, "neither JPEG, PNG, WebP nor BMP"),
        (large, "it has 10000 x 8001 pixels"),
    ):
        with pytest.raises(BrokenPictureError, match=reason):
            examine(file.getvalue(), 32)


def test_repeated_and_alike_pictures_are_found(flawed):
    """Copies of test pictures among those for training, and a copy of another size and quality."""
    source = next((flawed / "test" / "ring").glob("*.jpeg"), None) or next(
        (flawed / "test" / "ring").glob("*.png")
    )
    with Image.open(source) as image:
        smaller = image.convert("RGB").resize((image.width * 3 // 4, image.height * 3 // 4))
    smaller.save(flawed / "train" / "ring" / "smaller.jpg", quality=80)
    listing = opening.find(flawed)

    found = summary.summarise(listing, decoding.decode(listing, 64, keep=False))

    assert found["repeated_pictures"] == 6
    assert all(
        {name.split("/")[0] for name in group} == {"train", "test"} for group in found["repeated"]
    )
    copies = {"train/ring/smaller.jpg", source.relative_to(flawed).as_posix()}
    assert copies in [set(pair) for pair in found["alike"]]
    assert "repeated" not in summary.for_card(found)


@pytest.fixture
def small_memory(monkeypatch, tmp_path):
    """All pictures go through the file; a block holds 16 of them."""
    monkeypatch.setattr(decoding, "MEMORY_BYTES", 0)
    monkeypatch.setattr(decoding, "_BLOCK_BYTES", 1)
    monkeypatch.setenv(decoding.CACHE_VARIABLE, str(tmp_path / "cache"))


def test_pictures_in_a_file_are_those_in_memory(flawed, monkeypatch, tmp_path):
    """Rows, subsets and digests of both kinds of data sets are the same."""
    in_memory = opening.load(flawed, 32)
    monkeypatch.setattr(decoding, "MEMORY_BYTES", 0)
    monkeypatch.setenv(decoding.CACHE_VARIABLE, str(tmp_path / "cache"))

    stored = opening.load(flawed, 32)

    rows = np.array([5, 3, 60])
    assert type(stored.train) is not type(in_memory.train)
    assert (stored.train.take(rows) == in_memory.train.take(rows)).all()
    assert (stored.train.subset(rows).take(slice(1, 3)) == in_memory.train.take(rows[1:])).all()
    assert stored.train.sha256() == in_memory.train.sha256()
    assert stored.sha256 == in_memory.sha256
    assert stored.facts == in_memory.facts


def test_pictures_are_decoded_once(flawed, small_memory, monkeypatch):
    """A second reading decodes only broken files; a file that changed is decoded again."""
    asked = []
    monkeypatch.setattr(
        decoding, "examine", lambda content, side: asked.append(0) or pixels.examine(content, side)
    )
    first = opening.load(flawed, 32)
    times = len(asked)
    again = opening.load(flawed, 32)

    assert times > 90
    assert len(asked) - times == 4
    assert again.train.sha256() == first.train.sha256()
    assert again.facts == first.facts
    with Image.open(flawed / "train" / "ring" / "0000.png") as image:
        image.rotate(180).save(flawed / "train" / "ring" / "0000.png")
    assert opening.load(flawed, 32).train.sha256() != first.train.sha256()


# Decodes in a process that takes 0.2 s for a block.
DECODE_SLOWLY = """
import sys, time
from pathlib import Path
from training.sources import decoding, opening
decoding.MEMORY_BYTES, decoding._BLOCK_BYTES, original = 0, 1, decoding._note
decoding._note = lambda *rest: (time.sleep(0.2), original(*rest))
opening.load(Path(sys.argv[1]), 32)
"""


def test_a_killed_decoding_goes_on(flawed, small_memory, monkeypatch, tmp_path):
    """After SIGKILL the blocks that are on the disk are not decoded again, and no pixel differs."""
    cache = tmp_path / "cache"
    process = subprocess.Popen([sys.executable, "-c", DECODE_SLOWLY, str(flawed)], cwd=ROOT)
    blocks = 0
    until = time.monotonic() + 60
    while blocks < 2 and time.monotonic() < until:
        time.sleep(0.02)
        for file in cache.glob("*/facts.bin"):
            blocks = np.count_nonzero(np.fromfile(file, decoding.FACTS)["state"]) // 16
    process.kill()
    process.wait()
    assert process.returncode == -signal.SIGKILL
    asked = []
    monkeypatch.setattr(
        decoding, "examine", lambda content, side: asked.append(0) or pixels.examine(content, side)
    )

    stored = opening.load(flawed, 32)

    assert 4 < len(asked) <= 100 - 32 + 4
    monkeypatch.setattr(decoding, "MEMORY_BYTES", 2**30)
    assert stored.train.sha256() == opening.load(flawed, 32).train.sha256()


def test_class_names_follow_the_folder(flawed):
    """Labels are indices into the sorted class names."""
    data = opening.load(flawed, 32)

    assert data.class_names == CLASSES
    assert set(data.test.labels.tolist()) == set(range(5))
