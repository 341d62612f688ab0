"""Test data of a model from elsewhere: reading it, and the variants and figures made with it.

The test data is for the model's first signature.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.convert import picture_signature
from export.errors import ExportError
from export.papers import version_metrics
from export.precisions import calibration
from export.precisions.calibration import DrawnRows
from export.precisions.judged_rows import ComparedRows, OwnRows
from export.precisions.make import FP32, INT8, Variants, make
from export.publishing.new_version import step
from export.sources import class_names as names
from export.sources import labelled_data, scores
from export.sources.labelled_data import LabelledData
from serving.repository.model_folder import Precision
from serving.tensors.signature import Signature


@dataclass(frozen=True, kw_only=True)
class OwnTestData:
    """The test data and class names that the user passed for a model from elsewhere.

    Attributes:
        data: The test data; None if there is none.
        class_names: Names of the classes; empty if they are not known.
        scores: Alias of the first signature's output with the scores; None if no step needs the
            scores, or no output was found.
        drawn: The rows that calibrate int8; None without int8.
    """

    data: LabelledData | None
    class_names: tuple[str, ...]
    scores: str | None
    drawn: DrawnRows | None


def read(
    signatures: Mapping[str, Signature],
    *,
    test_data: Path | None,
    class_names: Sequence[str],
    scores_output: str | None,
    precisions: Sequence[Precision],
) -> OwnTestData:
    """Read the test data, and check that data and class names fit the first signature.

    Args:
        signatures: The signatures by name.
        test_data: An .npz file or a picture folder, see labelled_data.read; None for no test data.
        class_names: Names of the classes; by default those of the picture folders.
        scores_output: Alias of the output with the scores; None to choose one, see scores.find.
        precisions: Precisions to publish.

    Raises:
        ExportError: precisions other than fp32 have no test data, or data, class names or scores do
            not fit the signature.
    """
    signature = next(iter(signatures.values()))
    others = [precision for precision in precisions if precision != FP32]
    if others and test_data is None:
        msg = (
            f"--precision {','.join(precisions)} received without test data, on which "
            f"{', '.join(others)} would be judged; pass --test-data DIR or FILE.npz, or leave out "
            "--precision"
        )
        raise ExportError(msg)
    data = None
    if test_data is not None:
        with step(f"reading the test data {test_data}"):
            data = labelled_data.read(test_data, signature, class_names)
    known = tuple(class_names) or (data.class_names if data else ())
    names.check(known, signatures.values())
    output = None
    if (
        scores_output
        or others
        or (data is not None and data.labels is not None)
        or (known and picture_signature.picture_input(signature))
    ):
        output = scores.find(signature, wanted=scores_output, classes=len(known) or None)
    elif data is not None:
        output = _found(signature)
    if data is not None and output is not None:
        width = signature.outputs[output].known_shape[1]
        if width != -1:
            labelled_data.check_labels(data, width)
    drawn = None
    if data is not None and INT8 in precisions:
        drawn = calibration.draw_rows(data, signature)
    return OwnTestData(data=data, class_names=known, scores=output, drawn=drawn)


def check_one_graph(signatures: Mapping[str, Signature], precisions: Sequence[Precision]) -> None:
    """Check that precisions other than fp32 can be made: all signatures must share one graph.

    Args:
        signatures: The converted signatures by name.
        precisions: Precisions to publish.

    Raises:
        ExportError: there are several graphs, and precisions other than fp32.
    """
    others = [precision for precision in precisions if precision != FP32]
    if others and len({each.file for each in signatures.values()}) > 1:
        msg = (
            f"the signatures {', '.join(signatures)} have several graphs, and {', '.join(others)} "
            f"would be made of one of them; pass --signature {next(iter(signatures))}"
        )
        raise ExportError(msg)


def _found(signature: Signature) -> str | None:
    """Return the alias of the output with the scores; None if the model is no classifier."""
    try:
        return scores.find(signature)
    except ExportError:
        return None


def rows_of(own: OwnTestData, signature: Signature) -> OwnRows:
    """Return the rows that variants are judged on.

    Args:
        own: The test data; its `data` and `scores` are set.
        signature: The signature that the data is for.
    """
    assert own.data is not None  # noqa: S101 - see Args
    assert own.scores is not None  # noqa: S101 - see Args
    return OwnRows(
        data=own.data,
        signature=signature,
        scores=own.scores,
        class_names=own.class_names,
        rest=own.drawn.rest if own.drawn else None,
    )


def data_section(own: OwnTestData) -> dict[str, Any]:
    """Return the section `data` of metrics.json; `own.data` must be set."""
    assert own.data is not None  # noqa: S101 - see above
    return {**version_metrics.own_data_section(own.data), "scores": own.scores}


def sections(
    own: OwnTestData,
    fp32_file: Path,
    signature: Signature,
    fp32_scores: npt.NDArray[np.float32],
    precisions: Sequence[Precision],
) -> dict[str, Any]:
    """Make the other precisions, and describe all variants.

    Args:
        own: The test data; its `data` and `scores` are set.
        fp32_file: The first signature's graph, in the folder of an unpublished version.
        signature: The first signature.
        fp32_scores: The graph's scores for all rows, float32, shape (n, classes).
        precisions: Precisions to publish.

    Returns:
        The sections `data`, `variants`, `rejected_variants` and `reference` of metrics.json.

    Raises:
        ExportError: a label is not the index of a class.
    """
    rows = rows_of(own, signature)
    labelled_data.check_labels(rows.data, fp32_scores.shape[1])
    made = Variants()
    if others := [precision for precision in precisions if precision != FP32]:
        with step(f"making and judging {', '.join(others)}"):
            made = make(
                fp32_file,
                others,
                judged=ComparedRows(rows=rows, classes=fp32_scores.argmax(axis=1)),
                calibration=own.drawn,
            )
    fp32 = rows.given(fp32_file, fp32_scores, FP32).section
    return {
        "data": data_section(own),
        **made.sections(fp32, with_fp32=FP32 in precisions),
    }
