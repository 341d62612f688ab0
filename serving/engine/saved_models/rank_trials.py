"""Rank trials: runs requests with undeclared ranks in a child process first.

Some operators end TensorFlow's process on a tensor of an unexpected rank
(`operators.ENDED_BY_RANK`). If the SavedModel declares no rank, the first request of each
combination of ranks runs in a child process, which shows whether it ends the process. A trial takes
as many seconds as importing TensorFlow and loading the SavedModel.

The request is pickled; both processes run this module.
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
# Limit of the combinations of ranks to try: each trial costs seconds of a core.
_MOST_TRIALS = 64
# Exit codes of a process that has crashed.
_FAULTS = {-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS, -signal.SIGFPE, -signal.SIGILL}

_Ranks = tuple[tuple[str, int], ...]


class RankTrials:
    """The combinations of ranks tried on one SavedModel; may be used from several threads."""

    def __init__(self, folder: Path, config: RuntimeConfig) -> None:
        """Create the trials of a SavedModel; none has run yet.

        Args:
            folder: Folder that holds saved_model.pb or saved_model.pbtxt.
            config: See `RuntimeConfig`.
        """
        self._folder = folder
        self._config = config
        self._survived: dict[_Ranks, bool] = {}
        self._lock = threading.Lock()

    def require(self, output_tensors: Sequence[str], feeds: Mapping[str, np.ndarray]) -> None:
        """Check that tensors of these ranks do not end the process; the first time, by a trial.

        Args:
            output_tensors: Names of the tensors to compute.
            feeds: Arrays by tensor name.

        Raises:
            InvalidInput: these ranks end the process, or too many combinations were tried.
            Unavailable: the child process failed for another reason.
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
                stderr=subprocess.DEVNULL,  # a stack trace, if the process is ended
                env={**os.environ, "PYTHONPATH": path},
                timeout=_TRIAL_SECONDS,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            return True  # a long run does not end the process
        if ended and ended not in _FAULTS:
            msg = (
                f"the trial of tensors of these ranks ({_text(ranks)}) failed: its process ended "
                f"with {ended}, expected 0; retry"
            )
            raise Unavailable(msg)
        return not ended


def _text(ranks: _Ranks) -> str:
    return ", ".join(f"{tensor} of rank {rank}" for tensor, rank in ranks)


def _run_once(folder: Path) -> None:
    """Run the pickled request from standard input in this process, and drop the result."""
    # Imported only in the child process, because `session_runtime` imports this module.
    from serving.engine.saved_models.session_runtime import SavedModelRuntime  # noqa: PLC0415
    from serving.errors import ServingError  # noqa: PLC0415

    config, outputs, feeds = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our parent process
    runtime = SavedModelRuntime(folder, config, is_trial=True)
    with contextlib.suppress(ServingError):
        runtime.run(outputs, feeds)


if __name__ == "__main__":
    _run_once(Path(sys.argv[1]))
