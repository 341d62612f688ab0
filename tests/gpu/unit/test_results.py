import json
import subprocess

import pytest
from gpu import results
from gpu.kit import outbox, target, tree
from gpu.results import Results, ResultsError


def test_results_are_on_disk_after_every_row(tmp_path):
    """A step that is ended has left its rows, with `complete` false."""
    step = Results("raw", tmp_path, device="cpu", commit="abc")
    step.add({"batch": 1})
    cut_off = results.read(tmp_path / "raw.json")
    step.finish()

    assert (cut_off["complete"], cut_off["rows"]) == (False, [{"batch": 1}])
    assert results.read(tmp_path / "raw.json")["complete"]
    assert cut_off["commit"] == "abc"
    assert cut_off["machine"]["cores"] >= 1


@pytest.mark.parametrize("row", [{"ok": False}, {"error": "no CUDA"}])
def test_a_failed_row_fails_the_step(tmp_path, row):
    """A check that failed, or an error, makes the step not ok."""
    step = Results("check", tmp_path, device="cpu")
    step.add({"ok": True})
    good = step.ok
    step.add(row)

    assert (good, step.ok) == (True, False)


def test_newer_results_replace_those_of_the_same_step(tmp_path):
    """Merging keeps the results of other steps, and the order of the steps."""
    for name, folder in (("server", "first"), ("check", "first"), ("check", "second")):
        Results(name, tmp_path / folder, device="cpu", commit=folder).finish()

    results.merge(tmp_path / "first", tmp_path / "gpu.json", rehearsal=True)
    merged = results.merge(tmp_path / "second", tmp_path / "gpu.json", rehearsal=True)

    steps = results.read(tmp_path / "gpu.json")["steps"]
    assert merged == ["check"]
    assert {name: step["commit"] for name, step in steps.items()} == {
        "check": "second",
        "server": "first",
    }
    assert list(steps) == ["check", "server"]


def test_results_of_a_cpu_are_no_results_of_a_gpu(tmp_path):
    """Results of a rehearsal are refused; the export always runs on a CPU and is taken."""
    Results("export", tmp_path / "export", device="cpu").finish()
    Results("raw", tmp_path / "raw", device="cpu").finish()

    merged = results.merge(tmp_path / "export", tmp_path / "gpu.json")
    with pytest.raises(ResultsError, match=r"raw\.json was measured on cpu, expected cuda"):
        results.merge(tmp_path / "raw", tmp_path / "gpu.json")

    assert merged == ["export"]


def test_two_results_of_a_step_are_refused(tmp_path):
    """Results of the same step in two subfolders are not merged silently."""
    for folder in ("first", "second"):
        Results("check", tmp_path / folder, device="cpu")

    with pytest.raises(ResultsError, match="check has several results"):
        results.merge(tmp_path, tmp_path / "gpu.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no file of results"),
        ("[]", "is no file of results"),
        (json.dumps({"schema_version": 99}), "has schema version 99, expected 1"),
    ],
)
def test_unreadable_results_are_refused_by_name(tmp_path, text, message):
    """A truncated file and one of another schema version are refused with the way out."""
    (tmp_path / "raw.json").write_text(text)

    with pytest.raises(ResultsError, match=message):
        results.merge(tmp_path, tmp_path / "gpu.json")


def test_an_empty_folder_has_no_results(tmp_path):
    """A folder without results is refused."""
    with pytest.raises(ResultsError, match=r"has no results; expected check\.json"):
        results.merge(tmp_path, tmp_path / "gpu.json")


def test_a_command_brings_back_what_fits(tmp_path):
    """Files wait in the outbox while number or size of the results would exceed the limits."""
    (tmp_path / "outbox").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "results/raw.json").write_bytes(b"1" * 10)
    for name in "abc":
        (tmp_path / "outbox" / name).write_bytes(b"1" * 40)

    first = outbox.deliver(tmp_path / "outbox", tmp_path / "results", files=8, total_bytes=95)
    (tmp_path / "again").mkdir()
    second = outbox.deliver(tmp_path / "outbox", tmp_path / "again", files=8, total_bytes=95)

    assert first == (["a", "b"], ["c"])
    assert second == (["c"], [])


def test_the_number_of_files_is_limited(tmp_path):
    """No more files are delivered than one command brings back."""
    (tmp_path / "outbox").mkdir()
    (tmp_path / "results").mkdir()
    for name in "abc":
        (tmp_path / "outbox" / name).write_bytes(b"1")

    moved, left = outbox.deliver(
        tmp_path / "outbox", tmp_path / "results", files=2, total_bytes=1000
    )

    assert (moved, left) == (["a", "b"], ["c"])


def test_the_machine_has_the_given_limits():
    """UPLOAD_MB and MINUTES replace the file's numbers."""
    machine = target.read(upload_megabytes=10, minutes=30)

    assert (machine.upload_bytes, machine.minutes) == (10 * 2**20, 30)
    assert machine.download.weights == "float16"


def test_a_limit_of_nothing_is_refused():
    """A limit that is not above 0 is refused, and the message names it."""
    with pytest.raises(ValueError, match=r"upload\.megabytes is 0, expected a number above 0"):
        target.read(upload_megabytes=0)


def test_large_files_are_put_aside_and_back(tmp_path):
    """Files of a megabyte leave the checkout for the upload, and come back unchanged."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models/large").write_bytes(b"1" * tree.LARGE_BYTES)
    (tmp_path / "small").write_bytes(b"1")
    for command in (["git", "init", "--quiet"], ["git", "add", "."]):
        subprocess.run(command, cwd=tmp_path, check=True)

    travelling = tree.travelling_bytes(tmp_path)
    moved = tree.put_aside(tmp_path, tmp_path / "build/aside")
    gone = not (tmp_path / "models/large").exists()
    back = tree.put_back(tmp_path, tmp_path / "build/aside")

    assert travelling == 1
    assert moved == back == ["models/large"]
    assert gone
    assert (tmp_path / "models/large").stat().st_size == tree.LARGE_BYTES
