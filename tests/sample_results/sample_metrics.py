"""Sections of a version's metrics.json with round numbers, for tests of cards and tables."""

import tempfile
from pathlib import Path
from typing import Any

from sample_models import tiny_models

from serving.repository import publishing
from training.settings.recipes import from_recipe


def cell(rows: int, images_per_second: float, **changes: Any) -> dict[str, Any]:
    """Return the record of one batch size of a benchmark."""
    ms = 1e3 * rows / images_per_second
    return {
        "images_per_second": images_per_second,
        "ms": ms,
        "ms_min": 0.9 * ms,
        "ms_max": 2 * ms,
        "calls": 100,
        "cpu_ms_per_image": 1.1 * ms / rows,
        "to_tensorflow": {"median": 5.0, "min": 4.0, "max": 6.0},
        "to_fp32": {"median": 1.0, "min": 1.0, "max": 1.0},
        **changes,
    }


BENCHMARK: dict[str, Any] = {
    "hardware": {"cpu": "Some CPU", "cores": 2, "machine": "x86_64"},
    "threads": 1,
    "rounds": 5,
    "seconds_per_turn": 0.3,
    "load_average_before": 0.5,
    "versions": {"onnxruntime": "1.32.0", "tensorflow": "2.21.0"},
    "git_commit": "0123456789abcdef-dirty",
    "finished_utc": "2026-01-01T00:00:00+00:00",
    "results": {
        "fp32": {
            "file": "model.onnx",
            "sha256": "0" * 64,
            "batches": {"1": cell(1, 10_000), "32": cell(32, 20_000)},
        },
        "tensorflow": {
            "file": "saved_model.pb",
            "batches": {"1": cell(1, 2_000), "32": cell(32, 4_000)},
        },
    },
}
ROBUSTNESS: dict[str, Any] = {
    "data": {"sha256": "1" * 64, "images": 10_000},
    "checks": {
        "jpeg_75": {
            "settings": {"format": "JPEG", "quality": 75, "subsampling": "4:2:0"},
            "sha256": "2" * 64,
            "variants": {
                "fp32": {
                    "n": 10_000,
                    "correct": 7_878,
                    "top1": 0.7878,
                    "top1_wilson_95": [0.7797, 0.7957],
                    "agreement": 0.8848,
                    "drop_points": 3.46,
                    "drop_interval_95": [2.88, 4.04],
                }
            },
        }
    },
    "versions": {"pillow": "13.0.0", "libjpeg-turbo": "3.2.0"},
    "git_commit": "0123456789abcdef",
    "finished_utc": "2026-01-01T00:00:00+00:00",
}
NAMES = ("dark", "bright")
TRAINING: dict[str, Any] = {
    "model": "simcnn",
    "recipe": "best",
    "seed": 3,
    "epochs": 60,
    "train_images_per_second": 2818.9,
    "wall_seconds": 7505.7,
    "hardware": {"cpu": "Some CPU", "cores": 2, "machine": "x86_64", "gpus": []},
    "versions": {"python": "3.11.7", "keras": "3.15.1"},
    "finished_utc": "2026-01-01T00:00:00+00:00",
    "config": from_recipe("simcnn", "best", seed=3).as_dict(),
    "git_commit": "0123456789abcdef",
}


def variant(precision: str, correct: int, size: int, **changes: Any) -> dict[str, Any]:
    """Return the record of one ONNX file's accuracy on 10,000 images; `size` is in bytes."""
    return {
        "file": "model.onnx" if precision == "fp32" else f"model.{precision}.onnx",
        "bytes": size,
        "sha256": "3" * 64,
        "n": 10_000,
        "correct": correct,
        "top1": correct / 10_000,
        "top1_wilson_95": [correct / 10_000 - 0.008, correct / 10_000 + 0.008],
        "confusion_matrix": [[5_000, 0], [10_000 - correct, correct - 5_000]],
        **changes,
    }


def metrics(model: str, **changes: Any) -> dict[str, Any]:
    """Return the metrics.json of a version with one variant, without speed and robustness."""
    return {
        "model": model,
        "parameters": 122_570,
        "class_names": list(NAMES),
        "data": {"name": "test images", "variant": "binary", "sha256": "1" * 64, "images": 10_000},
        "variants": {"fp32": variant("fp32", 8_224, 493_941)},
        "parity": {"rtol": 1e-4, "atol": 1e-5, "tie_margin": 1e-4, "pairs": []},
        "training": TRAINING | {"model": model},
        "export": {
            "opset": 18,
            "versions": {"onnx": "1"},
            "finished_utc": "2026-01-01T00:00:00+00:00",
            "git_commit": None,
        },
        **changes,
    }


def version(models_dir: Path, content: dict[str, Any]) -> Path:
    """Publish a version with a metrics.json and an ONNX file for each variant, without card."""
    with tempfile.TemporaryDirectory() as folder:
        source = tiny_models.brightness(Path(folder))
        graph = (source / "model.onnx").read_bytes()
        signature = (source / "signature.json").read_bytes()

    def write(path: Path) -> None:
        (path / "signature.json").write_bytes(signature)
        for entry in content.get("variants", {"fp32": {"file": "model.onnx"}}).values():
            (path / entry["file"]).write_bytes(graph)
        publishing.write_json(path / "metrics.json", content)

    return publishing.publish(models_dir / content["model"], write)
