"""Publish a model: `python -m export RUN_DIR`, `... saved-model SOURCE`, or `... onnx FILE`.

`... export add-precision VERSION_FOLDER` makes other precisions of a published version.
`... export judge|benchmark|robustness|near-ties|tables` measure and describe published versions.
"""

import argparse
import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import TextIO

from export import progress
from export.arguments import PUBLISH_RUN, parse
from export.commands import measure, publish, tables
from export.errors import ExportError
from export.failures import reason
from training import standard_streams, storage

_COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    PUBLISH_RUN: publish.run,
    "saved-model": publish.saved_model,
    "onnx": publish.onnx,
    "add-precision": publish.add_precision,
    "prove-rows": measure.prove_rows,
    "judge": measure.judge,
    "benchmark": measure.benchmark,
    "robustness": measure.robustness,
    "near-ties": measure.near_ties,
    "tables": tables.run,
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command that the command line names.

    Returns:
        The exit code: 0 if the command succeeded, 1 if a gate failed or a document is out of date,
        2 for bad usage or input, 130 if the user interrupted it.
    """
    standard_streams.open_closed()
    parsed = parse(sys.argv[1:] if arguments is None else arguments)
    with _reported_on(sys.stdout):
        return _run(parsed)


def _run(parsed: argparse.Namespace) -> int:
    if parsed.debug:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0")  # training.native_log then hides nothing
    try:
        return _COMMANDS[parsed.command](parsed)
    except ExportError as error:
        if parsed.debug:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except storage.StorageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: interrupted; nothing was published", file=sys.stderr)
        return 130
    except Exception as error:  # noqa: BLE001  a library's error is printed as one line too
        if parsed.debug:
            traceback.print_exc()
        told = f"{type(error).__name__}: {reason(error)}"
        way_out = "--debug shows where it was raised"
        if isinstance(error, ModuleNotFoundError):
            way_out = "install the extra export: pip install '.[export]'"
        print(f"error: {told}; nothing was published; {way_out}", file=sys.stderr)
        return 2


@contextlib.contextmanager
def _reported_on(stream: TextIO) -> Iterator[None]:
    """Send log records and progress to a stream; libraries' warnings stay on stderr."""
    logger = logging.getLogger("export")
    before = logger.handlers, logger.propagate, logger.level
    logger.handlers, logger.propagate = [progress.LogHandler(stream)], False
    logger.setLevel(logging.INFO)
    try:
        with progress.shown_on(stream):
            yield
    finally:
        logger.handlers, logger.propagate, level = before
        logger.setLevel(level)


if __name__ == "__main__":
    sys.exit(main())
