"""Tests of staging folders: leftovers of killed processes, and folders of live ones."""

import subprocess
import sys

import pytest
from sample_models import tiny_models

from serving.repository.staging import staging

WRITER = """
import sys, time
from pathlib import Path
from serving.repository.staging import staging
with staging(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("written")
    print(folder.name, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer(tmp_path):
    """Yield a process that is writing a version, and its staging folder."""
    (tmp_path / "brightness").mkdir()
    command = [sys.executable, "-c", WRITER, str(tmp_path / "brightness")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, tmp_path / "brightness" / process.stdout.readline().strip()
        finally:
            process.kill()


def test_leftovers_of_a_killed_export_are_removed(writer, tmp_path):
    """The next publication removes the staging folder of a killed export and nothing else."""
    process, left = writer
    (left.parent / ".other").mkdir()
    process.kill()
    process.wait()
    assert (left / "half").exists()

    tiny_models.brightness(tmp_path)

    assert sorted(path.name for path in left.parent.iterdir()) == [".other", "1"]


def test_the_folder_of_a_running_export_is_left_alone(writer, tmp_path):
    """Two exports of one model at the same time do not touch each other's files."""
    process, folder = writer

    tiny_models.brightness(tmp_path)

    assert process.poll() is None
    assert (folder / "half").read_text() == "written"


def test_folders_of_one_process_do_not_touch_each_other(tmp_path):
    """Two stagings in one process have different folders, and both are removed at the end."""
    with staging(tmp_path) as first, staging(tmp_path) as second:
        assert first.is_dir()
        assert second.is_dir()
        assert first != second

    assert not list(tmp_path.iterdir())


def test_links_are_not_followed(tmp_path):
    """A symbolic link with the name of a leftover is neither followed nor removed."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / ".publishing-x").symlink_to(tmp_path / "kept")

    with staging(tmp_path / "model"):
        pass

    assert (tmp_path / "kept").is_dir()
    assert (tmp_path / "model" / ".publishing-x").is_symlink()
