"""A run folder as files of limited size, and the run folder again on another machine.

The weights are all that is large: ResNet50's have 103 MB as float32. As float16 the kernels take
half, and all arrays with one dimension (biases, normalisation) stay float32. `transport.json` says
what was rounded, and the restored run is evaluated again, so that its metrics.json is about the
weights that arrived.
"""

import io
import json
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gpu.results import read_json

_ARCHITECTURE, _WEIGHTS, _TRANSPORT = "architecture.json", "weights.npz", "transport.json"
# Files of a run folder that come back as they are.
_PLAIN = ("config.json", "metrics.json", "history.csv", "curves.png", "confusion_matrix.png")


def pack(run_dir: Path, target: Path, *, weights: str, part_bytes: int) -> list[Path]:
    """Write a finished run as `<name>.tar.000-003`, `<name>.tar.001-003` and so on.

    Args:
        run_dir: The run folder.
        target: Folder for the parts; created if it is missing.
        weights: float16 or float32, see the module.
        part_bytes: Most bytes of a part.

    Returns:
        The parts.
    """
    import keras  # noqa: PLC0415 - takes seconds, and only this step has it

    model = keras.models.load_model(run_dir / "model.keras", compile=False)
    exact = model.get_weights()
    carried = [_rounded(array, weights) for array in exact]
    halves = [array for array in carried if array.dtype == np.float16]
    changes = [
        float(np.abs(before - after.astype(before.dtype)).max())
        for before, after in zip(exact, carried, strict=True)
        if before.size
    ]
    transport = {
        "weights": weights,
        "float16_arrays": len(halves),
        "float32_arrays": len(carried) - len(halves),
        "largest_change_of_a_weight": max(changes, default=0.0),
    }
    arrays = io.BytesIO()
    named: dict[str, Any] = {f"{number:04d}": array for number, array in enumerate(carried)}
    np.savez(arrays, **named)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in _PLAIN:
            if (run_dir / name).is_file():
                archive.add(run_dir / name, arcname=name)
        _add(archive, _ARCHITECTURE, model.to_json().encode())
        _add(archive, _TRANSPORT, json.dumps(transport).encode())
        _add(archive, _WEIGHTS, arrays.getvalue())
    target.mkdir(parents=True, exist_ok=True)
    parts = []
    cut = list(_cut(stream.getvalue(), part_bytes))
    for number, part in enumerate(cut):
        file = target / f"{run_dir.name}.tar.{number:03d}-{len(cut):03d}"
        file.write_bytes(part)
        parts.append(file)
    return parts


def restore(parts: Path, name: str, run_dir: Path, data_dir: Path | None) -> dict[str, Any]:
    """Put a run folder together again, and evaluate its model on the test images.

    Args:
        parts: Folder with the parts, in any subfolders.
        name: Name of the run.
        run_dir: Folder to write; it must not exist.
        data_dir: See training.data.cifar10.load; must hold the test images of the run.

    Returns:
        The content of metrics.json. With float16 weights its results are those of the weights that
        arrived, and `transport` has the accuracy before.

    Raises:
        FileNotFoundError: there are no parts.
        ValueError: a part is missing, or the archive is damaged.
    """
    files = sorted(parts.rglob(f"{name}.tar.*"), key=lambda file: file.name)
    if not files:
        msg = f"{parts} has no file {name}.tar.*: bring back the parts of the run {name}"
        raise FileNotFoundError(msg)
    expected = [f"{name}.tar.{number:03d}-{len(files):03d}" for number in range(len(files))]
    if (there := [file.name for file in files]) != expected:
        msg = f"{parts} has the parts {', '.join(there)}: bring back all of them, each once"
        raise ValueError(msg)
    content = b"".join(file.read_bytes() for file in files)
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            run_dir.mkdir(parents=True)
            archive.extractall(run_dir, filter="data")
        transport = read_json(run_dir / _TRANSPORT)
        model = _model(run_dir)
    except (tarfile.TarError, zipfile.BadZipFile, KeyError, OSError) as error:
        msg = f"the parts of {name} are no archive of a run ({error}): bring them back again"
        raise ValueError(msg) from error
    metrics = read_json(run_dir / "metrics.json")
    model.save(run_dir / "model.keras")
    if transport["weights"] != "float32":
        transport["top1_before"] = metrics["top1"]
        metrics |= _evaluated(model, data_dir)
    metrics["transport"] = transport
    (run_dir / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    return metrics


def _model(run_dir: Path) -> Any:
    import keras  # noqa: PLC0415

    model = keras.models.model_from_json((run_dir / _ARCHITECTURE).read_text(encoding="utf-8"))
    with np.load(run_dir / _WEIGHTS) as arrays:
        model.set_weights([arrays[name].astype(np.float32) for name in sorted(arrays.files)])
    for name in (_ARCHITECTURE, _WEIGHTS, _TRANSPORT):
        (run_dir / name).unlink()
    return model


def _evaluated(model: Any, data_dir: Path | None) -> dict[str, Any]:
    from training.data.cifar10 import load_split  # noqa: PLC0415
    from training.model.predictions import evaluate  # noqa: PLC0415 - imports Keras

    return evaluate(model, load_split(data_dir, "test")).as_dict()


def _rounded(array: np.ndarray, weights: str) -> np.ndarray:
    if weights == "float16" and array.ndim > 1 and np.abs(array).max() < np.finfo(np.float16).max:
        return array.astype(np.float16)
    return array


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def _cut(content: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]
