"""A SavedModel as the server runs it: its signatures, what ranks it takes, its errors as ours."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

# Before TensorFlow's import. Of its own log lines errors alone: the server's log has a format.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# absl's helpers for tests, which it imports, look for a folder that can be written to, and fail in
# a read-only container. Whatever is named here they take, and nobody writes there.
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
_MOST_LIMIT_MS = 1 << 22  # more than an hour; it may not be more than a C int holds
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


class SavedModelRuntime:
    """The serving graph of a SavedModel in a session, ready to run from any thread.

    Attributes:
        provider: Who runs it, as the log, the metrics and KServe's metadata show it.
        platform: What KServe's metadata calls it.
        signatures: By name.
        inputs: Specs of the tensors that the signatures feed, by name, of any shape: TensorFlow
            declares none that a session checks. Serialized tf.Examples that may come to an operator
            which a wrong rank ends the process in are a list.
        outputs: Specs of the tensors that they fetch, by name.
        needs_ranks: Whether a tensor of an unexpected rank could end the process.
        row_mixing: What mixes the rows of a signature by its definition, by signature name.
    """

    provider = "tensorflow"
    platform = "tensorflow"
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]

    def __init__(self, folder: Path, config: RuntimeConfig, *, is_trial: bool = False) -> None:
        """Load the graph, restore its variables and run its initialization.

        Args:
            folder: Holds saved_model.pb or saved_model.pbtxt.
            config: How to run it.
            is_trial: Whether to run whatever is fed, though it may end this process.

        Raises:
            DataLoss: TensorFlow cannot load it.
            Unsupported: it has no signature that can be served.
            DeviceError: `cuda` was asked for and TensorFlow sees no GPU.
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
        # What may end the process, because nobody says which ranks the operators expect.
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
            feeds: Arrays by tensor name; strings as objects, bfloat16 as `BFLOAT16`.
            control: Its time limit ends the run, within twice as long and between two operators;
                TensorFlow has nothing that ends one at once.

        Returns:
            One array an output, in the order asked for; strings as objects, each `bytes`, and
            bfloat16 as `BFLOAT16`.

        Raises:
            ServingError: of the code that TensorFlow gives, in its words.
        """
        if self._sparse and not self._sparse.isdisjoint((*feeds, *output_tensors)):
            # What a session says of the empty name, by which TensorFlow Serving asks for it.
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
    """A time limit in steps, because each needs a prepared call: powers of two; 0 for none."""
    if seconds is None:
        return 0
    milliseconds = max(math.ceil(1000 * seconds), _LEAST_LIMIT_MS)
    return min(1 << (milliseconds - 1).bit_length(), _MOST_LIMIT_MS)


def _session_config(config: RuntimeConfig) -> Any:  # noqa: ANN401  ConfigProto, of an untyped module
    """The threads and devices of a session; all sessions of a process share their threads."""
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
