"""Runs that a worker thread has prepared: one for each batch size of a signature.

The batcher copies the rows of a batch into the run's own buffers, once.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from serving.engine.batching.request_queue import Arrays

# Arguments: signature name, inputs by alias, output aliases, a control of the run (`RunControl`).
# Returns outputs by alias.
RunBatch = Callable[[str, Arrays, Sequence[str], Any], dict[str, np.ndarray]]


class PreparedRun(Protocol):
    """A run with a fixed number of rows.

    Attributes:
        inputs: Buffers of the inputs by alias, shape (rows, ...); a batch is written into them.
    """

    inputs: Mapping[str, np.ndarray]

    @property
    def run(self) -> RunBatch:
        """Runs on the content of the buffers; later runs leave the returned arrays unchanged."""
        ...


# By signature name and number of rows. A worker thread calls only the runs that it has prepared.
PreparedRuns = Mapping[tuple[str, int], PreparedRun]
# Called in a worker thread before it takes requests.
Prepare = Callable[[], PreparedRuns]


def fits(run: PreparedRun, inputs: Arrays) -> bool:
    """Return whether the rows of inputs have the shapes and dtypes of the run's buffers."""
    for alias, array in inputs.items():  # faster than `all` with a generator
        buffer = run.inputs[alias]
        if array.shape[1:] != buffer.shape[1:] or array.dtype != buffer.dtype:
            return False
    return True


def fill(run: PreparedRun, batch: Sequence[Arrays], rows: int) -> None:
    """Write a batch into the buffers of a run, and repeat its last row up to their end.

    Args:
        run: The run.
        batch: Inputs by alias of each request; they fit the run.
        rows: Number of rows of all requests together, at most as many as the run has.
    """
    for alias, buffer in run.inputs.items():
        used = buffer if len(buffer) == rows else buffer[:rows]
        if len(batch) == 1:  # half the time of `concatenate`, which counts for a single row
            np.copyto(used, batch[0][alias])
        else:
            np.concatenate([inputs[alias] for inputs in batch], out=used)
        if used is not buffer:
            # As in a batch without buffers: the model may refuse rows of zeros.
            buffer[rows:] = buffer[rows - 1]
