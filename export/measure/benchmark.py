"""Benchmark of a version on this machine: each ONNX variant, and TensorFlow with the SavedModel.

All of them take turns in one process (`stopwatch`), with the same batches of random inputs, the
same number of threads, and NumPy arrays as inputs and outputs. ONNX Runtime has the server's
settings; TensorFlow runs the SavedModel's `serving_default`. Free dimensions other than the batch
get a size of 224 in pictures and of 16 elsewhere. The result is the section `benchmark`
of metrics.json::

    hardware, threads, rounds, seconds_per_turn, load_average_before, versions, git_commit,
    finished_utc
    results     by variant ("fp32", ..., and "tensorflow"):
      file, sha256        of the ONNX file; the SavedModel has no sha256
      other_weights       true if the file comes from another training of the same architecture
      batches             by batch size: images_per_second and ms (a batch), from the median of all
                          turns; ms_min and ms_max, the fastest and slowest turn; calls;
                          cpu_ms_per_image; to_tensorflow and to_fp32: the speed as a multiple of
                          TensorFlow's and of fp32's, as median, min and max of the rounds
"""

import hashlib
import logging
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from export import progress
from export.errors import ExportError
from export.gates.random_arrays import random_array
from export.measure import stopwatch, tensorflow_run
from export.measure.stopwatch import Turn
from export.measure.tensorflow_run import Forward
from serving.engine.machine import available_cores
from serving.engine.runtime import Runtime, RuntimeConfig
from serving.errors import DataLoss
from serving.repository import model_folder
from serving.repository.model_folder import ModelFolder, Precision
from serving.tensors.signature import DEFAULT_SIGNATURE_NAME, DataType, Signature
from training.evaluation import provenance

SECTION = "benchmark"
TENSORFLOW = "tensorflow"
BATCH_SIZES = (1, 8, 32, 128)
_SAVED_MODEL_FILE = "saved_model.pb"
_FP32: Precision = "fp32"
_SEED = 0
_PIXELS, _STEPS = 224, 16  # sizes of free dimensions
# Tolerance for the first output of floats, to tell whether two files are the same model.
_RTOL, _ATOL = 1e-3, 1e-4

_log = logging.getLogger("export")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the benchmark.

    Attributes:
        threads: Threads inside one run, in ONNX Runtime and in TensorFlow.
        rounds: Turns of each variant and batch size.
        seconds: Length of a turn in seconds.
        batch_sizes: Numbers of images in a call.
    """

    threads: int = 1
    rounds: int = 5
    seconds: float = 0.3
    batch_sizes: tuple[int, ...] = BATCH_SIZES


@dataclass(frozen=True, kw_only=True)
class _Contender:
    """A model to time: an ONNX variant, or TensorFlow with the SavedModel.

    Attributes:
        run: Function from arrays by input alias to the compared output.
        about: Entries of metrics.json about the model's file.
    """

    run: Forward
    about: Mapping[str, Any]


def measure(
    folder: ModelFolder,
    settings: Settings,
    *,
    saved_model: Path | None = None,
    fp32: Path | None = None,
    fp32_sha256: str | None = None,
    other_weights: bool = False,
) -> dict[str, Any]:
    """Time every variant of a version.

    Args:
        folder: The version.
        settings: Settings of the benchmark.
        saved_model: Folder of the SavedModel; by default the version, if it has a SavedModel.
        fp32: The float32 graph if the version has none: a file, or the folder of model.onnx.
        fp32_sha256: SHA-256 that the float32 graph must have; None if it is not known.
        other_weights: Whether SavedModel and float32 graph may come from another training of the
            same architecture; the time does not depend on the weights. The result records it.

    Returns:
        The section `benchmark` of metrics.json, see above.

    Raises:
        ExportError: the version does not take arrays, a file does not exist, or the SavedModel or
            the float32 graph is of another model.
    """
    load = os.getloadavg()[0]
    signature = _signature(folder)
    contenders = _contenders(folder, signature, settings.threads, saved_model, fp32)
    if not other_weights:
        _refuse_another_graph(contenders, fp32_sha256)
    inputs = _random_inputs(signature, max(settings.batch_sizes))
    _refuse_another_model(contenders, inputs)
    calls = {
        (name, rows): partial(
            contender.run, {alias: array[:rows] for alias, array in inputs.items()}
        )
        for rows in settings.batch_sizes
        for name, contender in contenders.items()
    }
    _log.info(
        "%d turns of %s, batches of %s: %.0f s and more",
        settings.rounds * len(calls),
        ", ".join(contenders),
        ", ".join(map(str, settings.batch_sizes)),
        settings.rounds * settings.seconds * len(calls),
    )
    borrowed = [
        name
        for name, given in ((_FP32, fp32), (TENSORFLOW, saved_model))
        if given is not None and other_weights
    ]
    with progress.during("benchmark"):
        turns = stopwatch.in_turns(calls, rounds=settings.rounds, seconds=settings.seconds)
    return {
        "hardware": {
            "cpu": provenance.cpu_name(),
            "cores": available_cores(),
            "machine": platform.machine(),
        },
        "threads": settings.threads,
        "rounds": settings.rounds,
        "seconds_per_turn": settings.seconds,
        "load_average_before": round(load, 2),
        "versions": _versions(with_tensorflow=TENSORFLOW in contenders),
        "git_commit": provenance.package_commit(__name__),
        "finished_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "results": {
            name: {
                **contender.about,
                **({"other_weights": True} if name in borrowed else {}),
                "batches": {str(rows): _cell(name, rows, turns) for rows in settings.batch_sizes},
            }
            for name, contender in contenders.items()
        },
    }


def _signature(folder: ModelFolder) -> Signature:
    """The signature to time: serving_default, from rows of numbers to at least one float output."""
    signature = folder.signatures.get(DEFAULT_SIGNATURE_NAME)
    if signature is None:
        msg = (
            f"{folder.path} has the signatures {', '.join(folder.signatures)}, expected "
            f"{DEFAULT_SIGNATURE_NAME}, which is the one that is timed; export it by that name"
        )
        raise ExportError(msg)
    kinds = {spec.dtype.numpy.kind for spec in signature.inputs.values()}
    if not signature.has_rows or "O" in kinds or _output(signature) is None:
        msg = (
            f"{DEFAULT_SIGNATURE_NAME} of {folder.path} cannot be timed on random inputs: expected "
            "rows of numbers as inputs (no strings or tf.Examples, no fixed batch size) and an "
            "output of float32; measure the served model with python -m loadtest"
        )
        raise ExportError(msg)
    return signature


def _output(signature: Signature) -> str | None:
    """The first output of floats, which is compared; None if there is none."""
    floats = [alias for alias, spec in signature.outputs.items() if spec.dtype is DataType.DT_FLOAT]
    return next(iter(floats), None)


def _random_inputs(signature: Signature, rows: int) -> dict[str, npt.NDArray[Any]]:
    random = np.random.default_rng(_SEED)
    return {
        alias: random_array(
            spec,
            random,
            rows=rows,
            free_size=_PIXELS if len(spec.known_shape) == 4 else _STEPS,
            largest=1,  # integers may be indices into a small table
        )
        for alias, spec in signature.inputs.items()
    }


def _contenders(
    folder: ModelFolder,
    signature: Signature,
    threads: int,
    saved_model: Path | None,
    fp32: Path | None,
) -> dict[str, _Contender]:
    files = {
        precision: folder.path / model_folder.variant_file(signature.file, precision)
        for precision in model_folder.PRECISIONS
    }
    if fp32 is not None:
        files[_FP32] = _given(fp32, model_folder.ONNX_FILE, "--fp32")
    contenders: dict[str, _Contender] = {
        precision: _onnx(file, precision, signature, threads)
        for precision, file in files.items()
        if file.is_file()
    }
    if saved_model is not None:
        saved_model = _given(saved_model, _SAVED_MODEL_FILE, "--saved-model").parent
    elif (folder.path / _SAVED_MODEL_FILE).exists():
        saved_model = folder.path
    if saved_model is not None:
        run = tensorflow_run.load(
            saved_model, signature.inputs, str(_output(signature)), threads=threads
        )
        contenders[TENSORFLOW] = _Contender(run=run, about={"file": _SAVED_MODEL_FILE})
    return contenders


def _onnx(file: Path, precision: Precision, signature: Signature, threads: int) -> _Contender:
    try:
        runtime = Runtime(file, RuntimeConfig(device="cpu", intra_op_threads=threads), precision)
    except DataLoss as error:
        raise ExportError(error.message) from error
    tensors = {alias: spec.tensor for alias, spec in signature.inputs.items()}
    # Run all outputs, because the SavedModel computes all of them.
    outputs = [spec.tensor for spec in signature.outputs.values()]
    wanted = list(signature.outputs).index(str(_output(signature)))
    return _Contender(
        run=lambda inputs: runtime.run(
            outputs, {tensors[alias]: array for alias, array in inputs.items()}
        )[wanted],
        about={"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()},
    )


def _given(path: Path, name: str, flag: str) -> Path:
    file = path / name if path.is_dir() else path
    if not file.is_file():
        msg = f"{file} does not exist; pass the folder that holds {name} as {flag}"
        raise ExportError(msg)
    return file


def _refuse_another_graph(contenders: Mapping[str, _Contender], expected: str | None) -> None:
    if expected is None or _FP32 not in contenders:
        return
    received = contenders[_FP32].about["sha256"]
    if received != expected:
        msg = (
            f"the float32 graph has SHA-256 {received}, but the version was made from one with "
            f"{expected}; pass that graph as --fp32"
        )
        raise ExportError(msg)


def _refuse_another_model(
    contenders: Mapping[str, _Contender], inputs: Mapping[str, npt.NDArray[Any]]
) -> None:
    if not {_FP32, TENSORFLOW} <= set(contenders):
        return
    ours, theirs = (contenders[name].run(inputs) for name in (_FP32, TENSORFLOW))
    atol = _ATOL * max(1.0, float(np.abs(ours).max(initial=0)))
    if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=_RTOL, atol=atol):
        msg = (
            f"the SavedModel and the float32 graph ({contenders[_FP32].about['file']}) answer the "
            "same inputs differently: they are not of the same model; pass a SavedModel and a "
            "graph of the same export as --saved-model and --fp32"
        )
        raise ExportError(msg)


def _cell(name: str, rows: int, turns: Mapping[tuple[str, int], Sequence[Turn]]) -> dict[str, Any]:
    own = turns[name, rows]
    ms = median(turn.ms for turn in own)
    return {
        "images_per_second": 1e3 * rows / ms,
        "ms": ms,
        "ms_min": min(turn.ms for turn in own),
        "ms_max": max(turn.ms for turn in own),
        "calls": sum(turn.calls for turn in own),
        "cpu_ms_per_image": median(turn.cpu_ms for turn in own) / rows,
        "to_tensorflow": _times_as_fast(own, turns.get((TENSORFLOW, rows))),
        "to_fp32": _times_as_fast(own, turns.get((_FP32, rows))),
    }


def _times_as_fast(own: Sequence[Turn], others: Sequence[Turn] | None) -> dict[str, float] | None:
    if others is None:
        return None
    ratios = [other.ms / turn.ms for turn, other in zip(own, others, strict=True)]
    return {"median": median(ratios), "min": min(ratios), "max": max(ratios)}


def _versions(*, with_tensorflow: bool) -> dict[str, str]:
    versions = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": str(onnxruntime.__version__),
    }
    if with_tensorflow:
        versions["tensorflow"] = tensorflow_run.version()
    return versions
