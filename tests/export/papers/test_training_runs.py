import json

import pytest
from sample_results import sample_metrics as sample

from export.errors import ExportError
from export.papers import training_runs

RUN = sample.TRAINING | {"n": 10_000, "top1": 0.8, "top1_wilson_95": [0.79, 0.81]}


def keep(folder, **changes):
    """Write the result of a run, with changes, into a folder."""
    folder.mkdir(exist_ok=True)
    name = f"{len(list(folder.iterdir()))}.json"
    (folder / name).write_text(json.dumps(RUN | changes))


def cells(markdown: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in markdown.splitlines()
        if line.startswith("| `")
    ]


def test_mean_and_deviation_over_seeds(tmp_path):
    """Each model and recipe has mean, deviation (`-` for one run) and the published reference."""
    for seed, top1 in enumerate((0.80, 0.81, 0.82)):
        keep(tmp_path / "results", seed=seed, top1=top1)
    keep(tmp_path / "results", model="resnet50", config={}, top1=0.9)

    table = cells(training_runs.render(training_runs.read_all(tmp_path / "results")))

    assert table[0] == ["`resnet50`", "best", "1", "90.00 %", "-", "79.29 %"]
    assert table[1] == ["`simcnn`", "best", "3", "81.00 %", "1.00 points", "71.61 %"]


def test_other_settings_are_another_recipe(tmp_path):
    """Runs with other settings have their own row; a path of weights is shortened to its name."""
    keep(tmp_path, top1=0.8)
    settings = RUN["config"] | {"epochs": 30, "weights": "/somewhere/start.keras"}
    keep(tmp_path, top1=0.7, config=settings)

    table = cells(training_runs.render(training_runs.read_all(tmp_path)))

    assert [row[1:4] for row in table[:2]] == [
        ["best", "1", "80.00 %"],
        ["best, epochs 30, weights start.keras", "1", "70.00 %"],
    ]


def test_a_run_has_a_row(tmp_path):
    """A run's row has accuracy, interval, n, time, speed, hardware and commit; unknown is `-`."""
    keep(tmp_path)
    keep(tmp_path, seed=4, hardware={"gpus": ["H", "H"]}, wall_seconds=59.6, git_commit=None)
    unknown = dict.fromkeys(("hardware", "wall_seconds", "train_images_per_second", "n"))
    keep(tmp_path, seed=5, top1_wilson_95=None, **unknown)

    first, second, third = cells(training_runs.render(training_runs.read_all(tmp_path)))[1:]

    assert first == [
        "`simcnn`",
        "best",
        "3",
        "60",
        "80.00 % (79.00 to 81.00), n = 10,000",
        "2 h 5 min",
        "2,819",
        "Some CPU, 2 cores",
        "0123456",
    ]
    assert second[5:] == ["1 min", "2,819", "2 x H", "-"]
    assert third[4:8] == ["80.00 %", "-", "-", "-"]


def test_no_folder_has_no_runs(tmp_path):
    """A checkout without results has a document that says so."""
    assert training_runs.read_all(tmp_path / "results") == []
    assert training_runs.render([]) == "No results are stored yet."


@pytest.mark.parametrize("content", ["{", "[]", '{"model": "simcnn"}'])
def test_files_that_are_no_results_are_named(tmp_path, content):
    """A file that is no training result is an error with its name and what was expected."""
    (tmp_path / "wrong.json").write_text(content)

    with pytest.raises(ExportError, match=r"wrong\.json .* of a finished training"):
        training_runs.read_all(tmp_path)


def test_an_unfinished_run_is_not_added(tmp_path):
    """A run without metrics.json is refused, and no results folder is made."""
    with pytest.raises(ExportError, match=r"metrics\.json cannot be read"):
        training_runs.add(tmp_path, tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_adding_twice_keeps_one_file(tmp_path):
    """Adding a run twice writes one file, named by model, recipe, seed and finish time."""
    (tmp_path / "metrics.json").write_text(json.dumps(RUN))

    files = {training_runs.add(tmp_path, tmp_path / "results") for _ in range(2)}

    assert [file.name for file in files] == ["simcnn-best-seed3-20260101T000000.json"]
