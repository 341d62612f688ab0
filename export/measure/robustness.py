"""Robustness against recompression: accuracy on the test images after a round trip through JPEG.

The test images are lossless, but the images that clients send often are not. This module encodes
the test images in memory, decodes them with the server's decoder, and runs each ONNX variant of the
version on them. The result is the section `robustness` of metrics.json::

    data        SHA-256 and number of the lossless test images
    checks      by name ("jpeg_75", "jpeg_95"):
      settings  settings of the encoder
      sha256    digest of the decoded pixels and labels
      variants  by precision: n, correct, top1, top1_wilson_95; and compared with the same variant
                on the lossless images: agreement (share of images with the same answer),
                drop_points and drop_interval_95 (percentage points lost, from paired answers)
    versions, git_commit, finished_utc
"""

import io
import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import PIL
from PIL import Image, features

from export import progress
from export.measure import recorded_variants
from serving.repository.model_folder import ModelFolder
from serving.tensors import image_decoder
from training.data.cifar10 import Split
from training.evaluation import paired, predictions, provenance
from training.evaluation.accuracy import wilson_interval

SECTION = "robustness"
QUALITIES = (75, 95)

_log = logging.getLogger("export")


def measure(folder: ModelFolder, metrics: Mapping[str, Any], split: Split) -> dict[str, Any]:
    """Measure the accuracy of every variant of a version on recompressed test images.

    Args:
        folder: The version.
        metrics: Content of the version's metrics.json, with the answers to the lossless images.
        split: The lossless test images.

    Returns:
        The section `robustness` of metrics.json, see above.

    Raises:
        ExportError: metrics.json has no answers for any ONNX file in the folder, or it has answers
            to other images.
    """
    variants = recorded_variants.open_all(folder, metrics, split)
    checks: dict[str, Any] = {}
    for quality in QUALITIES:
        began = time.perf_counter()
        with progress.during(f"JPEG of quality {quality}"):
            recompressed = Split(images=recompress(split.images, quality), labels=split.labels)
            checks[f"jpeg_{quality}"] = {
                "settings": settings(quality),
                "sha256": recompressed.sha256(),
                "variants": {
                    variant.precision: _result(
                        variant.answers("classes", recompressed.images), variant.entry, split
                    )
                    for variant in variants
                },
            }
        _log.info("JPEG of quality %d: %.1f s", quality, time.perf_counter() - began)
    return {
        "data": {"sha256": split.sha256(), "images": len(split)},
        "checks": checks,
        "versions": {
            "pillow": PIL.__version__,
            "libjpeg-turbo": features.version("libjpeg_turbo"),
            "numpy": np.__version__,
            "onnxruntime": str(onnxruntime.__version__),
        },
        "git_commit": provenance.package_commit(__name__),
        "finished_utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def settings(quality: int) -> dict[str, Any]:
    """Settings of Pillow's JPEG encoder: baseline, chroma halved in both directions."""
    return {
        "format": "JPEG",
        "quality": quality,
        "subsampling": "4:2:0",
        "optimize": False,
        "progressive": False,
    }


def recompress(images: npt.NDArray[np.uint8], quality: int) -> npt.NDArray[np.uint8]:
    """Encode images as JPEG and decode them as the server does.

    Args:
        images: uint8, shape (n, height, width, 3).
        quality: 1 to 95.

    Returns:
        uint8, of the same shape.
    """
    return np.stack([_round_trip(image, settings(quality)) for image in images])


def _round_trip(image: npt.NDArray[np.uint8], encoder: Mapping[str, Any]) -> npt.NDArray[np.uint8]:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, **encoder)
    height, width, _ = image.shape
    return image_decoder.decode(buffer.getvalue(), height=height, width=width)


def _result(
    classes: npt.NDArray[np.int64], entry: Mapping[str, Any], split: Split
) -> dict[str, Any]:
    before = predictions.decode(entry["predictions"])
    n, correct = len(split), int((classes == split.labels).sum())
    lost = paired.compare(before == split.labels, classes == split.labels)
    return {
        "n": n,
        "correct": correct,
        "top1": correct / n,
        "top1_wilson_95": list(wilson_interval(correct, n)),
        "agreement": float((classes == before).mean()),
        "drop_points": 100 * lost.difference,
        "drop_interval_95": [100 * bound for bound in lost.interval_95],
    }
