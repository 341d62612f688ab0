"""The source of the rows of a run: the one that its settings name."""

from pathlib import Path

from loadtest.rows import array_files, image_files, own_pictures
from loadtest.rows.dataset import Source
from loadtest.rows.images import LabelledImages, load_test_images, source_name
from loadtest.rows.random_rows import RandomRows
from loadtest.rows.synthetic_images import SyntheticImages
from loadtest.settings.config import DataConfig, UsageError
from training.data.cifar10 import resolve_data_dir


def open_source(data: DataConfig) -> Source:
    """Return the source of the rows; files are read here, except for images of a folder.

    Raises:
        UsageError: The rows cannot be read.
    """
    if data.random is not None:
        return RandomRows(data.random, data.seed, data.shapes)
    if data.synthetic is not None:
        return SyntheticImages(data.synthetic, data.seed)
    path = data.inputs
    if path is None:
        return open_test_images(data.data_dir, data.split_seed)
    if path.is_dir():
        return image_files.find(path)
    if path.suffix == ".npz":
        return array_files.read_archive(path)
    if path.suffix in {".jsonl", ".ndjson"}:
        return array_files.read_json_lines(path)
    msg = f"--inputs {path}: expected a folder of images, or a file that ends with .npz or .jsonl"
    raise UsageError(msg)


def open_test_images(data_dir: Path | None, split_seed: int | None = None) -> Source:
    """Return the test images of a data set: CIFAR-10, or pictures of any classes.

    Args:
        data_dir: Folder, table or archive; None to use $CIFAR10_DIR.
        split_seed: Seed of the test pictures that are drawn if the data name none.

    Raises:
        UsageError: They cannot be read.
    """
    pictures = own_pictures.find(resolve_data_dir(data_dir), split_seed)
    if pictures is not None:
        return pictures
    return LabelledImages(load_test_images(data_dir), source_name(data_dir))
