"""Trains a model and publishes it as a new version: the entry point of the training image.

    train_and_publish.py simcnn --epochs 60       trains in ./simcnn-best, then publishes it
    train_and_publish.py report simcnn-best       writes a report on runs, and publishes nothing;
                                                  inspect, predict and search are commands, too

The flags are those of `python -m training`. It publishes with the Python of another environment
($EXPORT_PYTHON), which has TensorFlow, into $MODELS_DIR; $EXPORT_ARGS holds more flags of
`python -m export`.
"""

import ctypes
import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from training.__main__ import COMMANDS
from training.__main__ import main as train
from training.settings.arguments import default_run_dir, parser
from training.settings.train_config import KERAS_PREFIX


def main(arguments: list[str]) -> int:
    """Train or resume; if the training is finished, replace this process by the export.

    Returns:
        The exit code of `python -m training`, or 2 if a folder cannot be written. The exit code
        after a finished training is that of `python -m export`.
    """
    if arguments and arguments[0] in COMMANDS:
        choose_platform()
        return train(arguments)
    options = parser().parse_args(arguments)
    name = options.model.removeprefix(KERAS_PREFIX)
    # The image's working directory is the folder of the runs.
    run_dir = options.run_dir or Path(default_run_dir(options.model, options.recipe).name)
    models_dir = Path(os.environ["MODELS_DIR"])
    data = ["--data-dir", options.data_dir] if options.data_dir else []
    # What the export needs is checked now, and not after hours of training.
    try:
        check_writable([run_dir, models_dir / name])
        more = shlex.split(os.environ.get("EXPORT_ARGS", ""))
    except PermissionError as error:
        return fail(str(error))
    except ValueError as error:
        return fail(f"EXPORT_ARGS is {os.environ['EXPORT_ARGS']!r}, expected flags: {error}")
    choose_platform()
    code = train([*arguments, "--run-dir", str(run_dir)])
    if code == 0:
        become_export([str(run_dir), "--models-dir", str(models_dir), *data, *more])
    return code


def become_export(arguments: list[str]) -> NoReturn:
    """Replace this process by `python -m export`, which then gets the engine's signals itself."""
    python = os.environ["EXPORT_PYTHON"]
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    sys.stdout.flush()
    os.execve(python, [python, "-m", "export", *arguments], environment)  # noqa: S606  no shell


def check_writable(folders: Iterable[Path]) -> None:
    """Raise PermissionError with the way out for the first folder that cannot be written to.

    A folder that does not exist is judged by the folder that it would be made in.
    """
    for folder in folders:
        absolute = folder.absolute()
        existing = next(path for path in (absolute, *absolute.parents) if path.exists())
        if not os.access(existing, os.W_OK | os.X_OK):
            owner = existing.stat().st_uid
            msg = (
                f"user {os.getuid()} cannot write to {existing}, which belongs to user {owner}; "
                'run the container as its owner (TRAINING_USER="$(id -u)" in Compose, --user in '
                "docker run), and mount the folder without :ro"
            )
            raise PermissionError(msg)


def fail(message: str) -> int:
    """Print a message on stderr; return the exit code of a setting that cannot be used."""
    print(f"error: {message}", file=sys.stderr)
    return 2


def choose_platform() -> None:
    """Let JAX compute on the CPU if the container has no NVIDIA driver.

    Without this, JAX's CUDA plugin logs its failed start with a traceback.
    """
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        os.environ.setdefault("JAX_PLATFORMS", "cpu")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
