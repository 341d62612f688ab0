"""The model to tune: which of a folder, with which precisions and which recorded accuracy."""

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtest.settings.config import UsageError
from training import schemas

# model.onnx is called fp32, model.int8.onnx int8; see the server's model folder.
_GRAPH = re.compile(r"model(?:\.(fp16|w8|int8))?\.onnx")
_PLAIN = "fp32"
# For a version that has no ONNX graph, such as a SavedModel.
_ANY = "auto"


@dataclass(frozen=True, kw_only=True)
class TunedModel:
    """The newest version of a model on disk.

    Attributes:
        name: Model name.
        version: Version number.
        top1: Recorded share of test images classified correctly for each precision, 0 to 1; None if
            it is not recorded.
        others: Names of the folder's other models.
    """

    name: str
    version: int
    top1: dict[str, float | None]
    others: tuple[str, ...]


def find(
    models_dir: Path,
    name: str | None,
    *,
    precisions: Sequence[str] | None = None,
    min_accuracy: float | None = None,
) -> TunedModel:
    """Return a model of a folder.

    Args:
        models_dir: Folder with <name>/<version>/model.onnx.
        name: Name of the model; None for the one with the smallest graph, whose rate depends most
            on the flags.
        precisions: The only precisions to use; None for all that the version has.
        min_accuracy: Lowest recorded top-1 of a precision, 0 to 1; None for no limit. A precision
            without a record stays.

    Raises:
        UsageError: There is no such model, or it has none of the precisions.
    """
    versions = {model: newest for model, newest in _versions(models_dir) if _bytes(newest)}
    if not versions or (name is not None and name not in versions):
        found = ", ".join(sorted(versions)) or "none"
        msg = (
            f"{models_dir} has the models: {found}; expected "
            f"{models_dir}/{name or '<name>'}/<version>/model.onnx"
        )
        raise UsageError(msg)
    chosen = name or min(versions, key=lambda model: (_bytes(versions[model]), model))
    folder = versions[chosen]
    known = _precisions(folder)
    wanted = known if precisions is None else list(precisions)
    if missing := [each for each in wanted if each not in known]:
        msg = (
            f"--precisions has {', '.join(missing)}, but {folder} has {', '.join(known)}; expected "
            "some of those"
        )
        raise UsageError(msg)
    recorded = _recorded(folder)
    top1 = {each: recorded.get(each) for each in wanted}
    if min_accuracy is not None:
        kept = {
            each: share for each, share in top1.items() if share is None or share >= min_accuracy
        }
        if not kept:
            shown = ", ".join(f"{each} {100 * (share or 0):.2f} %" for each, share in top1.items())
            msg = (
                f"no precision of {folder} reaches --min-accuracy {min_accuracy:g}: {shown}; "
                "expected a lower limit, or a better model"
            )
            raise UsageError(msg)
        top1 = kept
    others = tuple(sorted(model for model in versions if model != chosen))
    return TunedModel(name=chosen, version=int(folder.name), top1=top1, others=others)


@contextlib.contextmanager
def alone(models_dir: Path, name: str, folder: Path) -> Iterator[Path]:
    """Yield a models folder with a link to one model, so that servers load no other model.

    Args:
        models_dir: The folder with the model.
        name: Model name.
        folder: The folder to make for the link; it is removed afterwards.
    """
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / name
    link.unlink(missing_ok=True)
    link.symlink_to((models_dir / name).absolute(), target_is_directory=True)
    try:
        yield folder
    finally:
        with contextlib.suppress(OSError):
            link.unlink()
            folder.rmdir()


def _versions(models_dir: Path) -> Iterator[tuple[str, Path]]:
    """Yield each model's name and the folder of its newest version.

    Raises:
        UsageError: The folder cannot be read.
    """
    try:
        for model in sorted(models_dir.iterdir()):
            folders = [each for each in model.glob("*") if each.name.isdigit() and each.is_dir()]
            if folders:
                yield model.name, max(folders, key=lambda folder: int(folder.name))
    except OSError as error:
        msg = f"cannot read --models-dir {models_dir}: {error.strerror}"
        raise UsageError(msg) from error


def _bytes(version: Path) -> int:
    """Return the size of a version's smallest graph in bytes; 0 if it has none."""
    graphs = [path for path in version.glob("*.onnx") if _GRAPH.fullmatch(path.name)]
    graphs = graphs or list(version.glob("saved_model.pb"))
    return min((path.stat().st_size for path in graphs), default=0)


def _precisions(version: Path) -> list[str]:
    found = (_GRAPH.fullmatch(path.name) for path in sorted(version.glob("*.onnx")))
    return sorted(match[1] or _PLAIN for match in found if match) or [_ANY]


def _recorded(version: Path) -> dict[str, float]:
    """Return the recorded top-1 of each precision; empty without a record that can be read."""
    path = version / "metrics.json"
    with contextlib.suppress(
        OSError, ValueError, KeyError, TypeError, AttributeError, schemas.SchemaError
    ):
        metrics = schemas.METRICS.body(json.loads(path.read_text(encoding="utf-8")), path)
        return {name: float(variant["top1"]) for name, variant in metrics["variants"].items()}
    return {}
