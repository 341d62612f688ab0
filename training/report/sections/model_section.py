"""The architectures and the data sets of the runs."""

from collections.abc import Mapping, Sequence

import keras
import numpy as np

from training.data.data_set import ImageRows
from training.report import formats
from training.report.pages import figures
from training.report.pages.blocks import Block, Gallery, Heading, Paragraph, Picture, Table
from training.report.sources import compute
from training.report.sources.published import TEST_SHA256
from training.report.sources.runs import RunRecord

_SAMPLES = 25
_NAMED = 20


def describe_data(runs: Sequence[RunRecord], train: ImageRows | None) -> list[Block]:
    """Return the data sets of the runs, and some training images if they are known.

    Pictures of a folder are in the order of their classes, so that the images shown are taken at
    equal distances.
    """
    pictures = [run for run in runs if not run.is_of_reference_data]
    if pictures:
        rows = {(str(run.data["variant"]), _classes(run), _side(run)) for run in runs}
        header: tuple[str, ...] = ("Variant", "Classes", "Image size")
    else:
        rows = {
            (
                str(run.data["variant"]),
                "yes" if run.data["test_sha256"] == TEST_SHA256 else "no",
                "",
            )
            for run in runs
        }
        header = ("Variant", "Official test images")
    table = [row[: len(header)] for row in sorted(rows)]
    columns = tuple(range(len(header)))
    blocks: list[Block] = [Heading("Data"), Table(header, table, text_columns=columns)]
    if train is None:
        return blocks
    count = min(_SAMPLES, len(train))
    step = (len(train) - 1) / max(1, count - 1)
    shown = (np.arange(count) * step).astype(np.int64)
    images = train.take(shown)
    class_names = (pictures or runs)[0].class_names
    names = [class_names[label] for label in train.labels[shown]]
    return [
        *blocks,
        Paragraph(f"Some of {len(train):,} training images with their classes:"),
        Gallery(
            [
                Picture(
                    "samples",
                    figures.pictures(
                        images,
                        names,
                        columns=5,
                        title="Training images",
                        alt=f"Some training images: {', '.join(names)}",
                    ),
                )
            ]
        ),
    ]


def _classes(run: RunRecord) -> str:
    """Return the number of classes and their names, the first twenty of many."""
    names = run.class_names
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{len(names)}: {', '.join(names[:_NAMED])}{more}"


def _side(run: RunRecord) -> str:
    side = run.settings.get("image_size", 32)
    return f"{side}x{side}"


def describe_models(models: Mapping[str, keras.Model]) -> list[Block]:
    """Return a table of the layers of each architecture, with parameters and compute.

    Args:
        models: Architectures by the name to show.
    """
    blocks: list[Block] = [Heading("Models")]
    for name, model in models.items():
        rows = [
            (row.name, row.kind, row.output_shape, f"{row.parameters:,}", f"{row.macs:,}")
            for row in compute.summary(model)
        ]
        parameters, macs = model.count_params(), compute.macs(model)
        rows.append(("Total", "", "", f"{parameters:,}", f"{macs:,}"))
        header = ("Layer", "Type", "Output shape", "Parameters", "MACs an image")
        text = (
            f"{parameters:,} parameters, {formats.millions(macs)} multiply-accumulates (MACs) an "
            f"image, which are {formats.millions(2 * macs)} floating-point operations (FLOPs)."
        )
        blocks += [
            Heading(name, level=3),
            Paragraph(text),
            Table(header, rows, text_columns=(0, 1, 2)),
        ]
    text = (
        "Counted from the layers of the Keras model: the products of convolutions (padding "
        "included) and dense layers, once forward. Normalisation, activations, pooling and "
        "resizing are not counted; TensorFlow's profiler puts them below 1 %."
    )
    return [*blocks, Paragraph(text)]
