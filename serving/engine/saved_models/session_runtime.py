"""A SavedModel in the server: its signatures, checks of ranks, and translation of its errors."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

# Must be set before TensorFlow is imported. Level 2 suppresses TensorFlow's log lines except
# errors, because they do not follow the format of the server's log.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# TensorFlow imports absl's test helpers, which look for a writable folder and fail in a read-only
# container. They accept any path in this variable; nothing is written to it.
os.environ.setdefault("TEST_TMPDIR", os.devnull)

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

from serving.engine.runtime import DeviceError, RuntimeConfig, SessionControl
from serving.engine.saved_models import operators, signatures
from serving.engine.saved_models.rank_trials import RankTrials
from serving.engine.saved_models.session import SavedModelSession
from serving.errors import (
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    InternalError,
    InvalidInput,
    NotFound,
    OutOfRange,
    ResourceExhausted,
    ServingError,
    Unavailable,
    Unsupported,
)
from serving.tensors.bfloat16 import BFLOAT16
from serving.tensors.tensor_spec import DataType, TensorSpec

_LEAST_LIMIT_MS = 256
_MOST_LIMIT_MS = 1 << 22  # more than an hour; the value must fit a C int
_ERRORS: dict[int, type[ServingError]] = {
    each.code: each
    for each in (
        DataLoss,
        DeadlineExceeded,
        FailedPrecondition,
        InvalidInput,
        NotFound,
        OutOfRange,
        ResourceExhausted,
        Unavailable,
        Unsupported,
    )
}

_TENSORFLOWS_BFLOAT16 = np.dtype(tf.bfloat16.as_numpy_dtype)

tf.get_logger().setLevel("ERROR")


def look_for_gpus() -> None:
    """Let TensorFlow look for GPUs; it does so once, and logs what it found."""
    tf.config.list_physical_devices("GPU")


class SavedModelRuntime:
    """The serving graph of a SavedModel in a session that can be run from any thread.

    Attributes:
        provider: Provider name in the log, the metrics and KServe's metadata.
        platform: Platform name in KServe's model metadata.
        signatures: The signatures by name.
        inputs: Specs of the tensors that the signatures feed, by tensor name. Their shapes are
            unknown, because sessions do not check shapes. One exception: if the graph parses
            tf.Examples and a wrong rank may end the process, strings of undeclared rank have the
            shape (-1,).
        outputs: Specs of the tensors that the signatures fetch, by tensor name.
        needs_ranks: Whether a tensor of an unexpected rank could end the process.
        row_mixing: For each signature with an operator that mixes rows by its definition, a
            sentence that names the operator.
    """

    provider = "tensorflow"
    platform = "tensorflow"
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]

    def __init__(self, folder: Path, config: RuntimeConfig, *, is_trial: bool = False) -> None:
        """Load the graph, restore its variables and run its initialization.

        Args:
            folder: Folder that holds saved_model.pb or saved_model.pbtxt.
            config: See `RuntimeConfig`.
            is_trial: Whether this is the child process of a rank trial: all ranks are run, although
                they may end the process.

        Raises:
            DataLoss: TensorFlow cannot load the SavedModel.
            Unsupported: the SavedModel has no signature that can be served.
            DeviceError: the device is `cuda` and TensorFlow sees no GPU.
        """
        if config.device == "cuda" and not tf.config.list_physical_devices("GPU"):
            msg = (
                f'device "cuda" requested but TensorFlow sees no GPU to run {folder}; check the '
                "driver and the CUDA libraries (pip install tensorflow[and-cuda]), or pass "
                "--device auto"
            )
            raise DeviceError(msg)
        try:
            self._session = SavedModelSession(
                folder, config.saved_model_tags, _session_config(config)
            )
        except (tf.errors.OpError, RuntimeError, ValueError, KeyError, OSError) as error:
            reason = " ".join((str(error) or type(error).__name__).split())
            msg = f"TensorFlow cannot load {folder}: {reason}"
            raise DataLoss(msg) from error
        meta_graph = self._session.meta_graph
        graph = self._session.session.graph
        self.signatures = signatures.read(meta_graph.signature_def, graph, folder)
        self.inputs, self.outputs = {}, {}
        self.needs_ranks = False
        self.row_mixing: dict[str, str] = {}
        parses = False
        for name, signature in self.signatures.items():
            self.outputs |= {spec.tensor: spec for spec in signature.outputs.values()}
            fetched = [s.tensor for s in signature.outputs.values() if s.coo_sparse is None]
            nodes = list(operators.reachable(meta_graph.graph_def, fetched))
            self.needs_ranks |= any(node.op in operators.ENDED_BY_RANK for node in nodes)
            parses |= any(node.op in operators.PARSING for node in nodes)
            if mixing := operators.find_row_mixing(nodes):
                self.row_mixing[name] = mixing
        inputs = [spec for each in self.signatures.values() for spec in each.inputs.values()]
        for spec in inputs:
            examples = self.needs_ranks and parses and spec.dtype is DataType.DT_STRING
            shape = (-1,) if examples and spec.shape is None else None
            self.inputs[spec.tensor] = replace(spec, shape=shape)
        self._sparse = frozenset(
            spec.tensor for spec in (*inputs, *self.outputs.values()) if spec.coo_sparse is not None
        )
        # Inputs of undeclared rank that may end the process; `run` needs a rank trial for them.
        self._unranked = frozenset(
            spec.tensor
            for spec in inputs
            if self.needs_ranks and spec.shape is None and self.inputs[spec.tensor].shape is None
        )
        self._trials = RankTrials(folder, config)
        if is_trial:
            self._unranked = frozenset()

    def run(
        self,
        output_tensors: Sequence[str],
        feeds: Mapping[str, np.ndarray],
        control: SessionControl | None = None,
    ) -> list[np.ndarray]:
        """Compute output tensors.

        Args:
            output_tensors: Names of tensors of the graph.
            feeds: Arrays by tensor name; strings have dtype object, bfloat16 has `BFLOAT16`.
            control: Gives the time limit. TensorFlow cannot terminate a run at once: it gets the
                limit rounded up to a power of two in ms, at least 256 ms, and checks the time
                between two operators.

        Returns:
            One array per output, in the order of `output_tensors`; strings have dtype object and
            elements of type `bytes`, bfloat16 has `BFLOAT16`.

        Raises:
            ServingError: TensorFlow's error, with its code and message.
        """
        if self._sparse and not self._sparse.isdisjoint((*feeds, *output_tensors)):
            # TensorFlow Serving asks the session for a sparse tensor by an empty name. The message
            # begins with the session's error about that name.
            msg = (
                "Tensor :0, specified in either feed_devices or fetch_devices was not found in the "
                "Graph: a sparse tensor cannot be sent or fetched; ask for the other outputs by "
                "name (output_filter)"
            )
            raise InvalidInput(msg)
        if self._unranked and not self._unranked.isdisjoint(feeds):
            self._trials.require(output_tensors, feeds)
        seconds = None if control is None else control.seconds
        theirs = {tensor: _for_tensorflow(array) for tensor, array in feeds.items()}
        try:
            arrays = self._session.run(output_tensors, theirs, limit_ms=_limit_ms(seconds))
        except tf.errors.OpError as error:
            kind = _ERRORS.get(error.error_code, InternalError)
            raise kind(error.message) from error
        except (TypeError, ValueError) as error:  # an array that TensorFlow cannot take
            raise InvalidInput(str(error)) from error
        return [_from_tensorflow(array) for array in arrays]


def _for_tensorflow(array: np.ndarray) -> np.ndarray:
    return array.view(_TENSORFLOWS_BFLOAT16) if array.dtype == BFLOAT16 else array


def _from_tensorflow(array: np.ndarray) -> np.ndarray:
    return array.view(BFLOAT16) if array.dtype == _TENSORFLOWS_BFLOAT16 else array


def _limit_ms(seconds: float | None) -> int:
    """Return a time limit for a session in milliseconds; 0 for no limit.

    The limit is rounded up to a power of two, so that few callables are needed.
    """
    if seconds is None:
        return 0
    milliseconds = max(math.ceil(1000 * seconds), _LEAST_LIMIT_MS)
    return min(1 << (milliseconds - 1).bit_length(), _MOST_LIMIT_MS)


def _session_config(config: RuntimeConfig) -> Any:  # noqa: ANN401  ConfigProto, of an untyped module
    """Return the threads and devices of a session; all sessions of a process share threads."""
    threads = config.instances * config.intra_op_threads
    options = config_pb2.ConfigProto(
        intra_op_parallelism_threads=threads,
        inter_op_parallelism_threads=config.instances,
        allow_soft_placement=True,
    )
    if config.device == "cpu":
        options.device_count["GPU"] = 0
    options.gpu_options.allow_growth = True
    return options
