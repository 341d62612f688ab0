"""Translates TensorFlow Serving's `batching_parameters_file` into this server's settings."""

import dataclasses
from pathlib import Path

from serving.engine.batching.batching_config import BatchingConfig
from serving.protos.tfs_config_pb2 import BatchingParameters
from serving.settings import text_protos
from serving.settings.text_protos import TextProto


def read(path: Path, defaults: BatchingConfig) -> tuple[BatchingConfig, int]:
    """Read a file and translate it; results and errors as for `translate`.

    Args:
        path: The file.
        defaults: Values of the parameters that the file leaves out.
    """
    return translate(text_protos.read(path, BatchingParameters), defaults)


def translate(
    file: TextProto[BatchingParameters], defaults: BatchingConfig
) -> tuple[BatchingConfig, int]:
    """Translate batching parameters.

    TensorFlow Serving limits its queue in batches (`max_enqueued_batches`), this server in rows, so
    the number is multiplied by the largest size of a run. This server always splits requests that
    are larger than a batch, so `enable_large_batch_splitting: false` changes nothing. If it is
    true, `max_execution_batch_size` limits the size of a run. `thread_pool_name` is ignored. If the
    file gives the size of a batch, or of the queue in batches, the size is the same on CUDA.

    Args:
        file: The parameters, with their file for messages.
        defaults: Values of the parameters that the file leaves out.

    Returns:
        The batching settings, and `num_batch_threads`, 0 if the file leaves it out.

    Raises:
        ConfigError: a value is out of range or contradicts another; with file, line and reason.
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
        reason = (
            f"{name} has no effect here: requests of different lengths run in separate batches, "
            "without padding"
        )
        file.warn(reason, name)
    sizes = tuple(message.allowed_batch_sizes)
    # Without max_batch_size, TensorFlow Serving uses 1000, and this server the last allowed size.
    largest = value("max_batch_size", sizes[-1] if sizes else defaults.max_batch_size, 1)
    rows = largest
    name = "max_execution_batch_size"
    if message.HasField(name):
        if message.enable_large_batch_splitting.value:
            rows = min(largest, value(name, rows, 1))
        else:
            file.warn(f"{name} has no effect without enable_large_batch_splitting", name)
    fields = ("max_batch_size", name, "max_enqueued_batches")
    is_given = bool(sizes) or any(map(message.HasField, fields))
    config = dataclasses.replace(
        defaults,
        max_batch_size=rows,
        max_batch_size_on_cuda=0 if is_given else defaults.max_batch_size_on_cuda,
        allowed_batch_sizes=_allowed(file, sizes, largest, rows),
        batch_timeout_micros=value("batch_timeout_micros", defaults.batch_timeout_micros, 0),
    )
    if message.HasField("max_enqueued_batches"):
        # TensorFlow Serving does not count the batch that is being filled: 0 leaves room for one.
        batches = max(1, value("max_enqueued_batches", 0, 0))
        config = dataclasses.replace(config, max_enqueued_rows=max(largest, batches * rows))
    return config, value("num_batch_threads", 0, 1)


def _allowed(
    file: TextProto[BatchingParameters], sizes: tuple[int, ...], largest: int, rows: int
) -> tuple[int, ...]:
    """Return the sizes that batches of at most `rows` rows are padded to.

    Raises:
        ConfigError: the sizes are not in increasing order, or the last one is not the largest
            batch.
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
