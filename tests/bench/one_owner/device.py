"""A device that stands for a GPU: a batch takes a fixed time on it, and the CPU waits.

Processes share the device as they share a GPU: one batch after another. The answers are zeros.
"""

import fcntl
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from serving.engine.runtime import SessionControl
from serving.engine.servable import Servable

# The path of the device's lock, and the time of a batch in seconds.
PATH_VARIABLE, SECONDS_VARIABLE = "ONE_OWNER_DEVICE", "ONE_OWNER_DEVICE_SECONDS"


def install(environment: Mapping[str, str] = os.environ) -> None:
    """Let all servables of this process run on the device, if the environment names one."""
    path = environment.get(PATH_VARIABLE)
    if path is None:
        return
    device = Path(path).open("w")  # noqa: SIM115 - as long as the process lives
    seconds = float(environment[SECONDS_VARIABLE])

    def run(
        self: Servable,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        _control: SessionControl | None = None,
    ) -> dict[str, np.ndarray]:
        fcntl.flock(device, fcntl.LOCK_EX)
        try:
            time.sleep(seconds)
        finally:
            fcntl.flock(device, fcntl.LOCK_UN)
        specs = self.signatures[signature_name].outputs
        rows = len(next(iter(inputs.values())))
        return {
            alias: specs[alias].constant_rows(rows)
            if specs[alias].constant
            else np.zeros((rows, *specs[alias].known_shape[1:]), specs[alias].numpy_dtype)
            for alias in outputs
        }

    Servable.run = run  # type: ignore[method-assign]
