import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from gpu import pictures
from gpu.kit import mosaics

from training.data.cifar10 import DATA_DIR_VARIABLE, DataError


def write_batch(folder: Path, name: str, count: int, seed: int) -> bytes:
    """Write records of random pixels, which no picture format can shrink by losing something."""
    folder.mkdir(exist_ok=True)
    records = np.random.default_rng(seed).integers(0, 256, (count, 3073), np.uint8)
    records[:, 0] %= 10
    (folder / f"{name}.bin").write_bytes(records.tobytes())
    return records.tobytes()


def test_batches_come_out_byte_for_byte(tmp_path):
    """Batches whose last mosaic is not full are the same after packing and unpacking."""
    content = {
        name: write_batch(tmp_path / "bin", name, count, seed)
        for seed, (name, count) in enumerate({"test_batch": 9, "data_batch_1": 7}.items())
    }

    mosaics.pack(tmp_path / "bin", tmp_path / "mosaics", side=2, effort=0)
    mosaics.unpack(tmp_path / "mosaics", tmp_path / "out")

    found = {file.stem: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    assert found == content


def test_what_has_arrived_of_the_test_images_is_used(tmp_path):
    """While a mosaic is missing no batch is written, and the checks use the images before it."""
    content = write_batch(tmp_path / "bin", "test_batch", 9, seed=0)
    packed = mosaics.pack(tmp_path / "bin", tmp_path / "mosaics", side=2, effort=0)
    packed[-2].unlink()

    written = mosaics.unpack(tmp_path / "mosaics", tmp_path / "out")
    images, labels = pictures.labelled_images(None, tmp_path / "mosaics")

    assert written == []
    records = np.frombuffer(content, np.uint8).reshape(-1, 3073)[:4]
    assert labels.tolist() == records[:, 0].tolist()
    assert images.transpose(0, 3, 1, 2).reshape(4, -1).tolist() == records[:, 1:].tolist()


def test_without_data_the_sample_is_used(tmp_path):
    """Without CIFAR-10 the checks use the sample in the repository."""
    images, labels = pictures.labelled_images(tmp_path / "missing", tmp_path)

    assert images.shape == (24, 32, 32, 3)
    assert labels.shape == (24,)


def test_a_truncated_batch_is_refused(tmp_path):
    """A file whose size is no multiple of a record is refused by name."""
    (tmp_path / "data_batch_1.bin").write_bytes(b"\0" * 5000)

    with pytest.raises(DataError, match=r"data_batch_1\.bin has 5,000 bytes"):
        mosaics.pack(tmp_path, tmp_path / "mosaics")


@pytest.mark.slow
@pytest.mark.skipif(DATA_DIR_VARIABLE not in os.environ, reason="needs CIFAR10_DIR")
def test_the_real_data_comes_out_byte_for_byte(tmp_path):
    """All six files of CIFAR-10 have the same SHA-256 after packing and unpacking."""
    source = Path(os.environ[DATA_DIR_VARIABLE])

    packed = mosaics.pack(source, tmp_path / "mosaics", effort=2)
    mosaics.unpack(tmp_path / "mosaics", tmp_path / "out")

    def digests(folder: Path) -> dict[str, str]:
        return {
            file.name: hashlib.sha256(file.read_bytes()).hexdigest()
            for file in folder.glob("*.bin")
        }

    assert len(digests(source)) == 6
    assert digests(tmp_path / "out") == digests(source)
    assert sum(file.stat().st_size for file in packed) < 0.62 * 184_380_000
