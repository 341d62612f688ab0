"""TensorFlow Serving's `batching_parameters_file`, in this server's terms."""

import dataclasses
from pathlib import Path

from serving.engine.batching.batching_config import BatchingConfig
from serving.protos.tfs_config_pb2 import BatchingParameters
from serving.settings import text_protos


def read(path: Path, defaults: BatchingConfig) -> tuple[BatchingConfig, int]:
    """Read the parameters.

    `max_enqueued_batches` counts batches there and rows here, so it is multiplied by
    `max_batch_size`. Requests larger than a batch are always split, so
    `enable_large_batch_splitting: false` changes nothing, and with `max_execution_batch_size` that
    is the size of a run. `thread_pool_name` has no meaning here.

    Args:
        path: The file.
        defaults: What the parameters are that the file leaves out.

    Returns:
        The configuration, and `num_batch_threads`, 0 if the file leaves it out.

    Raises:
        ConfigError: the file cannot be read or contradicts itself; with file, line and reason.
    """
    file = text_protos.read(path, BatchingParameters)
    message = file.message

    def value(name: str, default: int, low: int) -> int:
        if not message.HasField(name):
            return default
        given = int(getattr(message, name).value)
        if given < low:
            reason = f"{name} is {given}, expected at least {low}"
            raise file.error(reason, name)
        return given

    if message.pad_variable_length_inputs:
        name = "pad_variable_length_inputs"
        reason = f"{name} is true, but requests are not padded to one length here; pad them before"
        raise file.error(reason, name)
    largest = "max_execution_batch_size"
    rows = value("max_batch_size", defaults.max_batch_size, 1)
    if message.HasField("max_execution_batch_size"):
        if not message.enable_large_batch_splitting.value:
            reason = f"{largest} is set, but enable_large_batch_splitting is not true; set both"
            raise file.error(reason, largest)
        rows = value(largest, rows, 1)
    else:
        largest = "max_batch_size"
    sizes = tuple(message.allowed_batch_sizes)
    if sizes and (list(sizes) != sorted(set(sizes)) or sizes[0] < 1 or sizes[-1] != rows):
        reason = (
            f"allowed_batch_sizes are {', '.join(map(str, sizes))}, expected ascending sizes of "
            f"which the last is {largest}, {rows}"
        )
        raise file.error(reason, "allowed_batch_sizes")
    queued = value("max_enqueued_batches", 0, 1)
    config = dataclasses.replace(
        defaults,
        max_batch_size=rows,
        allowed_batch_sizes=sizes,
        batch_timeout_micros=value("batch_timeout_micros", defaults.batch_timeout_micros, 0),
        max_enqueued_rows=queued * rows or defaults.max_enqueued_rows,
    )
    return config, value("num_batch_threads", 0, 1)
