"""Loads the graphs of a version with ONNX Runtime, or its SavedModel with TensorFlow."""

import sys
import threading
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from serving.engine.loading import native_log, progress
from serving.engine.runtime import CUDA, GraphRuntime, Runtime, RuntimeConfig, choose_providers
from serving.errors import FailedPrecondition
from serving.repository import model_folder
from serving.repository.model_folder import SAVED_MODEL_FILE, ModelFolder
from serving.tensors.signature import DEFAULT_SIGNATURE_NAME, PREDICT_METHOD_NAME, Signature

if TYPE_CHECKING:
    from serving.engine.saved_models.session_runtime import SavedModelRuntime

_RUNTIME = "serving.engine.saved_models.session_runtime"
_importing = threading.Lock()


class LoadedGraphs(NamedTuple):
    """A version folder and its loaded graphs.

    Attributes:
        folder: Content of the version folder.
        signatures: The signatures by name.
        runtimes: The loaded graphs by `Signature.file`.
    """

    folder: ModelFolder
    signatures: Mapping[str, Signature]
    runtimes: Mapping[str, GraphRuntime]


def load(path: Path, config: RuntimeConfig) -> LoadedGraphs:
    """Read a version folder and load its graphs, in the best precision for the device.

    Args:
        path: The version's folder.
        config: See `RuntimeConfig`.

    Raises:
        ServingError, DeviceError: see `Servable.load`.
    """
    wanted = choose_providers(config.device)[0][0]
    progress.note("reading and verifying its files")
    folder = model_folder.read(path, config.precisions(wanted))
    if folder.is_saved_model:
        return _load_saved_model(folder, config)
    progress.note("ONNX Runtime prepares its graphs")
    runtimes = {
        name: Runtime(file, config, folder.precision) for name, file in folder.onnx_files.items()
    }
    if wanted == CUDA and CUDA not in {runtime.provider for runtime in runtimes.values()}:
        # CUDA did not start: the fastest precision on CUDA may be the slowest on CPU.
        return load(path, replace(config, device="cpu"))
    return LoadedGraphs(folder, folder.signatures or _signature_of_graph(runtimes), runtimes)


def _load_saved_model(folder: ModelFolder, config: RuntimeConfig) -> LoadedGraphs:
    """Load a SavedModel; the first call imports TensorFlow.

    Raises:
        FailedPrecondition: TensorFlow is not installed.
        ServingError, DeviceError: see `SavedModelRuntime`.
    """
    progress.note("importing TensorFlow")
    try:
        runtime_class = _import_runtime()
    except Exception as error:  # an incomplete installation raises any exception
        msg = (
            f"{folder.path} holds a SavedModel and no .onnx file, and TensorFlow, which would run "
            f"it, cannot be imported ({error}); convert the SavedModel with `python -m export "
            "saved-model`, or install the extra `tensorflow` beside the server, from a checkout: "
            "pip install '.[serve,tensorflow]'"
        )
        raise FailedPrecondition(msg) from error
    progress.note("TensorFlow loads the SavedModel")
    runtime = runtime_class(folder.path, config)
    return LoadedGraphs(folder, runtime.signatures, {SAVED_MODEL_FILE: runtime})


def _import_runtime() -> "type[SavedModelRuntime]":
    """Import TensorFlow without its start-up notes, which do not follow the format of the log."""
    with _importing, native_log.quiet() if _RUNTIME not in sys.modules else nullcontext():
        # Imported only here, because TensorFlow takes seconds and memory that a server of ONNX
        # models does not need.
        from serving.engine.saved_models import session_runtime  # noqa: PLC0415

        session_runtime.look_for_gpus()
        return session_runtime.SavedModelRuntime


def _signature_of_graph(runtimes: Mapping[str, Runtime]) -> dict[str, Signature]:
    """Return the only signature of a folder without `signature.json`: all inputs and outputs."""
    file, runtime = next(iter(runtimes.items()))
    signature = Signature(
        method_name=PREDICT_METHOD_NAME, file=file, inputs=runtime.inputs, outputs=runtime.outputs
    )
    return {DEFAULT_SIGNATURE_NAME: signature}
