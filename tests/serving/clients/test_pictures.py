"""Tests of pictures: paths, contents and pixels, their sizes, and Pillow."""

import asyncio
import sys
from pathlib import Path

import numpy as np
import pytest
from image_files import png
from PIL import Image
from running import servers

from serving.client import AsyncPredictClient, PredictClient, PredictError, read_pictures

BUNDLED = Path(__file__).parents[3] / "models"


@pytest.fixture(scope="module")
def classifier():
    """Address of a server with the bundled SimCNN."""
    with servers.in_this_process(
        None, model_base_path=BUNDLED / "simcnn", model_name="simcnn"
    ) as address:
        yield address


@pytest.fixture
def picture(tmp_path, sample_images) -> Path:
    """A PNG file with the first test image, a cat."""
    file = tmp_path / "cat.png"
    file.write_bytes(png(sample_images[0]))
    return file


def classify(kind, target: str, images, **settings) -> list:
    async def run() -> list:
        async with AsyncPredictClient(target) as client:
            return await client.classify("simcnn", images, **settings)

    if kind is AsyncPredictClient:
        return asyncio.run(run())
    with PredictClient(target) as client:
        return client.classify("simcnn", images, **settings)


@pytest.mark.parametrize("kind", [PredictClient, AsyncPredictClient])
def test_paths_contents_and_pixels_have_the_same_classes(classifier, kind, picture, sample_images):
    """A path, its text, the file's bytes and the pixels are one picture: the same scores."""
    pixels = sample_images[0]
    ranked = classify(kind, classifier, [picture, str(picture), picture.read_bytes(), pixels])
    batch = classify(kind, classifier, sample_images[:2])

    assert ranked[0][0][0] == "cat"
    assert ranked.count(ranked[0]) == 4
    assert [classes[0][0] for classes in batch] == ["cat", "ship"]


def test_grey_pixels_are_a_grey_picture(classifier):
    """(height, width) and (height, width, 1) are the same picture as grey repeated three times."""
    grey = np.arange(1024, dtype=np.uint8).reshape(32, 32)
    ranked = classify(
        PredictClient, classifier, [grey, grey[..., None], np.stack([grey] * 3, axis=-1)]
    )

    assert ranked.count(ranked[0]) == 3


@pytest.mark.parametrize("kind", [PredictClient, AsyncPredictClient])
def test_another_size_is_refused_unless_it_may_be_scaled(classifier, kind, tmp_path, picture):
    """With resize=False a picture of the model's size is answered, and others are refused."""
    Image.open(picture).resize((64, 48)).save(tmp_path / "large.jpg")

    scaled = classify(kind, classifier, [tmp_path / "large.jpg"])
    exact = classify(kind, classifier, [picture], resize=False)
    assert classify(kind, classifier, iter([picture]), resize=False) == exact
    with pytest.raises(ValueError, match=r"large\.jpg has 64 x 48 pixels .*, expected 32 x 32"):
        classify(kind, classifier, [picture, tmp_path / "large.jpg"], resize=False)

    assert len(scaled[0]) == 10
    assert exact[0][0][0] == "cat"


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        ("cat.png", TypeError, r"pictures are a single str, expected a list"),
        (Path("cat.png"), TypeError, "pictures are a single PosixPath"),
        (b"png", TypeError, "pictures are a single bytes"),
        (
            np.zeros((32, 32, 3), np.uint8),
            TypeError,
            r"shape \(32, 32, 3\).*array\[None\]",
        ),
        ([3], TypeError, "picture 0 is of type int"),
        ([np.zeros((32, 32, 3))], ValueError, "picture 0 has dtype float64 and shape"),
        ([np.zeros((3, 32, 32), np.uint8)], ValueError, r"shape \(3, 32, 32\), expected uint8"),
        ([np.zeros(32, np.uint8)], ValueError, r"shape \(32,\), expected uint8"),
        (["nofile.png"], FileNotFoundError, r"nofile\.png"),
    ],
)
def test_what_is_no_picture_is_refused_before_the_call(images, error, message):
    """The message says what was received, without a server."""
    with pytest.raises(error, match=message):
        classify(PredictClient, "127.0.0.1:1", images)


def test_pictures_become_pixels(picture, sample_images):
    """read_pictures returns the exact pixels of files of the right size, and scales others."""
    exact = read_pictures([picture, sample_images[1]], height=32, width=32)
    grey = read_pictures([picture], height=None, width=None, channels=1)
    scaled = read_pictures([picture], height=16, width=8, resize=True)

    assert np.array_equal(exact, sample_images[:2])
    assert grey.shape == (1, 32, 32, 1)
    assert scaled.shape == (1, 16, 8, 3)


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        ([], "no picture received"),
        ([b"no image"], "picture 0: neither a PNG nor a JPEG file"),
        ([png(np.zeros((32, 31, 3), np.uint8))], "picture 0 has 31 x 32 pixels"),
    ],
)
def test_pictures_that_cannot_be_decoded_are_named(pictures, message):
    """The message names the picture by its position."""
    with pytest.raises(ValueError, match=message):
        read_pictures(pictures, height=32, width=32)


def test_without_pillow_files_are_sent_and_pixels_are_refused(classifier, picture, monkeypatch):
    """Without Pillow, what needs it is an ImportError that names the extra."""
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "PIL.Image", raising=False)
    for module in ("PIL.Image", "PIL.PngImagePlugin", "PIL.JpegImagePlugin"):
        monkeypatch.setitem(sys.modules, module, None)
    pixels = np.zeros((32, 32, 3), np.uint8)

    with pytest.raises(ImportError, match="cannot send pixels as a picture: Pillow is not"):
        classify(PredictClient, classifier, [pixels])
    with pytest.raises(ImportError, match="cannot read picture 0: Pillow is not installed"):
        read_pictures([picture.read_bytes()], height=32, width=32)


@pytest.mark.parametrize(("kind", "mode"), [("WEBP", "RGB"), ("WEBP", "RGBA"), ("BMP", "RGB")])
def test_files_that_servers_do_not_decode_are_sent_as_png(classifier, tmp_path, kind, mode):
    """WebP and BMP files get the classes of their pixels, and keep their EXIF data."""
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, len(mode)), dtype=np.uint8)
    file = tmp_path / "picture"
    Image.fromarray(pixels).save(file, kind, lossless=True, exif=exif)
    with Image.open(file) as image:
        expected = np.asarray(image.convert("RGB"))

    with PredictClient(classifier) as client:
        found, same = client.classify("simcnn", [file, expected])

    assert found == same
    assert (read_pictures([file], height=32, width=32)[0] == expected).all()
    turned = read_pictures([file], height=32, width=32, upright=True)[0]
    if kind == "WEBP":
        assert (turned == np.rot90(expected, -1)).all()


def test_damaged_files_of_another_kind_are_refused_by_the_server(classifier):
    """A damaged WebP file is sent as it is, and the server says what it is."""
    with PredictClient(classifier) as client, pytest.raises(PredictError, match="neither a PNG"):
        client.classify("simcnn", [b"RIFF    WEBP"])
