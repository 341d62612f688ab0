import gzip
import io
import lzma
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from training.data import cifar10
from training.data.cifar10 import DataError, load, load_split, resolve_data_dir

TRAIN_FILES = [f"data_batch_{number}" for number in range(1, 6)]


def write_pickles(folder: Path, batches, protocol: int = 2, keys: type = bytes) -> Path:
    """Write the official Python layout; keys are bytes, as Python 3 reads Python 2's strings."""
    folder.mkdir(exist_ok=True)
    for name, (planes, labels) in batches.items():
        content = {"data": planes, "labels": labels.tolist(), "batch_label": name}
        if keys is bytes:
            content = {key.encode(): value for key, value in content.items()}
        (folder / name).write_bytes(pickle.dumps(content, protocol))
    return folder


def archive(source: Path, target: Path, mode: str, inner: str) -> Path:
    # Compression level 1: the default takes ten times as long on 184 MB of noise.
    options = {"gz": {"compresslevel": 1}, "xz": {"preset": 0}}.get(mode, {})
    with tarfile.open(target, f"w:{mode}", **options) as tar:
        tar.add(source, inner)
    return target


def test_binary_batches_become_pixels_in_file_order(binary_dir, batches):
    """The three planes of a record become the channels of its image; batches keep their order."""
    data = load(binary_dir)

    assert data.variant == "cifar-10-binary"
    assert data.train.images.shape == (50_000, 32, 32, 3)
    assert data.train.images.dtype == np.uint8
    assert data.test.labels.shape == (10_000,)
    assert data.test.labels.dtype == np.int64
    planes, labels = batches["data_batch_3"]
    assert data.train.labels[20_007] == labels[7]
    for channel in range(3):
        plane = planes[7].reshape(3, 32, 32)[channel]
        assert (data.train.images[20_007, :, :, channel] == plane).all()


@pytest.mark.parametrize(("protocol", "keys"), [(2, bytes), (2, str), (5, str)])
def test_python_batches_equal_binary_ones(tmp_path, binary_dir, batches, protocol, keys):
    """Pickles of every Python version give the images, labels and digest of the binary files."""
    folder = write_pickles(tmp_path, {"test_batch": batches["test_batch"]}, protocol, keys)

    split = load_split(folder, "test")

    expected = load_split(binary_dir, "test")
    assert (split.images == expected.images).all()
    assert (split.labels == expected.labels).all()
    assert split.sha256() == expected.sha256()


def test_python_2_pickle_is_read(tmp_path, batches):
    """A pickle of Python 2 and the NumPy of 2009, with its old module paths, is read."""
    planes, labels = batches["test_batch"]
    raw = planes.tobytes()
    # Protocol 2 is written by hand, because no Python 3 writes 8-bit strings ('U', 'T' opcodes).
    stream = b"".join(
        [
            b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\n",
            b"cnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01M\x10'M\x00\x0c\x86",
            b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xff",
            b"J\xff\xff\xff\xffK\x00tb\x89T" + len(raw).to_bytes(4, "little") + raw + b"tb",
            b"U\x06labels](" + b"".join(b"K" + bytes([label]) for label in labels) + b"eu.",
        ]
    )
    (tmp_path / "test_batch").write_bytes(stream)

    split = load_split(tmp_path, "test")

    assert (split.images.transpose(0, 3, 1, 2).reshape(10_000, -1) == planes).all()
    assert (split.labels == labels).all()


def test_pickle_that_names_a_function_is_refused_and_not_run(tmp_path):
    """A batch that would execute a command raises DataError, and the command doesn't run."""
    victim = tmp_path / "victim"

    class Exploit:
        def __reduce__(self):
            return (os.mkdir, (str(victim),))

    (tmp_path / "test_batch").write_bytes(pickle.dumps({b"data": Exploit()}))

    with pytest.raises(DataError, match=r"test_batch.*names posix.mkdir"):
        load_split(tmp_path, "test")

    assert not victim.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"\(0 bytes\)"),
        (b"\x80\x02no pickle", "31,035,000"),
        (pickle.dumps([1, 2]), "Error"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]}), r"\(2, 3072\)"),
        (
            pickle.dumps({"data": np.zeros((10_000, 3072), np.uint8), "labels": ["cat"] * 10_000}),
            "labels of shape",
        ),
        (
            pickle.dumps({"data": np.zeros((10_000, 3072), np.uint8), "labels": [10] * 10_000}),
            "label 10",
        ),
    ],
    ids=["empty", "garbage", "no dict", "two images", "text labels", "label 10"],
)
def test_damaged_python_batch_is_named(tmp_path, content, message):
    """A damaged pickle raises DataError with the file and what was found."""
    (tmp_path / "test_batch").write_bytes(content)

    with pytest.raises(DataError, match=message) as caught:
        load_split(tmp_path, "test")

    assert str(tmp_path / "test_batch") in str(caught.value)


def test_truncated_python_batch_is_named(tmp_path, batches):
    """A pickle that stops half-way raises DataError with the file's size."""
    folder = write_pickles(tmp_path, {"test_batch": batches["test_batch"]})
    os.truncate(folder / "test_batch", 1_000_000)

    with pytest.raises(DataError, match=r"test_batch \(1,000,000 bytes\)"):
        load_split(folder, "test")


@pytest.mark.parametrize("size", [0, 30_729_999, 30_730_001])
def test_binary_batch_of_wrong_size_is_named(tmp_path, size):
    """A binary batch with one byte too few or too many raises DataError with both sizes."""
    with (tmp_path / "test_batch.bin").open("wb") as file:
        file.truncate(size)

    with pytest.raises(DataError, match=rf"test_batch.bin is {size:,} bytes.*30,730,000") as caught:
        load_split(tmp_path, "test")

    assert "--data-dir" in str(caught.value)


def test_label_above_9_is_refused(tmp_path, batches):
    """A binary record with label 10 raises DataError with the number of the record."""
    planes, labels = batches["test_batch"]
    labels = labels.copy()
    labels[123] = 10
    np.hstack([labels[:, None], planes]).tofile(tmp_path / "test_batch.bin")

    with pytest.raises(DataError, match="record 123 has label 10"):
        load_split(tmp_path, "test")


def test_missing_batches_are_all_listed(tmp_path, binary_dir):
    """A folder that lacks batches raises DataError with the names of all missing ones."""
    for name in ("data_batch_1.bin", "data_batch_3.bin", "test_batch.bin"):
        (tmp_path / name).symlink_to(binary_dir / name)

    with pytest.raises(DataError, match=r"lacks data_batch_2.bin, data_batch_4.bin, data_batch_5"):
        load(tmp_path)


def test_load_split_reads_only_what_it_needs(tmp_path, binary_dir):
    """The test split loads from a folder without training batches."""
    (tmp_path / "test_batch.bin").symlink_to(binary_dir / "test_batch.bin")

    assert len(load_split(tmp_path, "test")) == 10_000


@pytest.mark.parametrize("name", ["cifar-10-batches-bin", "cifar-10-batches-py"])
def test_batches_are_found_in_the_subfolder_they_unpack_to(tmp_path, binary_dir, batches, name):
    """Batches are found if the folder above the official subfolder is given."""
    test_batch = {"test_batch": batches["test_batch"]}
    if name.endswith("py"):
        write_pickles(tmp_path / name, test_batch)
    else:
        (tmp_path / name).mkdir()
        (tmp_path / name / "test_batch.bin").symlink_to(binary_dir / "test_batch.bin")

    split = load_split(tmp_path, "test")

    assert (split.labels == batches["test_batch"][1]).all()


@pytest.fixture(scope="module")
def small_source(tmp_path_factory, binary_dir):
    """A folder with only the test batch, of which archives are quick to write."""
    folder = tmp_path_factory.mktemp("source")
    shutil.copy(binary_dir / "test_batch.bin", folder)
    return folder


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("a.tar", ""),
        ("a.tar.gz", "gz"),
        ("a.tgz", "gz"),
        pytest.param("a.tar.xz", "xz", marks=pytest.mark.slow),
    ],
)
def test_archives_are_read_without_unpacking(tmp_path, small_source, binary_dir, name, mode):
    """An archive, or the folder that holds it, is read in memory; no file is written."""
    path = archive(small_source, tmp_path / name, mode, "cifar-10-batches-bin")

    for data_dir in (path, tmp_path):
        split = load_split(data_dir, "test")

        assert split.sha256() == load_split(binary_dir, "test").sha256()
    assert list(tmp_path.iterdir()) == [path]


def test_archive_gives_both_splits(tmp_path, binary_dir):
    """All six batches are read from one archive, in any order of its members."""
    data = load(archive(binary_dir, tmp_path / "cifar.tar", "", "cifar-10-batches-bin"))

    expected = load(binary_dir)
    assert data.variant == "cifar-10-binary"
    assert data.sha256 == expected.sha256
    assert data.train.sha256() == expected.train.sha256()


def test_archive_of_python_batches_is_read(tmp_path, batches):
    """Pickles in an archive are recognised by their names."""
    source = write_pickles(tmp_path / "source", {"test_batch": batches["test_batch"]})
    path = archive(source, tmp_path / "a.tar", "", "cifar-10-batches-py")

    assert (load_split(path, "test").labels == batches["test_batch"][1]).all()


def test_archive_member_that_climbs_out_writes_nothing(tmp_path, small_source):
    """A member named ../../test_batch.bin is read like any other, and never written to disk."""
    folder = tmp_path / "deep" / "deeper"
    folder.mkdir(parents=True)
    path = archive(small_source, folder / "a.tar", "", "../../escape")

    split = load_split(path, "test")

    assert len(split) == 10_000
    assert {item.name for item in tmp_path.rglob("*")} == {"deep", "deeper", "a.tar"}


@pytest.mark.parametrize(
    ("name", "mode"),
    [("a.tar", ""), ("a.tar.gz", "gz"), pytest.param("a.tar.xz", "xz", marks=pytest.mark.slow)],
)
def test_truncated_archive_is_named(tmp_path, small_source, name, mode):
    """An archive cut off half-way raises DataError with its size and the way out."""
    path = archive(small_source, tmp_path / name, mode, "cifar-10-batches-bin")
    os.truncate(path, 5_000_000)

    with pytest.raises(DataError, match=rf"{name}.*5,000,000 bytes.*--data-dir"):
        load_split(path, "test")


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", gzip.compress(b"no tar"), lzma.compress(b"no tar")],
    ids=["empty", "text", "gzip", "xz"],
)
def test_file_that_is_no_archive_is_named(tmp_path, content):
    """A file that isn't a tar archive raises DataError."""
    path = tmp_path / "a.tar.gz"
    path.write_bytes(content)

    with pytest.raises(DataError, match=r"a.tar.gz \([\d]+ bytes\) is no complete tar archive"):
        load_split(path, "test")


def test_archive_without_batches_lists_what_it_lacks(tmp_path):
    """An archive of other files raises DataError with the batches it lacks."""
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("readme.html"), io.BytesIO())

    with pytest.raises(DataError, match=r"a.tar lacks data_batch_1.bin.*test_batch.bin"):
        load(tmp_path / "a.tar")


def test_several_archives_need_a_choice(tmp_path):
    """A folder with two archives raises DataError that lists both."""
    (tmp_path / "a.tar").touch()
    (tmp_path / "b.tgz").touch()

    with pytest.raises(DataError, match=r"several archives \(a.tar, b.tgz\)"):
        load(tmp_path)


def test_folder_without_data_says_what_is_expected(tmp_path):
    """An empty folder raises DataError that names the accepted forms."""
    with pytest.raises(DataError, match=r"data_batch_1.bin or data_batch_1.*train/ and test/"):
        load(tmp_path)


def test_missing_folder_is_named(tmp_path):
    """A path that doesn't exist raises DataError."""
    with pytest.raises(DataError, match=r"nowhere does not exist"):
        load(tmp_path / "nowhere")


def test_flag_beats_environment(monkeypatch):
    """--data-dir overrides CIFAR10_DIR; with neither, resolve_data_dir returns None."""
    monkeypatch.setenv(cifar10.DATA_DIR_VARIABLE, "from-environment")

    assert resolve_data_dir("from-flag") == Path("from-flag")
    assert resolve_data_dir(None) == Path("from-environment")
    monkeypatch.setenv(cifar10.DATA_DIR_VARIABLE, "")
    assert resolve_data_dir(None) is None


def test_failed_download_says_what_to_do(tmp_path):
    """Without data and without a network the failed download raises DataError with --data-dir."""
    code = "from training.data.cifar10 import load\nload(None)"
    environment = {
        **os.environ,
        "KERAS_HOME": str(tmp_path),
        # A proxy that refuses connections: no request leaves the machine.
        "https_proxy": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
        "no_proxy": "",
    }

    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )

    assert "DataError: the download of CIFAR-10 failed" in result.stderr
    assert "--data-dir" in result.stderr


@pytest.mark.parametrize("folder", ["data", "evaluation"])
def test_reader_and_statistics_import_numpy_alone(folder):
    """All modules of data and evaluation import only NumPy and the standard library."""
    names = [path.stem for path in Path(cifar10.__file__).parents[1].joinpath(folder).glob("*.py")]
    code = (
        "import importlib, sys\n"
        "before = set(sys.modules)\n"
        f"for name in {names}: importlib.import_module(f'training.{folder}.{{name}}')\n"
        "loaded = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(loaded - sys.stdlib_module_names))"
    )

    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert result.stdout.strip() == "['numpy', 'training']"


def test_real_data_has_the_known_statistics():
    """The real training images have CIFAR-10's published channel means, and classes are even."""
    data_dir = resolve_data_dir(None)
    if data_dir is None:
        pytest.skip(f"{cifar10.DATA_DIR_VARIABLE} names no copy of CIFAR-10")
    data = load(data_dir)

    means = data.train.images.reshape(-1, 3).mean(axis=0) / 255

    assert means == pytest.approx([0.49140, 0.48216, 0.44653], abs=1e-5)
    assert np.bincount(data.test.labels).tolist() == [1000] * 10
    assert np.bincount(data.train.labels).tolist() == [5000] * 10
