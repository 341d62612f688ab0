import errno
import os
import re

import disks
import pytest

from training import storage


def test_a_full_disk_leaves_the_old_content_and_nothing_else(disk):
    """The message names file, size, reason, room and way out; the disk is as before."""
    file = disk.path / "metrics.json"
    storage.write(file, b"old")
    disk.fill(leave=100_000)

    with pytest.raises(storage.StorageError) as caught:
        storage.write(file, bytes(200_000))

    assert re.fullmatch(
        rf"cannot write {file} \(200\.0 kB\): No space left on device, \d+\.\d kB of 16\.8 MB are "
        r"free; free some space",
        str(caught.value),
    )
    assert file.read_bytes() == b"old"
    assert disk.files() == {"metrics.json"}


def test_several_files_are_replaced_together_or_not_at_all(disk):
    """If the third of four files has no room, all keep their old contents."""
    files = [disk.path / name for name in "abcd"]
    storage.write_all(dict.fromkeys(files, b"old"))
    disk.fill(leave=300_000)

    with pytest.raises(storage.StorageError, match=f"cannot write {files[2]} "):
        storage.write_all(dict.fromkeys(files, bytes(120_000)))

    assert [file.read_bytes() for file in files] == [b"old"] * 4
    assert disk.files() == set("abcd")
    disk.make_room()
    storage.write_all(dict.fromkeys(files, b"new"))
    assert [file.read_bytes() for file in files] == [b"new"] * 4


def test_a_read_only_disk_is_named_with_the_way_out(disk):
    """A read-only file system is not told to have no room."""
    disk.make_read_only()

    with pytest.raises(storage.StorageError) as caught:
        storage.make_folder(disk.path / "run")

    assert str(caught.value) == (
        f"cannot write {disk.path / 'run'}: Read-only file system; make it writable"
    )


def test_a_device_without_room_needs_no_disk(tmp_path):
    """The same holds where no disk can be mounted: the temporary file is on a full device."""
    file = tmp_path / "metrics.json"
    file.write_bytes(b"old")
    disks.make_full(file)

    with pytest.raises(storage.StorageError, match=r"\(3 bytes\): No space left on device, "):
        storage.write(file, b"new")

    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_in_place_of_a_folder_has_a_message_too(tmp_path):
    """Other reasons than a lack of room have no figures."""
    (tmp_path / "file").touch()

    with pytest.raises(storage.StorageError, match=r"file/run: Not a directory; repair this$"):
        storage.make_folder(tmp_path / "file" / "run")


@pytest.mark.parametrize(
    ("code", "way_out"),
    [(errno.EDQUOT, "free; free some of the quota"), (errno.ENOSPC, "free; free some space")],
)
def test_a_used_up_quota_is_a_full_disk(code, way_out, tmp_path):
    """The explanation of a used-up quota is that of a full disk, with its own way out."""
    told = storage.explain(OSError(code, os.strerror(code)), tmp_path / "file")

    assert told.startswith(f"cannot write {tmp_path / 'file'}: {os.strerror(code)}, ")
    assert told.endswith(way_out)


def test_a_library_quotes_the_systems_error():
    """The system's error is found in the text of TensorFlow's; other texts have none."""
    error = storage.quoted(RuntimeError("{{function_node}} /run/x.v2; No space left on device [Op"))

    assert error is not None
    assert error.errno == errno.ENOSPC
    assert storage.quoted(RuntimeError("OOM when allocating tensor")) is None
