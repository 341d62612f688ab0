"""Exports to disks without room: one line, exit code 2, and the models folder is unharmed."""

import re
import shutil

import disks
import pytest

from export.papers import papers
from serving.repository import model_folder

# An export takes seconds on a machine at rest.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def export_run(call, run_dir, image_dir):
    """Exports the run to a models folder, with `call`."""
    return lambda models_dir: call(run_dir, "--models-dir", models_dir, "--data-dir", image_dir)


def check_told(result, place, reason="No space left on device, .* are free; free some space"):
    """Check the exit code, and that there is one line of error."""
    code, _, stderr = result
    assert code == 2
    assert re.fullmatch(
        rf"error: cannot write {place}: {reason}, or pass another --models-dir; nothing was "
        r"published\n",
        stderr,
    )


# The SavedModel has 10 kB; its copy, the graphs and the documents have 40 kB.
@pytest.mark.parametrize("room", [4_096, 24_576, 36_864])
def test_a_saved_model_without_room_is_not_published(room, two_signatures, call, disk):
    """Whether the copy, a graph or a document finds the disk full, no file or folder is left."""
    disk.fill(leave=room)

    result = call("saved-model", two_signatures, "--name", "two", "--models-dir", disk.path / "m")

    check_told(result, disk.path / "m" / "two")
    assert disk.files() == set()


@pytest.mark.parametrize("room", [300_000, 600_000, 1_100_000])
def test_a_run_without_room_leaves_the_published_version(room, published, export_run, disk):
    """TensorFlow's SavedModel or a later file has no room: version 1 stays as it was."""
    models_dir = disk.path / "models"
    shutil.copytree(published.path, models_dir / "simcnn" / "1")
    before = disk.files()
    disk.fill(leave=room)

    result = export_run(models_dir)

    check_told(result, models_dir / "simcnn")
    assert disk.files() == before
    model_folder.verify_manifest(models_dir / "simcnn" / "1")


def test_a_limit_on_file_sizes_needs_no_disk(run_dir, image_dir, run_export, tmp_path):
    """A file over the limit of ulimit is told like a full disk."""
    result = run_export(
        *(run_dir, "--models-dir", tmp_path / "models", "--data-dir", image_dir),
        start=disks.limited_to(200_000),
    )

    assert result.returncode == 2
    assert result.stderr == (
        f"error: cannot write {tmp_path}/models/simcnn: File too large, a file may have 200.0 kB; "
        "raise the limit with ulimit -f, or pass another --models-dir; nothing was published\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_read_only_models_folder_is_told(two_signatures, call, disk):
    """A read-only file system is not told to have no room."""
    disk.make_read_only()

    result = call("saved-model", two_signatures, "--name", "two", "--models-dir", disk.path / "m")

    check_told(result, disk.path / "m" / "two", "Read-only file system; make it writable")


@pytest.mark.parametrize("room", [0, 4_096, 12_288])
def test_a_section_without_room_leaves_the_version_readable(room, version, disk):
    """If metrics.json, the card or the manifest has no room, the version is as before."""
    path = shutil.copytree(version, disk.path / "1")
    contents = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    disk.fill(leave=room)

    with pytest.raises(papers.ExportError, match=r"No space left .* free some space; the version"):
        papers.add_section(path, "note", {"text": "x"})

    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == contents
    model_folder.verify_manifest(path)
