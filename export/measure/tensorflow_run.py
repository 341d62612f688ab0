"""TensorFlow with a given number of threads, for comparison with ONNX Runtime."""

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.errors import ExportError
from serving.tensors.signature import DEFAULT_SIGNATURE_NAME
from training.native_log import quiet

# From arrays by input alias to one output.
Forward = Callable[[Mapping[str, npt.NDArray[Any]]], npt.NDArray[np.float32]]


def load(folder: Path, aliases: Collection[str], output: str, *, threads: int) -> Forward:
    """Load a SavedModel and return its `serving_default` as a function that runs on the CPU.

    Args:
        folder: Folder of saved_model.pb.
        aliases: Names of the inputs.
        output: Name of the output to return.
        threads: Threads inside one operation; operations run one after another.

    Returns:
        A function from arrays by name of the input to the output.

    Raises:
        ExportError: TensorFlow has already started in this process with another number of threads;
            or the SavedModel lacks the signature, the input or the output.
    """
    tf = _start(threads)
    with quiet():
        loaded = tf.saved_model.load(str(folder))
    function = loaded.signatures.get(DEFAULT_SIGNATURE_NAME)
    inputs = set(function.structured_input_signature[1]) if function else set()
    outputs = set(function.structured_outputs) if function else set()
    if inputs != set(aliases) or output not in outputs:
        msg = (
            f"{folder} maps {sorted(inputs)} to {sorted(outputs)} as {DEFAULT_SIGNATURE_NAME}, "
            f"expected {sorted(aliases)} to '{output}' at least; pass another SavedModel"
        )
        raise ExportError(msg)

    def run(arrays: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        # Keep `loaded` alive: the function does not hold references to its variables.
        _ = loaded
        answer = function(**{alias: tf.constant(array) for alias, array in arrays.items()})
        answered: dict[str, npt.NDArray[np.float32]] = {
            name: tensor.numpy() for name, tensor in answer.items()
        }
        return answered[output]

    return run


def version() -> str:
    """TensorFlow's version, from the module because the package has several names."""
    import tensorflow as tf  # noqa: PLC0415  see _start

    return str(tf.__version__)


def _start(threads: int) -> Any:  # noqa: ANN401  an untyped module
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    with quiet():
        import tensorflow as tf  # noqa: PLC0415  takes seconds; only this function needs it

        try:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        except RuntimeError as error:  # TensorFlow has already started
            msg = f"cannot limit TensorFlow to {threads} threads ({error}); use another process"
            raise ExportError(msg) from error
        tf.config.list_logical_devices()  # TensorFlow logs its search for a GPU here, not later
    return tf
