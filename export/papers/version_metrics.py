"""The content of a version's `metrics.json`: how good the artefact is, and where it comes from.

    model, parameters, class_names
    data        the test images: variant, SHA-256 of pixels and labels, number
    variants    the ONNX files in the folder by precision ("fp32", "w8", ...): file, size,
                SHA-256; n, correct, top1, top1_wilson_95, loss (mean cross-entropy in nats),
                per_class_accuracy, confusion_matrix (row = label, column = answer) and
                predictions: the answer to each test image, in order, as one digit (class index);
                those other than fp32 also agreement, drop_points and drop_interval_95 (see
                gates.precision), int8 also calibration (the images, see there) and speed
    rejected_variants  by precision: the same for those that the gate refused, without a file but
                with objections
    reference   the same for fp32 if it was made for comparison and is not published
    parity      tolerances, and for each pair of artefacts how far they are apart; `classify`: the
                same for the scores of pictures in tf.Examples
    training    recipe, settings, seed, epochs, seconds, hardware, versions, commit
    export      versions, opset, time, commit

Top-1 and predictions are those of the ONNX file that lies in the same folder, asked offline as the
server asks it: a server that answers otherwise is at fault.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import onnx
import tensorflow as tf

from export.gates import parity
from export.gates.answers import Answers
from export.gates.parity import Pair
from export.papers import graph_files
from serving.tensors.signature import Signature
from training.data.cifar10 import Split
from training.evaluation.accuracy import score

_CIFAR10, _OTHERS = "CIFAR-10 test images", "test images of the folder given"
# Of pixels and labels in the order of the published files.
_CIFAR10_SHA256 = "e54a434ec35094516eacbaac0f2f9550358d985e9d1f71b47d41d333c15ba304"
_PACKAGES = ("numpy", "onnx", "onnxruntime", "onnxslim", "tf2onnx")


def data_section(split: Split, variant: str) -> dict[str, Any]:
    """Section `data`: the images that the figures were measured on."""
    digest = split.sha256()
    return {
        "name": _CIFAR10 if digest == _CIFAR10_SHA256 else _OTHERS,
        "variant": variant,
        "sha256": digest,
        "images": len(split),
    }


def variant_section(file: Path, answers: Answers, labels: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Accuracy of an ONNX file; the classes that it serves count, not those of its logits.

    Args:
        file: The file.
        answers: Its answers to n images.
        labels: The right classes, int64, shape (n,).
    """
    evaluation = score(answers.logits, labels, answers.classes)
    return {
        **graph_files.file_section(file),
        "n": evaluation.n,
        "correct": int((answers.classes == labels).sum()),
        **evaluation.as_dict(),
        "predictions": "".join(str(answer) for answer in answers.classes),
    }


def parity_section(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Section `parity`: the tolerances, and how far each pair of artefacts is apart."""
    return {
        "rtol": parity.RTOL,
        "atol": parity.ATOL,
        "probability_rtol": parity.PROBABILITY_RTOL,
        "tie_margin": parity.TIE_MARGIN,
        "pairs": [pair.as_dict() for pair in pairs],
    }


def export_section(file: Path, signatures: dict[str, Signature]) -> dict[str, Any]:
    """Section `export`: signatures, opset, versions, commit and time of this export.

    Args:
        file: The first signature's ONNX file.
        signatures: All that are published.
    """
    packages = {
        "keras": keras.__version__,
        "tensorflow": tf.__version__,  # it comes under several package names
        **graph_files.versions(*_PACKAGES),
    }
    return graph_files.export_section(onnx.load(file), signatures, packages)
