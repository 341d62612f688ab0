import shutil

import pytest
from picture_sets import CLASSES, write_pictures

from loadtest.rows import own_pictures
from loadtest.rows.sources import open_test_images
from loadtest.settings.config import UsageError
from loadtest.transports.api import ModelInput
from training.sources import decoding, opening


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """50 pictures of five classes; a test picture is broken."""
    data = write_pictures(tmp_path_factory.mktemp("pictures") / "data", 10)
    next((data / "test" / "ring").iterdir()).write_bytes(b"no picture")
    return data


def fit(folder, *shape, dtype="uint8", batch=2):
    return own_pictures.find(folder).fit(
        [ModelInput("images", dtype, shape)], model="m", batch=batch
    )


def test_rows_are_the_test_pictures_at_the_size_of_the_model(folder):
    """Pixels, labels and digest are those that training and export use."""
    source = open_test_images(folder)
    dataset = fit(folder, -1, 48, 48, 3)
    expected = opening.load(folder, 48)

    assert (source.noun, len(source), len(dataset)) == ("test pictures", 9, 9)
    assert dataset.class_names == CLASSES
    assert dataset.source == "data"
    assert dataset.sha256() == expected.sha256


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((-1, 48, 32, 3), "uint8", r"has the inputs images uint8 \(-1, 48, 32, 3\), expected"),
        ((-1, 48, 48, 3), "float32", "has the inputs images float32"),
        ((4, 48, 48, 3), "uint8", "takes 4 pictures in a request, --batch is 2"),
    ],
)
def test_other_models_are_refused(folder, shape, dtype, message):
    """The message names the inputs of the model, and what was expected."""
    with pytest.raises(UsageError, match=message):
        fit(folder, *shape, dtype=dtype)


def test_a_folder_that_cannot_be_used_is_told(folder, tmp_path):
    """A folder of one class is a usage error; unknown folders are left to another reader."""
    write_pictures(tmp_path / "one", 5, class_names=("cat",))

    with pytest.raises(UsageError, match="has only the class 'cat'"):
        own_pictures.find(tmp_path / "one")
    assert own_pictures.find(tmp_path / "nowhere") is None
    assert own_pictures.find(None) is None


def test_pictures_are_decoded_once(folder, monkeypatch):
    """Their number and their pixels come from the same decoding, for every run on the model."""
    sides = []
    decode = decoding.decode
    monkeypatch.setattr(
        decoding,
        "decode",
        lambda listing, side, **options: sides.append(side) or decode(listing, side, **options),
    )
    inputs = [ModelInput("images", "uint8", (-1, 48, 48, 3))]
    source = open_test_images(folder)
    source.decode_for(inputs)

    assert len(source) == 9
    for _ in range(2):
        assert len(source.fit(inputs, model="m", batch=1)) == 9
    assert sides == [48]


def test_a_folder_of_test_pictures_alone_has_the_same_rows(folder, tmp_path):
    """The digest is that of the whole data set's test pictures."""
    shutil.copytree(folder / "test", tmp_path / "test")

    assert fit(tmp_path, -1, 48, 48, 3).sha256() == opening.load(folder, 48).sha256
