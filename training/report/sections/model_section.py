"""The architectures and the data sets of the runs."""

from collections.abc import Mapping, Sequence

import keras

from training.data.cifar10 import CLASS_NAMES, Split
from training.report import formats
from training.report.pages import figures
from training.report.pages.blocks import Block, Gallery, Heading, Paragraph, Picture, Table
from training.report.sources import compute
from training.report.sources.published import TEST_SHA256
from training.report.sources.runs import RunRecord

_SAMPLES = 25


def describe_data(runs: Sequence[RunRecord], train: Split | None) -> list[Block]:
    """Return the data sets of the runs, and the first training images if they are known."""
    rows = {
        (
            str(run.data["variant"]),
            str(run.data["train_sha256"]),
            str(run.data["test_sha256"]),
            "yes" if run.data["test_sha256"] == TEST_SHA256 else "no",
        )
        for run in runs
    }
    header = ("Variant", "SHA-256, training images", "SHA-256, test images", "Official test images")
    blocks: list[Block] = [Heading("Data"), Table(header, sorted(rows), text_columns=(0, 1, 2, 3))]
    if train is None:
        return blocks
    images = train.images[:_SAMPLES]
    names = [CLASS_NAMES[label] for label in train.labels[:_SAMPLES]]
    return [
        *blocks,
        Paragraph(f"The first {len(images)} of {len(train):,} training images with their classes:"),
        Gallery(
            [
                Picture(
                    "samples",
                    figures.pictures(
                        images,
                        names,
                        columns=5,
                        title="Training images",
                        alt=f"The first training images: {', '.join(names)}",
                    ),
                )
            ]
        ),
    ]


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
