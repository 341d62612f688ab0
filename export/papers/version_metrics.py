"""The content of a version's `metrics.json`: accuracy, size, parity, training and export.

    model, parameters, class_names
    data        the test images: variant, SHA-256 of pixels and labels, number
    variants    the ONNX files in the folder by precision ("fp32", "w8", ...): file, size,
                SHA-256; n, correct, top1, top1_wilson_95, loss (mean cross-entropy in nats),
                per_class_accuracy, confusion_matrix (row = label, column = answer) and
                predictions: the answer to each test image, in order, as one digit (class index).
                Precisions other than fp32 also have agreement, drop_points and drop_interval_95
                (see gates.precision); int8 also has calibration (see precisions.calibration) and
                speed
    rejected_variants  by precision: the same entries for the variants that the gate refused,
                without `file` and with `objections`
    reference   the same entries for fp32, if it was made only for comparison and is not published
    parity      tolerances, and the differences between each pair of artefacts; `classify`: the
                differences between the scores of images in tf.Examples
    training    recipe, settings, seed, epochs, seconds, hardware, versions, commit
    export      versions, opset, time, commit

Top-1 and predictions come from running the ONNX file of the same folder offline, with the server's
settings. A server whose answers differ from them has a fault.
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
from training.evaluation import predictions
from training.evaluation.accuracy import score

_CIFAR10, _OTHERS = "CIFAR-10 test images", "test images of the folder given"
# SHA-256 of pixels and labels, in the order of the published files.
_CIFAR10_SHA256 = "e54a434ec35094516eacbaac0f2f9550358d985e9d1f71b47d41d333c15ba304"
_PACKAGES = ("numpy", "onnx", "onnxruntime", "onnxslim", "tf2onnx")


def data_section(split: Split, variant: str) -> dict[str, Any]:
    """Section `data`: the test images that the figures were measured on."""
    digest = split.sha256()
    return {
        "name": _CIFAR10 if digest == _CIFAR10_SHA256 else _OTHERS,
        "variant": variant,
        "sha256": digest,
        "images": len(split),
    }


def variant_section(file: Path, answers: Answers, labels: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Entry of `variants`: the accuracy of an ONNX file by its output `classes`, not its logits.

    Args:
        file: The ONNX file.
        answers: The file's answers to n images.
        labels: The right classes, int64, shape (n,).
    """
    evaluation = score(answers.logits, labels, answers.classes)
    return {
        **graph_files.file_section(file),
        "n": evaluation.n,
        "correct": int((answers.classes == labels).sum()),
        **evaluation.as_dict(),
        "predictions": predictions.encode(answers.classes, answers.logits.shape[1]),
    }


def parity_section(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Section `parity`: the tolerances, and the differences between each pair of artefacts."""
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
        signatures: All published signatures by name.
    """
    packages = {
        "keras": keras.__version__,
        "tensorflow": tf.__version__,  # from the module: the package has several names
        **graph_files.versions(*_PACKAGES),
    }
    return graph_files.export_section(onnx.load(file), signatures, packages)
