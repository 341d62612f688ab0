import json
import re
import shutil

import pytest

from export import __main__


def test_failed_gate_exits_with_1(call, run_dir, image_dir, tmp_path):
    """A failed gate prints a report without traceback on stderr, and nothing is published."""
    shutil.copytree(run_dir, tmp_path / "run")
    metrics = json.loads((run_dir / "metrics.json").read_text())
    metrics["confusion_matrix"][0][0] += 1
    (tmp_path / "run" / "metrics.json").write_text(json.dumps(metrics))

    code, _, stderr = call(
        tmp_path / "run", "--models-dir", tmp_path / "models", "--data-dir", image_dir
    )

    assert code == 1
    assert stderr.startswith("error: accuracy gate: ")
    assert "Traceback" not in stderr
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("kind", ["missing", "unfinished", "no model"])
def test_unusable_run_exits_with_2(call, run_dir, tmp_path, kind):
    """An unusable run folder is one line on stderr."""
    folder = tmp_path / "run"
    if kind != "missing":
        folder.mkdir()
        file = "config.json" if kind == "unfinished" else "metrics.json"
        shutil.copyfile(run_dir / file, folder / file)

    code, stdout, stderr = call(folder, "--models-dir", tmp_path / "models")

    assert code == 2
    assert stdout == []
    assert stderr.startswith(f"error: {'the training in ' if kind == 'unfinished' else ''}")
    assert stderr.count("\n") == 1


def test_wrong_data_exits_with_2(call, run_dir, tmp_path):
    """A data folder without CIFAR-10 is one line that says where to get it."""
    code, _, stderr = call(run_dir, "--models-dir", tmp_path / "models", "--data-dir", tmp_path)

    assert code == 2
    assert str(tmp_path) in stderr
    assert stderr.count("\n") == 1


def test_place_that_cannot_be_written_exits_with_2(call, two_signatures, tmp_path):
    """A models folder that is a file is one line that names the flag."""
    (tmp_path / "models").write_text("in the way")

    code, _, stderr = call(
        "saved-model", two_signatures, "--name", "two", "--models-dir", tmp_path / "models"
    )

    assert code == 2
    told = r"error: cannot write .*/models/two: .* --models-dir; nothing was published\n"
    assert re.fullmatch(told, stderr)


def test_interrupted_command_exits_with_130(call, monkeypatch, tmp_path):
    """Ctrl-C is one line that says that nothing was published."""

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(__main__, "_COMMANDS", {"robustness": interrupt})

    assert call("robustness", tmp_path) == (130, [], "error: interrupted; nothing was published\n")
