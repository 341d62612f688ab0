"""Reports on disks without room: one line, exit code 2, and an older report stays."""

import subprocess
import sys

import disks
import pytest
from sample_results import load_reports

from loadtest.__main__ import main
from loadtest.report_schema import RAW_FILE
from loadtest.reports.pages import files


@pytest.fixture
def run(image_target, data_dir):
    """Run a short load test; return the exit code, standard output and lines of errors."""

    def call(folder, *flags, target=image_target):
        command = [sys.executable, "-m", "loadtest", "run", "--target", target, "--model=cat"]
        command += ["--users=1", "--requests=24", f"--data-dir={data_dir}"]
        done = subprocess.run(
            [*command, f"--output-dir={folder}", *flags],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        lines = done.stderr.splitlines()
        errors = [line for line in lines if line.startswith(("error", "Traceback"))]
        return done.returncode, done.stdout, errors

    return call


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", [*files.NAMES, RAW_FILE])
def test_a_full_disk_at_any_file_is_one_line_and_keeps_the_old_report(name, run, tmp_path):
    """The figures are printed, the report of the run before stays, and nothing else is left."""
    folder = tmp_path / "out"
    files.write_run(load_reports.report(), folder)
    before = contents(folder)
    disks.make_full(folder / name)

    code, output, errors = run(folder)

    assert code == 2
    assert "top-1" in output
    assert len(errors) == 1
    assert errors[0].startswith(f"error: cannot write {folder / name} (")
    assert errors[0].endswith("free; free some space, or name another --output-dir")
    assert contents(folder) == before


def test_samples_without_room_are_told_and_the_report_stays(run, tmp_path):
    """If the file of --save-samples has no room, the older one stays, and the report is written."""
    folder, samples = tmp_path / "out", tmp_path / "samples" / "samples.npz"
    samples.parent.mkdir()
    samples.write_text("older")
    disks.make_full(samples)

    code, output, errors = run(folder, f"--save-samples={samples}")

    assert code == 2
    assert output.splitlines()[-1] == f"report      {folder / 'report.html'}"
    assert len(errors) == 1
    assert errors[0].startswith(f"error: cannot write {samples} (")
    assert errors[0].endswith("free; free some space, or name another file with --save-samples")
    assert contents(samples.parent) == {"samples.npz": b"older"}
    assert {"report.json", RAW_FILE} < contents(folder).keys()


def test_a_full_disk_for_samples_is_told_before_the_run(run, disk, tmp_path):
    """If their folder cannot be made, nothing is measured, and no folder is left."""
    disk.fill(leave=0)
    samples = disk.path / "new" / "samples.npz"

    code, output, errors = run(tmp_path / "out", f"--save-samples={samples}")

    assert (code, output, len(errors)) == (2, "", 1)
    assert "No space left on device, 0 bytes of 16.8 MB are free; free some space, or" in errors[0]
    assert errors[0].endswith(" with --save-samples")
    assert disk.files() == set()
    assert not (tmp_path / "out").exists()


def test_a_report_without_room_leaves_no_folder(run, disk):
    """The run is measured, its report has no room, and the folder made for it is gone."""
    folder = disk.path / "results" / "out"
    disk.fill(leave=40_000)

    code, output, errors = run(folder)

    assert code == 2
    assert "top-1" in output
    assert len(errors) == 1
    assert "No space left on device, " in errors[0]
    assert "kB of 16.8 MB are free; free some space" in errors[0]
    assert disk.files() == set()


def test_a_disk_that_is_full_at_the_start_is_told_before_the_run(run, disk):
    """A full disk, or a read-only one, ends the command before anything is measured."""
    disk.fill(leave=0)
    full = run(disk.path / "out")
    disk.make_room()
    disk.make_read_only()

    read_only = run(disk.path / "out")

    for (code, output, errors), reason in (
        (full, "No space left on device, 0 bytes of 16.8 MB are free; free some space"),
        (read_only, "Read-only file system; make it writable"),
    ):
        place = disk.path / "out"
        assert (code, output) == (2, "")
        assert errors == [f"error: cannot write {place}: {reason}, or name another --output-dir"]
    assert disk.files() == set()


def test_a_run_that_cannot_start_leaves_nothing(run, tmp_path):
    """Without a server there is one line, and neither an empty report nor its folder."""
    code, output, errors = run(tmp_path / "results" / "out", target="127.0.0.1:1")

    assert (code, output, len(errors)) == (2, "", 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["report", "compare"])
def test_other_documents_are_told_and_kept_too(command, tmp_path, capsys):
    """The commands `report` and `compare` leave what they wrote before as it was."""
    for name in ("a", "b"):
        files.write_run(load_reports.report(), tmp_path / name)
    arguments = [command, str(tmp_path / "a"), str(tmp_path / "b"), "--output-dir"]
    folder = tmp_path / "out"
    assert main([*arguments, str(folder)]) == 0
    before = contents(folder)
    capsys.readouterr()
    disks.make_full(folder / ("report.html" if command == "report" else "comparison.json"))

    code = main([*arguments, str(folder)])

    assert code == 2
    assert capsys.readouterr().err.startswith(f"error: cannot write {folder}/")
    assert contents(folder) == before
