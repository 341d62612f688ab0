"""Rows that variants are asked about: to judge them, or to report their accuracy.

A model that was trained here is judged on training images that its training held out (HeldOutRows),
and its accuracy is reported on the test images (SplitRows). A model from elsewhere is judged on the
test data of its user (OwnRows), which are reported as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from export.gates import answers, data_parity
from export.papers import version_metrics
from export.sources.labelled_data import LabelledData
from serving.repository.model_folder import Precision
from serving.tensors.signature import Signature
from training.data.cifar10 import CLASS_NAMES, Split

Rows = slice | npt.NDArray[np.int64]
ALL = slice(None)


@dataclass(frozen=True, kw_only=True)
class Given:
    """The answers of a graph.

    Attributes:
        section: The graph's entry for metrics.json.
        classes: The class that the graph gives each row, int64, shape (n,).
        rows: The rows that the entry's figures were measured on.
    """

    section: dict[str, Any]
    classes: npt.NDArray[np.int64]
    rows: Rows


class JudgedRows(Protocol):
    """Rows that variants are asked about."""

    @property
    def labels(self) -> npt.NDArray[np.int64] | None:
        """The right classes of all rows, int64, shape (n,); None if they are not known."""

    def ask(self, file: Path, precision: Precision) -> Given:
        """Run a graph on all rows and return its answers."""

    def timed(self) -> Mapping[str, npt.NDArray[Any]]:
        """Return the rows that the speed is measured with, by the graph's tensor names."""


@dataclass(frozen=True, kw_only=True)
class ComparedRows:
    """Rows with the answers of the model that variants are compared with.

    Attributes:
        rows: The n rows.
        classes: The class that this model gives each row, int64, shape (n,).
        reference: Precision of this model: fp32, or w8 if a version no longer has fp32.
    """

    rows: JudgedRows
    classes: npt.NDArray[np.int64]
    reference: Precision = "fp32"


@dataclass(frozen=True, kw_only=True)
class HeldOutRows:
    """The images that a training held out; int8 is judged on those that did not calibrate it.

    Attributes:
        split: The images.
        rest: Positions in `split` of the images that did not calibrate int8; None if int8 is not
            calibrated with any of them.
    """

    split: Split
    rest: npt.NDArray[np.int64] | None = None

    @property
    def labels(self) -> npt.NDArray[np.int64] | None:
        """See JudgedRows."""
        return self.split.labels

    def ask(self, file: Path, precision: Precision) -> Given:
        """See JudgedRows; the entry is for the section `held_out` of metrics.json."""
        classes = answers.of_onnx(file, self.split.images, precision).classes
        return self.given(classes, precision)

    def given(self, classes: npt.NDArray[np.int64], precision: Precision) -> Given:
        """Return the answers of a graph whose classes for all images are known already."""
        rows: Rows = self.rest if precision == "int8" and self.rest is not None else ALL
        section = version_metrics.held_out_entry(classes[rows], self.split.labels[rows])
        return Given(section=section, classes=classes, rows=rows)

    def timed(self) -> Mapping[str, npt.NDArray[Any]]:
        """See JudgedRows."""
        return {"images": self.split.images}


@dataclass(frozen=True, kw_only=True)
class SplitRows:
    """The test images of a model that was trained here; they report and decide nothing.

    Attributes:
        split: The images.
        class_names: Names of the classes; by default CIFAR-10's.
    """

    split: Split
    class_names: Sequence[str] = CLASS_NAMES

    @property
    def labels(self) -> npt.NDArray[np.int64] | None:
        """See JudgedRows."""
        return self.split.labels

    def ask(self, file: Path, precision: Precision) -> Given:
        """See JudgedRows."""
        given = answers.of_onnx(file, self.split.images, precision)
        section = version_metrics.variant_section(file, given, self.split.labels, self.class_names)
        return Given(section=section, classes=given.classes, rows=ALL)

    def timed(self) -> Mapping[str, npt.NDArray[Any]]:
        """See JudgedRows."""
        return {"images": self.split.images}


@dataclass(frozen=True, kw_only=True)
class OwnRows:
    """Test data of a model from elsewhere; int8 is judged on the rows that did not calibrate it.

    Attributes:
        data: The test data.
        signature: The signature that the data is for.
        scores: Alias of the output with the scores.
        class_names: Names of the classes; empty if they are not known.
        rest: Indices of the rows that do not calibrate int8; None if int8 is not calibrated.
    """

    data: LabelledData
    signature: Signature
    scores: str
    class_names: Sequence[str] = ()
    rest: npt.NDArray[np.int64] | None = None

    @property
    def labels(self) -> npt.NDArray[np.int64] | None:
        """See JudgedRows."""
        return self.data.labels

    def ask(self, file: Path, precision: Precision) -> Given:
        """See JudgedRows."""
        scores = data_parity.scores_of(
            file.read_bytes(), self.signature, self.data, self.scores, precision
        )
        return self.given(file, scores, precision)

    def given(self, file: Path, scores: npt.NDArray[np.float32], precision: Precision) -> Given:
        """Return the answers of a graph whose scores for all rows are known already."""
        rows: Rows = self.rest if precision == "int8" and self.rest is not None else ALL
        section = version_metrics.own_variant_section(
            file, scores, self.labels, rows, self.class_names
        )
        return Given(section=section, classes=scores.argmax(axis=1), rows=rows)

    def timed(self) -> Mapping[str, npt.NDArray[Any]]:
        """See JudgedRows."""
        feeds = self.data.feeds(slice(0, 32))
        return {self.signature.inputs[alias].tensor: array for alias, array in feeds.items()}
