"""A ServingSession in a child process: some operations end the process instead of raising.

For example, a convolution on a one-dimensional input fails a check in oneDNN, which aborts the
process. Use this module to run TensorFlow on shapes that no placeholder declares.

Requests and answers are pickled; this module is both the parent and the child.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy.typing as npt
import tensorflow as tf

from export.sources.serving_session import ServingSession
from serving.tensors.signature import Signature

_STOP_SECONDS = 30


class ProcessEndedError(tf.errors.AbortedError):  # type: ignore[misc]  # TensorFlow has no types
    """TensorFlow ended its process instead of answering."""

    def __init__(self) -> None:
        super().__init__(None, None, "TensorFlow ended its process")


class SessionProcess:
    """A ServingSession in a child process, started by the first request and after each crash."""

    def __init__(self, folder: Path) -> None:
        """Remember the folder; the first request starts the process.

        Args:
            folder: Folder of saved_model.pb.
        """
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: BinaryIO | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def ask(
        self, signature: Signature, inputs: Mapping[str, npt.NDArray[Any]]
    ) -> dict[str, npt.NDArray[Any]]:
        """Run a signature in the child process; see ServingSession.ask.

        Raises:
            tf.errors.OpError: an operation refuses the inputs.
            ProcessEndedError: the child process ended during the request.
        """
        if self._process is None:
            self._start()
        assert self._process is not None  # noqa: S101 - started
        assert self._process.stdin is not None  # noqa: S101 - a pipe
        assert self._answers is not None  # noqa: S101 - opened with it
        try:
            pickle.dump((signature, dict(inputs)), self._process.stdin)
            self._process.stdin.flush()
            answer = pickle.load(self._answers)  # noqa: S301 - written by our child process
        except (EOFError, OSError):
            self._stop()
            raise ProcessEndedError from None
        if isinstance(answer, str):
            raise tf.errors.InvalidArgumentError(None, None, answer)
        arrays: dict[str, npt.NDArray[Any]] = answer
        return arrays

    def _start(self) -> None:
        reading, writing = os.pipe()
        path = os.pathsep.join(filter(None, sys.path))
        self._process = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, str(self._folder), str(writing)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # TensorFlow's stack trace when it crashes
            pass_fds=[writing],
            env={**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "-1"},
        )
        os.close(writing)
        self._answers = os.fdopen(reading, "rb")

    def _stop(self) -> None:
        process, answers = self._process, self._answers
        self._process = self._answers = None
        if process is None or answers is None:
            return
        answers.close()
        try:
            process.communicate(timeout=_STOP_SECONDS)  # closes stdin, which ends the process
        except (subprocess.TimeoutExpired, OSError):
            process.kill()
            process.wait()


def _answer_all(folder: Path, answers: BinaryIO) -> None:
    with ServingSession(folder) as session:
        while True:
            try:
                signature, inputs = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by our parent process
            except EOFError:
                return
            try:
                answer: object = session.ask(signature, inputs)
            except (tf.errors.OpError, ValueError) as error:
                answer = str(error) or type(error).__name__
            pickle.dump(answer, answers)
            answers.flush()


if __name__ == "__main__":
    with os.fdopen(int(sys.argv[2]), "wb") as stream:
        _answer_all(Path(sys.argv[1]), stream)
