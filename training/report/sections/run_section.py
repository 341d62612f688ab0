"""The section of one run: facts, curves, confusion matrix, classes, mistakes, settings."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.data.data_set import ImageRows
from training.evaluation.accuracy import wilson_interval
from training.report import formats
from training.report.pages import figures
from training.report.pages.blocks import (
    Block,
    Bullets,
    Code,
    Details,
    Gallery,
    Heading,
    Notice,
    Paragraph,
    Picture,
    Table,
)
from training.report.sources import published
from training.report.sources.answers import RunAnswers
from training.report.sources.candidates import hardware
from training.report.sources.runs import RunRecord
from training.settings import search_record
from training.settings.recipes import recipe_of
from training.settings.report_differences import REPORT_DIFFERENCES

_MISTAKES = 12
_CURVES = (
    (
        "accuracy",
        "Accuracy",
        "accuracy (%)",
        {"accuracy": "training", "val_accuracy": "validation"},
    ),
    ("loss", "Loss", "loss (nats)", {"loss": "training", "val_loss": "validation"}),
    ("rate", "Learning rate", "rate after the epoch", {"learning_rate": "learning rate"}),
)


def describe(
    run: RunRecord, key: str, answers: RunAnswers | None, test: ImageRows | None
) -> list[Block]:
    """Return the section of a run.

    Args:
        run: Finished or not.
        key: Prefix of the names of its picture files; unlike the run's name it suits any file
            system.
        answers: The model's answers to the test images, if they are known.
        test: The test images, if they are known.
    """
    blocks: list[Block] = [Heading(f"Run {run.name}"), Paragraph(_introduction(run))]
    if not run.is_finished:
        return [*blocks, *_unfinished(run), *_curves(run, key)]
    if run.settings["recipe"] == "report" and run.is_of_reference_data:
        blocks += _protocol(run)
    blocks += [_facts(run), *_curves(run, key), _results(run, key)]
    if answers is not None and test is not None:
        blocks += _mistakes(run, key, answers, test)
    return [
        *blocks,
        Details("Accuracy by class", [_by_class(run.result["confusion_matrix"], run.class_names)]),
        Details("Settings", _settings(run)),
    ]


def _introduction(run: RunRecord) -> str:
    return f"{run.recipe}, seed {run.settings['seed']}."


def _unfinished(run: RunRecord) -> list[Block]:
    text = (
        f"Unfinished: {len(run.history)} of {run.settings['epochs']} epochs, so there is no test "
        "accuracy and the run is not compared. This command resumes it:"
    )
    return [Notice(text), Code(run.command())]


def _protocol(run: RunRecord) -> list[Block]:
    return [
        Notice("This run follows the published protocol and repeats these mistakes:"),
        Bullets(published.repeated_mistakes(run.settings)),
        Paragraph("The recipe differs from the published protocol:"),
        Bullets(REPORT_DIFFERENCES.get(run.settings["model"], ())),
    ]


def _facts(run: RunRecord) -> Table:
    result, data = run.result, run.result.get("data", run.data)
    commits = [result.get("git_commit"), *result.get("resumed_with_git_commits", [])]
    versions = result.get("versions") or {}
    epoch_seconds = [row["seconds"] for row in run.history]
    epochs = f"{result['epochs']}"
    if epoch_seconds:
        epochs += f", {statistics.median(epoch_seconds):.1f} s each (median, with validation)"
    if result.get("stopped_epoch"):
        epochs += f"; stopped early, of {run.settings['epochs']}"
    if result.get("best_epoch"):
        epochs += f"; the weights are those of epoch {result['best_epoch']}"
    rows = [
        ("Test accuracy", formats.percent(result["top1"])),
        ("95 % interval", formats.interval(result["top1_wilson_95"])),
        ("Correct", f"{run.correct:,} of {result['n']:,} test images"),
        *_other_measures(result),
        ("Test loss", f"{formats.nats(result['loss'])} nats, without label smoothing"),
        ("Parameters", f"{result['parameters']:,}"),
        ("Epochs", epochs),
        ("Training time", f"{formats.duration(result['wall_seconds'])}, evaluation included"),
        ("Training speed", f"{result['train_images_per_second']:,.0f} images/s (median epoch)"),
        *_search(result),
        ("Images", _images(data, result["n"])),
        ("Data", str(data.get("variant"))),
        ("Hardware", hardware(run)),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("Commit", ", then ".join(str(commit or "unknown") for commit in commits)),
        ("Finished (UTC)", str(result.get("finished_utc", "unknown"))),
    ]
    return Table(("", ""), rows, text_columns=(0, 1))


def _search(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    record = result.get("search")
    return [("Search", search_record.describe(record))] if record else []


def _other_measures(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return measures that runs of earlier programs do not record."""
    measures = {
        "balanced_accuracy": ("Balanced accuracy", "mean of the classes' accuracies"),
        "macro_f1": ("Macro F1", "mean of the classes' F1 scores"),
        "calibration_error": (
            "Calibration error",
            "mean distance of confidence and accuracy, in 15 bins",
        ),
    }
    rows = [
        (name, f"{formats.percent(result[key])}, {what}")
        for key, (name, what) in measures.items()
        if key in result
    ]
    if found := result.get("calibration"):
        text = (
            f"logits divided by {found['temperature']:.3f}, which {found['validation_images']:,} "
            f"validation images chose; before, the calibration error of the test images was "
            f"{formats.percent(found['test_error_before'])}"
        )
        rows.append(("Temperature", text))
    return rows


def _images(data: Mapping[str, Any], test_images: int) -> str:
    if "train_images" not in data:
        return f"{test_images:,} to test"
    return (
        f"{data['train_images']:,} to train, {data['validation_images']:,} to validate, "
        f"{test_images:,} to test"
    )


def _curves(run: RunRecord, key: str) -> list[Block]:
    if not run.history:
        return [Notice(f"{run.folder} has no history.csv or an empty one: no curves to show.")]
    pictures = [
        Picture(
            f"{key}-{name}",
            figures.curves(
                run.history,
                columns,
                title=title,
                y_label=label,
                alt=f"{title} of run {run.name} over {len(run.history)} epochs",
            ),
        )
        for name, title, label, columns in _CURVES
    ]
    return [Gallery(pictures), Paragraph(_how_to_read(run.settings))]


def _how_to_read(settings: Mapping[str, Any]) -> str:
    text = (
        "Training figures are means over the epoch's steps, during which the weights change. "
        "Validation figures are of the weights at the end of the epoch"
    )
    if settings.get("ema_span"):
        text += ", averaged over the steps before"
    text += "."
    if any(settings.get(name) for name in ("crop_padding", "flip", "cutout", "mixup")):
        text += " Only training images are augmented, which makes them harder."
    if settings.get("mixup"):
        text += (
            " Training images are mixtures of two; the training accuracy counts those for which "
            "the class with the larger share is predicted."
        )
    if settings.get("label_smoothing"):
        text += " Both losses include label smoothing; the test loss does not."
    return text


def _results(run: RunRecord, key: str) -> Gallery:
    matrix = run.result["confusion_matrix"]
    return Gallery(
        [
            Picture(
                f"{key}-confusion",
                figures.confusion_matrix(
                    matrix,
                    run.class_names,
                    f"Confusion matrix of run {run.name}; the most frequent mistakes: "
                    f"{_frequent_mistakes(matrix, run.class_names)}",
                ),
            ),
            Picture(
                f"{key}-classes",
                figures.class_accuracies(
                    matrix,
                    run.class_names,
                    f"Accuracy of run {run.name} by class; the figures are in the table below",
                ),
            ),
        ]
    )


def _frequent_mistakes(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    counts = np.asarray(matrix).copy()
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:3]
    found = [
        f"{names[label]} taken for {names[answer]} {counts[label, answer]} times"
        for label, answer in zip(*np.unravel_index(order, counts.shape), strict=True)
        if counts[label, answer]
    ]
    return ", ".join(found) or "none"


def _mistakes(run: RunRecord, key: str, answers: RunAnswers, test: ImageRows) -> list[Block]:
    worst = answers.worst(_MISTAKES)
    wrong = int((~answers.right).sum())
    blocks: list[Block] = [Heading("Worst mistakes", level=3)]
    correct = int(answers.right.sum())
    if correct != run.correct:
        text = (
            f"model.keras gets {correct:,} of {len(test):,} images right here, metrics.json says "
            f"{run.correct:,}. A difference of a few images comes from rounding on other hardware "
            "or with other versions; a large one means another model file."
        )
        blocks.append(Notice(text))
    if not wrong:
        return [*blocks, Paragraph("No test image was classified wrongly.")]
    rows = [
        (
            str(index),
            run.class_names[test.labels[index]],
            run.class_names[answers.classes[index]],
            formats.percent(answers.probabilities[index]),
        )
        for index in worst
    ]
    captions = [f"{label}\n→ {answer}\n{share}" for _, label, answer, share in rows]
    text = (
        f"The {len(worst)} of {wrong:,} wrong answers with the highest probability. Below each "
        "picture: its label, the answer, the answer's probability (the softmax)."
    )
    return [
        *blocks,
        Paragraph(text),
        Gallery(
            [
                Picture(
                    f"{key}-mistakes",
                    figures.pictures(
                        test.take(worst),
                        captions,
                        columns=4,
                        title="Label, answer and its probability",
                        alt="; ".join(
                            f"{label} taken for {answer}" for _, label, answer, _ in rows
                        ),
                    ),
                )
            ]
        ),
        Details(
            "The same as a table",
            [Table(("Test image", "Label", "Answer", "Probability"), rows, text_columns=(0, 1, 2))],
        ),
    ]


def _by_class(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> Table:
    rows = []
    for label, (name, row) in enumerate(zip(names, matrix, strict=True)):
        total = sum(row)
        count, confused = max((n, other) for other, n in enumerate(row) if other != label)
        rows.append(
            (
                name,
                f"{names[confused]} ({count:,})" if count else "nothing",
                formats.percent(row[label] / total, 1) if total else "no images",
                formats.interval(wilson_interval(row[label], total), 1) if total else "",
                f"{row[label]:,} of {total:,}",
            )
        )
    header = ("Class", "Most often taken for", "Accuracy", "95 % interval", "Correct")
    return Table(header, rows, text_columns=(0, 1))


def _settings(run: RunRecord) -> list[Block]:
    standard = recipe_of(run.settings)
    rows = []
    for name, value in run.settings.items():
        usual = standard.get(name, value)
        changed = name != "seed" and usual != value
        rows.append((name, str(value), f"changed; the recipe has {usual}" if changed else ""))
    return [
        Table(("Setting", "Value", ""), rows, text_columns=(0, 1, 2)),
        Paragraph("The training again, in a new folder:"),
        Code(run.command(Path("runs/again"))),
    ]
