"""The content of a version's `metrics.json`: accuracy, size, parity, training and export.

    model, parameters, class_names
    data        the test images: variant, SHA-256 of pixels and labels, number. Of a model from
                elsewhere also: labels (whether they are known), dtype and shape of each input as
                read; the SHA-256 is that of LabelledData
    variants    the ONNX files in the folder by precision ("fp32", "w8", ...): file, size,
                SHA-256; n, correct, top1, top1_wilson_95, loss (mean cross-entropy in nats),
                per_class_accuracy, confusion_matrix (row = label, column = answer) and
                predictions: the answer to each test image, in order, as one digit (class index),
                or a list of indices for more than ten classes (training.evaluation.predictions);
                near_ties: the classes that another processor may answer, by test image.
                Precisions other than fp32 also have agreement, drop_points and drop_interval_95
                (see gates.precision); int8 also has calibration (see precisions.calibration) and
                speed. If rows of the test data calibrated int8, calibration lists them, and n and
                the figures of int8 are about the other rows. Of a model from elsewhere, `judged_on`
                is "the same rows": the figures are about the rows that decided that the variant is
                published
    rejected_variants  by precision: `objections` of the gate; if the graph could be made, size,
                SHA-256, calibration and speed. Of a model from elsewhere also the entries above
    held_out    the training images that the training held out, which decide about the variants, see
                precisions.held_out; not of a model from elsewhere
    reference   the same entries for fp32, if it was made only for comparison and is not published
    parity      tolerances, and the differences between each pair of artefacts; `classify`: the
                differences between the scores of images in tf.Examples. Of a model from elsewhere:
                the differences on random inputs and, as `test_data`, on the test data
    training    recipe, settings, seed, epochs, seconds, hardware, versions, commit
    export      versions, opset, time, commit

Top-1 and predictions come from running the ONNX file of the same folder offline, with the server's
settings. A server whose answers differ from them, other than in near ties, has a fault.
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
from export.sources.labelled_data import LabelledData
from serving.tensors.signature import Signature
from training.data.cifar10 import Split
from training.evaluation import predictions
from training.evaluation.accuracy import score, wilson_interval

_CIFAR10, _OTHERS = "CIFAR-10 test images", "test images of the folder given"
_PICTURES = "test pictures"
# SHA-256 of pixels and labels, in the order of the published files.
_CIFAR10_SHA256 = "e54a434ec35094516eacbaac0f2f9550358d985e9d1f71b47d41d333c15ba304"
_MOST_CONFUSED = 100  # classes; a larger confusion matrix is not recorded
_PACKAGES = ("numpy", "onnx", "onnxruntime", "onnxslim", "tf2onnx")


def data_section(split: Split, variant: str) -> dict[str, Any]:
    """Section `data`: the test images that the figures were measured on."""
    digest = split.sha256()
    other = _PICTURES if variant.startswith("picture-") else _OTHERS
    return {
        "name": _CIFAR10 if digest == _CIFAR10_SHA256 else other,
        "variant": variant,
        "sha256": digest,
        "images": len(split),
    }


def variant_section(
    file: Path,
    answers: Answers,
    labels: npt.NDArray[np.int64],
    class_names: Sequence[str],
) -> dict[str, Any]:
    """Entry of `variants`: the accuracy of an ONNX file by its output `classes`, not its logits.

    Args:
        file: The ONNX file.
        answers: The file's answers to n images.
        labels: The right classes, int64, shape (n,).
        class_names: Names of the classes in the order of the logits.
    """
    evaluation = score(answers.logits, labels, answers.classes, class_names)
    return {
        **graph_files.file_section(file),
        "n": evaluation.n,
        "correct": int((answers.classes == labels).sum()),
        **evaluation.as_dict(),
        "predictions": predictions.encode(answers.classes, answers.logits.shape[1]),
        "near_ties": predictions.near_ties(answers.probabilities, answers.classes),
    }


def held_out_entry(classes: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Entry of `held_out.variants`: the accuracy on n images that the training held out.

    Args:
        classes: The classes that a graph answers, int64, shape (n,).
        labels: The right classes, int64, shape (n,).
    """
    n, correct = len(labels), int((classes == labels).sum())
    return {
        "n": n,
        "correct": correct,
        "top1": correct / n,
        "top1_wilson_95": list(wilson_interval(correct, n)),
    }


def own_data_section(data: LabelledData) -> dict[str, Any]:
    """Section `data` of a model from elsewhere: the test data that the user passed."""
    return {
        "name": data.name,
        "variant": data.variant,
        "sha256": data.sha256(),
        "images": len(data),
        "labels": data.labels is not None,
        "inputs": {
            alias: {"dtype": str(array.dtype), "shape": list(array.shape)}
            for alias, array in data.inputs.items()
        },
    }


def own_variant_section(
    file: Path,
    scores: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64] | None,
    rows: slice | npt.NDArray[np.int64],
    class_names: Sequence[str],
) -> dict[str, Any]:
    """Entry of `variants` for a model from elsewhere.

    Args:
        file: The ONNX file.
        scores: Its scores for all rows of the test data, float32, shape (n, classes).
        labels: The right classes of all rows, int64, shape (n,); without them the entry has no
            accuracy.
        rows: The rows that the accuracy is about.
        class_names: Names of the classes; their numbers if it is empty.
    """
    classes, count = scores.argmax(axis=1), scores.shape[1]
    section = {**graph_files.file_section(file), "n": len(classes[rows])}
    if labels is not None:
        names = list(class_names) or [str(index) for index in range(count)]
        evaluation = score(_as_logits(scores)[rows], labels[rows], classes[rows], names)
        section["correct"] = int((classes[rows] == labels[rows]).sum())
        section |= evaluation.as_dict()
        if count > _MOST_CONFUSED:
            del section["confusion_matrix"]
    return {
        **section,
        "predictions": predictions.encode(classes, count),
        "near_ties": predictions.near_ties(_softmax(_as_logits(scores)), classes),
    }


def _softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def _as_logits(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The scores, or their logarithms if they are probabilities: the softmax of both is equal."""
    probabilities = scores.min() >= 0 and np.allclose(scores.sum(axis=1), 1, atol=1e-3)
    return np.log(np.maximum(scores, np.finfo(np.float32).tiny)) if probabilities else scores


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
