import numpy as np
import pytest
from PIL import Image

from loadtest.rows import image_files
from loadtest.settings.config import UsageError
from loadtest.transports.api import ModelInput
from training.data.cifar10 import CLASS_NAMES

PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


@pytest.fixture
def folder(tmp_path):
    """Two images of 6x4 pixels in the class folders b and a."""
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        Image.fromarray(PIXELS).save(tmp_path / name / f"{name}.png")
    return tmp_path


def fit(folder, shape, dtype="uint8"):
    source = image_files.find(folder)
    return source.fit([ModelInput("x", dtype, shape)], model="m", batch=2)


def test_class_folders_give_labels(folder):
    """Classes are numbered in the order of their names."""
    dataset = fit(folder, (-1, 4, 6, 3))

    assert dataset.labels.tolist() == [0, 1]
    assert dataset.class_names == ("a", "b")
    assert (dataset.unit, dataset.source) == ("images", folder.name)
    assert (dataset.arrays["x"] == PIXELS).all()


def test_a_flat_folder_gives_no_labels(folder):
    """Images beside each other have no classes."""
    dataset = fit(folder / "a", (-1, -1, -1, 3))

    assert (len(dataset), dataset.labels, dataset.class_names) == (1, None, ())


def test_classes_of_cifar_10_have_its_order(tmp_path):
    """A folder of some of CIFAR-10's classes, in a folder `test`, has CIFAR-10's numbers."""
    for name in ("ship", "cat"):
        (tmp_path / "test" / name).mkdir(parents=True)
        Image.fromarray(PIXELS).save(tmp_path / "test" / name / "1.png")

    dataset = fit(tmp_path, (-1, 4, 6, 3))

    assert [CLASS_NAMES[label] for label in dataset.labels] == ["cat", "ship"]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((-1, 3, 4, 6), (3, 4, 6)),
        ((-1, 4, 6, 1), (4, 6, 1)),
        ((-1, 4, 6, 4), (4, 6, 4)),
        ((-1, 1, -1, -1), (1, 4, 6)),
        ((-1, 4, 6), (4, 6)),
        ((-1, -1, -1, -1), (4, 6, 3)),
        (None, (4, 6, 3)),
    ],
)
def test_images_take_the_form_of_the_input(folder, shape, expected):
    """Channels come first or last, and are converted to grey or to RGBA."""
    dataset = fit(folder, shape, "float32")

    assert dataset.arrays["x"].shape == (2, *expected)
    assert dataset.notes == ("pixels were sent as 0 to 255, not scaled",)


def test_planes_hold_the_channels(folder):
    """The first plane of channels-first is red."""
    assert (fit(folder, (-1, 3, 4, 6)).arrays["x"][0, 0] == PIXELS[:, :, 0]).all()


def test_an_input_of_texts_gets_the_files(folder):
    """A model that decodes images itself gets their bytes."""
    dataset = fit(folder, (-1,), "string")

    assert dataset.arrays["x"][1] == (folder / "b" / "b.png").read_bytes()


def test_an_image_of_another_size_is_refused_by_name(folder):
    """The message names the file, its size, and the size that the input takes."""
    Image.fromarray(PIXELS[:, :3]).save(folder / "b" / "b.png")

    with pytest.raises(
        UsageError, match=r'b\.png is 3x4 pixels, but input "x" .* takes 6x4; resize'
    ):
        fit(folder, (-1, 4, 6, 3))
    with pytest.raises(UsageError, match=r"b\.png is 3x4 pixels, but the first image is 6x4"):
        fit(folder, (-1, -1, -1, 3))


def test_folders_that_cannot_be_used_are_refused(folder, tmp_path):
    """Damaged files, mixed folders, empty ones and models without images give one line."""
    (folder / "a" / "a.png").write_bytes(b"no image")
    with pytest.raises(UsageError, match=r"a\.png is no readable image"):
        fit(folder, (-1, 4, 6, 3))
    for shape, dtype in (((-1, 2), "uint8"), ((-1, 4, 6, 3), "int8"), ((-1, 4), "string")):
        with pytest.raises(UsageError, match=r'input "x" of model \'m\' is'):
            fit(folder, shape, dtype)
    two = [ModelInput("x", "uint8", None), ModelInput("y", "uint8", None)]
    with pytest.raises(UsageError, match='has the inputs "x", "y", expected exactly one'):
        image_files.find(folder).fit(two, model="m", batch=2)
    (folder / "c.png").write_bytes(b"")
    with pytest.raises(UsageError, match=r"c\.png beside the class folder a"):
        image_files.find(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="empty has no images"):
        image_files.find(tmp_path / "empty")
