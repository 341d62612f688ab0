"""Write the generated parts of documents from metrics.json files: `make docs`.

    README.md           the part between two markers: models, trainings, recommendations
    docs/training.md    every training stored in docs/results/training/
    MODEL_CARD.md       of each version in the models folder

`make lint` checks that all of them are up to date.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.errors import ExportError, OutOfDate
from export.papers import cells, papers, speed_table, training_runs
from export.tables import recommendation, variant_figures
from export.tables.variant_figures import VariantFigures
from serving.repository import model_folder
from training import storage

BEGIN = "<!-- Written by `make docs` from models/*/*/metrics.json; do not edit. -->"
END = "<!-- End of what `make docs` writes. -->"
_TRAINING_HEAD = """\
# Trainings

Written by `make docs` from the files in `docs/results/training/`; do not edit.
To add a finished run: `python -m export tables --add-run RUN_DIR`.

"""
_SHOWN_BATCHES = (1, 32)


@dataclass(frozen=True, kw_only=True)
class Places:
    """Paths of the sources and of the documents.

    Attributes:
        models_dir: Folder with `<name>/<version>/` folders.
        readme: Document with the two markers.
        results_dir: Folder with results of trainings, see training_runs.
        training: Document about the trainings.
    """

    models_dir: Path = Path("models")
    readme: Path = Path("README.md")
    results_dir: Path = Path("docs/results/training")
    training: Path = Path("docs/training.md")


def write(places: Places) -> list[Path]:
    """Write the documents that are out of date.

    Returns:
        The files written.

    Raises:
        ExportError: a version was altered, the README lacks the markers, or a file cannot be read.
    """
    outdated = _outdated(places)
    for file, text in outdated.items():
        if file.name == model_folder.MODEL_CARD_FILE:
            papers.write_card(file.parent)  # updates the manifest too
        else:
            storage.make_folder(file.parent)
            storage.write(file, text.encode())
    return list(outdated)


def check(places: Places) -> None:
    """Check that all documents are as `write` would write them.

    Raises:
        OutOfDate: some documents differ; the message names them.
        ExportError: see write.
    """
    outdated = _outdated(places)
    if outdated:
        names = ", ".join(map(str, outdated))
        msg = f"{names} out of date or edited by hand: run `make docs`"
        raise OutOfDate(msg)


def models_section(places: Places) -> str:
    """The README's part about the models, with the latest version of each model."""
    versions = {path: papers.read_metrics(path) for path in _latest(places.models_dir)}
    classifiers = {path: metrics for path, metrics in versions.items() if metrics.get("variants")}
    if not classifiers:
        return f"No trained model in `{places.models_dir}`."
    variants = [
        variant
        for path, metrics in classifiers.items()
        for variant in variant_figures.read(path, metrics)
    ]
    parts = [_models(variants, places), *_legend(variants), *_conditions(classifiers)]
    parts.append(_trainings(classifiers, places))
    sentences = recommendation.sentences(variants)
    if sentences:
        parts += ["### Which one?", "\n".join(f"- {sentence}" for sentence in sentences)]
    return "\n\n".join(parts)


def _outdated(places: Places) -> dict[Path, str]:
    """The new texts of the files that are out of date, by file."""
    texts = {
        path / model_folder.MODEL_CARD_FILE: papers.expected_card(path)
        for path in _versions(places.models_dir)
    }
    texts[places.training] = (
        _TRAINING_HEAD + training_runs.render(training_runs.read_all(places.results_dir)) + "\n"
    )
    texts[places.readme] = _between_markers(places.readme, models_section(places))
    return {file: text for file, text in texts.items() if _content(file) != text}


def _content(file: Path) -> str | None:
    return file.read_text("utf-8") if file.is_file() else None


def _between_markers(readme: Path, section: str) -> str:
    text = _content(readme) or ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        msg = (
            f"{readme} lacks the lines {BEGIN!r} and {END!r}; add them where the tables of the "
            "models belong"
        )
        raise ExportError(msg)
    return f"{before}{BEGIN}\n\n{section}\n\n{END}{after}"


def _versions(models_dir: Path) -> list[Path]:
    """The published versions of all models.

    Raises:
        ExportError: the folder does not exist.
    """
    if not models_dir.is_dir():
        msg = f"{models_dir} is not a folder; pass the folder of the models as --models-dir"
        raise ExportError(msg)
    return [
        path
        for model in sorted(models_dir.iterdir())
        for path in (model / str(number) for number in model_folder.list_versions(model))
        if (path / model_folder.METRICS_FILE).is_file()
    ]


def _latest(models_dir: Path) -> list[Path]:
    return list({path.parent: path for path in _versions(models_dir)}.values())


def _models(variants: Sequence[VariantFigures], places: Places) -> str:
    header = (
        "model",
        "parameters",
        "variant",
        "size",
        "top-1 (95 % interval)",
        "same class as fp32",
        *(f"images/s, batch {rows}" for rows in _SHOWN_BATCHES),
        "top-1 after JPEG 75",
    )
    return cells.table(header, [_model(variant, places) for variant in variants])


def _model(variant: VariantFigures, places: Places) -> tuple[str, ...]:
    card = os.path.relpath(variant.version / model_folder.MODEL_CARD_FILE, places.readme.parent)
    parameters = variant.parameters
    return (
        f"[`{variant.model}`]({Path(card).as_posix()})",
        cells.NONE if parameters is None else f"{parameters:,}",
        variant.precision,
        cells.megabytes(variant.bytes),
        cells.accuracy(variant.top1, variant.top1_interval, variant.n),
        cells.percent(variant.agreement),
        *(_speed(variant, rows) for rows in _SHOWN_BATCHES),
        cells.accuracy(variant.jpeg, variant.jpeg_interval),
    )


def _legend(variants: Sequence[VariantFigures]) -> list[str]:
    """An explanation of the measured columns; empty if nothing was measured."""
    speeds = [speed for variant in variants for speed in variant.speeds.values()]
    told = []
    if any(speed.to_tensorflow is not None for speed in speeds):
        told.append(
            "`x TensorFlow`: times as fast as TensorFlow with a SavedModel of the same "
            "architecture, the same threads and the same images, in turns."
        )
    if any(variant.jpeg is not None for variant in variants):
        told.append("JPEG 75: the test images recompressed with quality 75 and 4:2:0 chroma.")
    return [" ".join(told)] if told else []


def _speed(variant: VariantFigures, rows: int) -> str:
    speed = variant.speeds.get(rows)
    if speed is None:
        return cells.NONE
    times = speed.to_tensorflow
    beside = "" if times is None else f" ({times:.2f} x TensorFlow)"
    return f"{speed.images_per_second:,.0f}{beside}"


def _conditions(versions: Mapping[Path, Mapping[str, Any]]) -> list[str]:
    """The conditions of each benchmark, one paragraph for each."""
    return [
        f"Speed of `{metrics['model']}`: {speed_table.conditions(metrics['benchmark'])}"
        for metrics in versions.values()
        if metrics.get("benchmark")
    ]


def _trainings(versions: Mapping[Path, Mapping[str, Any]], places: Places) -> str:
    rows = [_training(metrics) for metrics in versions.values()]
    header = (
        "model",
        "recipe",
        "seed",
        "epochs",
        "time",
        "trained on",
        training_runs.TOP1_COLUMN,
        "published reference",
    )
    document = os.path.relpath(places.training, places.readme.parent)
    return (
        f"{cells.table(header, rows)}\n\n{training_runs.TOP1_MEANING} More seeds and recipes: "
        f"[trainings]({Path(document).as_posix()})."
    )


def _training(metrics: Mapping[str, Any]) -> tuple[str, ...]:
    run = metrics.get("training") or {}
    return (
        f"`{metrics['model']}`",
        training_runs.recipe(run) if run else cells.NONE,
        str(run.get("seed", cells.NONE)),
        str(run.get("epochs", cells.NONE)),
        cells.duration(run.get("wall_seconds")),
        training_runs.hardware(run),
        cells.percent(training_runs.float32_top1(metrics)),
        cells.percent(training_runs.REFERENCES.get(str(run.get("model")))),
    )
