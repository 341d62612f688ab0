"""The data set, architectures and answers that a report needs beside the run folders."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import keras

from training.data.cifar10 import DATA_DIR_VARIABLE, DataError
from training.data.data_set import DataSet, ImageRows
from training.report import formats
from training.report.sources import answers
from training.report.sources.answers import RunAnswers
from training.report.sources.runs import RunRecord
from training.settings.recipes import ConfigError
from training.sources import opening


@dataclass(kw_only=True)
class Evidence:
    """Data, models and answers that could be loaded, and one sentence for each that could not.

    Attributes:
        models: Architectures by name, see RunRecord.architecture.
        answers: Answers to the test images, by name of the run.
        train: Training images, if the runs were trained on them.
        test: Test images.
        missing: What is left out of the report and why.
    """

    models: dict[str, keras.Model] = field(default_factory=dict)
    answers: dict[str, RunAnswers] = field(default_factory=dict)
    train: ImageRows | None = None
    test: ImageRows | None = None
    missing: list[str] = field(default_factory=list)


def collect(runs: Sequence[RunRecord], data_dir: Path | None) -> Evidence:
    """Read the data set, and classify the test images with the model of every finished run.

    Args:
        runs: Finished and unfinished runs.
        data_dir: See training.sources.opening.find; with None, only data that Keras downloaded for
            a run are used.

    Returns:
        The evidence that could be loaded. Without a model.keras or the data, the report lacks some
        sections.

    Raises:
        DataError: `data_dir` is given and holds no data set.
    """
    evidence = Evidence()
    data = _read_data(runs, data_dir, evidence)
    unanswered: dict[str, list[str]] = {}
    for run in runs:
        if run.architecture not in evidence.models:
            try:
                evidence.models[run.architecture] = answers.architecture(run)
            except ConfigError as error:
                evidence.missing.append(f"The layers of {run.name} are left out: {error}.")
        if data is not None and run.is_finished:
            try:
                evidence.answers[run.name] = answers.of_run(run, data)
            except (ConfigError, DataError) as error:
                unanswered.setdefault(str(error), []).append(run.name)
    evidence.missing += [
        f"Mistakes and paired comparisons of {formats.listing(names)} are left out: {reason}."
        for reason, names in unanswered.items()
    ]
    return evidence


def _load(runs: Sequence[RunRecord], data_dir: Path | None) -> DataSet:
    """Read the data as the runs on pictures did: the first one, if size or split seed differ."""
    chosen = [
        (run.settings["image_size"], run.settings.get("split_seed", 0))
        for run in runs
        if not run.is_of_reference_data
    ]
    side, split_seed = chosen[0] if chosen else (None, 0)
    return opening.load(data_dir, side, split_seed=split_seed)


def _read_data(
    runs: Sequence[RunRecord], data_dir: Path | None, evidence: Evidence
) -> DataSet | None:
    without = "Sample pictures, mistakes and paired comparisons are left out"
    if data_dir is None and all(run.data["variant"] != "keras-download" for run in runs):
        evidence.missing.append(
            f"{without}: no data folder was given (--data-dir or {DATA_DIR_VARIABLE})."
        )
        return None
    try:
        data = _load(runs, data_dir)
    except DataError as error:
        if data_dir is not None:
            raise
        evidence.missing.append(f"{without}: {error}.")
        return None
    evidence.test = data.test
    if data.train.sha256() in {run.data["train_sha256"] for run in runs}:
        evidence.train = data.train
    else:
        evidence.missing.append(
            "Sample pictures are left out: the training images in the data folder are not those "
            "of any run; pass the runs' --data-dir."
        )
    return data
