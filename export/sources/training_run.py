"""Read a run folder of `python -m training`: the trained model's file and its metrics.json."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from export.errors import ExportError
from serving import schemas
from serving.schemas import SchemaError

_MODEL_FILE = "model.keras"
_METRICS_FILE = "metrics.json"
_CONFIG_FILE = "config.json"
PICTURES = ("curves.png", "confusion_matrix.png")
# Results of the trained model. A version has its own results, computed with the exported graph.
_RESULTS = frozenset(
    {
        *("n", "top1", "top1_wilson_95", "balanced_accuracy", "macro_f1", "calibration_error"),
        *("loss", "per_class_accuracy", "confusion_matrix", "class_names"),
    }
)


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """A finished training.

    Attributes:
        path: The run folder.
        metrics: Content of its metrics.json.
    """

    path: Path
    metrics: dict[str, Any]

    @property
    def model_file(self) -> Path:
        """The trained Keras model."""
        return self.path / _MODEL_FILE

    @property
    def model_name(self) -> str:
        """The architecture, such as simcnn; of keras:NAME the name alone, in lower case."""
        name = str(self.metrics["model"])
        prefix, _, family = name.partition(":")
        return family.lower() if family and prefix == "keras" else name

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in the order of the logits."""
        return tuple(self.metrics["class_names"])

    @property
    def correct(self) -> int:
        """The number of test images that the trained model classified correctly."""
        return sum(int(row[label]) for label, row in enumerate(self.metrics["confusion_matrix"]))

    @property
    def was_float32_on_cpu(self) -> bool:
        """Whether the training classified the test images in float32 on a CPU, like the gate.

        GPUs multiply float32 matrices in TensorFloat-32, which rounds to 10 bits.
        """
        return not (self.metrics.get("hardware") or {}).get("gpus")

    def training_section(self) -> dict[str, Any]:
        """Section `training` of a version's metrics.json: no results, file names for paths."""
        kept = {key: value for key, value in self.metrics.items() if key not in _RESULTS}
        cleaned: dict[str, Any] = without_paths(kept)
        return cleaned


def read(path: Path) -> TrainingRun:
    """Read a run folder and check that the training was finished.

    Raises:
        ExportError: a file is missing, the training is unfinished, or metrics.json lacks a field
            or was written by a newer program.
    """
    if not path.is_dir():
        msg = (
            f"run folder {path} does not exist; expected one that `python -m training` has "
            f"written, with {_MODEL_FILE} and {_METRICS_FILE}"
        )
        raise ExportError(msg)
    metrics_file = path / _METRICS_FILE
    if not metrics_file.exists():
        if (path / _CONFIG_FILE).exists():
            msg = (
                f"the training in {path} is unfinished: it has {_CONFIG_FILE} but no "
                f"{_METRICS_FILE}; run its `python -m training` command again to resume it"
            )
        else:
            msg = (
                f"{path} is not a run folder: it has no {_METRICS_FILE}; pass a folder that "
                "`python -m training` has written"
            )
        raise ExportError(msg)
    if not (path / _MODEL_FILE).exists():
        msg = f"{path} has {_METRICS_FILE} but no {_MODEL_FILE}; train again in another folder"
        raise ExportError(msg)
    try:
        document = json.loads(metrics_file.read_text(encoding="utf-8"))
        run = TrainingRun(path=path, metrics=schemas.RUN.body(document, metrics_file))
        facts = (run.model_name, run.correct, run.metrics["n"], run.metrics["data"]["test_sha256"])
        names = run.metrics["class_names"]
    except SchemaError as error:
        raise ExportError(str(error)) from error
    except (LookupError, TypeError, ValueError) as error:
        msg = f"{metrics_file} cannot be understood ({error!r}); train again in another folder"
        raise ExportError(msg) from error
    if not facts[0] or not _are_names(names) or len(names) != len(run.metrics["confusion_matrix"]):
        msg = (
            f"{metrics_file} is about the classes {names}, expected the names of two or more "
            "classes, one for each row of its confusion matrix; train again in another folder"
        )
        raise ExportError(msg)
    return run


def _are_names(names: object) -> bool:
    return (
        isinstance(names, list) and len(names) > 1 and all(isinstance(name, str) for name in names)
    )


def image_size(training: Mapping[str, Any]) -> int:
    """Return the height and width of the images of a training; 32 if it does not record them.

    Args:
        training: Content of the run's metrics.json, or section `training` of a version's.
    """
    return int((training.get("config") or {}).get("image_size", 32))


def split_seed(training: Mapping[str, Any]) -> int:
    """Return the seed by which a training's test pictures were drawn; 0 if it does not record it.

    Args:
        training: Content of the run's metrics.json, or section `training` of a version's.
    """
    return int((training.get("config") or {}).get("split_seed", 0))


def is_of_pictures(training: Mapping[str, Any]) -> bool:
    """Return whether a training was on pictures of any classes, and not on CIFAR-10."""
    return bool(training.get("pictures"))


def without_paths(value: Any) -> Any:  # noqa: ANN401  any JSON value
    """Replace absolute paths by file names, to publish nothing about the machine's folders."""
    if isinstance(value, dict):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_paths(item) for item in value]
    if isinstance(value, str) and re.match(r"(/|~|[A-Za-z]:[\\/])", value):
        return PureWindowsPath(value).name  # splits at both kinds of slashes
    return value
