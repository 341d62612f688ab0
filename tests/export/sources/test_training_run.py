import json
import shutil

import pytest

from export.errors import ExportError
from export.sources import training_run


def test_finished_run_is_read(run_dir):
    """`read` returns the model's name, number of correct answers and metrics of the training."""
    run = training_run.read(run_dir)

    assert run.model_name == "simcnn"
    assert run.correct == round(run.metrics["top1"] * 80)
    assert run.model_file.is_file()
    assert run.was_float32_on_cpu


def test_training_section_has_facts_without_results(run_dir):
    """The section copies settings and data, and leaves out results, which export recomputes."""
    section = training_run.read(run_dir).training_section()

    assert section["config"]["batch_size"] == 20
    assert section["data"]["train_images"] == 300
    assert not {"top1", "n", "confusion_matrix", "per_class_accuracy"} & section.keys()


def test_missing_folder_is_refused(tmp_path):
    """A missing folder is refused; the message says what kind of folder was expected."""
    with pytest.raises(ExportError, match=r"does not exist; expected one that `python -m training"):
        training_run.read(tmp_path / "nowhere")


def test_unfinished_run_is_refused(run_dir, tmp_path):
    """A run without metrics.json is refused; the message says how to resume it."""
    shutil.copyfile(run_dir / "config.json", tmp_path / "config.json")

    with pytest.raises(ExportError, match=r"is unfinished.*again to resume it"):
        training_run.read(tmp_path)


def test_other_folder_is_refused(tmp_path):
    """A folder without config.json and metrics.json is refused as no run folder."""
    with pytest.raises(ExportError, match=r"is not a run folder: it has no metrics\.json"):
        training_run.read(tmp_path)


def test_run_without_model_is_refused(run_dir, tmp_path):
    """A run with metrics.json but without model.keras is refused."""
    shutil.copyfile(run_dir / "metrics.json", tmp_path / "metrics.json")

    with pytest.raises(ExportError, match=r"has metrics\.json but no model\.keras"):
        training_run.read(tmp_path)


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", json.dumps({"model": "x", "confusion_matrix": 3})]
)
def test_unreadable_metrics_are_refused(tmp_path, content):
    """Broken JSON, other documents and missing fields are an ExportError."""
    (tmp_path / "model.keras").touch()
    (tmp_path / "metrics.json").write_text(content)

    with pytest.raises(ExportError, match=r"metrics\.json cannot be understood"):
        training_run.read(tmp_path)


@pytest.mark.parametrize("names", [["submarine"], [str(i) for i in range(11)], [1] * 10, None])
def test_names_that_are_not_those_of_the_classes_are_refused(run_dir, tmp_path, names):
    """Class names have to be texts, one for each row of the confusion matrix."""
    shutil.copytree(run_dir, tmp_path / "run")
    metrics = json.loads((run_dir / "metrics.json").read_text())
    metrics["class_names"] = names
    (tmp_path / "run" / "metrics.json").write_text(json.dumps(metrics))

    with pytest.raises(ExportError, match=r"is about the classes .*, expected the names"):
        training_run.read(tmp_path / "run")


@pytest.mark.parametrize(
    ("value", "cleaned"),
    [
        ("/data/me/cifar", "cifar"),
        ("~/cifar", "cifar"),
        (r"C:\data\cifar", "cifar"),
        ("none", "none"),
        ("weights/old.keras", "weights/old.keras"),
        (["/a/b", {"c": "/d/e"}], ["b", {"c": "e"}]),
        (3, 3),
    ],
)
def test_absolute_paths_become_names(value, cleaned):
    """Absolute paths of any system are shortened to the name; other values stay."""
    assert training_run.without_paths(value) == cleaned
