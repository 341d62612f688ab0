"""TensorFlow Serving's `batching_parameters_file`, in this server's terms."""

import dataclasses
from pathlib import Path

from serving.engine.batching.batching_config import BatchingConfig
from serving.protos.tfs_config_pb2 import BatchingParameters
from serving.settings import text_protos
from serving.settings.text_protos import TextProto


def read(path: Path, defaults: BatchingConfig) -> tuple[BatchingConfig, int]:
    """Read the parameters; arguments and errors as for `translate`.

    Args:
        path: The file.
        defaults: What the parameters are that the file leaves out.
    """
    return translate(text_protos.read(path, BatchingParameters), defaults)


def translate(
    file: TextProto[BatchingParameters], defaults: BatchingConfig
) -> tuple[BatchingConfig, int]:
    """What the parameters mean here.

    `max_enqueued_batches` counts batches there and rows here, so it is multiplied by
    `max_batch_size`. Requests larger than a batch are always split, so
    `enable_large_batch_splitting: false` changes nothing, and with `max_execution_batch_size` that
    is the size of a run. `thread_pool_name` has no meaning here.

    Args:
        file: The parameters, and where they stand.
        defaults: What the parameters are that the file leaves out.

    Returns:
        The configuration, and `num_batch_threads`, 0 if the file leaves it out.

    Raises:
        ConfigError: the file contradicts itself; with file, line and reason.
    """
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
        reason = f"{name} has no effect here: requests of different lengths run apart, not padded"
        file.warn(reason, name)
    sizes = tuple(message.allowed_batch_sizes)
    # Where no size is given, TensorFlow Serving has 1000, and this server the last one allowed.
    largest = value("max_batch_size", sizes[-1] if sizes else defaults.max_batch_size, 1)
    rows = largest
    name = "max_execution_batch_size"
    if message.HasField(name):
        if message.enable_large_batch_splitting.value:
            rows = min(largest, value(name, rows, 1))
        else:
            file.warn(f"{name} has no effect without enable_large_batch_splitting", name)
    config = dataclasses.replace(
        defaults,
        max_batch_size=rows,
        allowed_batch_sizes=_allowed(file, sizes, largest, rows),
        batch_timeout_micros=value("batch_timeout_micros", defaults.batch_timeout_micros, 0),
    )
    if message.HasField("max_enqueued_batches"):
        # One that fills is not counted there, so that 0 leaves room for one.
        batches = max(1, value("max_enqueued_batches", 0, 0))
        config = dataclasses.replace(config, max_enqueued_rows=max(largest, batches * rows))
    return config, value("num_batch_threads", 0, 1)


def _allowed(
    file: TextProto[BatchingParameters], sizes: tuple[int, ...], largest: int, rows: int
) -> tuple[int, ...]:
    """The sizes that batches of at most so many rows are padded to.

    Raises:
        ConfigError: they are not in order, or do not end with the largest batch.
    """
    if not sizes:
        return ()
    name = "allowed_batch_sizes"
    if list(sizes) != sorted(set(sizes)) or sizes[0] < 1:
        reason = f"{name} are {', '.join(map(str, sizes))}, expected them in increasing order"
        raise file.error(reason, name)
    if sizes[-1] not in {largest, rows}:
        reason = (
            f"Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
            f"{sizes[-1]}; expected {largest}"
        )
        raise file.error(reason, name)
    return (
        *(size for size in sizes if size < rows),
        min(size for size in sizes if size >= rows),
    )
