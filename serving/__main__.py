"""Start the model server: `python -m serving --models_dir models --port 8500`."""

import os
import signal
import sys
from types import FrameType

from serving import standard_streams
from serving.monitoring import standard_error
from serving.workers.environment import VARIABLE


def main() -> None:
    """Prepare standard error and the signals, then import and run the program, and exit."""
    standard_streams.open_closed()
    standard_error.never_wait()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    # The import takes most of the time until the server is ready, during which it can be stopped.
    from serving import program  # noqa: PLC0415

    sys.exit(program.main())


def _end(number: int, _frame: FrameType | None) -> None:
    """End the process with exit code 0: it has served nobody, so that there is nothing to drain."""
    if VARIABLE not in os.environ:  # the supervisor speaks for its workers
        print(f"{signal.Signals(number).name} during the start: stopped", file=sys.stderr)
    standard_error.finish()
    os._exit(0)


if __name__ == "__main__":
    main()
