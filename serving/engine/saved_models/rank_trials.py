"""Ranks that nobody has declared are tried in a process of its own, before the server's.

Some operators end TensorFlow's process on a tensor of another rank than they expect
(`operators.ENDED_BY_RANK`). Where the SavedModel declares no rank, the first request of each
combination of ranks shows a child process whether it does. A trial takes the seconds that it takes
to import TensorFlow and to load the SavedModel.

The request is pickled; both ends are this module's.
"""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from serving.engine.runtime import REFUSED, RuntimeConfig
from serving.errors import InvalidInput, Unavailable

_TRIAL_SECONDS = 120.0
# Combinations of ranks that are tried at most: each costs seconds of a core.
_MOST_TRIALS = 64
# How a process ends by its own fault.
_FAULTS = {-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS, -signal.SIGFPE, -signal.SIGILL}

_Ranks = tuple[tuple[str, int], ...]


class RankTrials:
    """What is known of the ranks that one SavedModel takes; safe from several threads."""

    def __init__(self, folder: Path, config: RuntimeConfig) -> None:
        """Prepare.

        Args:
            folder: Holds saved_model.pb or saved_model.pbtxt.
            config: How it is run.
        """
        self._folder = folder
        self._config = config
        self._survived: dict[_Ranks, bool] = {}
        self._lock = threading.Lock()

    def require(self, output_tensors: Sequence[str], feeds: Mapping[str, np.ndarray]) -> None:
        """Return if tensors of these ranks do not end the process; tries it if nobody knows.

        Args:
            output_tensors: What is to be computed.
            feeds: Arrays by tensor name.

        Raises:
            InvalidInput: they do, or too many combinations were tried.
            Unavailable: the trial itself failed.
        """
        ranks = tuple((tensor, array.ndim) for tensor, array in feeds.items())
        survived = self._survived.get(ranks)
        if survived is None:
            with self._lock:  # one trial at a time
                survived = self._survived.get(ranks)
                if survived is None:
                    survived = self._survived[ranks] = self._try(ranks, output_tensors, feeds)
        if not survived:
            msg = (
                f"{REFUSED}tensors of these ranks end TensorFlow's process: {_text(ranks)}; send "
                "the ranks that the model was trained with"
            )
            raise InvalidInput(msg)

    def _try(
        self, ranks: _Ranks, output_tensors: Sequence[str], feeds: Mapping[str, np.ndarray]
    ) -> bool:
        if len(self._survived) >= _MOST_TRIALS:
            msg = (
                f"{REFUSED}{len(self._survived)} combinations of ranks were tried already, and "
                f"{_text(ranks)} is another; save the model with the ranks declared"
            )
            raise InvalidInput(msg)
        path = os.pathsep.join(filter(None, sys.path))
        try:
            ended = subprocess.run(
                [sys.executable, "-m", __spec__.name, str(self._folder)],
                input=pickle.dumps((self._config, list(output_tensors), dict(feeds))),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # its last words are a stack trace
                env={**os.environ, "PYTHONPATH": path},
                timeout=_TRIAL_SECONDS,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            return True  # a long run is no end
        if ended and ended not in _FAULTS:
            msg = (
                f"whether tensors of these ranks end TensorFlow's process ({_text(ranks)}) could "
                f"not be tried: the process that tried it ended with {ended}; retry"
            )
            raise Unavailable(msg)
        return not ended


def _text(ranks: _Ranks) -> str:
    return ", ".join(f"{tensor} of rank {rank}" for tensor, rank in ranks)


def _run_once(folder: Path) -> None:
    """Run what stands on the standard input, in this process; what it answers is no matter."""
    # The child's alone: that module imports this one.
    from serving.engine.saved_models.session_runtime import SavedModelRuntime  # noqa: PLC0415
    from serving.errors import ServingError  # noqa: PLC0415

    config, outputs, feeds = pickle.load(sys.stdin.buffer)  # noqa: S301 - of our parent
    runtime = SavedModelRuntime(folder, config, is_trial=True)
    with contextlib.suppress(ServingError):
        runtime.run(outputs, feeds)


if __name__ == "__main__":
    _run_once(Path(sys.argv[1]))
