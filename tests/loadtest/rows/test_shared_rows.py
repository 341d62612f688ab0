import errno
import multiprocessing
import shutil
import tempfile

import numpy as np
import pytest
from picture_sets import write_pictures

from loadtest.rows import own_pictures, shared_rows
from loadtest.rows.dataset import Dataset
from loadtest.settings.config import UsageError
from loadtest.transports.api import ModelInput

PICTURES = ModelInput("images", "uint8", (-1, 48, 48, 3))
TEXTS = ModelInput("text", "string", (-1,))
SCALE = ModelInput("scale", "float32", ())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def send_rows(connection, rows):
    """Send the second and third row of a process back to its parent."""
    dataset = rows.dataset()
    connection.send((len(dataset), dataset.batch([1, 2])))


def in_another_process(rows):
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=send_rows, args=(theirs, rows), daemon=True)
    child.start()
    assert ours.poll(60)
    received = ours.recv()
    child.join(60)
    return received


def test_pictures_are_not_decoded_again(folder):
    """Another process has the same rows of pictures whose files are gone."""
    pictures = write_pictures(folder / "data", 10)
    dataset = own_pictures.find(pictures).fit([PICTURES], model="m", batch=1)

    with shared_rows.shared(dataset) as rows:
        shutil.rmtree(pictures)
        count, batch = in_another_process(rows)

    assert count == len(dataset)
    np.testing.assert_array_equal(batch["images"], dataset.arrays["images"][1:3])


def test_every_type_of_input_is_shared(folder):
    """Texts and inputs without a batch arrive, too; nothing is left, even of a killed process."""
    texts = np.array([b"one", b"", b"three"], object)
    arrays = {"text": texts, "scale": np.float32(0.5).reshape(())}
    dataset = Dataset(inputs=(TEXTS, SCALE), arrays=arrays, rows=3)

    with shared_rows.shared(dataset) as rows:
        count, batch = in_another_process(rows)
        shared = rows.dataset().arrays["scale"]
        assert list(folder.iterdir()) == []

    assert count == 3
    assert batch["text"].tolist() == [b"", b"three"]
    assert batch["scale"] == np.float32(0.5)
    assert not shared.flags.writeable
    assert list(folder.iterdir()) == []


def test_a_full_disk_is_told(folder, monkeypatch):
    """The message names the folder, the space that is needed and the ways out."""

    def fill(file, _array):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shared_rows.np, "save", fill)
    arrays = {"images": np.zeros((400, 48, 48, 3), np.uint8)}
    dataset = Dataset(inputs=(PICTURES,), arrays=arrays, rows=400)

    message = rf"written to {folder} \(No space left on device\); free 3 MiB there, set TMPDIR"
    with pytest.raises(UsageError, match=message), shared_rows.shared(dataset):
        pass
    assert list(folder.iterdir()) == []
