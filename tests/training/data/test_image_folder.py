import numpy as np
import pytest
from PIL import Image

from training.data.cifar10 import CLASS_NAMES, DataError, load, load_split


def test_image_folder_is_read_in_order_of_class_and_name(image_dir):
    """PNG files are read with their exact pixels, ordered and labelled by their folder."""
    data = load(image_dir)

    assert data.variant == "image-folder"
    assert len(data.train) == 200
    assert data.test.labels.tolist() == sorted(list(range(10)) * 5)
    with Image.open(image_dir / "test" / "bird" / "003.png") as image:
        assert (data.test.images[13] == np.asarray(image)).all()


def test_image_folder_takes_jpeg_and_grey_images(tmp_path):
    """A grey JPEG becomes three equal channels."""
    (tmp_path / "test" / "ship").mkdir(parents=True)
    Image.new("L", (32, 32), 77).save(tmp_path / "test" / "ship" / "a.JPG", "jpeg")

    split = load_split(tmp_path, "test")

    assert split.labels.tolist() == [CLASS_NAMES.index("ship")]
    assert (split.images == 77).all()


def test_unknown_class_folder_is_named(tmp_path):
    """A folder whose name is no class raises DataError with the class names."""
    (tmp_path / "train" / "plane").mkdir(parents=True)

    with pytest.raises(DataError, match=r"train/plane is no class, expected airplane, "):
        load_split(tmp_path, "train")


def test_image_of_wrong_size_is_named(tmp_path):
    """An image of 28x30 pixels raises DataError with its path and size."""
    (tmp_path / "test" / "cat").mkdir(parents=True)
    Image.new("RGB", (28, 30)).save(tmp_path / "test" / "cat" / "small.png")

    with pytest.raises(DataError, match=r"small.png is 28x30 pixels, expected 32x32"):
        load_split(tmp_path, "test")


def test_damaged_image_is_named(tmp_path, image_dir):
    """A truncated PNG raises DataError with its path and size."""
    (tmp_path / "test" / "cat").mkdir(parents=True)
    content = (image_dir / "test" / "cat" / "000.png").read_bytes()
    (tmp_path / "test" / "cat" / "half.png").write_bytes(content[:900])

    with pytest.raises(DataError, match=r"half.png \(900 bytes\) is no readable image"):
        load_split(tmp_path, "test")


def test_image_folder_lacking_a_split_or_images_is_named(tmp_path):
    """A missing split, and a split without images, raise DataError."""
    (tmp_path / "train" / "cat").mkdir(parents=True)

    with pytest.raises(DataError, match=r"test does not exist"):
        load_split(tmp_path, "test")
    with pytest.raises(DataError, match=r"train holds no images"):
        load_split(tmp_path, "train")
