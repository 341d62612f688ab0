import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from serving.errors import InvalidInput
from serving.tensors import image_decoder

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8)


def save(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decode(data):
    return image_decoder.decode(data, height=6, width=4)


PNG = save(Image.fromarray(PIXELS), "PNG")
JPEG = save(Image.fromarray(PIXELS), "JPEG", quality=95)


def test_png_of_the_right_size_keeps_its_pixels():
    """A PNG of the expected size is decoded to the same pixels, without resampling."""
    np.testing.assert_array_equal(decode(PNG), PIXELS)


def test_raw_pixels_are_taken_as_they_are():
    """Raw bytes are read row by row, three channels a pixel."""
    array = image_decoder.raw(PIXELS.tobytes(), height=6, width=4)

    np.testing.assert_array_equal(array, PIXELS)


def test_jpeg_is_decoded():
    """A JPEG is decoded; at quality 95 each pixel differs by at most 2."""
    smooth = np.full((6, 4, 3), (200, 100, 50), np.uint8)

    pixels = decode(save(Image.fromarray(smooth), "JPEG", quality=95))

    assert np.abs(pixels.astype(int) - smooth).max() <= 2


def test_scaling_down_averages():
    """Scaling down averages: a fine checkerboard becomes grey.

    Nearest-pixel scaling would leave it black.
    """
    board = np.zeros((60, 40, 3), np.uint8)
    board[::2, ::2] = board[1::2, 1::2] = 255

    pixels = decode(save(Image.fromarray(board), "PNG"))

    assert np.abs(pixels.astype(int) - 128).max() <= 3


def test_aspect_ratio_is_not_kept():
    """A wide picture is scaled to the expected shape: its left half stays the left half."""
    wide = np.zeros((6, 80, 3), np.uint8)
    wide[:, 40:] = 255

    pixels = decode(save(Image.fromarray(wide), "PNG"))

    assert (pixels[:, :, 0] > 127).tolist() == [[False, False, True, True]] * 6


GREY = PIXELS[:, :, 0]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.fromarray(GREY), np.stack([GREY] * 3, -1)),
        (Image.fromarray(GREY.astype(np.uint16) * 256 + 7), np.stack([GREY] * 3, -1)),
        (Image.fromarray(np.dstack([PIXELS, GREY]), "RGBA"), PIXELS),
        (Image.fromarray(np.dstack([GREY, GREY // 2]), "LA"), np.stack([GREY] * 3, -1)),
        (
            Image.fromarray(GREY > 100).convert("1"),
            np.stack([np.where(GREY > 100, 255, 0)] * 3, -1),
        ),
    ],
    ids=["grey", "16-bit grey", "alpha", "grey with alpha", "black and white"],
)
def test_other_colours_become_rgb(image, expected):
    """Grey is copied to three channels, alpha is dropped, 16 bits are cut to the upper 8."""
    np.testing.assert_array_equal(decode(save(image, "PNG")), expected)


@pytest.mark.parametrize("transparency", [None, 0, bytes([0, 128])])
def test_palettes_are_looked_up(transparency):
    """Palette images are converted to RGB; transparent entries count like all others."""
    image = Image.fromarray((GREY > 100).astype(np.uint8), "P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    options = {} if transparency is None else {"transparency": transparency}

    pixels = decode(save(image, "PNG", **options))

    expected = np.where((GREY > 100)[..., None], (200, 100, 50), (10, 20, 30))
    np.testing.assert_array_equal(pixels, expected)


def test_cmyk_is_converted():
    """CMYK JPEGs are converted to RGB: no ink is white, full black ink is black."""
    inks = np.zeros((6, 4, 4), np.uint8)
    inks[3:, :, 3] = 255
    image = Image.fromarray(inks, "CMYK")

    pixels = decode(save(image, "JPEG", quality=100)).astype(int)

    assert pixels[0].min() >= 250
    assert pixels[5].max() <= 5


def test_orientation_is_not_applied():
    """EXIF orientation is not applied, as in TensorFlow's decoder.

    Clients of both servers must get the same answers.
    """
    exif = Image.Exif()
    exif[0x0112] = 3  # rotated by 180 degrees
    top_white = np.zeros((6, 4, 3), np.uint8)
    top_white[:3] = 255

    pixels = decode(save(Image.fromarray(top_white), "JPEG", exif=exif, quality=95))

    assert pixels[0].min() > 200


def huge_png(columns, rows):
    """Return a PNG of a few bytes whose header declares columns x rows pixels."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))


def animation():
    frames = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)]
    return save(frames[0], "PNG", save_all=True, append_images=frames[1:])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (huge_png(100_000, 100_000), r"100000 x 100000 pixels, expected at most 16777216"),
        (huge_png(4097, 4096), r"4097 x 4096 pixels, expected at most 16777216"),
        (animation(), r"image is animated \(2 frames\), expected one frame"),
        (b"", r"neither a PNG nor a JPEG file: 0 bytes that begin with nothing"),
        (b"GIF89a", r"neither a PNG nor a JPEG file: 6 bytes that begin with 47 49 46 38 39 61"),
        (PNG[:60], r"PNG file of 60 bytes is damaged or truncated"),
        (JPEG[:-40], r"JPEG file of \d+ bytes is damaged or truncated"),
        (JPEG[:4], r"JPEG file of 4 bytes is damaged or truncated"),
    ],
)
def test_unusable_pictures_are_refused(data, message):
    """Pictures that are too large, animated, of another format or cut off are each refused."""
    with pytest.raises(InvalidInput, match=message):
        decode(data)


@pytest.mark.parametrize(("value", "turn"), [(1, None), (3, 3), (5, 5), (6, 2), (7, 6), (8, 4)])
def test_orientation_is_applied_if_the_spec_says_so(value, turn):
    """A picture that a camera stored turned has the pixels of the upright one."""
    upright = Image.fromarray(
        np.random.default_rng(value).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    )
    exif = Image.Exif()
    exif[0x0112] = value
    file = io.BytesIO()
    (upright if turn is None else upright.transpose(turn)).save(file, "PNG", exif=exif)

    decoded = image_decoder.decode(file.getvalue(), height=20, width=30, upright=True)

    assert (decoded == np.asarray(upright)).all()


def test_raw_pixels_of_another_size_are_refused():
    """Raw bytes of another length are refused; the message has both lengths."""
    with pytest.raises(InvalidInput, match=r"raw image has 71 bytes, expected 72 \(6 rows x 4 col"):
        image_decoder.raw(bytes(71), height=6, width=4)


@given(
    data=st.sampled_from([PNG, JPEG]),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=5),
    length=st.integers(0, 2000),
)
def test_damage_never_leads_to_another_error(data, changes, length):
    """A damaged or truncated file gives a picture of the expected size or raises InvalidInput."""
    damaged = bytearray(data[:length])
    for position, value in changes:
        if position < len(damaged):
            damaged[position] = value

    try:
        pixels = decode(bytes(damaged))
    except InvalidInput:
        return

    assert pixels.shape == (6, 4, 3)
    assert pixels.dtype == np.uint8


def progressive(size: int, scans: int) -> bytes:
    """Return a one-colour JPEG whose last scan is repeated until it has `scans` scans."""
    image = Image.new("RGB", (size, size), (130, 20, 90))
    data = save(image, "JPEG", progressive=True)
    last = data[data.rfind(b"\xff\xda") : -2]
    return data[:-2] + last * (scans - data.count(b"\xff\xda")) + data[-2:]


@pytest.mark.parametrize(("size", "most"), [(64, 100), (2500, 53)])
def test_jpegs_of_many_scans_are_refused(size, most):
    """A JPEG with more scans than its size allows is refused.

    Each scan goes over the whole picture, so a small file could take many seconds.
    """
    assert decode(progressive(size, most)).shape == (6, 4, 3)
    with pytest.raises(InvalidInput, match=f"JPEG file has {most + 1} scans, expected at most"):
        decode(progressive(size, most + 1))


def test_scan_markers_in_a_png_are_ignored():
    """The bytes of a JPEG scan marker in a PNG are not counted as a scan."""
    comment = b"tEXtComment\0" + b"\xff\xda" * 200
    chunk = struct.pack(">I", len(comment) - 4) + comment + struct.pack(">I", zlib.crc32(comment))

    np.testing.assert_array_equal(decode(PNG[:33] + chunk + PNG[33:]), PIXELS)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_inputs_of_one_channel_get_luminance(kind):
    """Grey stays as it is, and colours become their luminance; raw pixels are one byte each."""
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8) * 3
    colour = np.full((8, 8, 3), (200, 100, 50), np.uint8)

    decoded = image_decoder.decode(
        save(Image.fromarray(grey), "PNG"), height=8, width=8, channels=1
    )
    weighted = image_decoder.decode(
        save(Image.fromarray(colour), kind), height=4, width=2, channels=1
    )
    raw = image_decoder.raw(grey.tobytes(), height=8, width=8, channels=1)

    np.testing.assert_array_equal(decoded[..., 0], grey)
    assert weighted.shape == (4, 2, 1)
    assert np.abs(weighted.astype(int) - (0.299 * 200 + 0.587 * 100 + 0.114 * 50)).max() <= 2
    np.testing.assert_array_equal(raw, decoded)
