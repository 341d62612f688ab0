import json
import shlex

import pytest
from sample_results.run_folders import write_run

from training.evaluation.accuracy import wilson_interval
from training.report.sources import answers
from training.report.sources.runs import HeldOut, ReportError, read_all
from training.settings.arguments import parser
from training.settings.recipes import from_recipe


def test_finished_and_unfinished_runs_are_told_apart(tmp_path):
    """A run without metrics.json is read as unfinished, with the epochs in its history."""
    folders = [write_run(tmp_path / "a"), write_run(tmp_path / "b", epochs_done=3)]

    done, begun = read_all(folders)

    assert done.is_finished
    assert done.correct == 80
    assert not begun.is_finished
    assert [row["epoch"] for row in begun.history] == [1, 2, 3]
    with pytest.raises(ReportError, match="unfinished"):
        _ = begun.result


def test_held_out_accuracy_is_that_of_the_saved_weights(tmp_path):
    """With early stopping it is that of the best epoch; with validation test there is none."""
    last, published = (
        write_run(tmp_path / "a", held_out=70),
        write_run(tmp_path / "b", recipe="report"),
    )
    stopped = write_run(tmp_path / "c", epochs=9, held_out=70, early_stopping=5)
    metrics = json.loads((stopped / "metrics.json").read_text()) | {"best_epoch": 4}
    (stopped / "metrics.json").write_text(json.dumps(metrics))
    rows = (stopped / "history.csv").read_text().splitlines()
    rows[4] = rows[4].replace("0.7", "0.75")
    (stopped / "history.csv").write_text("\n".join(rows))

    found = [run.held_out for run in read_all([last, published, stopped])]

    assert found[0] == HeldOut(0.7, 100)
    assert found[0].interval == wilson_interval(70, 100)
    assert found[1] is None
    assert found[2] == HeldOut(0.75, 100)


def test_unrecorded_held_out_accuracy_is_unknown(tmp_path):
    """A run without history, or of an older program without the number of images, has none."""
    without, older = write_run(tmp_path / "a"), write_run(tmp_path / "b")
    (without / "history.csv").unlink()
    metrics = json.loads((older / "metrics.json").read_text())
    del metrics["data"]["validation_images"]
    (older / "metrics.json").write_text(json.dumps(metrics))

    assert [run.held_out for run in read_all([without, older])] == [None, None]


def test_unfinished_runs_alone_are_refused_with_the_command_that_goes_on(tmp_path):
    """If no run is finished, the error has each run's epochs and a command that resumes one."""
    folder = write_run(tmp_path / "a", epochs=9, epochs_done=3)

    with pytest.raises(ReportError, match=r"a has 3 of 9 epochs") as caught:
        read_all([folder])

    assert f"python -m training simcnn --recipe=best --seed=0 --epochs=9 --run-dir={folder}" in str(
        caught.value
    )


def test_folder_of_something_else_is_refused(tmp_path):
    """A folder without config.json raises ReportError with its path and what was expected."""
    with pytest.raises(ReportError, match=r"is no run folder: it has no config.json"):
        read_all([tmp_path])
    with pytest.raises(ReportError, match=r"none is no run folder"):
        read_all([tmp_path / "none"])


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", "{", "config.json can't be read"),
        ("config.json", "[]", "config.json is no config of a run"),
        ("config.json", '{"config": {"model": "simcnn"}, "data": {}}', "lacks the settings epochs"),
        ("metrics.json", "[]", "metrics.json is no result of a run"),
        ("metrics.json", '{"top1": 1}', "metrics.json is no result of a run"),
        ("metrics.json", "{", "metrics.json can't be read"),
        ("history.csv", "epoch,loss\n1,high\n", "history.csv can't be read"),
    ],
)
def test_damaged_file_is_named(tmp_path, file, content, message):
    """A damaged file of a run raises ReportError that names the file and the problem."""
    folder = write_run(tmp_path / "a")
    (folder / file).write_text(content)

    with pytest.raises(ReportError, match=message):
        read_all([folder])


def test_folder_given_twice_counts_once(tmp_path):
    """A folder given by two paths is read as one run, so that it does not count as two seeds."""
    folder = write_run(tmp_path / "a")

    assert len(read_all([folder, tmp_path / "." / "a", tmp_path / "b" / ".." / "a"])) == 1


def test_names_are_as_long_as_needed(tmp_path):
    """If two run folders have the same name, each run's name includes the parent folder."""
    folders = [write_run(tmp_path / place / "seed-0") for place in ("x", "y")]

    assert [run.name for run in read_all(folders)] == ["x/seed-0", "y/seed-0"]
    assert [run.name for run in read_all(folders[:1])] == ["seed-0"]


def test_recipe_names_what_was_changed_of_it(tmp_path):
    """A run's recipe lists settings that differ from it, except seed and shortened warm-up."""
    folder = write_run(tmp_path / "a", epochs=2, batch_size=64, seed=7)

    (run,) = read_all([folder])

    assert run.recipe == "simcnn best (epochs 2, batch_size 64)"


@pytest.mark.parametrize(
    ("changes", "architecture"),
    [
        ({}, "resnet50"),
        ({"upsample": 2}, "resnet50, images x 2"),
        ({"stem": "cifar"}, "resnet50, stem cifar"),
        ({"stem": "cifar", "upsample": 4}, "resnet50, stem cifar, images x 4"),
    ],
)
def test_architecture_names_stem_and_enlargement(tmp_path, changes, architecture):
    """Runs with another stem or enlarged images are shown as other architectures."""
    (run,) = read_all([write_run(tmp_path / "a", "resnet50", **changes)])

    assert run.architecture == architecture
    built = answers.architecture(run)
    side = 32 * changes.get("upsample", 1)
    assert built.get_layer("body").input.shape == (None, side, side, 3)
    kernel = built.get_layer("body").get_layer("conv1_conv").kernel_size
    assert kernel == ((3, 3) if "stem" in changes else (7, 7))


def test_run_from_before_a_setting_is_repeated_with_its_default(tmp_path):
    """The command of a run that lacks a setting of its recipe sets it to the default."""
    folder = write_run(tmp_path / "a", "resnet50")
    content = json.loads((folder / "config.json").read_text())
    del content["config"]["clip_norm"], content["config"]["stem"]
    (folder / "config.json").write_text(json.dumps(content))

    (run,) = read_all([folder])

    assert run.recipe == "resnet50 best (clip_norm 0.0)"
    assert "--clip-norm=0.0" in run.command()
    assert run.architecture == "resnet50"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"epochs": 2, "seed": 3},
        {"flip": False, "crop_padding": 2, "schedule": "constant", "xla": "off"},
        {"validation": "tail", "validation_fraction": 0.2, "weights": "some where/model.keras"},
    ],
)
def test_command_repeats_the_run(tmp_path, changes):
    """The command line parses a run's command and gets the settings of the run."""
    folder = write_run(tmp_path / "a b", **changes)
    (run,) = read_all([folder])

    python, m, training, *arguments = shlex.split(run.command())

    options = vars(parser().parse_args(arguments))
    assert (python, m, training) == ("python", "-m", "training")
    assert options.pop("run_dir") == folder
    settings = json.loads((folder / "config.json").read_text())["config"]
    known = {name: value for name, value in options.items() if name in settings}
    assert from_recipe(**known).as_dict() == settings
